"""Versions: recordings, where they can be found, and their stored audio."""
