"""All that goes to the network for yt-dlp: guarded, polite and bounded, on the crawl's event loop."""

from __future__ import annotations

import asyncio
import ssl
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.message import Message
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Protocol
from urllib.parse import urldefrag, urljoin

import httpx

from crawlers.classify import Backoff, failure_of_status, observed, observed_error, retry_after_s
from crawlers.download import open_checked, tls_context
from crawlers.errors import FailureClass, FetchError
from crawlers.ports import Claim, CrawlProgress, Permit, PolitenessBudget, Proxy
from crawlers.proxies import tunnel_transport
from crawlers.robots import MAX_ROBOTS_BYTES, RobotsAnswer, RobotsRules
from crawlers.urls import grouped, server_group

TOTAL_TIME_FACTOR = 4
"""An answer may take this many times ``timeout_s`` in all."""
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


class Guard(Protocol):
    """Decides which addresses a URL may be fetched from."""

    async def check(self, url: str) -> list[str]:
        """The IP addresses that may be connected to. Raises FetchError address_blocked."""


class Cookies(Protocol):
    """A cookie jar that can say what it would send (yt-dlp's)."""

    def get_cookie_header(self, url: str) -> str | None:
        """The value of the Cookie header for a URL."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer after redirects. ``headers``: as sent, in order; ``body``: decoded."""

    url: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    latency_s: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request: sizes in bytes, times in seconds."""

    max_bytes: int = 20_000_000
    timeout_s: float = 30.0
    max_redirects: int = 8


@dataclass(slots=True)
class Manners:
    """How polite a crawl is: its own wishes beside the budget's."""

    claim: Claim = field(default_factory=Claim)
    user_agent: str = "VersionsBot/0.1"
    respect_robots: bool = False


