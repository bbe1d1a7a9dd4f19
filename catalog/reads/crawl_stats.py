"""Figures about crawls and workers, for monitoring; one row of the answer is one crawl run, group or worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catalog.reads.connections import ReadConnection

MAX_GROUPS = 200
"""Server groups that are told of: those whose budget was touched last."""

# Counters are sums over all runs of a source, so that they only grow.
_SOURCES = b"""
SELECT source,
  jsonb_object_agg(name, total) FILTER (WHERE kind = 'counter') AS counters,
  coalesce(jsonb_object_agg(name, total) FILTER (WHERE kind = 'statuses'), '{}') AS statuses,
  coalesce(jsonb_object_agg(name, total) FILTER (WHERE kind = 'failures'), '{}') AS failures,
  coalesce(jsonb_object_agg(name, total) FILTER (WHERE kind = 'latency'), '{}') AS latency
FROM (
  SELECT source, kind, name, sum(value) AS total FROM (
    SELECT source, 'counter' AS kind, key AS name, CAST(value AS float8) AS value
      FROM crawl_runs, jsonb_each(counters) WHERE jsonb_typeof(value) = 'number'
    UNION ALL
    SELECT source, 'statuses', key, CAST(value AS float8) FROM crawl_runs, jsonb_each(counters -> 'statuses')
    UNION ALL
    SELECT source, 'failures', key, CAST(value AS float8) FROM crawl_runs, jsonb_each(counters -> 'failures')
    UNION ALL
    SELECT source, 'latency', CAST(place AS text), CAST(value AS float8)
      FROM crawl_runs, jsonb_array_elements(counters -> 'latency') WITH ORDINALITY AS each(value, place)
  ) parts GROUP BY source, kind, name
) sums GROUP BY source
"""

_QUEUES = b"""
SELECT r.source, r.state, count(DISTINCT r.id),
  count(f.request_key) FILTER (WHERE f.not_before <= now()), count(f.request_key) FILTER (WHERE f.not_before > now())
FROM crawl_runs r LEFT JOIN frontier_requests f ON f.crawl_run_id = r.id AND f.state = 'queued'
WHERE r.state IN ('pending', 'running', 'paused', 'stopping')
GROUP BY r.source, r.state
"""

# Requests of the buckets that touch the last minute, for the time that these buckets have covered.
_GROUPS = b"""
WITH recent AS (
  SELECT key AS server_group, sum(CAST(value AS int8)) AS requests,
    greatest(extract(epoch FROM clock_timestamp() - min(started_at)), 60) AS seconds
  FROM crawl_buckets, jsonb_each(groups)
  WHERE started_at > now() - interval '2 minutes'
  GROUP BY key
)
SELECT g.server_group, g.delay_s, CAST(coalesce(r.requests / r.seconds, 0) AS float8)
FROM (
  SELECT substr(key, 7) AS server_group, CAST(coalesce(state ->> 'delay_s', '0') AS float8) AS delay_s, updated_at
  FROM politeness_scopes WHERE starts_with(key, 'group:')
) g LEFT JOIN recent r USING (server_group)
ORDER BY g.updated_at DESC LIMIT %(limit)s
"""

_SCOPES = b"""
SELECT key, coalesce(state -> 'breaker' ->> 'state', 'closed') IN ('open', 'half_open', 'forced_open'),
  CAST(coalesce(state ->> 'requests', '0') AS float8), CAST(coalesce(state ->> 'bytes', '0') AS float8),
  CAST(state -> 'limits' ->> 'per_day' AS float8), CAST(state -> 'limits' ->> 'bytes_per_day' AS float8)
FROM politeness_scopes ORDER BY updated_at DESC LIMIT %(limit)s
"""

_WORKERS = b"""
SELECT w.name, w.figures, coalesce((
    SELECT jsonb_object_agg(r.source, n) FROM (
      SELECT c.source, sum(CAST(each.value ->> 'in_flight' AS int)) AS n
      FROM jsonb_each(w.figures -> 'crawls') AS each JOIN crawl_runs c ON c.id = CAST(each.key AS uuid)
      GROUP BY c.source) r), '{}')
FROM worker_reports w WHERE w.seen_at > clock_timestamp() - make_interval(secs => %(fresh_s)s) ORDER BY w.name
"""


_ALERTS = b"""
SELECT source, 'held_for_check' AS reason, count(*) FROM crawl_runs WHERE publication = 'held' GROUP BY source
UNION ALL
SELECT source, reason, count(*) FROM source_freezes WHERE released_at IS NULL GROUP BY source, reason
"""


@dataclass(frozen=True, slots=True)
class SourceTotals:
    """Of all runs of a source: ``counters`` by name, answers by status, final failures by class, latency by class."""

    source: str
    counters: Mapping[str, float]
    statuses: Mapping[str, float]
    failures: Mapping[str, float]
    latency: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class QueueState:
    """The runs of a source in a state that is not final, and their queued requests."""

    source: str
    state: str
    runs: int
    due: int
    waiting: int


@dataclass(frozen=True, slots=True)
class GroupState:
    """A server group: ``delay_s`` between two requests, and the requests a second of the last minute or two."""

    server_group: str
    delay_s: float
    requests_per_s: float


@dataclass(frozen=True, slots=True)
class ScopeState:
    """A budget: ``key`` is ``group:…``, ``host:…`` or ``source:…``; requests and bytes of its day, and their limits."""

    key: str
    breaker_open: bool
    requests_today: float
    bytes_today: float
    per_day: float | None
    bytes_per_day: float | None


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker that lives; ``in_flight``: requests by source."""

    name: str
    figures: Mapping[str, Any]
    in_flight: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AlertState:
    """Things of a source that stand still until an operator acts, by reason."""

    source: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class CrawlStats:
    """All of it."""

    sources: list[SourceTotals]
    queues: list[QueueState]
    groups: list[GroupState]
    scopes: list[ScopeState]
    workers: list[WorkerState]
    alerts: list[AlertState]


async def crawl_stats(connection: ReadConnection, *, fresh_s: float = 15.0) -> CrawlStats:
    """What `/metrics` shows of crawls; ``fresh_s``: a worker that was silent for longer is gone."""
    sources = await (await connection.execute(_SOURCES)).fetchall()
    queues = await (await connection.execute(_QUEUES)).fetchall()
    groups = await (await connection.execute(_GROUPS, {"limit": MAX_GROUPS})).fetchall()
    scopes = await (await connection.execute(_SCOPES, {"limit": MAX_GROUPS})).fetchall()
    workers = await (await connection.execute(_WORKERS, {"fresh_s": fresh_s})).fetchall()
    alerts = await (await connection.execute(_ALERTS)).fetchall()
    return CrawlStats(
        [SourceTotals(row[0], row[1] or {}, *row[2:]) for row in sources],
        [QueueState(*row) for row in queues],
        [GroupState(*row) for row in groups],
        [ScopeState(*row) for row in scopes],
        [WorkerState(*row) for row in workers],
        [AlertState(*row) for row in alerts],
    )
