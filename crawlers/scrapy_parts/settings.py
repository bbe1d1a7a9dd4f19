"""Scrapy's settings for a run: what the engine does itself is switched off there."""

from __future__ import annotations

from typing import Any

from crawlers.ports import CrawlJob
from crawlers.scrapy_parts.handler import PageHandler
from crawlers.scrapy_parts.spider import NoScheduler

MAX_CONCURRENT = 64
"""Requests of one run in flight, all server groups together; per group it is the job's ``concurrency``."""
MAX_BROWSER_PAGES = 4


def scrapy_settings(job: CrawlJob, *, rendered: bool) -> dict[str, Any]:
    """Settings in which nothing but the parts named here runs: each further middleware costs time on each page."""
    total = min(MAX_BROWSER_PAGES, job.concurrency * 2) if rendered else min(MAX_CONCURRENT, max(16, job.concurrency))
    return {
        # Scrapy then runs in whatever asyncio loop is running: nothing is installed in the process, a second crawl may
        # run beside or after this one, and another loop is no problem. A Twisted reactor is bound to one loop for ever.
        "TWISTED_REACTOR_ENABLED": False,
        "SCHEDULER": NoScheduler,
        "DOWNLOAD_HANDLERS": {
            "http": PageHandler,
            "https": PageHandler,
            "data": None,
            "file": None,
            "ftp": None,
            "s3": None,
        },
        "DOWNLOADER_MIDDLEWARES_BASE": {
            "scrapy.downloadermiddlewares.httpcompression.HttpCompressionMiddleware": 590,
        },
        "SPIDER_MIDDLEWARES_BASE": {},
        "EXTENSIONS_BASE": {},
        "STATS_CLASS": "scrapy.statscollectors.DummyStatsCollector",
        "TELNETCONSOLE_ENABLED": False,
        "COOKIES_ENABLED": False,
        "CONCURRENT_REQUESTS": total,
        "CONCURRENT_REQUESTS_PER_DOMAIN": total,
        "DOWNLOAD_DELAY": 0,
        "DOWNLOAD_TIMEOUT": job.limits.timeout_s,
        "DOWNLOAD_MAXSIZE": job.limits.max_page_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_VERIFY_CERTIFICATES": True,
        "USER_AGENT": job.user_agent,
        "PLAYWRIGHT_DOWNLOAD_TIMEOUT": 2000,  # ms; downloads are refused, this only waits for that to be told
    }
