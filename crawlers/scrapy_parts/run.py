"""The state of one crawl in this process: what is held in memory, what became of each request.

Memory is bounded: at most `CAPACITY` requests are held (waiting, in flight, or finished and not yet committed); the
frontier itself stays in the store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from scrapy import Request
from scrapy.exceptions import DownloadCancelledError
from scrapy.utils.gz import gunzip

from adapters.contract import Adapter, Engine, Page, PageRequest, RecordingItem, SourceQuery
from crawlers.classify import (
    Backoff,
    failure_of_exception,
    failure_of_status,
    is_bot_check,
    is_page_type,
    looks_like_page,
    retry_after_s,
)
from crawlers.conclusions import failure_of_parse, fetched_now, incident, retry_in_s, too_deep
from crawlers.errors import FailureClass, FetchError
from crawlers.history import BodyPlace, CrawlHistory, Link
from crawlers.incremental import Incremental, body_digest
from crawlers.ports import (
    CrawlJob,
    CrawlProgress,
    CrawlStore,
    NotNow,
    Observed,
    PageOutcome,
    PolitenessBudget,
    QueuedRequest,
    SnapshotRecord,
    SnapshotStore,
)
from crawlers.traps import TrapDetector
from crawlers.urls import request_key, server_group, url_pattern
from crawlers.writer import GroupWriter

if TYPE_CHECKING:
    from scrapy.http import Response

    from crawlers.scrapy_parts.handler import PageHandler

PREFETCH = 128
"""Requests taken from the store at once."""
LOW_WATER = 64
"""Fewer waiting requests than this: more are taken."""
CAPACITY = 1024
"""Requests held: with four full commits' worth there is something to send while a commit waits for the disk."""
MAX_UNCOMMITTED_BYTES = 64_000_000
MAX_KNOWN = 50_000
"""Links remembered as already handed to the store, so that a menu on every page is not sent again and again; items
remembered, so that the same page under another address is known to bring nothing."""
MAX_TOO_DEEP = 20
LISTING = "listing"
"""Under this key of its context a request says that it is a list, which need not bring items."""
MAX_ERROR_BODY = 64 * 1024
_RECHECK_S = 1.0
_BLOCKED_REST_S = 0.5
_BLOCKED_RECHECK_S = 10.0
_MAX_BLOCKED_S = 2.0
"""The budget is asked again at least so often: the operator may have changed it."""
_WHOLE_SOURCE = ""
"""Key among the blocked server groups."""

logger = logging.getLogger(__name__)


class Guard(Protocol):
    """Decides which addresses a URL may be fetched from."""

    async def check(self, url: str) -> list[str]:
        """The IP addresses that may be connected to. Raises FetchError address_blocked."""


