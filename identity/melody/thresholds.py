"""When a melody says "possible version". Measured on rendered covers (`benchmarks.melody`); real ones are harder."""

SHORTLIST = 50
"""How many of the nearest melodies are looked up."""

COMPARED = 24
"""How many of them are compared moment by moment: 3 to 4 ms of CPU each. Of 120 queries on the tuning songs 0.95 were
first with 12, 0.975 with all 50."""

COMPARED_LIKENESS = 0.35
"""Cosine of the embeddings below which they are not: 14 unrelated pieces of our own synthesiser had at most 0.34 with
their nearest. Three of four bare tunes have 0.37 and more with their full arrangement, and nearly all other covers."""

ALTERED_LIKENESS = 0.65
"""From here it may be the same recording, damaged or at another speed or pitch, which is worth a closer look: 22
rendered pieces at speeds of 0.97 to 1.03 had 0.76 to 0.92 with themselves; the nearest of 1,070 other songs had at most
0.62."""

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
