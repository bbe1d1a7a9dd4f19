"""What a source means: one file per source; a fetched page in, typed items and further requests out."""
