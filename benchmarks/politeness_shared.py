"""How well the one politeness budget is kept and used, told by the asked server's own log.

``politeness_shared``: three worker processes with three engines (Scrapy over HTTP, Chromium in one of them, audio
downloads) on one local server group. ``politeness_http``: one worker with the HTTP engine alone. Ours is the rate that
the server saw; the reference is the rate that the budget permits. A trial in which the budget was exceeded in any
window is an error, not a figure.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from aiohttp import web

from benchmarks import _stack
from benchmarks._figures import Figure, at_least

FIGURES = ("politeness_shared", "politeness_http")
ENGINES = ("http", "browser", "audio")
WORKERS = 3
SHARED_DELAY_S = 0.25
SHARED_CONCURRENCY = 6
HTTP_DELAY_S = 0.02
HTTP_CONCURRENCY = 8
SECONDS = 20.0
ANSWER_S = 0.02
START_S = 180.0
"""So long the workers may take until every engine has asked."""
JITTER_S = 0.15
"""So late a request may reach the server after its time (`crawlers.budget.shared.LATE_S`, and the way there), so that
the next one seems early."""
BROWSER_JITTER_S = 0.6
"""The same where Chromium opens a tab in between."""
_ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Log:
    """What the server saw. ``starts``: (when, by which worker and engine), monotonic seconds."""

    starts: list[tuple[float, str]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    def kept(self, since: float, until: float, delay_s: float, jitter_s: float = 0.0) -> tuple[float, list[str]]:
        """Requests a second within this time, and in which windows the rate was exceeded."""
        moments = [moment for moment, _ in self.starts if since <= moment < until]
        wrong = []
        for window_s in (1.0, 2.0, 5.0, 10.0, until - since):
            most = (window_s + jitter_s) / delay_s + 1
            last = 0
            for first, moment in enumerate(moments):
                while last < len(moments) and moments[last] < moment + window_s:
                    last += 1
                if last - first > most:
                    wrong.append(f"{last - first} requests within {window_s:g} s, {most:g} are permitted")
                    break
        return len(moments) / (until - since), wrong


@dataclass(frozen=True)
class Trial:
    """``rate``: requests a second; ``by``: of each worker and engine; ``wrong``: how the budget was exceeded."""

    rate: float
    permitted: float
    most_in_flight: int
    by: dict[str, int]
    wrong: list[str]


class _Pages:
    """An adapter of endless pages that hold nothing."""

    name: ClassVar[str] = "pages"
    summary: ClassVar[str] = ""
    url_patterns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, engine: Any) -> None:
        from adapters.contract import AudioPolicy, PolitenessDefaults

        self.engine = engine
        self.politeness = PolitenessDefaults()
        self.audio_policy = AudioPolicy.NONE

    def seeds(self, query: Any) -> Iterable[Any]:
        from adapters.contract import PageRequest

        return [PageRequest(f"{query.seeds[0]}{number}") for number in range(20_000)]

    def parse(self, page: Any, query: Any) -> Iterable[Any]:
        return ()


class _Store:
    """Frontier and snapshots that keep nothing that was answered."""

    def __init__(self) -> None:
        self.queue: dict[str, Any] = {}

    async def seed(self, requests: Sequence[Any]) -> None:
        self.queue.update({each.request_key: each for each in requests})

    async def take(self, limit: int, exclude: Sequence[str]) -> Sequence[Any]:
        held = set(exclude)
        result = []
        for key, queued in self.queue.items():
            if key not in held:
                result.append(queued)
                if len(result) >= limit:
                    break
        return result

    async def next_due_in_s(self) -> float | None:
        return 0.0 if self.queue else None

    async def commit(self, outcomes: Sequence[Any]) -> None:
        for outcome in outcomes:
            if outcome.retry_in_s is None:
                self.queue.pop(outcome.queued.request_key, None)

    async def write(self, records: Sequence[Any]) -> Sequence[Any]:
        from crawlers.ports import SnapshotRef

        return [SnapshotRef("", 0, 0, "") for _ in records]


async def _work(name: str, base: str, engines: Sequence[str], delay_s: float, concurrency: int) -> None:
    """One worker process: all its engines within one budget, until its standard input ends."""
    from activities.politeness import fleet_budget
    from adapters.contract import Engine
    from catalog.database import Database
    from crawlers.budget.limits import BudgetLimits
    from crawlers.download import download
    from crawlers.engine import crawl
    from crawlers.guard import AddressGuard
    from crawlers.ports import Claim, CrawlJob, CrawlLimits, CrawlProgress

    database = Database(os.environ["VERSIONS_DATABASE_URL"], pool_size=4)
    budget = fleet_budget(database)
    place = base.removeprefix("http://")
    stop = asyncio.Event()

    async def pages(engine: Engine, word: str) -> None:
        store = _Store()
        job = CrawlJob(
            name, f"bench-{word}", "pages", [f"{base}/{name}/{word}/"], delay_s=delay_s, concurrency=concurrency,
            respect_robots=False, allow_private=[place], campaign=word,
            limits=CrawlLimits(max_pages=10**9, max_pages_per_pattern=10**9),
        )  # fmt: skip
        adapter: Any = _Pages(engine)
        await crawl(
            job, adapter, store=store, snapshots=store, budget=budget, guard=AddressGuard([place]),
            progress=CrawlProgress(), stop=stop,
        )  # fmt: skip

    async def audio(folder: Path, number: int) -> None:
        claim = Claim("bench-audio", "audio", limits=BudgetLimits(delay_s, concurrency))
        guard = AddressGuard([place])
        while not stop.is_set():
            await download(
                f"{base}/{name}/audio/{number}", folder / str(number), guard=guard, budget=budget, max_bytes=10**6,
                timeout_s=30, user_agent="VersionsBot/bench", claim=claim,
            )  # fmt: skip

    with tempfile.TemporaryDirectory(prefix="versions-bench-") as folder:
        tasks = []
        if "http" in engines:
            tasks.append(asyncio.create_task(pages(Engine.HTTP, "http")))
        if "browser" in engines:
            tasks.append(asyncio.create_task(pages(Engine.BROWSER, "browser")))
        if "audio" in engines:
            tasks += [asyncio.create_task(audio(Path(folder), number)) for number in range(2)]
        await asyncio.to_thread(sys.stdin.buffer.read)
        stop.set()
        await asyncio.gather(*tasks)
    await budget.close()
    database.dispose()


def of_worker(engines: Sequence[str], number: int) -> list[str]:
    """The engines of one worker: one Chromium is enough for a machine."""
    return [engine for engine in engines if engine != "browser" or number == 0]


async def _trial(
    database_url: str, *, workers: int, engines: Sequence[str], delay_s: float, concurrency: int, seconds: float
) -> Trial:
    log = Log()

    async def answer(request: web.Request) -> web.Response:
        _, worker, engine, _ = request.path.split("/", 3) if request.path.count("/") == 3 else ("", "", "", "")
        if not engine:
            return web.Response(status=404)  # what Chromium asks for by itself
        log.starts.append((time.monotonic(), f"{worker} {engine}"))
        log.in_flight += 1
        log.most_in_flight = max(log.most_in_flight, log.in_flight)
        try:
            await asyncio.sleep(ANSWER_S)
        finally:
            log.in_flight -= 1
        if engine == "audio":
            return web.Response(body=b"ID3" + b"\0" * 2000, content_type="audio/mpeg")
        return web.Response(text="<html><body>page</body></html>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.politeness_shared", f"w{number}", base,
            ",".join(of_worker(engines, number)), str(delay_s), str(concurrency),
            cwd=_ROOT, env={**os.environ, "VERSIONS_DATABASE_URL": database_url}, stdin=asyncio.subprocess.PIPE,
        )
        for number in range(workers)
    ]  # fmt: skip
    try:
        begin = time.monotonic()
        everybody = sum(len(of_worker(engines, number)) for number in range(workers))
        while len(seen := {by for _, by in log.starts}) < everybody:
            if time.monotonic() - begin > START_S:
                raise TimeoutError(f"after {START_S:g} s only these have asked: {sorted(seen)}")
            await asyncio.sleep(0.1)
        since = time.monotonic() + 1.0
        await asyncio.sleep(seconds + 1.0)
        until = time.monotonic()
    finally:
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in processes:
            try:
                async with asyncio.timeout(30):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await runner.cleanup()
    # Kept is what was kept from the first request on; used is what was used once everybody was there.
    first, last = log.starts[0][0], log.starts[-1][0]
    _, wrong = log.kept(first, last, delay_s, BROWSER_JITTER_S if "browser" in engines else JITTER_S)
    rate, _ = log.kept(since, until, delay_s)
    if log.most_in_flight > concurrency:
        wrong.append(f"{log.most_in_flight} requests at once, {concurrency} are permitted")
    by: dict[str, int] = {}
    for moment, name in log.starts:
        if since <= moment < until:
            by[name] = by.get(name, 0) + 1
    return Trial(rate, 1 / delay_s, log.most_in_flight, by, wrong)


def trial(database_url: str, **options: Any) -> Trial:
    """One trial on a migrated database; for the options see `measure`."""
    return asyncio.run(_trial(database_url, **options))


def measure(seconds: float = SECONDS, rounds: int = 2) -> list[Figure]:
    """The figures; PostgreSQL is their own. Raises RuntimeError where the budget was exceeded."""
    shared: list[Trial] = []
    alone: list[Trial] = []
    with _stack.running("postgres") as stack:
        url = stack.connections.database_url
        for _ in range(rounds):
            shared.append(
                trial(
                    url, workers=WORKERS, engines=ENGINES, delay_s=SHARED_DELAY_S, concurrency=SHARED_CONCURRENCY,
                    seconds=seconds,
                )
            )  # fmt: skip
            alone.append(
                trial(
                    url, workers=1, engines=("http",), delay_s=HTTP_DELAY_S, concurrency=HTTP_CONCURRENCY,
                    seconds=seconds,
                )
            )  # fmt: skip
    if wrong := [each for done in (*shared, *alone) for each in done.wrong]:
        raise RuntimeError(f"the budget was exceeded: {'; '.join(wrong)}")
    least = min(count for done in shared for count in done.by.values())
    return [
        at_least(
            "politeness_shared",
            "requests/s",
            [(done.rate, done.permitted) for done in shared],
            reference_name="what the budget permits",
            goal=0.9,
            detail=f"{WORKERS} workers with {', '.join(ENGINES)} on one server, {seconds:g} s; at most "
            f"{max(done.most_in_flight for done in shared)} of {SHARED_CONCURRENCY} at once; the least "
            f"used engine of a worker got {least} requests",
        ),
        at_least(
            "politeness_http",
            "requests/s",
            [(done.rate, done.permitted) for done in alone],
            reference_name="what the budget permits",
            goal=0.98,
            detail=f"one worker, HTTP engine, one request every {HTTP_DELAY_S * 1000:g} ms, {seconds:g} s",
        ),
    ]


def main() -> None:
    """One worker process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("base")
    parser.add_argument("engines")
    parser.add_argument("delay_s", type=float)
    parser.add_argument("concurrency", type=int)
    arguments = parser.parse_args()
    engines = arguments.engines.split(",")
    asyncio.run(_work(arguments.name, arguments.base, engines, arguments.delay_s, arguments.concurrency))


if __name__ == "__main__":
    main()
