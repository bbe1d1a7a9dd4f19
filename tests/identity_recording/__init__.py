"""Same recording: terms, index, alignment, proposals."""
