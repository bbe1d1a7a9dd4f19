"""Artists and what they are credited for."""
