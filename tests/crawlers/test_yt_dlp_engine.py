"""Crawls by yt-dlp, with recorded answers of a RuTube that has as many videos as a test wants."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import yt_dlp.globals
from yt_dlp.cookies import YoutubeDLCookieJar
from yt_dlp.networking.exceptions import RequestError

from adapters._yt_dlp import YtDlpAdapter
from adapters.contract import Availability, get_adapter
from crawlers.classify import Backoff
from crawlers.errors import FailureClass, FetchError
from crawlers.guard import AddressGuard
from crawlers.ports import CrawlJob, CrawlLimits, CrawlProgress, NotNow
from crawlers.yt_dlp import crawl_with_yt_dlp
from crawlers.yt_dlp_parts import reader
from crawlers.yt_dlp_parts.accounts import AccountError, Accounts
from crawlers.yt_dlp_parts.network import Limits, Manners, Network
from crawlers.yt_dlp_parts.session import MAX_REQUESTS, Downloader, Extraction
from tests.crawlers.memory import MemoryBudget, MemorySnapshots, MemoryStore, Stop
from tests.replay import Names

API = "https://rutube.ru/api"
CHANNEL = "https://rutube.ru/channel/1/"
PAGE = 20


def key(number: int) -> str:
    return f"{number:032x}"


def url(number: int) -> str:
    return f"https://rutube.ru/video/{key(number)}/"


@dataclass
class RuTube(httpx.AsyncBaseTransport):
    """The interfaces that yt-dlp asks. ``refuse``: path patterns and what they get instead."""

    videos: int = 0
    refuse: dict[str, httpx.Response | Callable[[], httpx.Response]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    hold: asyncio.Event | None = None
    under_way: int = 0
    most_under_way: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        self.log.append(path)
        self.cookies.append(request.headers.get("cookie", ""))
        self.agents.add(request.headers["user-agent"])
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.hold is not None:
                await self.hold.wait()
            await asyncio.sleep(0)
            return self.answer(path)
        finally:
            self.under_way -= 1

    def answer(self, path: str) -> httpx.Response:
        for pattern, answer in self.refuse.items():
            if re.search(pattern, path):
                return answer() if callable(answer) else answer
        split = urlsplit(path)
        query = dict(parse_qsl(split.query))
        if split.path == "/robots.txt":
            return httpx.Response(404)
        if split.path == "/api/video/person/1/":
            number = int(query["page"])
            found = range((number - 1) * PAGE, min(number * PAGE, self.videos))
            more = number * PAGE < self.videos
            following = f"{API}/video/person/1/?page={number + 1}" if more else None
            return httpx.Response(
                200, json={"results": [self.video(n) for n in found], "has_next": more, "next": following}
            )
        if found := re.fullmatch(r"/api/video/([\da-f]{32})/", split.path):
            return httpx.Response(200, json=self.video(int(found[1], 16)), headers={"set-cookie": "seen=1; Path=/"})
        if found := re.fullmatch(r"/api/play/options/([\da-f]{32})/", split.path):
            return httpx.Response(
                200, json={"video_balancer": {"m3u8": f"https://bl.rutube.ru/{found[1]}.m3u8?sign=S"}}
            )
        return httpx.Response(404)

    def video(self, number: int) -> Mapping[str, Any]:
        return {
            "id": key(number),
            "title": f"Песня {number}",
            "video_url": url(number),
            "duration": 100 + number,
            "author": {"id": 1, "name": "Хор"},
        }

    def asked(self, pattern: str) -> list[str]:
        return [path for path in self.log if re.search(pattern, path)]


@dataclass
class Bench:
    site: RuTube = field(default_factory=RuTube)
    store: MemoryStore = field(default_factory=MemoryStore)
    snapshots: MemorySnapshots = field(default_factory=MemorySnapshots)
    budget: MemoryBudget = field(default_factory=MemoryBudget)
    progress: CrawlProgress = field(default_factory=CrawlProgress)
    stop: Stop = field(default_factory=Stop)
    guard: Any = field(default_factory=Names)
    accounts: Accounts | None = None

    async def run(self, *seeds: str, limits: Mapping[str, Any] | None = None, **options: Any) -> bool:
        chosen = {"delay_s": 0.0, "concurrency": 4, "respect_robots": False} | options
        job = CrawlJob("run", "rutube", "rutube", seeds or [CHANNEL], limits=CrawlLimits(**(limits or {})), **chosen)
        return await crawl_with_yt_dlp(
            job,
            get_adapter("rutube"),
            store=self.store,
            snapshots=self.snapshots,
            budget=self.budget,
            guard=self.guard,
            progress=self.progress,
            stop=self.stop,
            backoff=Backoff(0.01, 0.05),
            accounts=self.accounts,
            transport=self.site,
        )

    def failures(self) -> dict[str, FailureClass]:
        return {incident.url: incident.failure for incident in self.store.incidents if incident.final}


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def until(happened: Callable[[], bool]) -> None:
    while not happened():
        await asyncio.sleep(0.01)


async def test_a_channel_to_its_end(bench: Bench) -> None:
    bench.site.videos = 250
    assert await bench.run()
    assert sorted(bench.store.items) == sorted(key(number) for number in range(250))
    assert bench.store.items[key(7)].duration_s == 107.0
    assert bench.failures() == {}
    # Three windows, and each of the site's pages once: the list stays open between them.
    assert len(bench.site.asked("person")) == 13
    assert len(bench.site.asked("/api/video/0")) == 250
    assert bench.progress.pages == 253
    assert bench.progress.items == 250
    assert bench.progress.requests == len(bench.site.log) == 13 + 250 * 2
    assert bench.site.most_under_way <= 4
    assert bench.budget.acquired["rutube.ru:443"] == len(bench.site.log)
    assert bench.site.asked("m3u8") == []


async def test_its_snapshots_are_pages_without_secrets(bench: Bench) -> None:
    bench.site.videos = 3
    await bench.run()
    records = [record for batch in bench.snapshots.objects for record in batch]
    assert {record.url for record in records} == {CHANNEL, *map(url, range(3))}
    adapter = get_adapter("rutube")
    for record in records:
        assert record.headers["content-type"].startswith("application/json")
        page = json.loads(record.body)
        assert b"sign=" not in record.body
        assert b"seen=1" not in record.body
        assert page.get("id") or page["entries"]
    assert adapter.name == "rutube"


async def test_a_list_that_is_no_longer_open_is_read_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "OPEN_LISTS", 0)
    bench.site.videos = 250
    assert await bench.run()
    assert len(bench.store.items) == 250
    assert len(bench.site.asked("person")) == 6 + 11 + 13


async def test_at_most_so_many_entries(bench: Bench) -> None:
    bench.site.videos = 250
    assert await bench.run(options={"max_entries": 120})
    assert len(bench.store.items) == 120
    assert await Bench(bench.site).run(limits={"max_pages": 10})


async def test_a_list_alone_can_be_enough(bench: Bench) -> None:
    bench.site.videos = 120
    assert await bench.run(options={"listed": True})
    assert len(bench.store.items) == 120
    assert bench.site.asked("/api/video/0") == []


async def test_windows_are_no_deeper_than_their_list(bench: Bench) -> None:
    bench.site.videos = 450
    assert await bench.run(limits={"max_depth": 1})
    assert len(bench.store.items) == 450
    shallow = Bench(bench.site)
    assert await shallow.run(limits={"max_depth": 0})
    assert shallow.store.items == {}
    assert set(shallow.failures().values()) == {FailureClass.TOO_DEEP}


async def test_stop_keeps_what_waits(bench: Bench) -> None:
    bench.site.videos = 60

    class Later(Stop):
        def is_set(self) -> bool:
            return len(bench.store.items) >= 10

    bench.stop = Later()
    assert not await bench.run(concurrency=2)
    first = len(bench.store.items)
    assert 10 <= first < 60
    assert bench.site.under_way == 0
    bench.stop = Stop()
    assert await bench.run(concurrency=2)
    assert len(bench.store.items) == 60
    assert len(bench.site.asked("/api/video/0")) == 60  # none twice


async def test_a_stop_does_not_wait_for_turns(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawlers.yt_dlp.STOP_PATIENCE_S", 0.1)

    class Slow(MemoryBudget):
        async def acquire(self, group: str, *args: Any) -> Any:
            if self.acquired[group] >= 3:
                bench.stop.now = True
                await asyncio.Event().wait()
            return await super().acquire(group, *args)

    bench.budget = Slow()
    bench.site.videos = 5
    assert not await bench.run(concurrency=1)
    assert bench.store.incidents == []
    assert len(bench.store.queue) == 5 - len(bench.store.items) == 4
    bench.budget, bench.stop = MemoryBudget(), Stop()
    assert await bench.run()
    assert len(bench.store.items) == 5
    assert {outcome.queued.attempts for outcome in bench.store.outcomes} == {0}


async def test_cancelling_ends_threads_and_requests(bench: Bench) -> None:
    bench.site.videos = 40
    task = asyncio.create_task(bench.run())
    await until(lambda: len(bench.store.items) >= 5)
    bench.site.hold = asyncio.Event()
    await until(lambda: bench.site.under_way > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.site.under_way == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("yt-dlp rutube")]
    known = set(bench.store.items)
    bench.site.hold = None
    log = bench.site.asked("/api/video/0")
    assert await bench.run()
    assert len(bench.store.items) == 40
    again = [path for path in bench.site.asked("/api/video/0")[len(log) :] if path.split("/")[3] in known]
    assert again == []
    assert len(bench.site.asked("/api/video/0")) <= 40 + 4  # at most what was in flight


async def test_refusals_are_items_with_their_availability(bench: Bench) -> None:
    blocked = {"acl_access": {"allowed": False, "err_text": "Недоступно в вашей стране"}, "video_balancer": {}}
    bench.site.refuse = {
        f"options/{key(1)}": lambda: httpx.Response(200, json=blocked),
        f"video/{key(2)}": lambda: httpx.Response(404, json={"detail": "Не найдено"}),
        f"video/{key(3)}": lambda: httpx.Response(403, json={"detail": "Видео скрыто автором"}),
        f"video/{key(4)}": lambda: httpx.Response(200, text="<html>"),
        f"video/{key(5)}": lambda: httpx.Response(500),
    }
    assert await bench.run(*map(url, range(6)))
    items = bench.store.items
    assert {number: items[key(number)].availability for number in range(4)} == {
        0: Availability.AVAILABLE, 1: Availability.GEO_BLOCKED, 2: Availability.REMOVED, 3: Availability.PRIVATE,
    }  # fmt: skip
    assert (items[key(1)].title, items[key(1)].audio_url) == ("Песня 1", None)
    assert items[key(1)].availability_detail == "Недоступно в вашей стране"
    assert set(items) == set(map(key, range(4)))
    assert bench.failures() == {
        url(1): FailureClass.GEO_BLOCKED, url(2): FailureClass.NOT_FOUND, url(3): FailureClass.PRIVATE,
        url(4): FailureClass.ADAPTER_BROKEN, url(5): FailureClass.SERVER_ERROR,
    }  # fmt: skip
    assert len(bench.site.asked(f"video/{key(5)}")) == 4  # the engine's attempts: yt-dlp itself asks once


async def test_too_many_requests(bench: Bench) -> None:
    answers = iter([httpx.Response(429, headers={"retry-after": "0"}), httpx.Response(429)])
    bench.site.refuse = {f"video/{key(1)}": lambda: next(answers, None) or bench.site.answer(f"/api/play/{key(1)}/")}
    bench.site.refuse = {
        f"/api/video/{key(1)}": lambda: next(answers, httpx.Response(200, json=bench.site.video(1))),
    }
    assert await bench.run(url(1))
    assert list(bench.store.items) == [key(1)]
    assert [incident.failure for incident in bench.store.incidents] == [FailureClass.RATE_LIMITED] * 2
    assert bench.progress.retries == 2
    # Nothing was asked after a 429, though the extractor would have gone on.
    assert len(bench.site.asked("options")) == 1


async def test_no_permit_is_no_attempt(bench: Bench) -> None:
    class Closed(MemoryBudget):
        refusals = 3

        async def acquire(self, group: str, *args: Any) -> Any:
            if self.refusals:
                self.refusals -= 1
                raise NotNow(0.01, "breaker_open", "operator")
            return await super().acquire(group, *args)

    bench.budget = Closed()
    bench.site.videos = 1
    assert await bench.run(url(0), limits={"max_attempts": 1})
    assert list(bench.store.items) == [key(0)]
    postponed = [outcome for outcome in bench.store.outcomes if outcome.postponed is not None]
    assert [outcome.postponed.reason for outcome in postponed if outcome.postponed] == ["breaker_open"] * 3
    assert bench.store.incidents == []


async def test_the_guard_sees_every_request_and_redirect(bench: Bench) -> None:
    bench.site.refuse = {
        f"video/{key(1)}": lambda: httpx.Response(302, headers={"location": "http://127.0.0.1:5432/"}),
        f"video/{key(2)}": lambda: httpx.Response(302, headers={"location": "http://[::1]/x"}),
        f"video/{key(3)}": lambda: httpx.Response(302, headers={"location": "file:///etc/passwd"}),
        f"video/{key(4)}": lambda: httpx.Response(302, headers={"location": f"/api/video/{key(4)}/?format=json"}),
    }

    class Mixed(AddressGuard):
        async def check(self, url: str) -> list[str]:
            return ["93.184.216.34"] if urlsplit(url).hostname == "rutube.ru" else await super().check(url)

    bench.guard = Mixed()
    assert await bench.run(*map(url, range(1, 5)))
    assert [bench.failures()[url(number)] for number in range(1, 5)] == [
        FailureClass.ADDRESS_BLOCKED, FailureClass.ADDRESS_BLOCKED, FailureClass.ADDRESS_BLOCKED,
        FailureClass.REDIRECT_LOOP,
    ]  # fmt: skip


async def test_answers_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawlers.yt_dlp.MIN_PAGE_BYTES", 10_000)
    bench.site.refuse = {f"video/{key(1)}": lambda: httpx.Response(200, text="x" * 20_000)}
    assert await bench.run(url(1), limits={"max_page_bytes": 10_000})
    assert bench.failures() == {url(1): FailureClass.TOO_LARGE}


async def test_a_list_without_end_is_a_trap(bench: Bench) -> None:
    endless = {"results": [{"id": "x", "title": "y"}], "has_next": True, "next": f"{API}/video/person/1/?page=2"}
    bench.site.refuse = {"person": lambda: httpx.Response(200, json=endless)}
    assert await bench.run()
    assert bench.failures() == {CHANNEL: FailureClass.TRAP}
    assert len(bench.site.log) == MAX_REQUESTS


async def test_robots_txt_where_the_campaign_wants_it(bench: Bench) -> None:
    bench.site.refuse = {"robots": lambda: httpx.Response(200, text="User-agent: *\nDisallow: /api/\n")}
    assert await bench.run(url(1), respect_robots=True)
    assert bench.failures() == {url(1): FailureClass.ROBOTS_DISALLOWED}
    assert bench.site.asked("/api/") == []


async def test_hosts_of_a_domain_share_a_budget_where_the_campaign_wants_it(bench: Bench) -> None:
    bench.site.refuse = {"robots": lambda: httpx.Response(200, text="User-agent: *\nCrawl-delay: 0.02\n")}
    assert await bench.run(url(1), respect_robots=True, group_by="domain")
    assert set(bench.budget.acquired) == {"domain rutube.ru"}
    assert bench.budget.delays == {"domain rutube.ru": 0.02}


async def test_it_says_who_it_is_and_keeps_cookies(bench: Bench) -> None:
    assert await bench.run(url(1), url(2), concurrency=1, user_agent="Probe/1 (+https://probe.example)")
    assert bench.site.agents == {"Probe/1 (+https://probe.example)"}
    assert bench.site.cookies == ["", "seen=1", "seen=1", "seen=1"]


def cookie_file(folder: Path, text: str, mode: int = 0o600) -> Accounts:
    path = folder / "rutube.cookies.txt"
    path.write_text(text)
    path.chmod(mode)
    return Accounts(folder)


COOKIES = "# Netscape HTTP Cookie File\n.rutube.ru\tTRUE\t/\tTRUE\t4102444800\tsession\tTOPSECRET\n"


async def test_an_account_s_cookies_go_to_its_site_only(bench: Bench, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level("DEBUG")
    bench.accounts = cookie_file(tmp_path, COOKIES)
    bench.site.refuse = {f"video/{key(2)}": lambda: httpx.Response(302, headers={"location": "https://else.example/"})}
    assert await bench.run(url(1), url(2), concurrency=1)
    assert {cookie for cookie in bench.site.cookies if "TOPSECRET" in cookie}
    assert [cookie for cookie, path in zip(bench.site.cookies, bench.site.log, strict=True) if path == "/"] == [""]
    kept = b"".join(record.body for batch in bench.snapshots.objects for record in batch)
    assert b"TOPSECRET" not in kept
    assert "TOPSECRET" not in caplog.text
    assert (tmp_path / "rutube.cookies.txt").read_text() == COOKIES


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("rubbish TOPSECRET", 0o600, "Netscape"),
        (".rutube.ru\tTOPSECRET\n", 0o600, "Netscape"),
        (COOKIES, 0o644, "chmod 600"),
        ("x" * 1_100_000, 0o600, "no cookie file"),
    ],
)
async def test_a_bad_cookie_file_is_named(bench: Bench, tmp_path: Path, text: str, mode: int, message: str) -> None:
    bench.accounts = cookie_file(tmp_path, text, mode)
    with pytest.raises(ValueError, match=message) as caught:
        await bench.run(url(1))
    assert "TOPSECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert bench.site.log == []


def test_no_account_is_an_empty_jar(tmp_path: Path) -> None:
    assert list(Accounts(None).cookies("rutube")) == []
    assert list(Accounts(tmp_path).cookies("rutube")) == []
    (tmp_path / "rutube.cookies.txt").mkdir()
    with pytest.raises(AccountError):
        Accounts(tmp_path).cookies("rutube")
    assert stat.S_ISDIR((tmp_path / "rutube.cookies.txt").stat().st_mode)


async def test_what_the_store_raises_ends_the_crawl(bench: Bench) -> None:
    bench.site.videos = 5
    bench.store.fail_commits = True
    with pytest.raises(ConnectionError):
        await bench.run()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("yt-dlp rutube")]


async def test_only_for_its_adapters(bench: Bench) -> None:
    with pytest.raises(ValueError, match="not read by yt-dlp"):
        await crawl_with_yt_dlp(
            CrawlJob("run", "x", "website", ["https://a.example/"]),
            get_adapter("website"),
            store=bench.store,
            snapshots=bench.snapshots,
            budget=bench.budget,
            guard=bench.guard,
            progress=bench.progress,
            stop=bench.stop,
        )
    with pytest.raises(ValueError, match="seeds"):
        await bench.run("https://example.org/")


async def test_a_failing_guard_is_its_class(bench: Bench) -> None:
    class Nowhere:
        async def check(self, url: str) -> list[str]:
            raise FetchError(FailureClass.CONNECTION, "the name does not resolve")

    bench.guard = Nowhere()
    assert await bench.run(url(1), limits={"max_attempts": 1})
    assert bench.failures() == {url(1): FailureClass.CONNECTION}


async def test_yt_dlp_has_no_other_way_to_the_network(bench: Bench) -> None:
    network = Network(
        guard=bench.guard, budget=bench.budget, limits=Limits(), manners=Manners(), transport=bench.site
    )  # fmt: skip
    adapter = get_adapter("youtube")
    assert isinstance(adapter, YtDlpAdapter)
    extraction = Extraction(network, asyncio.get_running_loop())
    downloader = Downloader(adapter, extraction, YoutubeDLCookieJar(), "Probe/1", 5.0, {})
    assert list(downloader._request_director.handlers) == ["Network"]
    assert set(downloader._ies) == set(adapter.extractors)
    assert yt_dlp.globals.plugin_dirs.value == []
    for address in ("file:///etc/passwd", "ftp://a.example/x", "wss://a.example/x", "data:text/plain,x"):
        with pytest.raises(RequestError):
            await asyncio.to_thread(downloader.urlopen, address)
    assert bench.site.log == []
    answer = await asyncio.to_thread(downloader.urlopen, "https://rutube.ru/api/video/person/1/?page=1")
    assert answer.status == 200
    assert bench.budget.acquired["rutube.ru:443"] == 1
    await network.close()
