"""The engine of the sources that yt-dlp reads.

A queued request becomes one extraction: yt-dlp's info dict, stripped of whatever grants access, is the page that is
kept as a snapshot and that the adapter reads. So adapters stay pure, and stored pages can be read again by newer ones.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from collections.abc import Sequence

import httpx

from adapters._yt_dlp import YtDlpAdapter
from adapters.contract import (
    Adapter,
    Engine,
    Page,
    PageRequest,
    RecordingItem,
    SourceQuery,
)
from crawlers.classify import Backoff
from crawlers.conclusions import failure_of_parse, fetched_now, incident, retry_in_s, too_deep
from crawlers.errors import FailureClass, FetchError
from crawlers.history import CrawlHistory, Link
from crawlers.incremental import Incremental, body_digest
from crawlers.ports import (
    CrawlJob,
    CrawlProgress,
    CrawlStore,
    Observed,
    PageOutcome,
    PolitenessBudget,
    QueuedRequest,
    SnapshotRecord,
    SnapshotStore,
    StopSignal,
)
from crawlers.urls import grouped, request_key, server_group
from crawlers.writer import GroupWriter
from crawlers.yt_dlp_parts.accounts import AccountError, Accounts
from crawlers.yt_dlp_parts.info import body
from crawlers.yt_dlp_parts.network import Guard, Limits, Manners, Network
from crawlers.yt_dlp_parts.reader import Read, Reader, offset_of
from crawlers.yt_dlp_parts.session import Extraction

MIN_PAGE_BYTES = 20_000_000
"""A watch page with its data is larger than most pages: ``limits.max_page_bytes`` may raise this, not lower it."""
CONTENT_TYPE = "application/json; profile=yt-dlp-info"
MAX_REST_S = 30.0
"""After a refused permit nothing is tried for so long at most: the operator may have changed the budget."""
STOP_PATIENCE_S = 5.0
"""An extraction is some requests long: one that is not done so long after a stop begins anew in the next attempt."""
_RECHECK_S = 0.5
_STOP_CHECK_S = 0.1
_THREADS_END_S = 10.0
_TOLD_IN_WORDS = frozenset((FailureClass.RATE_LIMITED, FailureClass.BOT_CHECK))
"""What the budget must know although the status did not say it. Not a demand to sign in: at these sites it is mostly
the item's (members only, a closed group), and must not stop its source."""

logger = logging.getLogger(__name__)


async def crawl_with_yt_dlp(
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
    accounts: Accounts | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    history: CrawlHistory | None = None,
) -> bool:
    """Crawls until the frontier is exhausted (True; also when ``limits.max_pages`` is reached) or stopped (False).

    Ports and meaning are those of `crawlers.engine.crawl`. ``transport``: what sends in place of httpx's own.

    Raises ValueError for an adapter of another engine, for bad seeds and for an unusable cookie file; whatever the
    store, the snapshots or the budget raise ends the crawl and is raised here. A page that fails never does.
    """
    if adapter.engine is not Engine.YT_DLP or not isinstance(adapter, YtDlpAdapter):
        raise ValueError(f"adapter {adapter.name!r}: engine {adapter.engine.value!r} is not read by yt-dlp")
    waits = backoff or Backoff()
    run = _Run(job, adapter, store, snapshots, budget, guard, progress, waits, accounts, transport, history)
    await run.seed()
    try:
        return await run.crawl(stop)
    finally:
        await run.close()


