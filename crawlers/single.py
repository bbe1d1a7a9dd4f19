"""One page, looked at on somebody's request: fetched by its own engine, within all rules, and nothing is kept."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.contract import Adapter, Engine, RecordingItem, SourceQuery
from crawlers.engines import crawl_with_engine
from crawlers.errors import FailureClass, FetchError
from crawlers.one_page import OnePage
from crawlers.ports import CrawlJob, CrawlLimits, CrawlProgress, PolitenessBudget
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
    store = OnePage(first)
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
    if adapter.engine is Engine.FILES:
        raise ValueError(f"{adapter.name} reads no pages")
    await crawl_with_engine(
        job,
        adapter,
        store=store,
        snapshots=store,
        budget=budget,
        progress=CrawlProgress(),
        stop=store,
        accounts=accounts,
    )
    if store.incident is not None and not store.items:
        failed = store.incident
        raise FetchError(failed.failure, failed.detail, status=failed.status)
    if not store.items and not store.answered:
        raise FetchError(FailureClass.TRANSIENT, "the page was not fetched")
    return store.items[:MAX_ITEMS]
