"""robots.txt (RFC 9309): fetched once per run and origin, read by Protego."""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protego import Protego

from crawlers.classify import Backoff, failure_of_exception
from crawlers.errors import CONSEQUENCES, FailureClass, FetchError
from crawlers.ports import NotNow
from crawlers.urls import origin

MAX_ROBOTS_BYTES = 512 * 1024
"""RFC 9309 asks for at least 500 KiB; what stands beyond is not read."""
MAX_CRAWL_DELAY_S = 120.0
"""A longer Crawl-delay counts as this one: otherwise a hostile site could hold a worker for days."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RobotsAnswer:
    """A robots.txt as it was answered: after redirects, decoded."""

    status: int
    body: bytes
    retry_after_s: float | None = None


Fetch = Callable[[str], Awaitable[RobotsAnswer]]
"""Gets a URL within the same guard, budget and limits as pages. Raises like a page's download."""


class RobotsRules:
    """The rules of every origin that a run meets.

    Args:
        fetch: gets a robots.txt.
        user_agent: what the rules are matched against.
        slow_down: called with the URL and the Crawl-delay in seconds, where there is one.
        max_attempts: tries before an origin without readable rules counts as closed.
    """

    def __init__(
        self,
        fetch: Fetch,
        user_agent: str,
        slow_down: Callable[[str, float], Awaitable[None]],
        *,
        max_attempts: int,
        backoff: Backoff,
    ) -> None:
        self._fetch = fetch
        self._user_agent = user_agent
        self._slow_down = slow_down
        self._max_attempts = max_attempts
        self._backoff = backoff
        self._rules: dict[str, Protego | str] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def check(self, url: str) -> None:
        """Raises FetchError robots_disallowed; or connection and address_blocked, where not even robots.txt can be
        reached: then the page itself cannot either, and that is the better word for it."""
        place = origin(url)
        rules = self._rules.get(place)
        if rules is None:
            lock = self._locks.setdefault(place, asyncio.Lock())
            async with lock:
                rules = self._rules.get(place)
                if rules is None:
                    rules = await self._load(place)
                    self._rules[place] = rules
        if isinstance(rules, str):
            raise FetchError(FailureClass.ROBOTS_DISALLOWED, rules)
        if not rules.can_fetch(url, self._user_agent):
            raise FetchError(FailureClass.ROBOTS_DISALLOWED, "robots.txt disallows this path")

    async def _load(self, place: str) -> Protego | str:
        """The parsed rules, or why everything counts as disallowed."""
        url = f"{place}/robots.txt"
        for attempt in range(1, self._max_attempts + 1):
            wait_s = self._backoff.delay_s(attempt)
            try:
                answer = await self._fetch(url)
            except NotNow:
                raise  # the page waits too, and its robots.txt is asked for with it
            except Exception as error:
                failed = failure_of_exception(error)
                if failed.failure in (FailureClass.CONNECTION, FailureClass.ADDRESS_BLOCKED):
                    raise failed from error
                reason = f"robots.txt could not be read: {failed.detail}"
                if not CONSEQUENCES[failed.failure].retry:
                    return f"{reason}; everything there counts as disallowed"
            else:
                if answer.status < 400:
                    return await self._parse(url, answer.body)
                if answer.status < 500 and answer.status != 429:
                    return Protego.parse("")
                reason = f"robots.txt answered {answer.status}"
                if answer.retry_after_s is not None:
                    wait_s = min(answer.retry_after_s, MAX_CRAWL_DELAY_S)
            if attempt < self._max_attempts:
                await asyncio.sleep(wait_s)
        return f"{reason} ({self._max_attempts} attempts); everything there counts as disallowed"

    async def _parse(self, url: str, body: bytes) -> Protego:
        if body[:2] == b"\x1f\x8b":
            try:
                body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(MAX_ROBOTS_BYTES)
            except (OSError, EOFError):
                body = b""
        rules = Protego.parse(body[:MAX_ROBOTS_BYTES].decode("utf-8-sig", "replace"))
        delay = rules.crawl_delay(self._user_agent)
        if delay is not None and delay > 0:
            await self._slow_down(url, min(float(delay), MAX_CRAWL_DELAY_S))
        return rules