class _Run:
    """One crawl in this process."""

    def __init__(
        self,
        job: CrawlJob,
        adapter: YtDlpAdapter,
        store: CrawlStore,
        snapshots: SnapshotStore,
        budget: PolitenessBudget,
        guard: Guard,
        progress: CrawlProgress,
        backoff: Backoff,
        accounts: Accounts | None,
        transport: httpx.AsyncBaseTransport | None,
        history: CrawlHistory | None,
    ) -> None:
        self._job = job
        self._adapter = adapter
        self._query = SourceQuery(job.source, job.seeds, job.search, job.follow, job.options)
        self._store = store
        self._budget = budget
        self._progress = progress
        self._backoff = backoff
        self._incremental = Incremental(job, history, conditional=False)
        self._writer = GroupWriter(store, snapshots, self._committed)
        try:
            cookies = (accounts or Accounts()).cookies(adapter.name)
        except AccountError as error:
            raise ValueError(str(error)) from None
        self._reader = Reader(adapter, cookies, job.user_agent, job.limits.timeout_s)
        self._claim = job.claim()
        self._network = Network(
            guard=guard,
            budget=budget,
            limits=Limits(
                max(job.limits.max_page_bytes, MIN_PAGE_BYTES), job.limits.timeout_s, job.limits.max_redirects
            ),
            manners=Manners(self._claim, job.user_agent, job.respect_robots),
            backoff=backoff,
            max_attempts=job.limits.max_attempts,
            transport=transport,
            progress=progress,
        )
        self._slots = max(job.concurrency, 1)
        self._threads = concurrent.futures.ThreadPoolExecutor(self._slots, f"yt-dlp {adapter.name}")
        self._visits: set[asyncio.Task[None]] = set()
        self._extractions: set[Extraction] = set()
        self._held: set[str] = set()
        self._finished = progress.pages
        self._changed = asyncio.Event()
        self._rest_until = 0.0
        self._ending = False

    # --- the frontier

    async def seed(self) -> None:
        """Hands the adapter's first requests to the store. Raises the adapter's ValueError for a bad seed."""
        await self._incremental.prepare()
        await self._store.seed([QueuedRequest(_key(request), request) for request in self._adapter.seeds(self._query)])

    async def crawl(self, stop: StopSignal) -> bool:
        """Until there is nothing left, or the stop."""
        writing = asyncio.create_task(self._writer.run(), name=f"writer {self._job.crawl_run_id}")
        feeding = asyncio.create_task(self._feed(stop), name=f"yt-dlp {self._job.crawl_run_id}")
        try:
            await asyncio.wait({writing, feeding}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
                writing.result()
                raise RuntimeError("the writer ended before the crawl")
            exhausted = feeding.result()
            self._writer.close()
            await writing
            return exhausted
        finally:
            for task in (feeding, writing, *self._visits):
                task.cancel()
            for extraction in self._extractions:
                extraction.stop()
            await asyncio.gather(feeding, writing, *self._visits, return_exceptions=True)

    async def _feed(self, stop: StopSignal) -> bool:
        """Takes requests as places get free; True when the frontier is exhausted."""
        while not stop.is_set():
            self._raise_failed()
            self._changed.clear()
            if time.monotonic() < self._rest_until:
                await self._wait(_STOP_CHECK_S)
                continue
            # A place is free when its page is committed, so that a kill costs no more than what is under way. These
            # sites are asked once a second or less: nothing is gained by larger commits.
            room = min(self._slots - len(self._held), self._job.limits.max_pages - self._finished - len(self._visits))
            if room <= 0:
                if not self._visits and not self._held:
                    logger.info("crawl run %s: max_pages is reached", self._job.crawl_run_id)
                    return True
                await self._wait(_STOP_CHECK_S)
                continue
            taken = await self._store.take(room, tuple(self._held))
            for queued in taken:
                self._held.add(queued.request_key)
                task = asyncio.create_task(self._visit(queued), name=f"yt-dlp {queued.request.url}"[:200])
                self._visits.add(task)
                task.add_done_callback(self._visited)
            if taken:
                continue
            if self._held:
                await self._wait(_STOP_CHECK_S)
                continue
            due_in_s = await self._store.next_due_in_s()
            if due_in_s is None:
                return True
            await self._wait(min(max(due_in_s, 0.01), _RECHECK_S))
        # What is nearly done is finished; what only waits for its turn, or was not taken, stays in the frontier.
        deadline = time.monotonic() + STOP_PATIENCE_S
        while self._visits:
            await asyncio.wait(set(self._visits), timeout=max(deadline - time.monotonic(), _STOP_CHECK_S))
            self._raise_failed()
            if time.monotonic() >= deadline:
                self._ending = True
                for extraction in self._extractions:
                    extraction.stop()
        return False

    async def _wait(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _visited(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            self._visits.discard(task)
            self._writer.hurry()
        self._changed.set()

    def _raise_failed(self) -> None:
        for task in self._visits:
            if task.done():
                task.result()

    def _committed(self, outcomes: Sequence[PageOutcome]) -> None:
        for outcome in outcomes:
            self._held.discard(outcome.queued.request_key)
        self._changed.set()

    async def close(self) -> None:
        """Ends threads and connections; a thread that computes is left to end by itself."""
        for extraction in self._extractions:
            extraction.stop()
        self._reader.close()
        await self._network.close()
        try:
            async with asyncio.timeout(_THREADS_END_S):
                await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        except TimeoutError:
            logger.error("an extraction of %s does not end", self._adapter.name)

    # --- one request

    async def _visit(self, queued: QueuedRequest) -> None:
        request = queued.request
        if (deep := too_deep(queued, self._job.limits)) is not None:
            told = incident(self._progress, queued, deep, final=True, attempts=0)
            self._writer.put(PageOutcome(queued, final_url=request.url, incident=told))
            return
        if (visit := self._incremental.unneeded(queued)) is not None:
            self._progress.unchanged += 1
            self._writer.put(PageOutcome(queued, visit=visit))
            return
        extraction = Extraction(self._network, asyncio.get_running_loop(), priority=request.priority)
        self._extractions.add(extraction)
        started = time.monotonic()
        try:
            read = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._reader.read, request, extraction
            )
        finally:
            extraction.stop()
            self._extractions.discard(extraction)
        if self._ending and read.page is None and extraction.ended_by is None:
            self._held.discard(queued.request_key)  # we ended it ourselves: no failure, and no attempt
            return
        outcome = PageOutcome(
            queued,
            final_url=request.url,
            bytes_received=extraction.spent.bytes,
            latency_s=extraction.spent.latency_s or time.monotonic() - started,
        )
        self._progress.bytes += extraction.spent.bytes
        self._progress.last_url = request.url
        if read.postponed is not None:
            outcome.postponed = read.postponed
            outcome.retry_in_s = max(read.postponed.seconds, 0.0)
            # These sites are one server group each, or nearly: the next request would get no permit either.
            self._rest_until = time.monotonic() + min(outcome.retry_in_s, MAX_REST_S)
            self._writer.put(outcome)
        else:
            await self._conclude(queued, outcome, read)

    async def _conclude(self, queued: QueuedRequest, outcome: PageOutcome, read: Read) -> None:
        error, record = read.error, None
        if error is not None:
            outcome.status = error.status
            if error.failure in _TOLD_IN_WORDS and error.status is None:
                # The status told the budget nothing: a bot check, a session limit.
                seen = Observed(None, error.failure, retry_after_s=error.retry_after_s)
                group = grouped(server_group(queued.request.url), (), self._claim.group_by)
                self._budget.report(group, self._claim, seen)
            outcome.retry_in_s = retry_in_s(queued, error, self._job.limits, self._backoff)
            self._progress.retries += outcome.retry_in_s is not None
        if read.page is not None and outcome.retry_in_s is None:
            outcome.status = outcome.status or 200
            content = body(read.page)
            digest = body_digest(content)
            known = queued.known
            record = SnapshotRecord(
                queued.request.url,
                outcome.status,
                {"content-type": CONTENT_TYPE},
                content,
                fetched_at=fetched_now(),
                digest=digest,
                repeats=known.body if known is not None and known.digest == digest else None,
            )
            error = await self._parse(queued, outcome, content, digest) or error
        if error is not None:
            outcome.incident = incident(self._progress, queued, error, final=outcome.retry_in_s is None)
        elif outcome.retry_in_s is None:
            self._progress.pages += 1
        if outcome.retry_in_s is None:
            self._finished += 1
        self._progress.items += len(outcome.items)
        self._writer.put(outcome, record)

    async def _parse(
        self, queued: QueuedRequest, outcome: PageOutcome, content: bytes, digest: str
    ) -> FetchError | None:
        page = Page(queued.request.url, queued.request, outcome.status or 200, {"content-type": CONTENT_TYPE}, content)
        items: list[RecordingItem] = []
        discovered: dict[str, QueuedRequest] = {}
        error = None
        try:
            for found in self._adapter.parse(page, self._query):
                if isinstance(found, RecordingItem):
                    items.append(found)
                else:
                    depth = queued.depth + (0 if found.continues else 1)
                    discovered.setdefault(_key(found), QueuedRequest(_key(found), found, depth))
        except Exception as problem:
            error = failure_of_parse(problem)
        links = [_link(queued, each) for each in discovered.values()]
        row = await self._incremental.known_in_a_row(queued, items, links)
        wanted = [on for each in discovered.values() if (on := self._incremental.onward(queued, each, row)) is not None]
        outcome.items = items
        outcome.discovered = wanted
        outcome.left_list = len(wanted) < len(discovered)
        if error is None:
            outcome.visit = self._incremental.was_read(queued, {}, digest, links)
        return error


def _link(parent: QueuedRequest, found: QueuedRequest) -> Link:
    request, deeper = found.request, found.depth - parent.depth
    return Link(found.request_key, request.url, request.kind, request.priority, request.context or None, deeper)


def _key(request: PageRequest) -> str:
    """A list's windows have one URL, and are requests of their own."""
    offset = offset_of(request)
    return request_key(request.url, f"{request.kind} {offset}" if offset else request.kind)
