"""Is it the same recording? Fingerprints, their index, their alignment, and the proposals that follow."""
