"""The download handler: what happens to a request on its way to the network, in this order, for each redirect again:
address guard, robots.txt, politeness budget, transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urldefrag, urljoin

import brotli
from scrapy import Request
from scrapy.core.downloader.handlers.base import BaseDownloadHandler
from scrapy.exceptions import DownloadCancelledError

from crawlers.browser import MISSING
from crawlers.classify import MAX_CHALLENGE_BYTES, observed, observed_error, retry_after_s
from crawlers.errors import FailureClass, FetchError
from crawlers.ports import Permit, Proxy
from crawlers.robots import RobotsAnswer, RobotsRules
from crawlers.scrapy_parts.proxy import GuardProxy
from crawlers.scrapy_parts.run import lower_headers
from crawlers.scrapy_parts.spider import run_of
from crawlers.scrapy_parts.transport import GuardedHttpHandler
from crawlers.urls import grouped, origin, server_group

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from crawlers.scrapy_parts.chromium import ChromiumHandler

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ROBOTS_REDIRECTS = 5


class PageHandler(BaseDownloadHandler):
    """One per crawl, for both schemes, so that there is one connection pool and at most one browser."""

    lazy = False

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._run = run_of(crawler)
        job = self._run.job
        self._http = GuardedHttpHandler(crawler)
        self._browser: ChromiumHandler | None = None
        self._relays: dict[str, GuardProxy] = {}
        self._starting = asyncio.Lock()
        self._robots = RobotsRules(
            self._fetch_robots,
            job.user_agent,
            self._slow_down,
            max_attempts=job.limits.max_attempts,
            backoff=self._run.backoff,
        )
        self._waiting: set[asyncio.Task[object]] = set()
        self._sending: set[asyncio.Task[object]] = set()
        self._closed = False
        if self._run.rendered:
            # Only then: Playwright costs 40 MB and half a second to import.
            from crawlers.scrapy_parts.chromium import ChromiumHandler

            self._browser = ChromiumHandler(crawler)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> PageHandler:
        """Scrapy's constructor."""
        run = run_of(crawler)
        if run.handler is None:
            run.handler = cls(crawler)
        return run.handler

    def cancel_waiting(self) -> None:
        """Ends the requests that only wait for robots.txt or their turn."""
        for task in self._waiting:
            task.cancel()

    def cancel_all(self) -> None:
        """Ends every request."""
        for task in (*self._waiting, *self._sending):
            task.cancel()

    async def download_request(self, request: Request) -> Response:
        """The answer after redirects. Raises FetchError or Scrapy's download errors."""
        if self._run.stopping:
            raise DownloadCancelledError("the crawl stops")
        if self._browser is not None and self._browser.executable is None:
            raise FetchError(FailureClass.BROWSER_MISSING, MISSING)
        task = asyncio.current_task()
        assert task is not None
        try:
            return await self._follow(request, task)
        except asyncio.CancelledError:
            if self._run.stopping:
                raise DownloadCancelledError("the crawl stops") from None
            raise
        finally:
            self._moved(task)

    async def _follow(self, request: Request, task: asyncio.Task[object]) -> Response:
        url = request.url
        visited = {url}
        hop = request
        took_s = 0.0
        while True:
            self._moved(task, self._waiting)
            if self._browser is not None:
                await self._browser.ready()  # not with a permit in hand: it takes seconds, and others wait
            permit = await self._admit(
                url, check_robots=self._run.job.respect_robots, priority=request.meta["queued"].request.priority
            )
            self._moved(task, self._sending)
            self._run.progress.requests += 1
            started = time.monotonic()  # the wait for our own budget is no latency of the site
            if self._browser is not None:
                response = await self._send(self._browser, request, permit)
                if self._run.job.respect_robots and response.url != url:
                    await self._robots.check(response.url)
            else:
                response = await self._send(self._http, hop, permit)
            size = len(response.body)
            request.meta["bytes_received"] = request.meta.get("bytes_received", 0) + size
            took_s += time.monotonic() - started
            request.meta["download_latency"] = took_s
            self._run.progress.bytes += size
            if response.status not in _REDIRECTS or not (location := response.headers.get("Location")):
                return response
            url = _target(url, location)
            if url in visited:
                raise FetchError(FailureClass.REDIRECT_LOOP, f"comes back to {url}", status=response.status)
            if len(visited) > self._run.job.limits.max_redirects:
                limit = self._run.job.limits.max_redirects
                raise FetchError(FailureClass.REDIRECT_LOOP, f"more than {limit} redirects", status=response.status)
            visited.add(url)
            hop = self._hop(url, request)

    async def _send(
        self, transport: GuardedHttpHandler | ChromiumHandler, request: Request, permit: Permit
    ) -> Response:
        """The answer to one request; the permit ends with its last byte."""
        started = time.monotonic()
        with permit:
            try:
                response: Response = await self._through(transport, request, permit.proxy)
            except BaseException as error:
                permit.observed = observed_error(error, latency_s=time.monotonic() - started)
                raise
            permit.observed = observed(
                response.status,
                lower_headers(response) if permit.probe or response.status >= HTTPStatus.BAD_REQUEST else {},
                # How long a page takes to be rendered says little of its server.
                latency_s=0.0 if transport is self._browser else time.monotonic() - started,
                size=len(response.body),
                body=_unpacked(response) if permit.probe else b"",
            )
        return response

    async def _through(
        self, transport: GuardedHttpHandler | ChromiumHandler, request: Request, proxy: Proxy | None
    ) -> Response:
        """The answer, by way of the operator's proxy where the permit names one."""
        if transport is self._browser:
            self._browser.use(proxy)
            return await self._browser.download_request(request)
        request.meta.pop("proxy", None)
        if proxy is None:
            return await self._http.download_request(request)
        async with self._starting:  # a relay that does not listen yet would be passed by
            relay = self._relays.get(proxy.url)
            if relay is None:
                relay = GuardProxy(self._run.guard, lambda _: None, proxy)
                await relay.start()
                self._relays[proxy.url] = relay
        request.meta["proxy"] = relay.url
        try:
            response = await self._http.download_request(request)
        except FetchError:
            raise
        except Exception:
            if (known := relay.failure_at(server_group(request.url))) is not None:
                raise known from None
            raise
        if blocked := response.headers.get(relay.failure_header):
            raise FetchError(FailureClass(blocked.decode("ascii")), f"by proxy {proxy.name}")
        return response

    def _moved(self, task: asyncio.Task[object], to: set[asyncio.Task[object]] | None = None) -> None:
        for group in (self._waiting, self._sending):
            group.discard(task)
        if to is not None:
            to.add(task)
        self._run.progress.in_flight, self._run.progress.turn = len(self._sending), len(self._waiting)

    def _hop(self, url: str, request: Request) -> Request:
        try:
            return request.replace(url=url)
        except ValueError as error:
            raise FetchError(FailureClass.ADDRESS_BLOCKED, f"redirect to {url[:200]!r}: {error}") from None

    async def _admit(self, url: str, *, check_robots: bool, priority: int = 0) -> Permit:
        addresses = await self._run.guard.check(url)
        try:
            group = grouped(server_group(url), addresses, self._run.claim.group_by)
        except ValueError as error:
            raise FetchError(FailureClass.ADDRESS_BLOCKED, f"{url[:200]!r}: {error}") from None
        if check_robots:
            await self._robots.check(url)
        claim = self._run.claim
        return await self._run.budget.acquire(group, replace(claim, priority=priority) if priority else claim)

    async def _slow_down(self, url: str, delay_s: float) -> None:
        group = grouped(server_group(url), await self._run.guard.check(url), self._run.claim.group_by)
        await self._run.budget.configure(group, delay_s=delay_s, wisher="robots.txt")

    async def _fetch_robots(self, url: str) -> RobotsAnswer:
        for _ in range(_ROBOTS_REDIRECTS + 1):
            permit = await self._admit(url, check_robots=False)
            self._run.progress.requests += 1
            request = Request(url, headers={"Accept-Encoding": "identity"}, meta={"robots": True})
            request.meta["download_timeout"] = self._run.job.limits.timeout_s
            response = await self._send(self._http, request, permit)
            self._run.progress.bytes += len(response.body)
            if response.status in _REDIRECTS and (location := response.headers.get("Location")):
                url = _target(url, location)
                continue
            wait = {"retry-after": (response.headers.get("Retry-After") or b"").decode("latin-1")}
            return RobotsAnswer(response.status, response.body, retry_after_s(wait))
        return RobotsAnswer(404, b"")  # RFC 9309, 2.3.1.2: too many redirects count as no robots.txt

    async def kill_browser(self) -> None:
        """Ends the browser without asking it, where `close` does not come to its end."""
        if self._browser is not None:
            await self._browser.kill()

    async def close(self) -> None:
        """Closes connections and browser. May be called again."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._http.close()
            for relay in self._relays.values():
                await relay.close()
        finally:
            if self._browser is not None:
                await self._browser.close()


def _unpacked(response: Response) -> bytes:
    """The body without its content coding, which is undone for good only later; empty where it is too large."""
    body = response.body
    coding = (response.headers.get("Content-Encoding") or b"").strip().lower()
    with contextlib.suppress(zlib.error, brotli.error):
        if coding in (b"gzip", b"x-gzip"):
            return zlib.decompressobj(47).decompress(body, MAX_CHALLENGE_BYTES)
        if coding == b"br":
            return bytes(brotli.Decompressor().process(body, output_buffer_limit=MAX_CHALLENGE_BYTES))
        return b"" if coding else bytes(body)
    return b""


def _target(url: str, location: bytes) -> str:
    """Where a Location header leads. Raises FetchError for what is no URL."""
    try:
        text = location.decode("utf-8", "replace").strip()
        target, _ = urldefrag(urljoin(url, text))
        origin(target)
    except ValueError as error:
        raise FetchError(FailureClass.ADDRESS_BLOCKED, f"redirect to {location[:200]!r}: {error}") from None
    return target
