"""The same song by melody, whatever the key, the tempo and the instruments: evidence for people, never a merge."""
