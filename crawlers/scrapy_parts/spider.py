"""The one spider and the scheduler: thin hands of a `Run`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from scrapy import Request, Spider
from scrapy.core.scheduler import BaseScheduler

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from crawlers.scrapy_parts.run import Run


def run_of(crawler: Crawler) -> Run:
    """The run that a crawler was started for."""
    run: Run = crawler.spider.run  # type: ignore[union-attr]
    return run


class AdapterSpider(Spider):
    """Has Scrapy download what the run wants. Argument: ``run``.

    Requests go to Scrapy's downloader (middlewares and handlers) and come back without passing its scheduler and its
    scraper: the run does the work of both, and their tasks, queues and signals took three quarters of Scrapy's time on
    a page.
    """

    name = "adapter"
    run: Run

    async def start(self) -> AsyncIterator[Any]:
        """Scrapy closes the spider when this ends."""
        await self.run.drive(self._download, self.settings.getint("CONCURRENT_REQUESTS"))
        nothing: tuple[Any, ...] = ()
        for each in nothing:  # Scrapy asks for a generator
            yield each

    async def _download(self, request: Request) -> Response:
        assert self.crawler.engine is not None
        return await self.crawler.engine.download_async(request)


class NoScheduler(BaseScheduler):
    """Scrapy insists on one; the frontier is the run's."""

    def has_pending_requests(self) -> bool:
        """Never: see `AdapterSpider`."""
        return False

    def enqueue_request(self, request: Request) -> bool:
        """Refuses: see `AdapterSpider`."""
        return False

    def next_request(self) -> Request | None:
        """None: see `AdapterSpider`."""
        return None
