"""When a melody says "possible version". Measured on rendered covers (`benchmarks.melody`); real ones are harder."""

SHORTLIST = 50
"""How many of the nearest melodies are looked up."""

COMPARED = 24
"""How many of them are compared moment by moment: 0.2 to 0.4 ms of CPU each, 2 where much agrees. Of 120 queries on the
tuning songs 0.95 were first with 12, 0.975 with all 50."""

COMPARED_LIKENESS = 0.23
"""Cosine of the embeddings below which they are not. Of 94 bare tunes on the tuning songs 0.90 have more with their
full arrangement, and all of 146 other covers; of the nearest 24, some 19 strangers have."""

ALIKE_LIKENESS = 0.35
"""Below it timbre is not compared either, at any tempo. Of 864 copies of 72 real tracks (the tuning share) at 1 to 3 %
of speed, pitch or tempo the least like had 0.39 with its original, the next 0.43; of the nearest 50 of a real track 43
have more than 0.24, 25 more than 0.35."""

ALTERED_LIKENESS = 0.56
"""From here it may be the same recording, damaged or at another speed or pitch, which is worth a closer look. Of 14
real tracks (the tuning share) at ±3 % speed, pitch or tempo 0.96 have more with themselves (median 0.82); of 84
such tracks 0.10 have more with their nearest stranger (median 0.44), of the rendered ones none (at most
0.54 among 1,070)."""

REVIEW_SHARE = 0.55
"""From here, as a share of the shorter one's moments on the path, a person should look. On the tuning songs 0.87 of the
covers reach it (all mild and nearly all strong ones), and no other song of 1,070 in any of 120 queries."""

WEAK_SHARE = 0.45
"""From here it is evidence beside other evidence: 0.92 of the covers, and another song in 0.01 of the queries."""

MIN_PASSAGE_S = 25.0
"""Seconds on the path below which nothing is said: a turn of chords that many songs have."""

MIN_SOUNDING_S = 15.0
"""Seconds with any pitch below which a recording has no melody to compare."""

PROBABILITY_MIDDLE, PROBABILITY_SCALE = 0.5, 0.06
"""Of the logistic function from the share to a probability."""

MOST_MATCHES = 5
"""Recordings that an observation names."""
