"""The change feed: consumers follow it instead of pulling the catalog again."""
