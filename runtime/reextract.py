"""Running the present adapters over stored pages."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from activities.crawl_ports import RETRYABLE_REASONS, candidate_row
from adapters.contract import Adapter, Engine, Page, PageRequest, RecordingItem, SourceQuery, get_adapter
from catalog.campaigns.errors import CampaignError
from catalog.database import Database
from catalog.models import RUN_FINAL_STATES, Campaign, CrawlRun
from catalog.repositories.crawl_store import CandidateRow, CrawlRunStore
from catalog.repositories.reextraction import Difference, Reextraction, StoredPage
from crawlers import warc
from media.store import ObjectStore

MAX_FAILURES = 100


class NoSnapshotsError(CampaignError):
    """There is nothing to read again; the message names the remedy."""

    code = "no_snapshots"


@dataclass(slots=True)
class Reextracted:
    """What came of one source. ``failures``: pages that could not be read, with why; ``applied``: counts, if it was."""

    source: str
    adapter: str
    pages: int
    difference: Difference
    failed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    applied: dict[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def sources_of(session: Session, target: str) -> list[str]:
    """The sources of the campaign of this name, or the source itself. Raises NoSnapshotsError."""
    campaign = session.scalar(select(Campaign).where(Campaign.name == target))
    if campaign is not None:
        return [entry["source"] for entry in campaign.spec["sources"]]
    if session.scalar(select(CrawlRun.id).where(CrawlRun.source == target).limit(1)) is None:
        raise NoSnapshotsError(
            f"neither a campaign nor a source that was crawled: {target!r}; `versions campaign list`"
        )
    return [target]


def reextract(
    database: Database,
    objects: ObjectStore,
    source: str,
    *,
    run_id: uuid.UUID | None = None,
    apply: bool = False,
    listed: int = 100,
) -> Reextracted:
    """Reads the stored pages of a source with the adapter as it is now, and compares with what is known.

    ``apply``: what was read is taken in as from a crawl; what is not read any more stays as it is. Raises
    NoSnapshotsError, also where a crawl of the source is under way.
    """
    with database.transaction() as session:
        run = _run(session, source, run_id)
    adapter = get_adapter(run.spec["adapter"])
    if adapter.engine is Engine.FILES:
        raise NoSnapshotsError(f"{source}: files are not kept as pages; start the campaign again")
    spec = run.spec
    query = SourceQuery(source, spec["seeds"], spec["search"], spec["follow"], spec["options"])
    # One connection to the end: the items are in its temporary table. Nothing else is written through it.
    with database.engine.connect() as connection, Session(connection) as session:
        work = Reextraction(session, source, run_id)
        result = Reextracted(source, adapter.name, 0, Difference())
        reader = _Bodies(objects)
        for page in work.pages():
            result.pages += 1
            try:
                work.collect(list(_items(adapter, query, page, reader)))
            except Exception as error:  # an adapter may raise anything on a page; the others are read
                result.failed += 1
                if len(result.failures) < MAX_FAILURES:
                    result.failures.append((page.url, f"{type(error).__name__}: {error}"[:500]))
        if not result.pages:
            raise NoSnapshotsError(f"{source}: no stored pages{' of this run' if run_id else ''}")
        result.difference = work.difference(listed)
        if apply:
            store = CrawlRunStore(
                database,
                run.id,
                source=source,
                audio_policy=spec["audio"],
                trust=float(spec["trust"]),
                retryable=RETRYABLE_REASONS,
            )
            result.applied = _counts(work.apply(store))
        session.rollback()
    return result


def _run(session: Session, source: str, run_id: uuid.UUID | None) -> CrawlRun:
    """The run whose settings count: the named one, else the newest crawl of the source."""
    runs = select(CrawlRun).where(CrawlRun.source == source).order_by(CrawlRun.id.desc())
    if session.scalar(runs.where(CrawlRun.state.not_in(RUN_FINAL_STATES)).limit(1)) is not None:
        raise NoSnapshotsError(f"{source} is being crawled: wait, or `versions campaign stop` its campaign")
    crawls = [each for each in session.scalars(runs.limit(100)) if each.spec.get("kind") != "refresh"]
    for run in crawls:
        if run_id is None or run.id == run_id:
            return run
    raise NoSnapshotsError(f"{source} has no crawl run{f' {run_id}' if run_id else ''}")


class _Bodies:
    """Stored objects hold many records, and pages come object by object: the last one is kept."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._key = ""
        self._data = b""

    def read(self, page: StoredPage) -> bytes:
        if page.object_key != self._key:
            self._data = self._objects.get_bytes(page.object_key)
            self._key = page.object_key
        return self._data[page.offset : page.offset + page.length]


def _items(adapter: Adapter, query: SourceQuery, stored: StoredPage, bodies: _Bodies) -> Iterator[CandidateRow]:
    record = warc.read_record(bodies.read(stored))
    request = PageRequest(stored.asked_url, stored.kind, 0, stored.context)
    page = Page(url=record.url, request=request, status=record.status, headers=record.headers, body=record.body)
    for found in adapter.parse(page, query):
        if isinstance(found, RecordingItem):
            yield candidate_row(found)


def _counts(done: Counter[str]) -> dict[str, int]:
    return {name: done[name] for name in ("new", "changed", "unchanged")}
