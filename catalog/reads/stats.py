"""Figures about the whole catalog, for monitoring; not for hot paths."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.reads.connections import ReadConnection

_STATS = b"""
SELECT (SELECT coalesce(json_object_agg(state, n), '{}')::jsonb FROM
         (SELECT state, count(*) AS n FROM candidates GROUP BY state) c),
  (SELECT count(*) FROM review_cases WHERE state = 'open'),
  (SELECT coalesce(max(seq), 0) FROM events),
  (SELECT version_num FROM alembic_version)
"""


@dataclass(frozen=True, slots=True)
class Stats:
    """``feed_position``: sequence number of the newest event; ``schema``: the database's migration."""

    candidates: dict[str, int]
    open_reviews: int
    feed_position: int
    schema: str | None


async def stats(connection: ReadConnection) -> Stats:
    """What `/metrics` shows of the catalog."""
    cursor = await connection.execute(_STATS)
    row = await cursor.fetchone()
    if row is None:
        raise AssertionError("a SELECT without FROM returned no row")
    return Stats(*row)
