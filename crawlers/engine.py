"""The crawl engine: Scrapy, inside a running asyncio loop, against the ports of `crawlers.ports`.

Scrapy runs in its reactorless mode. A Twisted reactor on the running loop would work once per process: it is bound to
that loop for ever, wants start-up and shutdown events of its own, and refuses every other loop. Speed does not decide:
a bare spider takes as much CPU in either mode (about 3.3 ms a page with 24 links; the engine 0.7 ms); what makes the
engine faster than both is what it leaves out (`crawlers.scrapy_parts.settings`, `AdapterSpider`). The price:
scrapy-playwright asks for a reactor in its constructor only, so its handler is built without that
(`crawlers.scrapy_parts.chromium`), and HTTP goes over Scrapy's aiohttp handler, which its authors still call
experimental.
"""

from __future__ import annotations

import asyncio
import logging

from scrapy.crawler import Crawler

from adapters.contract import Adapter, Engine
from crawlers.classify import Backoff
from crawlers.history import CrawlHistory
from crawlers.ports import CrawlJob, CrawlProgress, CrawlStore, PolitenessBudget, SnapshotStore, StopSignal
from crawlers.scrapy_parts.run import Guard, Run
from crawlers.scrapy_parts.settings import scrapy_settings
from crawlers.scrapy_parts.spider import AdapterSpider

STOP_CHECK_S = 0.2
SHUTDOWN_S = 20.0
AFTER_KILL_S = 5.0

logger = logging.getLogger(__name__)


async def crawl(
    job: CrawlJob,
    adapter: Adapter,
    *,
    store: CrawlStore,
    snapshots: SnapshotStore,
    budget: PolitenessBudget,
    guard: Guard,
    progress: CrawlProgress,
    stop: StopSignal,
    backoff: Backoff | None = None,
    history: CrawlHistory | None = None,
) -> bool:
    """Crawls until the frontier is exhausted (True; also when ``limits.max_pages`` is reached) or stopped (False).

    ``progress.pages`` without ``not_modified`` counts towards ``limits.max_pages``, so that an attempt can go on
    from an earlier one's count. Several crawls may run in one loop. Cancelling ends the requests and the browser;
    what was not committed stays in the frontier. ``history``: what earlier runs know; without it, and without
    `RevisitPolicy.incremental`, every page is new.

    Raises ValueError for an adapter of another engine and for bad seeds; whatever the store, the snapshots or the
    budget raise ends the crawl and is raised here. A page that fails never does.
    """
    if adapter.engine not in (Engine.HTTP, Engine.BROWSER):
        raise ValueError(f"adapter {adapter.name!r}: engine {adapter.engine.value!r} is not crawled over HTTP")
    run = Run(
        job,
        adapter,
        store=store,
        snapshots=snapshots,
        budget=budget,
        guard=guard,
        progress=progress,
        backoff=backoff or Backoff(),
        history=history,
    )
    await run.seed()
    crawler = Crawler(AdapterSpider, scrapy_settings(job, rendered=run.rendered))
    scrapy_task = asyncio.create_task(crawler.crawl_async(run=run), name=f"scrapy {job.crawl_run_id}")
    writer_task = asyncio.create_task(run.writer.run(), name=f"writer {job.crawl_run_id}")
    writer_task.add_done_callback(lambda task: _writer_done(run, task))
    watch_task = asyncio.create_task(_watch(run, stop), name=f"stop watch {job.crawl_run_id}")
    try:
        # Scrapy swallows a cancellation of its own task without closing anything, so it never sees ours.
        await asyncio.shield(scrapy_task)
        run.writer.close()
        if run.error is None:
            await asyncio.shield(writer_task)
    finally:
        watch_task.cancel()
        if not (scrapy_task.done() and writer_task.done()):
            run.abort()
            await _uninterrupted(_shut_down(run, scrapy_task, writer_task))
    if run.error is not None:
        raise run.error
    return run.exhausted


def _writer_done(run: Run, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        run.fail(error)


async def _watch(run: Run, stop: StopSignal) -> None:
    while not stop.is_set():  # noqa: ASYNC110 - the port has nothing to wait for
        await asyncio.sleep(STOP_CHECK_S)
    run.stop()


async def _shut_down(run: Run, scrapy_task: asyncio.Task[None], writer_task: asyncio.Task[None]) -> None:
    writer_task.cancel()
    _, late = await asyncio.wait({scrapy_task, writer_task}, timeout=SHUTDOWN_S)
    if late and run.handler is not None:
        # A browser that does not answer holds up whoever waits for its answer; without it they go on.
        await run.handler.kill_browser()
        _, late = await asyncio.wait(late, timeout=AFTER_KILL_S)
    for task in late:
        logger.error("%s does not end", task.get_name())
        task.cancel()


async def _uninterrupted(coroutine: object) -> None:
    """Finishes the clean-up even when the caller is cancelled again meanwhile."""
    task = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                return