class Run:
    """One crawl: what is sent when, and what came of it. The spider drives it by `drive`."""

    def __init__(
        self,
        job: CrawlJob,
        adapter: Adapter,
        *,
        store: CrawlStore,
        snapshots: SnapshotStore,
        budget: PolitenessBudget,
        guard: Guard,
        progress: CrawlProgress,
        backoff: Backoff,
        history: CrawlHistory | None = None,
    ) -> None:
        self.job = job
        self.adapter = adapter
        self.query = SourceQuery(job.source, job.seeds, job.search, job.follow, job.options)
        self.budget = budget
        self.claim = job.claim()
        self.guard = guard
        self.progress = progress
        self.backoff = backoff
        self.writer = GroupWriter(store, snapshots, self._committed)
        self.rendered = adapter.engine == Engine.BROWSER
        self.stopping = False
        self.aborting = False
        self.exhausted = False
        self.error: BaseException | None = None
        self.handler: PageHandler | None = None
        self._store = store
        self._history = history
        self._incremental = Incremental(job, history, conditional=not self.rendered)
        self._traps = TrapDetector(job.limits.max_pages_per_pattern, job.follow)
        self._known: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._told: OrderedDict[int, None] = OrderedDict()
        self._too_deep: set[str] = set()
        self._trap_witnesses: set[str] = set()
        self._held: set[str] = set()
        self._buffered: dict[str, deque[Request]] = {}
        self._buffered_count = 0
        self._in_flight: Counter[str] = Counter()
        self._in_flight_count = 0
        # A polite crawl keeps the place of a request until its outcome is committed: what a killed worker has asked in
        # vain is then never more than the concurrency. One without any delay is after speed, and commits in bulk.
        self._careful = job.delay_s > 0
        self._unsaved: dict[str, str] = {}
        self._unsaved_of: Counter[str] = Counter()
        self._download: Callable[[Request], Awaitable[Response]] | None = None
        self._most = 0
        self._exchanges: set[asyncio.Task[None]] = set()
        self._dry = False
        self._blocked: dict[str, tuple[float, NotNow]] = {}
        self._finished = progress.pages - progress.not_modified
        self._changed = asyncio.Event()
        self._taking: asyncio.Future[Sequence[QueuedRequest]] | None = None

    # --- into the frontier

    async def seed(self) -> None:
        """Hands the adapter's first requests to the store. Raises the adapter's ValueError for a bad seed."""
        if self._history is not None:
            self._traps.restore(await self._history.fruitless())
        await self._incremental.prepare()
        batch: list[QueuedRequest] = []
        for request in self.adapter.seeds(self.query):
            batch.append(QueuedRequest(request_key(request.url, request.kind), request))
            if len(batch) >= 1000:
                await self._store.seed(batch)
                batch = []
        if batch:
            await self._store.seed(batch)

    async def drive(self, download: Callable[[Request], Awaitable[Response]], most: int) -> None:
        """Has the store's requests downloaded, ``most`` at once, until nothing is left or on a stop."""
        self._download, self._most = download, most
        await self._feed()
        while self._exchanges:
            await asyncio.wait(self._exchanges)

    async def _feed(self) -> None:
        """Takes requests from the store as fast as they are wanted; ends when nothing is left, or on a stop."""
        try:
            while not self.stopping:
                self._changed.clear()
                room = self._room()
                if room <= 0:
                    if self._pages_left() <= 0 and not self._held:
                        logger.info("crawl run %s: max_pages is reached", self.job.crawl_run_id)
                        self.exhausted = True
                        return
                    await self._wait(None)
                    continue
                self._taking = asyncio.ensure_future(self._store.take(room, tuple(self._held)))
                taken = await self._taking
                if self.stopping:
                    return
                # Less than was asked for: only a commit brings more.
                self._dry = len(taken) < room
                sent = 0
                for queued in taken:
                    if (request := self._admit(queued)) is not None:
                        sent += 1
                        self._buffer(request)
                self._send()
                if taken and not sent:
                    # All of them wait for the budget. Others behind them may not, but a long queue is not to be
                    # written anew as fast as the database can.
                    await self._rest()
                if taken:
                    continue
                if self._held:
                    # A commit brings new requests; a retry may fall due in between.
                    self._hurry_if_dry()
                    await self._wait(_RECHECK_S)
                    continue
                due_in_s = await self._store.next_due_in_s()
                if due_in_s is None:
                    self.exhausted = True
                    return
                await self._wait(min(max(due_in_s, 0.01), 60.0))
        except asyncio.CancelledError:
            if not self.aborting:
                raise
        except Exception as error:
            self.fail(error)

    def _pages_left(self) -> int:
        return self.job.limits.max_pages - self._finished - self._buffered_count - self._in_flight_count

    def _room(self) -> int:
        if self._buffered_count >= LOW_WATER or self.writer.pending_bytes > MAX_UNCOMMITTED_BYTES:
            return 0
        return min(PREFETCH, CAPACITY - len(self._held), self._pages_left())

    async def _rest(self) -> None:
        """A pause while everything that was taken is blocked; while the whole source is, until that is over."""
        wait = self._blocked_for(_WHOLE_SOURCE)
        until = time.monotonic() + (_BLOCKED_REST_S if wait is None else min(wait.seconds, _BLOCKED_RECHECK_S))
        while not self.stopping and (left := until - time.monotonic()) > 0:
            self._changed.clear()
            await self._wait(left)

    async def _wait(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _admit(self, queued: QueuedRequest) -> Request | None:
        self._held.add(queued.request_key)
        url = queued.request.url
        if (refusal := too_deep(queued, self.job.limits) or self._refusal(queued)) is not None:
            self._refuse(queued, refusal)
            return None
        if (visit := self._incremental.unneeded(queued)) is not None:
            self.progress.unchanged += 1
            self.writer.put(PageOutcome(queued, visit=visit, fruitless=self._fruitless_as_known(queued)))
            return None
        try:
            group = server_group(url)
            request = Request(url, dont_filter=True, headers=self._incremental.headers(queued) or None)
        except ValueError as error:
            self._finish_failed(queued, FetchError(FailureClass.ADDRESS_BLOCKED, str(error)), None, None)
            return None
        if (wait := self._blocked_for(group)) is not None:
            self._postpone(queued, group, wait)
            return None
        request.meta["queued"] = queued
        request.meta["download_slot"] = group
        request.meta["download_timeout"] = self.job.limits.timeout_s
        return request

    # --- sending

    def _buffer(self, request: Request) -> None:
        """A request that may be sent."""
        self._buffered.setdefault(request.meta["download_slot"], deque()).append(request)
        self._buffered_count += 1

    def _send(self) -> None:
        """Sends what there is room for."""
        while len(self._exchanges) < self._most and (request := self._next_request()) is not None:
            task = asyncio.create_task(self._exchange(request))
            self._exchanges.add(task)
            task.add_done_callback(self._exchanged)

    def _next_request(self) -> Request | None:
        """The next request of a server group that has a free place; the groups take turns."""
        if self.stopping:
            return None
        for group, waiting in self._buffered.items():
            if self._in_flight[group] + self._unsaved_of[group] >= self.job.concurrency:
                if self._unsaved_of[group]:
                    self.writer.hurry()
                continue
            request = waiting.popleft()
            del self._buffered[group]
            if waiting:
                self._buffered[group] = waiting
            self._buffered_count -= 1
            self._in_flight[group] += 1
            self._in_flight_count += 1
            if self._buffered_count == LOW_WATER - 1:
                self._changed.set()
            return request
        return None

    async def _exchange(self, request: Request) -> None:
        assert self._download is not None
        try:
            response = await self._download(request)
        except Exception as error:
            self._failed(request, error)
        else:
            await self._answered(request, response)
        self._hurry_if_dry()

    def _exchanged(self, task: asyncio.Task[None]) -> None:
        self._exchanges.discard(task)
        self._send()

    # --- what came of a request

    async def _answered(self, request: Request, response: Response) -> None:
        """A response came: it is judged, read by the adapter, and handed to the writer."""
        try:
            self._release(request, sent=True)
            await self._judge(request, response)
        except Exception as error:
            self.fail(error)

    def _failed(self, request: Request, error: BaseException) -> None:
        """No usable response came."""
        try:
            cancelled = self.stopping and isinstance(error, DownloadCancelledError)
            self._release(request, sent=not cancelled and not isinstance(error, NotNow))
            queued: QueuedRequest = request.meta["queued"]
            if cancelled:
                self._held.discard(queued.request_key)
            elif isinstance(error, NotNow):
                self._postpone(queued, request.meta["download_slot"], error)
            else:
                self._conclude_failure(request, failure_of_exception(error), None)
        except Exception as problem:
            self.fail(problem)

    def _release(self, request: Request, *, sent: bool) -> None:
        """The request is not under way any more. ``sent``: it may have reached the site, its outcome has to be kept."""
        group = request.meta["download_slot"]
        self._in_flight_count -= 1
        self._in_flight[group] -= 1
        if not self._in_flight[group]:
            del self._in_flight[group]
        if sent and self._careful:
            self._unsaved[request.meta["queued"].request_key] = group
            self._unsaved_of[group] += 1

    def _hurry_if_dry(self) -> None:
        """Where nothing waits to be sent, neither here nor in the store, work comes only by the next commit."""
        if not self._buffered_count and (self._dry or not self._in_flight_count):
            self.writer.hurry()

    async def _judge(self, request: Request, response: Response) -> None:
        headers = lower_headers(response)
        status = response.status
        if status == HTTPStatus.NOT_MODIFIED and self._incremental.headers(request.meta["queued"]):
            self._not_modified(request, response.url, headers)
            return
        if (failure := failure_of_status(status)) is not None:
            error = FetchError(failure, f"HTTP {status}", status=status, retry_after_s=retry_after_s(headers))
            body = response.body[:MAX_ERROR_BODY]
            if is_bot_check(status, headers, body):
                error = self._challenged(request, status, error.retry_after_s)
            record = self._record(response.url, status, headers, body) if body else None
            self._conclude_failure(request, error, record, response.url)
            return
        body = response.body
        if body[:2] == b"\x1f\x8b":  # a sitemap.xml.gz; content codings are already undone
            try:
                body = gunzip(body, max_size=self.job.limits.max_page_bytes)
            except Exception as problem:
                too_large = FetchError(FailureClass.TOO_LARGE, f"unpacking failed: {problem}", status=status)
                self._conclude_failure(request, too_large, None, response.url)
                return
        digest = body_digest(body)
        known = request.meta["queued"].known
        same = known.body if known is not None and known.digest == digest else None
        record = self._record(response.url, status, headers, body, digest, same)
        content_type = headers.get("content-type", "")
        if is_page_type(content_type) is None and not looks_like_page(body):
            wrong = FetchError(FailureClass.WRONG_TYPE, f"{content_type or 'no content type'}", status=status)
            self._conclude_failure(request, wrong, None, response.url)
            return
        await self._read(request, response.url, status, headers, body, record)

    def _fruitless_as_known(self, queued: QueuedRequest) -> str | None:
        # Else a trap would give up its next pages run by run.
        return self._visited(queued.request, queued.known.items if queued.known is not None else 0)

    def _visited(self, request: PageRequest, items: int) -> str | None:
        """The page's URL pattern, where that is one more page of it without an item."""
        return None if request.context.get(LISTING) else self._traps.visited(request.url, items)

    def _is_trap(self, request: PageRequest) -> bool:
        return not request.context.get(LISTING) and self._traps.is_trap(request.url)

    def _not_modified(self, request: Request, url: str, headers: Mapping[str, str]) -> None:
        queued: QueuedRequest = request.meta["queued"]
        visit = self._incremental.not_modified(queued)
        outcome = self._outcome(request, HTTPStatus.NOT_MODIFIED, url)
        outcome.visit = visit
        outcome.fruitless = self._fruitless_as_known(queued)
        outcome.left_list = visit.ends_list
        self.progress.pages += 1
        self.progress.unchanged += 1
        # Else a run of many known pages would never come to those behind them (`CrawlLimits.max_pages`).
        self.progress.not_modified += 1
        self.progress.last_url = url
        body = queued.known.body if queued.known is not None else None
        record = self._record(url, HTTPStatus.NOT_MODIFIED, headers, b"", visit.digest, body) if body else None
        self.writer.put(outcome, record)

    def _challenged(self, request: Request, status: int, wait_s: float | None) -> FetchError:
        """A bot check: the budget is told, because the permit was released before the page was read."""
        seen = Observed(status, FailureClass.BOT_CHECK, retry_after_s=wait_s)
        self.budget.report(request.meta["download_slot"], self.claim, seen)
        detail = f"HTTP {status}: the site asks whether we are a robot"
        return FetchError(FailureClass.BOT_CHECK, detail, status=status, retry_after_s=wait_s)

    async def _read(
        self,
        request: Request,
        url: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        record: SnapshotRecord,
    ) -> None:
        queued: QueuedRequest = request.meta["queued"]
        items: list[RecordingItem] = []
        discovered: list[QueuedRequest] = []
        links: list[Link] = []
        error: FetchError | None = None
        page = Page(url=url, request=queued.request, status=status, headers=headers, body=body)
        try:
            found: Iterable[RecordingItem | PageRequest] = self.adapter.parse(page, self.query)
            for number, thing in enumerate(found, 1):
                if isinstance(thing, RecordingItem):
                    items.append(thing)
                elif (link := self._discover(queued, thing, links)) is not None:
                    discovered.append(link)
                if number % 256 == 0:
                    await asyncio.sleep(0)  # a page with 100,000 links must not hold up the heartbeats
        except Exception as problem:
            error = failure_of_parse(problem, status)
        if not items and is_bot_check(status, headers, body):
            self._conclude_failure(request, self._challenged(request, status, retry_after_s(headers)), record, url)
            return
        row = await self._incremental.known_in_a_row(queued, items, links)
        wanted = [on for each in discovered if (on := self._onward(queued, each, row)) is not None]
        progress = self.progress
        progress.items += len(items)
        outcome = self._outcome(request, status, url)
        outcome.fruitless = self._visited(queued.request, sum(map(self._is_news, items)))
        # What was read before the adapter stumbled is as good as on any other page.
        outcome.items = items
        outcome.discovered = wanted
        outcome.left_list = len(wanted) < len(discovered)
        if error is not None:
            outcome.incident = incident(self.progress, queued, error, final=True)
        else:
            progress.pages += 1
            outcome.visit = self._incremental.was_read(queued, headers, record.digest, links)
        self._finished += 1
        progress.last_url = url
        self.writer.put(outcome, record)

    def _is_news(self, item: RecordingItem) -> bool:
        """Whether no page before told the same of this item: the same page under endless addresses brings nothing."""
        told = hash((item.source_key, item.title, item.url, item.audio_url, item.duration_s, item.credits, item.lyrics))
        news = told not in self._told
        self._told[told] = None
        self._told.move_to_end(told)
        if len(self._told) > MAX_KNOWN:
            self._told.popitem(last=False)
        return news

    def _discover(self, parent: QueuedRequest, found: PageRequest, links: list[Link]) -> QueuedRequest | None:
        """What is new to this run; ``links`` takes every link, for the page's history."""
        if not isinstance(found, PageRequest):
            raise TypeError(f"parse yielded {type(found).__name__}; RecordingItem or PageRequest is expected")
        name = (found.url, found.kind)
        found = self._incremental.as_part_of_list(parent.request, found)
        seen = self._known.get(name)
        key = seen or request_key(found.url, found.kind)
        deeper = 0 if found.continues else 1
        links.append(Link(key, found.url, found.kind, found.priority, found.context or None, deeper))
        if seen is not None:
            self._known.move_to_end(name)
            return None
        queued = QueuedRequest(key, found, parent.depth + deeper)
        # The links that tell of a limit do enter the frontier and end there with their incident: a store knows only
        # what it has queued.
        if queued.depth > self.job.limits.max_depth:
            return queued if self._too_deep_counts(queued) else None
        if self._is_trap(found):
            if not self._traps.first_report(found.url):
                return None
            self._trap_witnesses.add(queued.request_key)
            return queued
        self._known[name] = key
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return queued

    def _onward(self, parent: QueuedRequest, found: QueuedRequest, row: int | None) -> QueuedRequest | None:
        """The request, unless the rest of its list is known."""
        wanted = self._incremental.onward(parent, found, row)
        if wanted is None:
            self._known.pop((found.request.url, found.request.kind), None)
        return wanted

    def _too_deep_counts(self, queued: QueuedRequest) -> bool:
        """Whether this link is one of the few that tell of the limit; the rest is dropped silently."""
        if queued.request_key in self._too_deep or len(self._too_deep) >= MAX_TOO_DEEP:
            return False
        self._too_deep.add(queued.request_key)
        return True

    def _refusal(self, queued: QueuedRequest) -> FetchError | None:
        """Why a request of the frontier is not even sent."""
        if self._is_trap(queued.request):
            limit = self.job.limits.max_pages_per_pattern
            detail = f"{limit} pages of this pattern brought no item; no more are fetched"
            return FetchError(FailureClass.TRAP, detail)
        return None

    def _refuse(self, queued: QueuedRequest, error: FetchError) -> None:
        outcome = PageOutcome(queued)
        told = error.failure is not FailureClass.TRAP or queued.request_key in self._trap_witnesses
        if told or self._traps.first_report(queued.request.url):
            outcome.incident = incident(self.progress, queued, error, final=True, attempts=0)
            if error.failure is FailureClass.TRAP:
                outcome.trap_reported = url_pattern(queued.request.url)
        self._trap_witnesses.discard(queued.request_key)
        self.writer.put(outcome)

    def _conclude_failure(
        self, request: Request, error: FetchError, record: SnapshotRecord | None, url: str = ""
    ) -> None:
        queued: QueuedRequest = request.meta["queued"]
        again_in_s = retry_in_s(queued, error, self.job.limits, self.backoff)
        self._finish_failed(queued, error, again_in_s, record, request, url)

    def _postpone(self, queued: QueuedRequest, group: str, wait: NotNow) -> None:
        """The budget gives no permit for a long time: the request waits in the frontier, not here."""
        until = time.monotonic() + min(wait.seconds, _MAX_BLOCKED_S)
        self._blocked[_WHOLE_SOURCE if wait.whole_source else group] = (until, wait)
        self.writer.put(PageOutcome(queued, postponed=wait, retry_in_s=max(wait.seconds, 0.0)))

    def _blocked_for(self, group: str) -> NotNow | None:
        """Why requests to this group need not even be tried now."""
        now = time.monotonic()
        for name in (_WHOLE_SOURCE, group):
            if (known := self._blocked.get(name)) is not None:
                until, wait = known
                if until > now:
                    return NotNow(
                        until - now, wait.reason, wait.waiting_on, wait.detail, whole_source=wait.whole_source
                    )
                del self._blocked[name]
        return None

    def _finish_failed(
        self,
        queued: QueuedRequest,
        error: FetchError,
        again_in_s: float | None,
        record: SnapshotRecord | None,
        request: Request | None = None,
        url: str = "",
    ) -> None:
        outcome = PageOutcome(queued) if request is None else self._outcome(request, error.status, url)
        outcome.retry_in_s = again_in_s
        outcome.incident = incident(self.progress, queued, error, final=again_in_s is None)
        if again_in_s is not None:
            self.progress.retries += 1
            record = None  # the last answer is the one that is kept
        elif error.failure is not FailureClass.ROBOTS_DISALLOWED:
            self._finished += 1
            outcome.fruitless = self._visited(queued.request, 0)
        self.progress.last_url = url or queued.request.url
        self.writer.put(outcome, record)

    def _outcome(self, request: Request, status: int | None, url: str) -> PageOutcome:
        return PageOutcome(
            request.meta["queued"],
            status=status,
            final_url=url,
            bytes_received=request.meta.get("bytes_received", 0),
            latency_s=request.meta.get("download_latency", 0.0),
        )

    def _record(
        self,
        url: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        digest: str = "",
        repeats: BodyPlace | None = None,
    ) -> SnapshotRecord:
        return SnapshotRecord(url, status, headers, body, self.rendered, fetched_now(), repeats, digest)

    def _committed(self, outcomes: Sequence[PageOutcome]) -> None:
        for outcome in outcomes:
            self._held.discard(outcome.queued.request_key)
            if (group := self._unsaved.pop(outcome.queued.request_key, None)) is not None:
                self._unsaved_of[group] -= 1
        self._changed.set()
        self._send()

    # --- ending

    def stop(self) -> None:
        """Takes no more; what was sent is finished, what only waits for its turn stays in the frontier."""
        self.stopping = True
        for group_waiting in self._buffered.values():
            for request in group_waiting:
                self._held.discard(request.meta["queued"].request_key)
        self._buffered.clear()
        self._buffered_count = 0
        if self.handler is not None:
            self.handler.cancel_waiting()
        self._changed.set()

    def abort(self) -> None:
        """Ends at once; what is not committed will be fetched again."""
        self.aborting = True
        self.stop()
        if self.handler is not None:
            self.handler.cancel_all()
        if self._taking is not None:
            self._taking.cancel()

    def fail(self, error: BaseException) -> None:
        """Something outside a page broke (the database, the object store): the crawl ends with this error."""
        if self.error is None and not self.aborting:
            self.error = error
        self.abort()


def lower_headers(response: Response) -> dict[str, str]:
    """The headers of a response by lower-case name, those that came more than once joined."""
    return {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in response.headers.items()
    }
