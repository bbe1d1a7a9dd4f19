"""The course of a crawl run in time: one bucket a minute, written with the outcomes it counts.

The series of a run never has more than `MAX_BUCKETS`: when it would, the older half is merged in pairs, so that the
recent past stays fine and the distant past becomes coarse, however long the run takes.
"""

from __future__ import annotations

import uuid
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog.models import CrawlBucket

WIDTH_S = 60
MAX_BUCKETS = 1000
MAX_GROUPS = 20
"""Server groups told apart in a bucket; the rest is counted as `OTHER`."""
OTHER = "other"
NO_ANSWER = "none"
LATENCY_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency histogram; one more count stands for what took longer."""

_SUMS = ("requests", "pages", "items", "bytes")
_COUNTS = ("statuses", "failures", "groups")


class Outcome(Protocol):
    """What is counted of an answered request; `catalog.repositories.crawl_store.OutcomeRow` is one."""

    @property
    def status(self) -> int | None: ...
    @property
    def items(self) -> Sequence[Any]: ...
    @property
    def incident(self) -> Any: ...
    @property
    def retry_in_s(self) -> float | None: ...
    @property
    def bytes_received(self) -> int: ...
    @property
    def latency_s(self) -> float: ...
    @property
    def server_group(self) -> str: ...


@dataclass(slots=True)
class Bucket:
    """What happened in a span of time; see `catalog.models.CrawlBucket`."""

    started_at: datetime
    width_s: int = WIDTH_S
    requests: int = 0
    pages: int = 0
    items: int = 0
    bytes: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    latency: list[int] = field(default_factory=list)

    def count(self, outcome: Outcome) -> None:
        """Adds one answered request."""
        self.requests += 1
        self.pages += outcome.incident is None and outcome.retry_in_s is None
        self.items += len(outcome.items)
        self.bytes += outcome.bytes_received
        _add(self.statuses, {NO_ANSWER if outcome.status is None else str(outcome.status): 1})
        if outcome.incident is not None:
            _add(self.failures, {outcome.incident.failure: 1})
        if outcome.server_group:
            group = outcome.server_group
            known = group in self.groups or len(self.groups) < MAX_GROUPS
            _add(self.groups, {group if known else OTHER: 1})
        if outcome.status is not None:
            self.latency = add_latencies(self.latency, [outcome.latency_s])

    def merge(self, other: Bucket) -> None:
        """Adds what another bucket counted; this one covers both afterwards."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _COUNTS:
            _add(getattr(self, name), getattr(other, name))
        for name in sorted(self.groups, key=lambda each: -self.groups[each])[MAX_GROUPS:]:
            if name != OTHER:
                _add(self.groups, {OTHER: self.groups.pop(name)})
        self.latency = sum_latencies(self.latency, other.latency)
        end = max(self.started_at.timestamp() + self.width_s, other.started_at.timestamp() + other.width_s)
        self.started_at = min(self.started_at, other.started_at)
        self.width_s = round(end - self.started_at.timestamp())


def add_latencies(counts: Sequence[int], latencies_s: Iterable[float]) -> list[int]:
    """The histogram with these latencies counted; an empty one becomes one of full length."""
    result = list(counts) or [0] * (len(LATENCY_BOUNDS_S) + 1)
    for latency in latencies_s:
        result[bisect_left(LATENCY_BOUNDS_S, latency)] += 1
    return result


def sum_latencies(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """Two histograms as one."""
    if not one or not other:
        return list(one or other)
    return [a + b for a, b in zip(one, other, strict=True)]


def percentile_s(counts: Sequence[int], share: float) -> float | None:
    """About what ``share`` of the requests took at most, in seconds, linear within a class; None without requests.

    What took longer than the last bound counts as that bound.
    """
    total = sum(counts)
    if not total:
        return None
    wanted, seen, lower = share * total, 0, 0.0
    for count, upper in zip(counts, LATENCY_BOUNDS_S, strict=False):
        if count and seen + count >= wanted:
            return lower + (upper - lower) * (wanted - seen) / count
        seen, lower = seen + count, upper
    return LATENCY_BOUNDS_S[-1]


def record(session: Session, run_id: uuid.UUID, outcomes: Sequence[Outcome]) -> None:
    """Counts the outcomes in the bucket of this minute (of the database's clock).

    The caller holds the lock of the run's row: nobody else writes the run's series meanwhile.
    """
    minute, bucket = _current(session, run_id)
    fresh = bucket is None
    bucket = bucket or Bucket(minute)
    for outcome in outcomes:
        bucket.count(outcome)
    _write(session, run_id, [bucket])
    if fresh:
        _thin(session, run_id)


def series(
    session: Session, run_ids: Sequence[uuid.UUID], since: datetime | None = None
) -> dict[uuid.UUID, list[Bucket]]:
    """The buckets of each run, oldest first; with ``since`` only those that end after it."""
    query = select(CrawlBucket).where(CrawlBucket.crawl_run_id.in_(run_ids)).order_by(CrawlBucket.started_at)
    if since is not None:
        query = query.where(CrawlBucket.started_at + func.make_interval(0, 0, 0, 0, 0, 0, CrawlBucket.width_s) > since)
    result: dict[uuid.UUID, list[Bucket]] = {run_id: [] for run_id in run_ids}
    for row in session.scalars(query.execution_options(populate_existing=True)):
        result[row.crawl_run_id].append(_bucket(row))
    return result


def _current(session: Session, run_id: uuid.UUID) -> tuple[datetime, Bucket | None]:
    now = select(func.date_trunc("minute", func.clock_timestamp()).label("minute")).subquery("now")
    row = session.execute(
        select(now.c.minute, CrawlBucket)
        .select_from(now)
        .outerjoin(CrawlBucket, (CrawlBucket.crawl_run_id == run_id) & (CrawlBucket.started_at == now.c.minute))
        .execution_options(populate_existing=True)
    ).one()
    return row[0], None if row[1] is None else _bucket(row[1])


def _bucket(row: CrawlBucket) -> Bucket:
    counts: dict[str, Any] = {name: dict(getattr(row, name)) for name in _COUNTS}
    return Bucket(
        row.started_at, row.width_s, row.requests, row.pages, row.items, row.bytes, latency=list(row.latency), **counts
    )


def _write(session: Session, run_id: uuid.UUID, buckets: Sequence[Bucket]) -> None:
    names = ("started_at", "width_s", *_SUMS, *_COUNTS, "latency")
    statement = insert(CrawlBucket).values(
        [{"crawl_run_id": run_id, **{name: getattr(bucket, name) for name in names}} for bucket in buckets]
    )
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["crawl_run_id", "started_at"],
            set_={name: statement.excluded[name] for name in names[1:]},
        )
    )


def _thin(session: Session, run_id: uuid.UUID) -> None:
    mine = CrawlBucket.crawl_run_id == run_id
    if (session.scalar(select(func.count()).where(mine)) or 0) <= MAX_BUCKETS:
        return
    rows = session.scalars(select(CrawlBucket).where(mine).order_by(CrawlBucket.started_at).limit(MAX_BUCKETS // 2))
    older = [_bucket(row) for row in rows]
    session.execute(delete(CrawlBucket).where(mine, CrawlBucket.started_at <= older[-1].started_at))
    merged = older[::2]
    for target, other in zip(merged, older[1::2], strict=False):
        target.merge(other)
    _write(session, run_id, merged)


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count
