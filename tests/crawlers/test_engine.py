"""The HTTP engine on a real site: what it finds, how each bad page ends, and what survives a stop."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence

import pytest

from adapters.contract import Engine
from crawlers.errors import FailureClass as F
from crawlers.ports import CrawlProgress, PageOutcome
from crawlers.scrapy_parts import run as run_module
from tests.crawlers.conftest import Bench
from tests.crawlers.memory import MemoryGuard, MemoryStore, Stop
from tests.crawlers.reader import Reader
from tests.crawlers.site import Site


async def test_everything_is_found_once(bench: Bench) -> None:
    assert await bench.run("/list/0")
    assert set(bench.store.items) == {str(n) for n in range(100)}
    assert set(bench.site.hits.values()) == {1}
    assert bench.progress.pages == 1 + 10 + 100
    assert bench.progress.items == 100
    assert bench.progress.requests == 111
    assert bench.progress.bytes > 0
    assert not bench.store.incidents
    assert not bench.store.queue
    assert bench.site.agents == {"VersionsBot/0.1"}
    assert bench.site.most_in_flight <= 8
    # Group commit: far fewer transactions than pages, one object per transaction.
    assert len(bench.store.commits) < 60
    assert len(bench.snapshots.objects) <= len(bench.store.commits)
    song = next(o for o in bench.store.outcomes if o.queued.request.url.endswith("/song/7"))
    assert song.status == 200
    assert song.queued.depth == 2
    assert song.snapshot is not None
    assert song.latency_s > 0
    record = bench.snapshots.of("/song/7")
    assert record is not None
    assert b"data-item" in record.body


async def test_each_bad_page_has_its_end(bench: Bench) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = f"127.0.0.1:{closed.getsockname()[1]}"
    bench.guard = MemoryGuard([bench.site.host, refused])
    expected = {
        "status/404": F.NOT_FOUND,
        "status/410": F.GONE,
        "status/401": F.AUTH_REQUIRED,
        "status/403": F.FORBIDDEN,
        "status/418": F.FORBIDDEN,
        "status/451": F.GEO_BLOCKED,
        "status/429": F.RATE_LIMITED,
        "status/500": F.SERVER_ERROR,
        "circle/a": F.REDIRECT_LOOP,
        "chain/1": F.REDIRECT_LOOP,
        "big": F.TOO_LARGE,
        "big-chunked": F.TOO_LARGE,
        "bomb": F.TOO_LARGE,
        "audio": F.WRONG_TYPE,
        "untold": F.WRONG_TYPE,
        "hang": F.TIMEOUT,
        "cut": F.CONNECTION,
        "broken": F.BROKEN_MARKUP,
        "bomb-of-xml": F.XML_BOMB,
        "half": F.BROKEN_MARKUP,
        "bug": F.ADAPTER_BROKEN,
        "out?to=http://127.0.0.2/": F.ADDRESS_BLOCKED,
        "out?to=file:///etc/passwd": F.ADDRESS_BLOCKED,
        "out?to=http://[::1/": F.ADDRESS_BLOCKED,
    }
    links = [f"/{path}" for path in expected]
    others = {"http://10.0.0.1/x": F.ADDRESS_BLOCKED, "ftp://127.0.0.1/y": F.ADDRESS_BLOCKED}
    others |= {"http://no.such.host/z": F.CONNECTION, f"http://{refused}/w": F.CONNECTION}
    good = ["/song/1", "/moved", "/brotli", "/sitemap.xml.gz"]
    limits = {"timeout_s": 1.0, "max_attempts": 2, "max_page_bytes": 200_000, "max_redirects": 4}
    assert await bench.run(*links, *others, *good, limits=limits, concurrency=30)
    by_url = {i.url: i for i in bench.store.incidents if i.final}
    ends = {url.removeprefix(f"{bench.site.url}/"): incident.failure for url, incident in by_url.items()}
    assert ends == expected | others
    assert set(bench.store.items) == {"1", "900", "brotli", "sitemap", "half"}
    bug = by_url[f"{bench.site.url}/bug"]
    assert "KeyError" in bug.detail
    assert "reader.py" in bug.detail
    assert by_url[f"{bench.site.url}/status/500"].attempts == 2
    assert by_url[f"{bench.site.url}/status/404"].attempts == 1
    assert by_url[f"{bench.site.url}/status/404"].status == 404
    assert bench.progress.failures["not_found"] == 1
    assert sum(bench.progress.failures.values()) == len(by_url)
    gone = bench.snapshots.of("/status/410")
    assert gone is not None
    assert gone.status == 410
    assert bench.snapshots.of("/bug") is not None
    moved = next(o for o in bench.store.outcomes if o.queued.request.url.endswith("/moved"))
    assert moved.final_url == f"{bench.site.url}/song/900"


async def test_connects_to_the_address_that_was_checked(bench: Bench) -> None:
    """A name is resolved by the guard alone: the system knows no such host."""
    port = bench.site.host.partition(":")[2]
    bench.guard = MemoryGuard([f"music.test:{port}"], {"music.test": "127.0.0.1"})
    assert await bench.run("/song/1", seeds=[f"http://music.test:{port}/"])
    assert set(bench.store.items) == {"1"}


async def test_a_name_that_turns_private_is_not_connected_to(bench: Bench) -> None:
    """DNS rebinding: public at the first question, private at the second."""

    class Rebinding(MemoryGuard):
        async def check(self, url: str) -> list[str]:
            await super().check(url)
            if self.checked["music.test:80"] > 1:
                return await MemoryGuard([], {"music.test": "127.0.0.1"}).check(url)
            return ["93.184.216.34"]

    bench.guard = Rebinding([], {"music.test": "93.184.216.34"})
    assert await bench.run(seeds=["http://music.test/"])
    assert bench.store.ends() == {"": F.ADDRESS_BLOCKED}


async def test_fails_twice_then_works(bench: Bench) -> None:
    assert await bench.run("/flaky/1", "/flaky/2")
    assert set(bench.store.items) == {"flaky1", "flaky2"}
    assert bench.site.hits["/flaky/1"] == 3
    assert bench.progress.retries == 4
    assert not bench.store.ends()
    assert {(i.failure, i.final) for i in bench.store.incidents} == {(F.SERVER_ERROR, False)}


async def test_retry_after_in_both_forms(bench: Bench) -> None:
    started = time.monotonic()
    assert await bench.run("/busy/seconds")
    assert await bench.run(seeds=[f"{bench.site.url}/busy/date"])
    assert set(bench.store.items) == {"busyseconds", "busydate"}
    groups, waits = zip(*bench.budget.penalties, strict=True)
    assert set(groups) == {bench.site.host}
    assert waits[0] == 1.0
    assert 0.0 <= waits[1] <= 1.0
    assert time.monotonic() - started >= 1.0  # it was really waited for


async def test_endless_calendar_is_a_trap(bench: Bench) -> None:
    limits = {"max_pages_per_pattern": 20, "max_depth": 1000}
    assert await bench.run("/calendar/1", "/list/0", limits=limits)
    assert bench.store.ends() == {"calendar/21": F.TRAP}
    assert sum(path.startswith("/calendar/") for path in bench.site.hits) == 20
    # A hundred pages of one pattern that bring items are no trap.
    assert len(bench.store.items) == 100


async def test_a_wanted_pattern_is_no_trap(bench: Bench) -> None:
    limits = {"max_pages_per_pattern": 5, "max_depth": 12}
    assert await bench.run("/calendar/1", limits=limits, follow=["/calendar/"])
    assert set(bench.store.ends().values()) == {F.TOO_DEEP}
    assert bench.site.hits["/calendar/12"] == 1


async def test_depth_ends(bench: Bench) -> None:
    assert await bench.run("/deep/", limits={"max_depth": 6})
    assert sum(path.startswith("/deep/") for path in bench.site.hits) == 2**6 - 1
    ends = list(bench.store.ends().values())
    assert set(ends) == {F.TOO_DEEP}
    assert len(ends) == 20


async def test_max_pages(bench: Bench) -> None:
    assert await bench.run("/list/0", limits={"max_pages": 30})
    assert sum(bench.site.hits.values()) == 30
    assert bench.store.queue


async def test_robots(bench: Bench) -> None:
    bench.site.robots = "User-agent: *\nDisallow: /song/1\nCrawl-delay: 0.05\n"
    assert await bench.run("/song/1", "/song/2", respect_robots=True)
    assert bench.store.ends() == {"song/1": F.ROBOTS_DISALLOWED}
    assert set(bench.store.items) == {"2"}
    assert bench.site.hits["/robots.txt"] == 1
    assert bench.site.hits["/song/1"] == 0
    assert bench.budget.delays[bench.site.host] == 0.05
    assert bench.budget.acquired[bench.site.host] == 3


async def test_robots_delay_is_of_the_group(bench: Bench) -> None:
    bench.site.robots = "User-agent: *\nCrawl-delay: 0.01\n"
    assert await bench.run("/song/2", respect_robots=True, group_by="address")
    assert bench.budget.delays == {"address 127.0.0.1": 0.01}
    assert set(bench.budget.acquired) == {"address 127.0.0.1"}


async def test_redirect_into_a_disallowed_part(bench: Bench) -> None:
    bench.site.robots = "User-agent: *\nDisallow: /song/\n"
    assert await bench.run("/moved", respect_robots=True)
    assert bench.store.ends() == {"moved": F.ROBOTS_DISALLOWED}


@pytest.mark.parametrize(("status", "found"), [(404, {"1"}), (403, {"1"}), (500, set())])
async def test_robots_that_cannot_be_read(bench: Bench, status: int, found: set[str]) -> None:
    bench.site.robots = status
    assert await bench.run("/song/1", respect_robots=True, limits={"max_attempts": 2})
    assert set(bench.store.items) == found
    if status == 500:
        (incident,) = bench.store.incidents
        assert incident.failure is F.ROBOTS_DISALLOWED
        assert "robots.txt answered 500" in incident.detail
        assert bench.site.hits["/robots.txt"] == 2


async def test_robots_that_recovers(bench: Bench) -> None:
    bench.site.robots = "User-agent: *\nAllow: /\n"
    bench.site.robots_failures = 2
    assert await bench.run("/song/1", respect_robots=True)
    assert set(bench.store.items) == {"1"}


async def test_concurrency_and_delay_per_group(bench: Bench) -> None:
    assert await bench.run("/list/0", concurrency=2, limits={"max_pages": 40})
    assert bench.site.most_in_flight <= 2
    assert await bench.run(seeds=[f"{bench.site.url}/song/777"], delay_s=0.01)
    assert bench.budget.delays[bench.site.host] == 0.01


async def test_stop_and_resume_without_asking_twice(bench: Bench) -> None:
    async def stop_soon() -> None:
        while len(bench.store.outcomes) < 20:
            await asyncio.sleep(0.005)
        bench.stop.now = True

    stopper = asyncio.create_task(stop_soon())
    assert not await bench.run("/list/0", concurrency=1)
    await stopper
    first = len(bench.store.outcomes)
    assert bench.store.queue
    # What was asked was committed: nothing is in doubt after an orderly stop.
    assert sum(bench.site.hits.values()) == first
    bench.stop = Stop()
    assert await bench.run("/list/0")
    assert set(bench.store.items) == {str(n) for n in range(100)}
    assert set(bench.site.hits.values()) == {1}


async def test_stop_does_not_wait_for_the_next_turn(bench: Bench) -> None:
    async def stop_soon() -> None:
        while not bench.store.outcomes:
            await asyncio.sleep(0.005)
        bench.stop.now = True

    stopper = asyncio.create_task(stop_soon())
    async with asyncio.timeout(20):
        assert not await bench.run("/song/1", "/song/2", delay_s=3600.0)
    await stopper
    assert len(bench.store.queue) == 2


async def _cancel_in_the_middle(bench: Bench) -> None:
    task = asyncio.create_task(bench.run("/list/0", "/hang", concurrency=3))
    while len(bench.store.outcomes) < 10 or not bench.site.hits["/hang"]:
        await asyncio.sleep(0.005)
    task.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_cancel_leaves_nothing_behind_and_loses_nothing(bench: Bench) -> None:
    before = asyncio.all_tasks()
    await _cancel_in_the_middle(bench)
    await asyncio.sleep(0.05)
    left = [t for t in asyncio.all_tasks() - before if "RequestHandler" not in repr(t)]  # the site's own
    assert left == []
    bench.site.slow_s = 0.0
    committed = {o.queued.request.url for o in bench.store.outcomes}
    hits = dict(bench.site.hits)
    assert await bench.run("/list/0", "/hang")
    assert set(bench.store.items) == {str(n) for n in range(100)}
    for url in committed:
        path = url.removeprefix(bench.site.url)
        assert bench.site.hits[path] == hits[path], "a committed page was fetched again"


async def test_a_broken_store_ends_the_crawl(bench: Bench) -> None:
    bench.store.fail_commits = True
    async with asyncio.timeout(20):
        with pytest.raises(ConnectionError, match="database is gone"):
            await bench.run("/list/0")


async def test_two_crawls_at_once_and_one_after(bench: Bench) -> None:
    other = Bench(bench.site, MemoryGuard([bench.site.host]))
    bench.site.start = ["/list/0"]
    assert await asyncio.gather(bench.run(), other.run()) == [True, True]
    third = Bench(bench.site, MemoryGuard([bench.site.host]))
    assert await third.run()
    assert bench.store.items == other.store.items == third.store.items
    assert len(third.store.items) == 100


async def test_memory_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "CAPACITY", 24)
    monkeypatch.setattr(run_module, "PREFETCH", 8)
    monkeypatch.setattr(run_module, "LOW_WATER", 4)
    assert await bench.run("/list/0")
    assert len(bench.store.items) == 100
    assert bench.store.largest_exclude <= 24


async def test_a_bad_seed_and_a_foreign_adapter_are_told(bench: Bench) -> None:
    with pytest.raises(ValueError, match="not an http URL"):
        await bench.run(seeds=["nonsense"])

    class Folder(Reader):
        engine = Engine.FILES

    bench.adapter = Folder()
    with pytest.raises(ValueError, match="engine 'files'"):
        await bench.run()


async def test_progress_of_an_earlier_attempt_counts(bench: Bench) -> None:
    bench.progress = CrawlProgress(pages=95)
    assert await bench.run("/list/0", limits={"max_pages": 100})
    assert sum(bench.site.hits.values()) == 5


async def test_every_permit_is_given_back_with_what_was_seen(bench: Bench) -> None:
    assert await bench.run("/song/1", "/status/404", "/flaky/1", "/moved", "/hang", limits={"timeout_s": 0.3})
    assert bench.budget.held == 0
    seen = {(each.status, each.failure) for each in bench.budget.observed}
    assert seen == {(200, None), (307, None), (404, F.NOT_FOUND), (500, F.SERVER_ERROR), (None, F.TIMEOUT)}
    assert sum(each.bytes for each in bench.budget.observed) > 0
    assert {claim.source for claim in bench.budget.claims} == {"test"}


async def test_what_gets_no_permit_waits_in_the_frontier(bench: Bench) -> None:
    """No attempt is counted, nothing is sent meanwhile, and the reason is committed."""
    bench.budget.not_now[bench.site.host] = time.monotonic() + 1.5
    assert await bench.run(seeds=[f"{bench.site.url}/song/{number}" for number in range(3)])
    assert set(bench.store.items) == {"0", "1", "2"}
    postponed = [outcome for outcome in bench.store.outcomes if outcome.postponed is not None]
    assert {each.postponed.reason for each in postponed if each.postponed} == {"daily_requests"}
    assert len(postponed) == 3
    assert all(outcome.queued.attempts == 0 for outcome in bench.store.outcomes)
    assert not bench.store.incidents


async def test_a_stop_ends_a_crawl_that_waits_for_the_budget(bench: Bench) -> None:
    bench.budget.not_now[bench.site.host] = time.monotonic() + 3600

    async def stop_once_postponed() -> None:
        while not any(outcome.postponed for outcome in bench.store.outcomes):
            await asyncio.sleep(0.02)
        bench.stop.now = True

    async with asyncio.timeout(30):
        complete, _ = await asyncio.gather(bench.run("/song/1"), stop_once_postponed())
    assert not complete
    assert sum(bench.site.hits.values()) == 0


async def test_a_bot_check_is_told_and_nothing_of_it_is_believed(bench: Bench) -> None:
    assert await bench.run("/challenge", limits={"max_attempts": 1})
    assert bench.store.ends() == {"challenge": F.BOT_CHECK}
    assert bench.site.hits["/song/7"] == 0
    assert F.BOT_CHECK in {each.failure for each in bench.budget.observed}


async def test_a_polite_crawl_asks_no_more_than_it_could_lose(bench: Bench, site: Site) -> None:
    """What was asked and is not committed would be asked again after a kill: never more than the concurrency."""
    at_risk: list[int] = []

    class Slow(MemoryStore):
        async def commit(self, outcomes: Sequence[PageOutcome]) -> None:
            await asyncio.sleep(0.05)
            at_risk.append(site.hits.total() - len(self.outcomes))
            await super().commit(outcomes)

    bench.store = Slow()
    assert await bench.run(*(f"/song/{n}" for n in range(40)), "/flaky/1", delay_s=0.001, concurrency=3)
    assert max(at_risk) == 3
    assert len(bench.store.items) == 41
