"""The read side: prepared statements that return finished JSON, passed through as bytes.

The shapes are the contract in ``catalog_api/*/schemas.py``; a test validates what these statements return against it.
Functions take an autocommit `psycopg.AsyncConnection` made by `catalog.reads.connections.open_pool`.
"""
