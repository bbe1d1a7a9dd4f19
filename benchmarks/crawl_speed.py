"""Pages a second of the crawl engine against a bare Scrapy spider, on a local site of 2,000 pages.

The site runs in a second process, each crawl in a third, alone. Both sides find links and items with the same function
and have the same concurrency, no delay, no robots.txt, no cookies. The spider is measured in both of Scrapy's modes
(the default, with Twisted's reactor, and without); the faster one is the reference. The engine works with its ports in
memory: this measures the engine; a run with the database is the stack's benchmark.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urljoin

PAGES = 2000
CONCURRENCY = 16
ROUNDS = 2
GOAL = 0.8
_ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(rb'<a href="([^"]+)"')
_TITLE = re.compile(rb"<h1>([^<]+)</h1>")


def page_html(number: int) -> bytes:
    """Page ``number`` of the site: about 4 kB, 24 links (12 of them the same on every page)."""
    near = [(number * 3 + step) % PAGES for step in range(12)]
    menu = [step * 7 % PAGES for step in range(12)]
    links = "".join(f'<li><a href="/song/{n}">Song {n}</a></li>' for n in (*menu, *near))
    text = "<p>" + "Lorem ipsum dolor sit amet, consectetur. " * 60 + "</p>"
    return f"<!doctype html><html><body><h1>Song {number}</h1><ul>{links}</ul>{text}</body></html>".encode()


def read(body: bytes, url: str) -> tuple[str, list[str]]:
    """Title and absolute links of a page; what both sides do."""
    title = _TITLE.search(body)
    return (title.group(1).decode() if title else ""), [urljoin(url, link.decode()) for link in _LINK.findall(body)]


class _Server(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, just enough and fast, so that it is not what is measured."""

    pages: ClassVar[list[bytes]] = []

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            number = int(path.rpartition(b"/")[2] or 0)
            self._transport.write(self.pages[number])


async def _serve() -> None:
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\r\n"
    _Server.pages = [head.format(len(body)).encode() + body for body in map(page_html, range(PAGES))]
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _bare(url: str, *, reactor: bool) -> int:
    from scrapy import Request, Spider
    from scrapy.crawler import AsyncCrawlerProcess

    titles = set()

    class Bare(Spider):
        name = "bare"
        start_urls: ClassVar[list[str]] = [url]

        def parse(self, response: Any) -> Iterable[Any]:
            title, links = read(response.body, response.url)
            titles.add(title)
            yield {"title": title, "url": response.url}
            for link in links:
                yield Request(link)

    settings = {
        "TWISTED_REACTOR_ENABLED": reactor,
        "CONCURRENT_REQUESTS": CONCURRENCY,
        "CONCURRENT_REQUESTS_PER_DOMAIN": CONCURRENCY,
        "DOWNLOAD_DELAY": 0,
        "CONCURRENT_ITEMS": 1,  # as the engine has it; the default costs the spider more than a third of its speed
        "COOKIES_ENABLED": False,
        "ROBOTSTXT_OBEY": False,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_LEVEL": "WARNING",
    }
    process = AsyncCrawlerProcess(settings)
    process.crawl(Bare)
    process.start()
    return len(titles)


def _ours(url: str) -> int:
    from adapters.contract import AudioPolicy, Engine, Page, PageRequest, PolitenessDefaults, RecordingItem, SourceQuery
    from crawlers.engine import crawl
    from crawlers.ports import CrawlJob, CrawlProgress
    from tests.crawlers.memory import MemoryBudget, MemoryGuard, MemorySnapshots, MemoryStore, Stop

    class Songs:
        name: ClassVar[str] = "songs"
        summary: ClassVar[str] = "benchmark"
        engine: ClassVar[Engine] = Engine.HTTP
        url_patterns: ClassVar[tuple[str, ...]] = ()
        politeness: ClassVar[PolitenessDefaults] = PolitenessDefaults()
        audio_policy: ClassVar[AudioPolicy] = AudioPolicy.NONE

        def seeds(self, query: SourceQuery) -> Iterable[PageRequest]:
            return [PageRequest(seed) for seed in query.seeds]

        def parse(self, page: Page, query: SourceQuery) -> Iterable[RecordingItem | PageRequest]:
            title, links = read(page.body, page.url)
            yield RecordingItem(source_key=title, title=title, url=page.url)
            for link in links:
                yield PageRequest(link)

    store = MemoryStore()
    job = CrawlJob("run", "bench", "songs", seeds=[url], delay_s=0.0, concurrency=CONCURRENCY, respect_robots=False)
    work = crawl(
        job,
        Songs(),
        store=store,
        snapshots=MemorySnapshots(),
        budget=MemoryBudget(),
        guard=MemoryGuard([url.split("/")[2]]),
        progress=CrawlProgress(),
        stop=Stop(),
    )
    assert asyncio.run(work)
    return len(store.items)


def _child(mode: str, url: str) -> None:
    import resource

    import scrapy.crawler  # noqa: F401 - both sides import it; starting Python is not what is measured

    cpu = time.process_time()
    started = time.perf_counter()
    pages = _ours(url) if mode == "ours" else _bare(url, reactor=mode == "reactor")
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"pages": pages, "s": seconds, "cpu_s": time.process_time() - cpu, "peak_kb": peak}))


def _run(mode: str, url: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.crawl_speed", mode, "--url", url]
    done = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True, timeout=600)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if result["pages"] != PAGES:
        raise RuntimeError(f"{mode}: {result['pages']} of {PAGES} pages")
    return result


def measure() -> dict[str, Any]:
    """The figures: the best of interleaved rounds, which other work on the machine disturbs least."""
    modes = ("ours", "reactor", "reactorless")
    results: dict[str, list[dict[str, float]]] = {mode: [] for mode in modes}
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.crawl_speed", "serve"], cwd=_ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/song/0"
        for _ in range(ROUNDS):
            for mode in modes:
                results[mode].append(_run(mode, url))
    finally:
        server.terminate()
        server.wait(10)
    rate = {mode: max(PAGES / r["s"] for r in rounds) for mode, rounds in results.items()}
    cpu_ms = {mode: min(r["cpu_s"] / PAGES * 1000 for r in rounds) for mode, rounds in results.items()}
    best = max(("reactor", "reactorless"), key=lambda mode: rate[mode])
    ratio = rate["ours"] / rate[best]
    return {
        "name": "crawl_speed",
        "unit": "pages/s",
        "ours": round(rate["ours"], 1),
        "reference": round(rate[best], 1),
        "reference_name": f"bare Scrapy spider ({best})",
        "ratio": round(ratio, 2),
        "goal": GOAL,
        "met": ratio >= GOAL,
        "detail": {
            "pages": PAGES,
            "concurrency": CONCURRENCY,
            "pages_per_s": {mode: round(value, 1) for mode, value in rate.items()},
            "cpu_ms_per_page": {mode: round(value, 2) for mode, value in cpu_ms.items()},
            "peak_mb": {mode: round(max(r["peak_kb"] for r in rounds) / 1024) for mode, rounds in results.items()},
        },
    }


def main() -> None:
    """``serve``, one mode, or nothing: all, printed as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", nargs="?", default="all", choices=["all", "serve", "ours", "reactor", "reactorless"])
    parser.add_argument("--url", default="")
    arguments = parser.parse_args()
    if arguments.mode == "serve":
        asyncio.run(_serve())
    elif arguments.mode == "all":
        print(json.dumps(measure(), indent=2))
    else:
        _child(arguments.mode, arguments.url)


if __name__ == "__main__":
    main()
