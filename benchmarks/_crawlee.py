"""A crawlee crawler that takes the links and the JSON-LD of each page and keeps nothing; it runs in `_side`'s Python.

Politeness is off: so many requests at once from the first second on, no robots.txt, no sessions, storage in memory. The
garbage collector is set as our worker sets its own, although crawlee does not do that by itself: it is no part of what
is compared.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import sys
import time

from crawlee import ConcurrencySettings
from crawlee.crawlers import ParselCrawler, ParselCrawlingContext
from crawlee.storage_clients import MemoryStorageClient

from runtime.collector import settle


async def crawl(url: str, concurrency: int) -> int:
    """How many recordings were found."""
    found = set()
    crawler = ParselCrawler(
        concurrency_settings=ConcurrencySettings(
            min_concurrency=concurrency, max_concurrency=concurrency, desired_concurrency=concurrency
        ),
        storage_client=MemoryStorageClient(),
        use_session_pool=False,
        respect_robots_txt_file=False,
        configure_logging=False,
    )

    @crawler.router.default_handler
    async def handle(context: ParselCrawlingContext) -> None:
        for script in context.selector.css('script[type="application/ld+json"]::text').getall():
            data = json.loads(script)
            if data["@type"] == "MusicRecording":
                found.add(data["identifier"])
        await context.enqueue_links()

    await crawler.run([url])
    return len(found)


def main() -> None:
    """``URL CONCURRENCY``; prints what `crawl_pages` prints of the others."""
    logging.disable(logging.CRITICAL)
    settle()
    cpu, started = time.process_time(), time.perf_counter()
    pages = asyncio.run(crawl(sys.argv[1], int(sys.argv[2])))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"pages": pages, "s": seconds, "cpu_s": time.process_time() - cpu, "peak_kb": peak}))


if __name__ == "__main__":
    main()
