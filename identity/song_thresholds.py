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
WORD_PROBES = 48
"""Words of a noisy title, their other spellings included, that are looked up in the index of titles' words."""
WORD_TITLES = 300
"""Titles of one word that are looked at; a word that more titles have does not tell which song it is."""
WORD_LIMIT = 60
"""Songs that share the most telling words, best first."""
ARTIST_WORDS = 6
"""Longest run of words that is looked up as an artist's name."""

# -- weights of names, fitted ------------------------------------------------------------------------------------------

BIAS = -4.0
WEIGHTS: dict[str, float] = {
    "coverage": 3.0,
    "full": 1.0,
    "exact": 0.5,
    "whole": 1.0,
    "reordered": -1.0,
    "rest": -3.0,
    "alone": 1.0,
    "elsewhere": -1.0,
    "strength": 3.0,
    "names": -2.0,
    "bracketed": -1.0,
    "first": -0.5,
    "quoted": 0.5,
    "after_name_word": -1.0,
    "only_noise": -2.0,
}
PERFORMERS = 3.0
"""The performer has recorded that song already."""

# -- weights of credits, set by judgement ------------------------------------------------------------------------------

COMPOSERS = 6.0
LYRICISTS = 2.5
TRADITIONAL = 1.5
"""Both are "traditional": less than one composer in common, as most folk songs are."""
OWN_SONG = 2.0
"""The performer wrote that song."""
ISWC = 8.0
"""The identifier of compositions: decisive either way."""
DURATION = 0.4
LANGUAGE = 0.4
ARRANGED = 0.75
"""One side names the people and the other a composer: arrangers are often credited so; half a contradiction."""

# -- verdicts ----------------------------------------------------------------------------------------------------------

SAME = 0.90
REVIEW = 0.30
NEAR_COVERAGE = 0.85
NEAR_REST = 0.2
NEAR_SHARE = 0.4
RIVALS_MENTIONED = 0.25
"""Odds of other songs from which on they are mentioned."""
MIN_PROBABILITY = 0.005
"""Below it a song is not mentioned, unless its title is equal."""

# -- recordings by metadata --------------------------------------------------------------------------------------------

SAME_METADATA = 0.70
"""Equal title, artists and duration: often the same recording, but a live and a studio take can be as long."""
NEAR_METADATA = 0.60
"""Durations in neighbouring buckets of 2 s."""
