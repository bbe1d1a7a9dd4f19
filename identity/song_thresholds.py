"""Weights and thresholds of song linking, each with its reason.

Weights are log-odds: a part of distance d adds ``weight * (1 - 2 d)``; 0.5 is neutral. The credit weights are set by
judgement (no labelled pairs with composers are at hand) so that an equal title alone stays below `SAME`, with one
agreeing credit passes it, and with contradicting composers falls below one half. The title weights were checked on one
half of the SHS100K video pairs, split by song; `benchmarks/names_first_form.py` gives the figure on the other half.
"""

from __future__ import annotations

# -- blocking: how many songs are looked at ------------------------------------------------------------------------

EQUAL_LIMIT = 300
"""Songs with an equal key. Beyond it ("Intro") those that share an artist are asked for too."""
RUN_LIMIT = 100
"""Songs whose title stands inside a noisy one: of several words, and of one, so many each."""
NEAR_LIMIT = 40
"""Songs with a similar key, best first."""
NEAR_TRIGRAM = 0.45
"""pg_trgm similarity of keys: «калинка» and «калинка малинка» have 0.73, one typo in eight letters 0.5."""
MAX_WORDS = 24
"""Words of a noisy title of which runs are looked up as titles."""
MAX_RUN = 10
"""Longest run of words looked up: longer titles are found by equality or similarity."""
MIN_RUN_LETTERS = 4
"""Shortest title that is looked for inside a longer one."""

# -- weights ---------------------------------------------------------------------------------------------------------

BIAS = -2.5
"""What blocking finds is more often another song."""
TITLE = 4.0
"""With `BIAS`: an equal title of ordinary strength alone gives 0.82, which is for review."""
STRETCH = 3.0
"""A title's distance is its dissimilarity times this: two thirds alike is not alike."""
CONTAINED_SIMILARITY = 0.85
"""All words of one title stand in the other: «Калинка» and «Калинка-малинка» may be two names of one song."""
RUN_SIMILARITY = 0.93
"""A title of at least two words stands in a noisy one as it is; the rest may be anything. On the tuning half of the
video pairs nearly all such are the song."""
EXPLAINED_SIMILARITY = 0.97
"""The rest of the longer title is its performer's name: nothing is left over."""
STRENGTH = 1.0
"""Several songs with the title, or a single short word, weaken it; a long title of its own strengthens it."""
COMPOSERS = 3.5
LYRICISTS = 2.5
TRADITIONAL = 1.5
"""Both are "traditional": less than one composer in common, as most folk songs are."""
PERFORMERS = 3.0
"""The performer has recorded that song already."""
OWN_SONG = 2.0
"""The performer wrote that song."""
ISWC = 8.0
"""The identifier of compositions: decisive either way."""
DURATION = 0.4
LANGUAGE = 0.4

# -- distances ---------------------------------------------------------------------------------------------------------

ARRANGED = 0.75
"""One side names the people and the other a composer: arrangers are often credited so; half a contradiction."""
COMMON_SONGS = 4
"""A title that so many songs have is as weak as it gets."""
SHORT_TITLE = 6
"""Letters of a single-word title at or below which it is weak ("Rain", «Дом»)."""

# -- verdicts ----------------------------------------------------------------------------------------------------------

SAME = 0.90
"""With an equal title and an agreeing credit only. Equal title, one common word, both traditional: 0.95."""
NEAR_SIMILARITY = 0.80
"""Similar titles from here on are shown to a moderator."""
MIN_PROBABILITY = 0.02
"""Below it a song is not mentioned, unless its title is equal."""

# -- recordings by metadata --------------------------------------------------------------------------------------------

SAME_METADATA = 0.70
"""Equal title, artists and duration: often the same recording, but a live and a studio take can be as long."""
NEAR_METADATA = 0.60
"""Durations in neighbouring buckets of 2 s."""
