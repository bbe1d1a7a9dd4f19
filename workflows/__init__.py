"""Temporal workflows: deterministic; ids in, ids out."""
