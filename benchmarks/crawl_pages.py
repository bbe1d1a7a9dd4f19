"""Pages a second of a crawl run on a local site of 2,000 pages, beside a bare Scrapy spider.

The pages hold JSON-LD of a recording and 24 links. Ours: the crawl activity as a worker runs it, with the `website`
adapter, the frontier and the candidates in PostgreSQL, each response as WARC in the object store. The spider takes the
links and `json.loads` of the JSON-LD, and keeps nothing. Both: the same concurrency, no delay, no robots.txt, no
cookies, no log. The site is a process of its own, each crawl another, with its garbage collector set as a worker sets
it; the spider runs in both of Scrapy's modes (with Twisted's reactor, the default, and without), and the faster one
counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urljoin

import httpx

from benchmarks import _stack
from benchmarks._figures import Figure, at_least

if TYPE_CHECKING:
    from catalog.database import Database
    from runtime.settings import Settings

FIGURES = ("crawl_pages",)
GOAL = 0.9
PAGES = 2000
ROUNDS = 2
CONCURRENCY = 16
MODES = ("reactor", "reactorless")
_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\r\n"
_ROOT = Path(__file__).resolve().parent.parent


def page_html(number: int, pages: int) -> bytes:
    """Page ``number`` of the site: about 4 kB, JSON-LD, 24 links (12 of them the same on every page)."""
    near = [(number * 3 + step) % pages for step in range(12)]
    menu = [step * 7 % pages for step in range(12)]
    links = "".join(f'<li><a href="/song/{n}">Song {n}</a></li>' for n in (*menu, *near))
    data = {
        "@context": "https://schema.org",
        "@type": "MusicRecording",
        "identifier": f"song-{number}",
        "name": f"Песня {number}",
        "byArtist": {"@type": "MusicGroup", "name": f"Ансамбль {number % 97}"},
        "recordingOf": {
            "@type": "MusicComposition",
            "name": f"Песня {number // 3}",
            "composer": {"@type": "Person", "name": f"Автор {number % 53}"},
        },
        "duration": f"PT{120 + number % 180}S",
        "datePublished": str(1950 + number % 70),
        "inLanguage": "ru",
    }
    text = "<p>" + "Lorem ipsum dolor sit amet, consectetur. " * 50 + "</p>"
    script = f'<script type="application/ld+json">{json.dumps(data, ensure_ascii=False)}</script>'
    head = f'<head><meta charset="utf-8"><title>Песня {number}</title>{script}</head>'
    return f"<!doctype html><html>{head}<body><h1>Song {number}</h1><ul>{links}</ul>{text}</body></html>".encode()


class _Server(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, just enough and fast, so that it is not what is measured."""

    pages: ClassVar[list[bytes]] = []
    asked: ClassVar[list[tuple[float, int]]] = []

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if path == b"/__asked":
                body = json.dumps(self.asked).encode()
                self._transport.write(_HEAD.format(len(body)).encode() + body)
                continue
            number = int(path.rpartition(b"/")[2] or 0)
            self.asked.append((time.monotonic(), number))
            self._transport.write(self.pages[number % len(self.pages)])


async def _serve(pages: int) -> None:
    _Server.pages = [
        _HEAD.format(len(body)).encode() + body for body in (page_html(number, pages) for number in range(pages))
    ]
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _bare(url: str, *, reactor: bool) -> int:
    from scrapy import Spider
    from scrapy.crawler import AsyncCrawlerProcess

    found = set()

    class Bare(Spider):
        name = "bare"
        start_urls = [url]  # noqa: RUF012 - Scrapy's own declaration

        def parse(self, response: Any) -> Iterable[Any]:
            for script in response.css('script[type="application/ld+json"]::text').getall():
                data = json.loads(script)
                if data["@type"] == "MusicRecording":
                    found.add(data["identifier"])
                    yield {"key": data["identifier"], "title": data["name"], "artist": data["byArtist"]["name"]}
            for link in response.css("a::attr(href)").getall():
                yield response.follow(link)

    settings = {
        "TWISTED_REACTOR_ENABLED": reactor,
        "CONCURRENT_REQUESTS": CONCURRENCY,
        "CONCURRENT_REQUESTS_PER_DOMAIN": CONCURRENCY,
        "DOWNLOAD_DELAY": 0,
        "CONCURRENT_ITEMS": 1,  # as the engine has it; the default costs the spider more than a third of its speed
        "COOKIES_ENABLED": False,
        "ROBOTSTXT_OBEY": False,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_ENABLED": False,
    }
    process = AsyncCrawlerProcess(settings)
    process.crawl(Bare)
    process.start()
    return len(found)


def open_run(database: Database, url: str, **source: Any) -> uuid.UUID:
    """A crawl run on the site, whole and without any politeness, unless ``source`` says otherwise."""
    from catalog.campaigns import repository
    from catalog.campaigns.spec import CampaignSpec

    name = f"bench-{uuid.uuid4().hex[:12]}"
    entry = {
        "source": name,
        "adapter": "website",
        "seeds": [url],
        "audio": "none",
        "politeness": {"delay": 0, "concurrency": CONCURRENCY, "robots": False},
        "limits": {"max_depth": 1000},
    }
    spec = CampaignSpec.model_validate(
        {"version": 1, "name": name, "allow_private": [url], "sources": [{**entry, **source}]}
    )
    with database.transaction() as session:
        campaign, _, _ = repository.apply(session, spec)
        (run,) = repository.open_runs(session, campaign.id, "bench")
        return run.id


