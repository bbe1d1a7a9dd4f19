"""The engine of an adapter, by what the adapter says of itself."""

from __future__ import annotations

import httpx

from adapters.contract import Adapter, Engine
from crawlers.engine import crawl as crawl_pages
from crawlers.files import crawl_files
from crawlers.guard import AddressGuard
from crawlers.history import CrawlHistory
from crawlers.ports import CrawlJob, CrawlProgress, CrawlStore, PolitenessBudget, SnapshotStore, StopSignal
from crawlers.yt_dlp import crawl_with_yt_dlp
from crawlers.yt_dlp_parts.accounts import Accounts


async def crawl_with_engine(
    job: CrawlJob,
    adapter: Adapter,
    *,
    store: CrawlStore,
    snapshots: SnapshotStore,
    budget: PolitenessBudget,
    progress: CrawlProgress,
    stop: StopSignal,
    accounts: Accounts | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    history: CrawlHistory | None = None,
) -> bool:
    """Crawls until the frontier is exhausted (True) or stopped (False); see `crawlers.engine.crawl`.

    ``accounts`` and ``transport`` are for yt-dlp's engine; see `crawlers.yt_dlp`.
    """
    guard = AddressGuard(job.allow_private)
    if adapter.engine is Engine.FILES:
        return await crawl_files(job, adapter, store=store, progress=progress, stop=stop)
    if adapter.engine is Engine.YT_DLP:
        return await crawl_with_yt_dlp(
            job, adapter, store=store, snapshots=snapshots, budget=budget, guard=guard, progress=progress, stop=stop,
            history=history, accounts=accounts, transport=transport,
        )  # fmt: skip
    return await crawl_pages(
        job, adapter, store=store, snapshots=snapshots, budget=budget, guard=guard, progress=progress, stop=stop,
        history=history,
    )  # fmt: skip
