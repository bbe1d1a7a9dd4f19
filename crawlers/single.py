"""One page, looked at on somebody's request: fetched by its own engine, within all rules, and nothing is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from adapters.contract import Adapter, Engine, RecordingItem, SourceQuery
from crawlers.engine import crawl
from crawlers.errors import FailureClass, FetchError
from crawlers.guard import AddressGuard
from crawlers.ports import (
    CrawlJob,
    CrawlLimits,
    CrawlProgress,
    Incident,
    PageOutcome,
    PolitenessBudget,
    QueuedRequest,
    SnapshotRecord,
    SnapshotRef,
)
from crawlers.urls import request_key
from crawlers.yt_dlp import crawl_with_yt_dlp
from crawlers.yt_dlp_parts.accounts import Accounts

MAX_ITEMS = 20


async def items_of_page(
    url: str,
    adapter: Adapter,
    *,
    budget: PolitenessBudget,
    user_agent: str,
    allow_private: Sequence[str] = (),
    accounts: Accounts | None = None,
) -> list[RecordingItem]:
    """What the adapter finds on the page of this URL, at most `MAX_ITEMS`.

    Raises FetchError with the page's failure class, and ValueError for a URL that is none of the adapter's.
    """
    query = SourceQuery(adapter.name, [url])
    first = next(iter(adapter.seeds(query)), None)
    if first is None:
        raise ValueError(f"{adapter.name} makes no request of {url!r}")
    store = _OnePage(QueuedRequest(request_key(first.url, first.kind), first))
    job = CrawlJob(
        crawl_run_id="identify",
        source=adapter.name,
        adapter=adapter.name,
        # Seeds would be asked for again: the store has the one request already.
        limits=CrawlLimits(max_pages=1, max_depth=0, max_attempts=2),
        seeds=[url],
        delay_s=adapter.politeness.delay_s,
        concurrency=1,
        respect_robots=adapter.politeness.respect_robots,
        allow_private=allow_private,
        user_agent=user_agent,
    )
    ports: dict[str, Any] = {
        "store": store,
        "snapshots": store,
        "budget": budget,
        "guard": AddressGuard(allow_private),
        "progress": CrawlProgress(),
        "stop": store,
    }
    if adapter.engine is Engine.YT_DLP:
        await crawl_with_yt_dlp(job, adapter, accounts=accounts, **ports)
    elif adapter.engine in (Engine.HTTP, Engine.BROWSER):
        await crawl(job, adapter, **ports)
    else:
        raise ValueError(f"{adapter.name} reads no pages")
    if store.incident is not None and not store.items:
        failed = store.incident
        raise FetchError(failed.failure, failed.detail, status=failed.status)
    if not store.items and not store.answered:
        raise FetchError(FailureClass.TRANSIENT, "the page was not fetched")
    return store.items[:MAX_ITEMS]


class _OnePage:
    """The frontier, the snapshots and the stop signal of a crawl of one page."""

    def __init__(self, request: QueuedRequest) -> None:
        self._waiting: QueuedRequest | None = request
        self.items: list[RecordingItem] = []
        self.incident: Incident | None = None
        self.answered = False

    def is_set(self) -> bool:
        return False

    async def seed(self, requests: Sequence[QueuedRequest]) -> None:
        """Nothing: the one request is here from the start."""

    async def take(self, limit: int, exclude: Sequence[str]) -> Sequence[QueuedRequest]:
        return [] if self._waiting is None or self._waiting.request_key in exclude else [self._waiting]

    async def next_due_in_s(self) -> float | None:
        return None if self._waiting is None else 0.0

    async def commit(self, outcomes: Sequence[PageOutcome]) -> None:
        """Takes the items; a retry is made at once, links are not followed, and nobody waits for a closed source."""
        for outcome in outcomes:
            self.incident = outcome.incident
            self.items += outcome.items
            if outcome.postponed is not None:
                self.incident = Incident(
                    outcome.queued.request_key,
                    outcome.queued.request.url,
                    FailureClass.RATE_LIMITED,
                    str(outcome.postponed),
                )
                self._waiting = None
            elif outcome.retry_in_s is None:
                self._waiting = None
                self.answered = outcome.incident is None
            else:
                self._waiting = replace(outcome.queued, attempts=outcome.queued.attempts + 1)

    async def write(self, records: Sequence[SnapshotRecord]) -> Sequence[SnapshotRef]:
        return [SnapshotRef("", 0, len(record.body), "") for record in records]
