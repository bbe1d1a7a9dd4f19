"""When a melody says "possible version". Measured on rendered covers (`benchmarks.melody`); real ones are harder."""

SHORTLIST = 50
"""How many of the nearest melodies are looked up."""

COMPARED = 12
"""How many of them are compared moment by moment: 2.5 ms of CPU each."""

COMPARED_LIKENESS = 0.45
"""Cosine of the embeddings below which they are not: two pieces of game music that have nothing to do with each other
had at most 0.47."""

ALTERED_LIKENESS = 0.65
"""From here it may be the same recording, damaged or at another speed or pitch, which is worth a closer look: ten
pieces of game music at speed, pitch and tempo ±3 % had 0.80 to 0.98 with themselves, and at most 0.47 with each
other; twelve in a room, over the telephone or with echoes had 0.83 and more."""

REVIEW_SHARE = 0.55
"""From here, as a share of the shorter one's moments on the path, a person should look. On the tuning songs 0.77 of the
covers reach it (all mild and nearly all strong ones), and no other song of 1,070 in any of 120 queries."""

WEAK_SHARE = 0.45
"""From here it is evidence beside other evidence: 0.78 of the covers, and another song in 0.04 of the queries."""

MIN_PASSAGE_S = 25.0
"""Seconds on the path below which nothing is said: a turn of chords that many songs have."""

MIN_SOUNDING_S = 15.0
"""Seconds with any pitch below which a recording has no melody to compare."""

PROBABILITY_MIDDLE, PROBABILITY_SCALE = 0.5, 0.06
"""Of the logistic function from the share to a probability."""

MOST_MATCHES = 5
"""Recordings that an observation names."""
