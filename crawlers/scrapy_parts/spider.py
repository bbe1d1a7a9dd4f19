"""The one spider and the scheduler: thin hands of a `Run`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from scrapy import Request, Spider
from scrapy.core.scheduler import BaseScheduler

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.python.failure import Failure

    from crawlers.scrapy_parts.run import Run


def run_of(crawler: Crawler) -> Run:
    """The run that a crawler was started for."""
    run: Run = crawler.spider.run  # type: ignore[union-attr]
    return run


class AdapterSpider(Spider):
    """Feeds requests from the run and hands the answers back. Argument: ``run``."""

    name = "adapter"
    run: Run

    async def start(self) -> AsyncIterator[Any]:
        """Scrapy takes from this as long as it has room; the crawl ends when it ends and all is answered."""
        self.run.wake = self._wake
        async for request in self.run.feed():
            request.callback = self.parse_page
            request.errback = self.page_failed
            yield request

    def _wake(self) -> None:
        """Has Scrapy ask the scheduler again; by itself it would do so with the next answer, or after seconds."""
        engine = self.crawler.engine
        if engine is not None and engine._slot is not None and engine._slot.closing is None:
            engine._slot.nextcall.schedule()

    async def parse_page(self, response: Response) -> None:
        """Scrapy's callback."""
        assert response.request is not None
        await self.run.answered(response.request, response)

    async def page_failed(self, failure: Failure) -> None:
        """Scrapy's errback."""
        request: Request = failure.request  # type: ignore[attr-defined]
        await self.run.failed(request, failure.value)  # type: ignore[arg-type]


class FrontierScheduler(BaseScheduler):
    """Hands out what the run has taken from the store, with at most ``job.concurrency`` in flight per server group."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> FrontierScheduler:
        """Scrapy's constructor."""
        return cls(run_of(crawler))

    def has_pending_requests(self) -> bool:
        """Whether anything waits to be sent."""
        return self._run.has_buffered()

    def enqueue_request(self, request: Request) -> bool:
        """Accepts a request of `AdapterSpider.start`."""
        self._run.buffer(request)
        return True

    def next_request(self) -> Request | None:
        """The next request, or None: none waits, or their groups are full."""
        return self._run.next_request()