class Network:
    """One per crawl; close it.

    Args:
        transport: what sends in place of httpx's own; a test answers from recordings there.
        progress: counts what is sent and what waits.
    """

    def __init__(
        self,
        *,
        guard: Guard,
        budget: PolitenessBudget,
        limits: Limits,
        manners: Manners,
        backoff: Backoff | None = None,
        max_attempts: int = 4,
        transport: httpx.AsyncBaseTransport | None = None,
        progress: CrawlProgress | None = None,
    ) -> None:
        self.limits = limits
        self.manners = manners
        self._guard = guard
        self._budget = budget
        self._progress = progress or CrawlProgress()
        self._transport = transport
        # One per server group: connections are pooled by address, and two sites behind one address must not share one.
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._robots = RobotsRules(
            self._fetch_robots,
            manners.user_agent,
            self._slow_down,
            max_attempts=max_attempts,
            backoff=backoff or Backoff(),
        )

    async def close(self) -> None:
        """Ends all connections."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()

    def _client(self, group: str, proxy: Proxy | None) -> httpx.AsyncClient:
        name = group if proxy is None else f"{group} {proxy.name}"
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = httpx.AsyncClient(
                verify=tls_context(),
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(self.limits.timeout_s),
                transport=self._transport if proxy is None else tunnel_transport(proxy, tls_context()),
                # Cookies are yt-dlp's business: httpx would file them under the address.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            )
        return client

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str],
        body: bytes | None = None,
        cookies: CookieJar | None = None,
        priority: int = 0,
        first_bytes: int | None = None,
    ) -> Answer:
        """The answer after redirects, whatever its status.

        Args:
            first_bytes: more of the body is not read, and not an error.

        Raises FetchError where there is no answer or it is refused, and NotNow.
        """
        sent = {name.lower(): value for name, value in headers.items()}
        sent.setdefault("accept-encoding", "gzip, deflate")
        seen: set[tuple[str, str]] = set()
        while True:
            if (method, url) in seen or len(seen) > self.limits.max_redirects:
                raise FetchError(FailureClass.REDIRECT_LOOP, f"after {len(seen)} redirects back at {url[:200]}")
            seen.add((method, url))
            answer = await self._hop(method, url, sent, body, cookies, priority, first_bytes=first_bytes)
            location = next((value for name, value in answer.headers if name.lower() == "location"), None)
            if answer.status not in _REDIRECTS or not location:
                return answer
            following = urldefrag(urljoin(url, location)).url
            if answer.status == 303 or (answer.status in (301, 302) and method == "POST"):
                method, body = "GET", None
                sent = {name: value for name, value in sent.items() if name not in ("content-type", "content-length")}
            if _place(following) != _place(url):
                sent = {name: value for name, value in sent.items() if name not in ("authorization", "cookie")}
            url = following

    @staticmethod
    def refused(answer: Answer) -> FetchError:
        """What an answer that is none of success means."""
        wait_s = retry_after_s({name.lower(): value for name, value in answer.headers})
        failure = failure_of_status(answer.status) or FailureClass.TRANSIENT
        if failure is FailureClass.SERVER_ERROR and wait_s is not None:
            failure = FailureClass.RATE_LIMITED
        return FetchError(failure, f"HTTP {answer.status}", status=answer.status, retry_after_s=wait_s)

    async def _hop(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        cookies: CookieJar | None,
        priority: int,
        *,
        robots: bool = True,
        max_bytes: int | None = None,
        first_bytes: int | None = None,
    ) -> Answer:
        addresses = await self._guard.check(url)
        group = grouped(_place(url), addresses, self.manners.claim.group_by)
        permit = await self._permit(url, group, priority, robots=robots)
        with permit:
            self._progress.requests += 1
            self._progress.in_flight += 1
            started = time.monotonic()
            try:
                sent = _with_cookies(headers, url, cookies)
                most = max_bytes or self.limits.max_bytes
                answer = await self._send(method, url, addresses, sent, body, most, first_bytes, permit.proxy)
            except BaseException as error:
                permit.observed = observed_error(error, latency_s=time.monotonic() - started)
                raise
            finally:
                self._progress.in_flight -= 1
            wait = {name.lower(): value for name, value in answer.headers if name.lower() == "retry-after"}
            permit.observed = observed(answer.status, wait, latency_s=answer.latency_s, size=len(answer.body))
        if cookies is not None:
            cookies.extract_cookies(_CookieAnswer(answer), urllib.request.Request(url))  # type: ignore[arg-type] # noqa: S310
        return answer

    async def _permit(self, url: str, group: str, priority: int, *, robots: bool) -> Permit:
        self._progress.turn += 1
        try:
            if robots and self.manners.respect_robots:
                await self._robots.check(url)
            return await self._budget.acquire(group, replace(self.manners.claim, priority=priority))
        finally:
            self._progress.turn -= 1

    async def _send(
        self,
        method: str,
        url: str,
        addresses: list[str],
        headers: Mapping[str, str],
        body: bytes | None,
        most: int,
        first_bytes: int | None,
        proxy: Proxy | None,
    ) -> Answer:
        started = time.monotonic()
        total_s = self.limits.timeout_s * TOTAL_TIME_FACTOR
        try:
            async with asyncio.timeout(total_s):
                response = await open_checked(self._client(_place(url), proxy), method, url, addresses, headers, body)
                try:
                    received = await _bounded_body(response, most, first_bytes)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise FetchError(FailureClass.TIMEOUT, f"not complete after {total_s:g} s") from None
        except httpx.TimeoutException:
            raise FetchError(FailureClass.TIMEOUT, f"no progress for {self.limits.timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise FetchError(FailureClass.CONNECTION, f"{type(error).__name__}: {error}"[:300]) from None
        return Answer(url, response.status_code, _decoded_headers(response), received, time.monotonic() - started)

    async def _slow_down(self, url: str, delay_s: float) -> None:
        group = grouped(_place(url), await self._guard.check(url), self.manners.claim.group_by)
        await self._budget.configure(group, delay_s=delay_s, wisher="robots.txt")

    async def _fetch_robots(self, url: str) -> RobotsAnswer:
        for _ in range(self.limits.max_redirects):
            headers = {"user-agent": self.manners.user_agent, "accept": "*/*", "accept-encoding": "identity"}
            answer = await self._hop("GET", url, headers, None, None, 0, robots=False, max_bytes=MAX_ROBOTS_BYTES)
            location = next((value for name, value in answer.headers if name.lower() == "location"), None)
            if answer.status not in _REDIRECTS or not location:
                wait = {name.lower(): value for name, value in answer.headers if name.lower() == "retry-after"}
                return RobotsAnswer(answer.status, answer.body, retry_after_s(wait))
            url = urldefrag(urljoin(url, location)).url
        return RobotsAnswer(404, b"")


class _CookieAnswer:
    """What http.cookiejar wants of a response."""

    def __init__(self, answer: Answer) -> None:
        self._message = Message()
        for name, value in answer.headers:
            if name.lower() in ("set-cookie", "set-cookie2"):
                self._message.add_header(name, value)

    def info(self) -> Message:
        """The headers."""
        return self._message


def _with_cookies(headers: Mapping[str, str], url: str, cookies: CookieJar | None) -> dict[str, str]:
    sent = dict(headers)
    if cookies is not None and "cookie" not in sent:
        value = cookies.get_cookie_header(url)  # type: ignore[attr-defined]
        if value:
            sent["cookie"] = value
    return sent


async def _bounded_body(response: httpx.Response, most: int, first_bytes: int | None) -> bytes:
    """The decoded body, or its beginning. Raises FetchError too_large as soon as it is."""
    length = response.headers.get("content-length", "")
    if first_bytes is None and length.isdigit() and int(length) > most:
        detail = f"{length} bytes announced, {most} allowed"
        raise FetchError(FailureClass.TOO_LARGE, detail, status=response.status_code)
    chunks = []
    size = 0
    async for chunk in response.aiter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if first_bytes is not None and size >= first_bytes:
            return b"".join(chunks)[:first_bytes]
        if size > most:
            raise FetchError(FailureClass.TOO_LARGE, f"more than {most} bytes", status=response.status_code)
    return b"".join(chunks)


def _decoded_headers(response: httpx.Response) -> list[tuple[str, str]]:
    """Without those that describe the body as it travelled."""
    return [
        (name, value)
        for name, value in response.headers.multi_items()
        if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
    ]


def _place(url: str) -> str:
    try:
        return server_group(url)
    except ValueError as error:
        raise FetchError(FailureClass.ADDRESS_BLOCKED, f"{url[:200]!r}: {error}") from None