def crawl_run(run_id: uuid.UUID, database: Database, settings: Settings) -> int:
    """Crawls it by the activity, as a worker does; how many candidates it has at the end."""
    from sqlalchemy import func, select
    from temporalio.testing import ActivityEnvironment

    from activities import messages as m
    from activities.crawls import CrawlActivities
    from activities.politeness import fleet_budget
    from activities.resources import Resources
    from catalog.models import Candidate
    from media.store import ObjectStore

    assert settings.s3_endpoint is not None
    resources = Resources(
        database=database,
        objects=ObjectStore(
            settings.s3_endpoint,
            settings.s3_access_key.get_secret_value(),
            settings.s3_secret_key.get_secret_value(),
            settings.s3_bucket,
        ),
        budget=fleet_budget(database),
        temporary=settings.data_dir / "tmp",
    )
    result = asyncio.run(ActivityEnvironment().run(CrawlActivities(resources).crawl, m.CrawlInput(str(run_id))))
    assert result.complete
    with database.transaction() as session:
        return session.scalar(select(func.count()).where(Candidate.crawl_run_id == run_id)) or 0


def _ours(url: str) -> int:
    """One crawl run, by the activity; where the parts are, the environment tells."""
    from catalog.database import Database
    from runtime.settings import Settings

    settings = Settings()
    assert settings.database_url is not None
    database = Database(settings.database_url.get_secret_value(), pool_size=20)
    return crawl_run(open_run(database, url), database, settings)


def _child(mode: str, url: str) -> None:
    # Starting Python is not what is measured: a worker has imported all this long before its first page. A spider does
    # not carry what only a worker needs, and has its garbage collector set alike.
    import scrapy.crawler

    from runtime.collector import settle

    assert scrapy.crawler
    if mode == "ours":
        import temporalio.testing

        import runtime.worker
        from adapters.contract import adapter_names

        assert all((temporalio.testing, runtime.worker, adapter_names()))
    settle()

    cpu = time.process_time()
    started = time.perf_counter()
    pages = _ours(url) if mode == "ours" else _bare(url, reactor=mode == "reactor")
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"pages": pages, "s": seconds, "cpu_s": time.process_time() - cpu, "peak_kb": peak}))


def run_ours(url: str, pages: int, environment: dict[str, str]) -> dict[str, float]:
    """One crawl by our engine, in a process of its own."""
    return _run("ours", url, pages, environment)


def _run(mode: str, url: str, pages: int, environment: dict[str, str]) -> dict[str, float]:
    return run_child(mode, [sys.executable, "-m", __name__, mode, "--url", url], pages, environment)


def run_child(mode: str, command: Sequence[str], pages: int, environment: dict[str, str]) -> dict[str, float]:
    """What a crawl of the whole site says of itself. Raises RuntimeError when it found less or more."""
    done = subprocess.run(
        command,
        cwd=_ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=600,
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if result["pages"] != pages:
        raise RuntimeError(f"{mode}: {result['pages']:.0f} of {pages} pages")
    return result


@contextmanager
def site(pages: int) -> Iterator[str]:
    """Serves the site; its first page."""
    server = subprocess.Popen(
        [sys.executable, "-m", __name__, "serve", "--pages", str(pages)], cwd=_ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/song/0"
    finally:
        server.terminate()
        server.wait(10)
        if server.stdout is not None:
            server.stdout.close()


def asked(url: str) -> list[tuple[float, int]]:
    """What the site was asked so far: the moment (seconds, monotonic) and the page's number."""
    answer = httpx.get(urljoin(url, "/__asked"), trust_env=False, timeout=60)
    return [(moment, number) for moment, number in answer.raise_for_status().json()]


def measure(pages: int = PAGES, rounds: int = ROUNDS) -> list[Figure]:
    """The figure; PostgreSQL and the object store are its own."""
    taken: list[tuple[float, float]] = []
    results: dict[str, list[dict[str, float]]] = {mode: [] for mode in ("ours", *MODES)}
    parts: list[dict[str, float]] = []
    with _stack.running("postgres", "s3") as stack, site(pages) as url:
        environment = {**stack.connections.environment(), "VERSIONS_DATA_DIR": str(stack.data_dir)}
        for _ in range(rounds):
            before = stack.cpu_s()
            results["ours"].append(_run("ours", url, pages, environment))
            parts.append(_stack.cpu_difference(before, stack.cpu_s()))
            for mode in MODES:
                results[mode].append(_run(mode, url, pages, {}))
            fastest = min(results[mode][-1]["s"] for mode in MODES)
            taken.append((pages / results["ours"][-1]["s"], pages / fastest))
    cpu = ", ".join(
        f"{mode} {sum(each['cpu_s'] for each in done) * 1000 / pages / rounds:.1f}" for mode, done in results.items()
    )
    peak = ", ".join(f"{mode} {max(each['peak_kb'] for each in done) / 1024:.0f}" for mode, done in results.items())
    detail = (
        f"{pages} pages, {CONCURRENCY} at once; CPU ms a page: {cpu}; of our stores: "
        f"{_stack.per_item(parts, pages * rounds)}; peak MiB: {peak}"
    )
    return [
        at_least(
            FIGURES[0],
            "pages/s",
            taken,
            reference_name="bare Scrapy spider (the faster of both modes), which stores nothing",
            goal=GOAL,
            detail=detail,
        )
    ]


def main() -> None:
    """``serve``, or one mode."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["serve", "ours", *MODES])
    parser.add_argument("--url", default="")
    parser.add_argument("--pages", type=int, default=PAGES)
    arguments = parser.parse_args()
    if arguments.mode == "serve":
        asyncio.run(_serve(arguments.pages))
    else:
        _child(arguments.mode, arguments.url)


if __name__ == "__main__":
    main()
