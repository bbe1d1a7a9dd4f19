"""The change feed as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.reads.connections import ReadConnection
from catalog.reads.fragments import fetch_one

_CHANGES = b"""
WITH page AS (SELECT * FROM events WHERE seq > %(since)s ORDER BY seq LIMIT %(limit)s)
SELECT coalesce(json_agg(json_build_object(
    'seq', e.seq, 'kind', e.kind, 'entity', e.entity, 'entity_id', e.entity_id,
    'tombstone', e.kind LIKE '%%.deleted' OR e.kind LIKE '%%.merged',
    'survivor_id', CASE WHEN e.kind LIKE '%%.merged' THEN
      (SELECT r.new_id FROM redirects r WHERE r.entity = e.entity AND r.old_id = e.entity_id) END,
    'payload', e.payload, 'at', e.created_at) ORDER BY e.seq), '[]'),
  max(e.seq), coalesce((SELECT max(seq) FROM events), 0)
FROM page e
"""


@dataclass(frozen=True, slots=True)
class Changes:
    """``items``: a JSON array; ``last``: sequence number of its last event, None if empty; ``newest``: of the feed."""

    items: bytes
    last: int | None
    newest: int


async def newest(connection: ReadConnection) -> int:
    """Sequence number of the feed's newest event; 0 before the first."""
    row = await fetch_one(connection, b"SELECT coalesce(max(seq), 0) FROM events", {})
    return int(row[0]) if row else 0


async def changes(connection: ReadConnection, since: int, limit: int) -> Changes:
    """The events after ``since``, in commit order."""
    row = await fetch_one(connection, _CHANGES, {"since": since, "limit": limit})
    if row is None:
        raise AssertionError("an aggregate returned no row")
    return Changes(*row)
