"""When two recordings are the same. Every figure was measured on 1,000,000 fingerprints of 120 s of real music."""

SAME_BIT_ERROR_RATE = 0.10
"""Up to here: the same recording. Copies (codecs, volume, added silence, trims, low-pass, clips over 15 s) lie below
it in 0.99 to 1.00 of the cases; re-renders locked to the same timing begin at about 0.10."""

EXACT_BIT_ERROR_RATE = 0.03
"""Up to here it is a copy, whatever a title says: re-encodings of real music lie at 0.005 to 0.04 (32 pairs: mp3 at
64 kbit/s, opus at 32)."""

REVIEW_BIT_ERROR_RATE = 0.20
"""Up to here a person should listen: heavily damaged copies and sample-locked re-renders (another instrument, perhaps
karaoke and instrumental mixes) share the band 0.10 to 0.30."""

WEAK_BIT_ERROR_RATE = 0.30
"""Up to here it is evidence beside other evidence; unrelated recordings lie at 0.40 to 0.50 at their best offset."""

CHANCE_BIT_ERROR_RATE = 0.50
"""Of two unrelated sequences of bits."""

MIN_OVERLAP_S = 20.0
"""Seconds that must be compared before two recordings may be called the same: shorter ones agree by chance or share
no more than a sample or a jingle."""

MIN_OVERLAP_REVIEW_S = 7.0
"""Seconds below which nothing is said. A clip of 10 s has 7.3 s of fingerprint: the first item needs 2.7 s of sound."""

MIN_DISTINCT_SHARE = 0.30
"""Least share of distinct, non-silent items in the overlap. Without this guard one ambient track caused all the false
accepts among the million."""

TERM_SAMPLING_BITS = 3
"""An index keeps one distinct item in ``2 ** bits`` as a term. One in 8 (113 terms in 120 s) finds re-encodings, trims
and clips of 15 s; one in 4 finds more of the clips of 10 s and of speech over the music, for twice the space
(`versions index rebuild --sampling 4`)."""

MAX_POSTINGS_PER_TERM = 1_000
"""More recordings than this share a term only where it says nothing (silence, held notes)."""

FEW_TERMS = 24
"""So many terms are asked first, and up to twice as many. A re-encoding keeps a third of them and more: of 32 (mp3 at
64 kbit/s, opus at 32), the worst kept 10 of 26."""

SHARED_BY_CHANCE = 2
"""What shares no more terms is not looked at where something else is the same recording: of 12,720 pairs of different
real tracks one shared more (4); of the few that are asked first, 11 of 25,440 questions met one, none more."""

VERIFIED_CANDIDATES = 20
"""How many of the index's best are aligned: recall at 20 is 1.00 for re-encodings and trims."""

COMPARED_MEMBERS = 10
"""How many recordings of one version are compared before it may be called the same."""

CLEAR_BIT_ERROR_RATE = 0.055
"""Up to here the timbre has no say. Sample-locked re-renders begin above it: of 31 tuning songs rendered with drums
added, or without the part that leads (the accompaniment unchanged), the nearest had 0.067. Plain copies reach 0.051 (a
trimmed and re-encoded half minute of the sample sites, with a timbre of 0.96)."""

SAME_TIMBRE = 0.97
"""From `CLEAR_BIT_ERROR_RATE` on, less likeness of timbre makes of "the same recording" a question. Of the tuning
songs' re-renders up to `SAME_BIT_ERROR_RATE` the likest had 0.967, the others 0.955 and less."""

SAME_MIX_TIMBRE = 0.98
SAME_MIX_LEAST = 0.97
"""From here (balance, and level of the third worst band) a bit error rate up to `REVIEW_BIT_ERROR_RATE` is a filter's
work (an equaliser), and the same recording. Of the tuning songs' re-renders in that band the likest had 0.92; of 34
equalised copies 29 lie above."""

DAMAGED_TIMBRE = 0.65
"""From here a person should look, whatever the bit error rate at the best offset. Damaged copies (telephone, a room,
echoes, an equaliser) lie at 0.85 and above where the offset is right; of 7,472 pairs of different real recordings that
have an offset at all, the likest had 0.42."""

ALIKE_TIMBRE = 0.6
"""From here, at the best tempo and offset, it is worth while to listen at other speeds. Of the tuning share's copies at
±3 % of speed, pitch or tempo 168 had 0.72 and more with their original; of 3,864 pairs with other recordings, tracks of
all shares, the likest had 0.50. Of 152 tracks asked for without themselves 148 had 0.52 and less with all of the 50
nearest by melody; the others are two pairs, by their melodies probably arrangements of one piece (0.59, 0.72)."""

DAMAGED_BIT_ERROR_RATE = 0.45
"""Above it no offset is believed."""

MIN_TIMBRE_S = 20.0
"""Seconds that must lie on each other before timbre is compared."""
