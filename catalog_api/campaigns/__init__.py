"""Campaigns, for operators: what runs, how far it is, and what waits for what."""
