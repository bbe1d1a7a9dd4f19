"""Weights and thresholds of song linking, each with its reason.

Weights are log-odds: a part of distance d adds ``weight * (1 - 2 d)``; 0.5 is neutral. `WEIGHTS` are of signals in 0..1
and are what ``python -m benchmarks.song_names fit`` prints, within 0.1 (it prints the difference): fitted on the
tuning half of the SHS100K video pairs (980 videos, split by song, among the 4,900 songs of both lists), as
probabilities of exclusive answers, one of the songs found or none, each video asked once with its song in the catalog
and once without. `benchmarks/README.md` has the figures on the other half. The weights of credits are set by judgement,
as no labelled pairs with composers are at hand: with contradicting composers an equal title falls below one half.
"""

from __future__ import annotations

# -- blocking: how many songs are looked at ------------------------------------------------------------------------

EQUAL_LIMIT = 300
"""Songs with an equal key. Beyond it ("Intro") those that share an artist are asked for too."""
RUN_LIMIT = 100
"""Songs whose title stands inside a noisy one: of several words, and of one, so many each."""
NEAR_LIMIT = 40
"""Songs with a similar key, best first."""
NEAR_TRIGRAM = 0.35
"""pg_trgm similarity of keys: «калинка» and «калинка малинка» have 0.73, one typo in eight letters 0.5, in six 0.4."""
NEAR_READINGS = 4
"""Readings of a title that are looked up by similarity: the parsed one, and what stands between separators."""
NEAR_LETTERS = 5
"""Shortest reading that is: of a shorter one too many keys are similar."""
MAX_WORDS = 24
"""Words of a noisy title of which runs are looked up as titles."""
MAX_RUN = 10
"""Longest run of words looked up: longer titles are found by equality or similarity."""
MIN_RUN_LETTERS = 4
"""Shortest title that is looked for inside a longer one."""
JOINED_RUN, JOINED_WORDS = 8, 3
"""Words that are looked up written together: by their own keys, and as one word with a key of its own."""
MIN_JOINED_LETTERS, JOINED_LETTERS = 3, 32
"""Of a title that is looked up without its spaces."""
PARTED_LETTERS = 8
"""Shortest word that is looked up as two: "Backstabbers", "Back Stabbers"."""
SPELLED_LETTERS = 12
"""Longest word that is looked up letter by letter too ("D-I-V-O-R-C-E")."""
WORD_PROBES = 48
"""Words of a noisy title, their other spellings included, that are looked up in the index of titles' words."""
WORD_TITLES = 300
"""Titles of one word that are looked at; a word that more titles have does not tell which song it is."""
WORD_LIMIT = 60
"""Songs that share the most telling words, best first."""
ARTIST_WORDS = 6
"""Longest run of words that is looked up as an artist's name."""

# -- weights of names, fitted ------------------------------------------------------------------------------------------

BIAS = -12.96
"""With no signal at all: what blocking finds is nearly always another song."""
WEIGHTS: dict[str, float] = {
    "coverage": 2.43,  # share of the song's title that was found, by weight of words
    "exact": 1.97,  # word by word, one after the other
    "whole": 3.16,  # nothing of the title was left out (brackets, a side of a slash)
    "reordered": -0.83,  # found in another order only
    "rest": -1.54,  # share of unexplained words between the same separators
    "segment": 1.73,  # the whole of what stands between two separators is the title, word by word
    "elsewhere": -1.54,  # unexplained words between other separators
    "strength": 8.21,  # weight of the words found, rare ones counting more
    "words": 2.20,  # their number
    "names": -1.62,  # share of them that is part of a performer's name
    "names_aside": -1.85,  # the same, where words beside it are still unexplained
    "starts": 1.07,  # nothing but noise and names before it, between the same separators
    "ends": 1.48,  # nor after it
    "bracketed": -2.03,  # found in brackets
    "first": -0.82,  # found before the first separator
    "late": -1.47,  # found after the second separator
    "after_name_word": -1.54,  # found after "by", "from", "parody of"
    "only_noise": -2.05,  # nothing but words like "live" was found
}
PERFORMERS = 1.87
"""An artist whom the item names has recorded that song already; fitted with the videos' own performances listed."""

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
"""Below it a song is not mentioned, unless its title is equal or it is one of the nearest."""
NEAREST_NAMED = 5
"""So many are mentioned down to `MIN_NEAREST`: a retitled version shares a word or two with its song, and a moderator
who is shown it need not search."""
MIN_NEAREST = 0.0002

# -- recordings by metadata --------------------------------------------------------------------------------------------

SAME_METADATA = 0.70
"""Equal title, artists and duration: often the same recording, but a live and a studio take can be as long."""
NEAR_METADATA = 0.60
"""Durations in neighbouring buckets of 2 s."""
