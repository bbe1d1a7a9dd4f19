"""Temporal activities: thin, idempotent, one transaction each."""
