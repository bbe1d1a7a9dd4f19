"""The real things behind `crawlers.ports`: PostgreSQL and the object store, called in threads."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy.orm import Session

from adapters.contract import PageRequest, RecordingItem, digest_of
from catalog.database import Database
from catalog.repositories import page_history
from catalog.repositories.crawl_store import (
    CandidateRow,
    CrawlRunStore,
    FrontierRow,
    IncidentRow,
    OutcomeRow,
    SnapshotRow,
)
from catalog.repositories.page_history import KnownRow, VisitRow
from crawlers import warc
from crawlers.errors import CONSEQUENCES
from crawlers.history import BodyPlace, KnownPage, Link
from crawlers.ports import PageOutcome, QueuedRequest, SnapshotRecord, SnapshotRef
from crawlers.urls import server_group

RETRYABLE_REASONS = tuple(sorted(failure.value for failure, what in CONSEQUENCES.items() if what.retry))
"""Failed candidates with these reasons are tried again by the next run."""

T = TypeVar("T")


class ObjectStore(Protocol):
    """What is needed of `media.store.ObjectStore`."""

    def put_bytes(self, key: str, data: bytes, content_type: str) -> object:
        """Stores an object, replacing one of the same key."""
        ...


class PostgresCrawlStore:
    """A `crawlers.ports.CrawlStore`.

    Args:
        on_idle: told how many seconds nothing is due, whenever an engine has nothing else to do.
    """

    def __init__(self, store: CrawlRunStore, on_idle: Callable[[float], None] = lambda _seconds: None) -> None:
        self._store = store
        self._on_idle = on_idle

    async def seed(self, requests: Sequence[QueuedRequest]) -> None:
        """Adds the start requests; nothing happens for those already known."""
        await asyncio.to_thread(self._store.seed, [_frontier_row(request) for request in requests])

    async def take(self, limit: int, exclude: Sequence[str]) -> Sequence[QueuedRequest]:
        """Up to ``limit`` due requests, highest priority first, without those in ``exclude``."""
        rows = await asyncio.to_thread(self._store.take, limit, exclude)
        return [
            QueuedRequest(
                row.request_key,
                PageRequest(row.url, row.kind, row.priority, row.context),
                row.depth,
                row.attempts,
                _known_page(row.known),
            )
            for row in rows
        ]

    async def next_due_in_s(self) -> float | None:
        """Seconds until the next queued request is due (0.0: now); None when the frontier is empty."""
        seconds = await asyncio.to_thread(self._store.next_due_in_s)
        if seconds is not None:
            self._on_idle(seconds)
        return seconds

    async def commit(self, outcomes: Sequence[PageOutcome]) -> None:
        """Persists all outcomes in one transaction."""
        await asyncio.to_thread(self._commit, list(outcomes))

    def _commit(self, outcomes: Sequence[PageOutcome]) -> None:
        self._store.commit([_outcome_row(outcome) for outcome in outcomes])


class WarcSnapshotStore:
    """A `crawlers.ports.SnapshotStore`. The row of an object is written before the object: none is ever unknown."""

    def __init__(self, store: CrawlRunStore, objects: ObjectStore, *, source: str, crawl_run_id: str) -> None:
        self._store = store
        self._objects = objects
        self._source = source
        self._crawl_run_id = crawl_run_id

    async def write(self, records: Sequence[SnapshotRecord]) -> Sequence[SnapshotRef]:
        """Stores the records as one WARC object and returns where each lies."""
        return await asyncio.to_thread(self._write, list(records)) if records else []

    def _write(self, records: Sequence[SnapshotRecord]) -> list[SnapshotRef]:
        data, places = warc.write_records(records)
        day = datetime.now(UTC).date().isoformat()
        key = f"warc/{self._source}/{day}/{self._crawl_run_id}-{uuid.uuid4()}.warc.gz"
        self._store.add_object(key, kind="warc", size=len(data))
        self._objects.put_bytes(key, data, "application/warc")
        return [
            SnapshotRef(key, place.offset, place.length, place.digest, record.repeats, place.date)
            for place, record in zip(places, records, strict=True)
        ]


class PostgresHistory:
    """A `crawlers.history.CrawlHistory`."""

    def __init__(self, database: Database, crawl_run_id: uuid.UUID, source: str) -> None:
        self._database = database
        self._run = crawl_run_id
        self._source = source

    async def unchanged_items(self, digests: Mapping[str, str]) -> set[str]:
        """Those of these items (source key, digest) that are known as they are."""
        return await self._ask(lambda session: page_history.unchanged_items(session, self._source, digests))

    async def known_pages(self, request_keys: Sequence[str]) -> set[str]:
        """Those of these requests that were read in an earlier run."""
        return await self._ask(lambda session: page_history.known_pages(session, self._source, request_keys))

    async def list_was_walked(self) -> bool:
        """Whether an earlier run saw the lists of this source to their end."""
        return await self._ask(lambda session: page_history.list_was_walked(session, self._source, self._run))

    async def fruitless(self) -> Mapping[str, tuple[int, bool]]:
        """Of this run: URL patterns with the pages that brought no item, and whether that was reported as a trap."""
        return await self._ask(lambda session: page_history.fruitless(session, self._run))

    async def _ask(self, question: Callable[[Session], T]) -> T:
        def ask() -> T:
            with self._database.transaction() as session:
                return question(session)

        return await asyncio.to_thread(ask)


def _frontier_row(queued: QueuedRequest) -> FrontierRow:
    request = queued.request
    return FrontierRow(
        queued.request_key,
        request.url,
        request.kind,
        request.context,
        queued.depth,
        request.priority,
        queued.attempts,
    )


def candidate_row(item: RecordingItem) -> CandidateRow:
    """The item as the record keeps it."""
    told = item.to_json()
    return CandidateRow(item.source_key, item.url, told, digest_of(told), item.availability.value)


def _outcome_row(outcome: PageOutcome) -> OutcomeRow:
    incident, snapshot = outcome.incident, outcome.snapshot
    return OutcomeRow(
        request_key=outcome.queued.request_key,
        url=outcome.final_url or outcome.queued.request.url,
        attempts=outcome.queued.attempts,
        status=outcome.status,
        items=[candidate_row(item) for item in outcome.items],
        discovered=[_frontier_row(queued) for queued in outcome.discovered],
        incident=None
        if incident is None
        else IncidentRow(
            incident.url,
            incident.failure.value,
            incident.detail,
            incident.status,
            incident.attempts,
            incident.final,
            incident.final and CONSEQUENCES[incident.failure].gone,
        ),
        retry_in_s=outcome.retry_in_s,
        snapshot=None
        if snapshot is None
        else SnapshotRow(
            snapshot.object_key,
            snapshot.offset,
            snapshot.length,
            snapshot.digest,
            None if snapshot.body is None else (snapshot.body.object_key, snapshot.body.offset, snapshot.body.length),
        ),
        bytes_received=outcome.bytes_received,
        latency_s=outcome.latency_s,
        wait_reason=None if outcome.postponed is None else outcome.postponed.reason,
        waiting_on=None if outcome.postponed is None else outcome.postponed.waiting_on,
        server_group=_group(outcome),
        depth=outcome.queued.depth,
        visit=_visit_row(outcome),
        fruitless=outcome.fruitless,
        trap_reported=outcome.trap_reported,
        left_list=outcome.left_list,
    )


def _visit_row(outcome: PageOutcome) -> VisitRow | None:
    visit, snapshot = outcome.visit, outcome.snapshot
    if visit is None:
        return None
    body = None
    if snapshot is not None:
        place = snapshot.body or BodyPlace(
            snapshot.object_key, snapshot.offset, snapshot.length, outcome.final_url, snapshot.date
        )
        body = (place.object_key, place.offset, place.length, place.url, place.date)
    return VisitRow(
        visit.rule,
        visit.unchanged,
        visit.asked,
        visit.etag,
        visit.last_modified,
        visit.lastmod,
        visit.digest,
        None if visit.links is None else [_link(link) for link in visit.links],
        visit.known_in_a_row,
        visit.ends_list,
        body,
    )


def _link(link: Link) -> dict[str, Any]:
    """Without what most links have in common: there may be thousands of them in a row."""
    result: dict[str, Any] = {"request_key": link.request_key, "url": link.url, "kind": link.kind}
    if link.priority:
        result["priority"] = link.priority
    if link.context:
        result["context"] = dict(link.context)
    if link.deeper != 1:
        result["deeper"] = link.deeper
    return result


def _known_page(row: KnownRow | None) -> KnownPage | None:
    if row is None:
        return None
    body = None
    if row.body_object_key and row.body_offset is not None and row.body_length is not None:
        body = BodyPlace(row.body_object_key, row.body_offset, row.body_length, row.body_url or "", row.body_date or "")
    return KnownPage(
        rule=row.rule,
        digest=row.digest,
        read_at=row.read_at,
        checked_at=row.checked_at,
        due_at=row.due_at,
        etag=row.etag,
        last_modified=row.last_modified,
        lastmod=row.lastmod,
        items=row.items,
        links=row.links,
        body=body,
    )


def _group(outcome: PageOutcome) -> str:
    """The server group that answered; empty where nobody was asked (a file, a refused URL, a known page)."""
    if outcome.visit is not None and not outcome.visit.asked:
        return ""
    if outcome.status is None and outcome.incident is not None and not outcome.incident.attempts:
        return ""
    try:
        return server_group(outcome.final_url or outcome.queued.request.url)
    except ValueError:
        return ""
