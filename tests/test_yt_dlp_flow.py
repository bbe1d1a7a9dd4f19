"""From a site that yt-dlp reads to fingerprinted candidates: the real engine, PostgreSQL and object store, and a server
on loopback that plays RuTube."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from sqlalchemy import text
from temporalio.testing import ActivityEnvironment

from activities import messages as m
from activities.crawls import CrawlActivities
from activities.ingest import IngestActivities
from activities.politeness import fleet_budget
from activities.resources import Resources
from adapters.contract import Page, PageRequest, RecordingItem, SourceQuery, get_adapter
from catalog.database import Database
from catalog.models import Campaign, CrawlRun
from crawlers.guard import AddressGuard
from crawlers.warc import read_record
from media.store import ObjectStore
from tests.media.conftest import ACCESS_KEY, SECRET_KEY, s3_endpoint  # noqa: F401 (fixture)
from tests.media.synth import ffmpeg, render, write_wav

VIDEOS = 30
PAGE = 10
REMOVED, HIDDEN = 3, 4
SECONDS = 150


def key(number: int) -> str:
    return f"{number:032x}"


@dataclass
class Server:
    """RuTube's interfaces for one channel. ``hold``: videos whose answer waits."""

    media: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None
    videos: list[int] = field(default_factory=lambda: list(range(VIDEOS)))

    async def channel(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        page = int(request.query["page"])
        numbers = self.videos[(page - 1) * PAGE : page * PAGE]
        more = page * PAGE < len(self.videos)
        following = f"https://rutube.ru/api/video/person/7/?page={page + 1}" if more else None
        return web.json_response({"results": [self.record(n) for n in numbers], "has_next": more, "next": following})

    def record(self, number: int) -> dict[str, Any]:
        return {
            "id": key(number),
            "title": f"Хор «Заря» - Песня {number}",
            "video_url": f"https://rutube.ru/video/{key(number)}/",
            "duration": SECONDS + number,
            "author": {"id": 7, "name": "Хор «Заря»"},
            "created_ts": "2021-05-09T18:30:00",
        }

    async def video(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        number = int(request.match_info["key"], 16)
        if self.hold is not None and number > 12:
            await self.hold.wait()
        if number == REMOVED:
            return web.json_response({"detail": "Видео удалено"}, status=404)
        return web.json_response(self.record(number))

    async def options(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if int(request.match_info["key"], 16) == HIDDEN:
            told = {"allowed": False, "err_text": "Видео скрыто автором"}
            return web.json_response({"video_balancer": {}, "acl_access": told})
        return web.json_response({"video_balancer": {"m3u8": "https://media.rutube.ru/tune.m3u8?sign=S"}})

    async def file(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        return web.FileResponse(self.media / request.match_info["name"])


class ToServer(httpx.AsyncBaseTransport):
    """Leads every host to the local server: real HTTP over real sockets, without TLS."""

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        self._real = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host=self._url.host, port=self._url.port)
        return await self._real.handle_async_request(request)

    async def aclose(self) -> None:
        """Kept open: several crawls share it."""

    async def close(self) -> None:
        await self._real.aclose()


class LocalNames(AddressGuard):
    """The real guard, with a name server that knows RuTube."""

    async def _resolve(self, host: str, port: int) -> tuple[str, ...]:
        return ("93.184.216.34",) if host.endswith("rutube.ru") else await super()._resolve(host, port)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    wav = write_wav(tmp_path / "tune.wav", render(5, SECONDS))
    ffmpeg("-i", wav, "-c:a", "aac", "-f", "hls", "-hls_time", "10", "-hls_list_size", "0", tmp_path / "tune.m3u8")
    server = Server(tmp_path)
    app = web.Application()
    app.router.add_get("/api/video/person/7/", server.channel)
    app.router.add_get("/api/video/{key}/", server.video)
    app.router.add_get("/api/play/options/{key}/", server.options)
    app.router.add_get("/{name}", server.file)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def resources(
    database: Database,
    server: Server,
    s3_endpoint: str,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Resources]:
    for module in ("crawlers.engines", "activities.fetching"):
        monkeypatch.setattr(f"{module}.AddressGuard", LocalNames)
    objects = ObjectStore(s3_endpoint, ACCESS_KEY, SECRET_KEY, f"flow-{uuid.uuid4().hex[:8]}")
    objects.ensure_bucket()
    transport = ToServer(server.url)
    yield Resources(database, objects, fleet_budget(database), tmp_path / "work", transport=transport)
    await transport.close()


def open_run(database: Database) -> str:
    spec = {
        "adapter": "rutube", "audio": "fingerprint_only", "trust": 0.5, "seeds": ["https://rutube.ru/channel/7/"],
        "politeness": {"delay": 0.0, "concurrency": 3}, "approval": {},
        "revisit": {"incremental": True, "ask": "when_due", "min": 3600.0, "max": 86400.0, "stop_after_known": 5},
    }  # fmt: skip
    with database.transaction() as session:
        campaign = Campaign(name=f"c-{uuid.uuid4().hex[:8]}", spec={})
        session.add(campaign)
        session.flush()
        run = CrawlRun(campaign_id=campaign.id, trigger_key="t", source="rutube", spec=spec, state="running")
        session.add(run)
        session.flush()
        return str(run.id)


def rows(database: Database, statement: str) -> list[dict[str, Any]]:
    with database.transaction() as session:
        return [dict(row) for row in session.execute(text(statement)).mappings()]


async def until(happened: Callable[[], bool]) -> None:
    while not happened():
        await asyncio.sleep(0.05)


async def test_a_crawl_that_is_cancelled_goes_on_and_its_audio_is_heard(
    database: Database, server: Server, resources: Resources
) -> None:
    run = open_run(database)
    crawls = CrawlActivities(resources)
    server.hold = asyncio.Event()
    environment = ActivityEnvironment()
    crawl = asyncio.create_task(environment.run(crawls.crawl, m.CrawlInput(run)))
    held = f"/api/video/{key(13)}/"
    await until(lambda: held in server.asked)
    await until(lambda: len(rows(database, "SELECT id FROM candidates")) >= 9)
    crawl.cancel()
    await asyncio.sleep(0)
    crawl.cancel()  # no patience: as at the end of a worker
    with pytest.raises(asyncio.CancelledError):
        await crawl
    server.hold.set()
    server.hold = None
    known = {row["source_key"] for row in rows(database, "SELECT source_key FROM candidates")}
    before = len(server.asked)
    result = await ActivityEnvironment().run(crawls.crawl, m.CrawlInput(run))
    assert result.complete

    found = rows(database, "SELECT source_key, state, reason, item, id FROM candidates ORDER BY source_key")
    assert [row["source_key"] for row in found] == [key(number) for number in range(VIDEOS)]
    assert Counter(row["state"] for row in found) == {"discovered": VIDEOS - 2, "unavailable": 2}
    assert (found[REMOVED]["reason"], found[HIDDEN]["reason"]) == ("removed", "private")
    assert found[REMOVED]["item"]["title"] == f"Хор «Заря» - Песня {REMOVED}"  # the list had told it
    assert found[HIDDEN]["item"]["availability_detail"] == "Видео скрыто автором"
    again = [path for path in server.asked[before:] if path.startswith("/api/video/0") and path.split("/")[3] in known]
    assert again == []
    asked = Counter(path for path in server.asked if path.startswith("/api/video/0"))
    assert sum(asked.values()) <= VIDEOS + 3  # at most what was in flight
    incidents = rows(database, "SELECT failure, final FROM crawl_incidents ORDER BY failure")
    assert incidents == [{"failure": "gone", "final": True}, {"failure": "private", "final": True}]

    await check_snapshots(database, resources, {row["source_key"]: row["item"] for row in found})

    server.asked.clear()
    ingest = IngestActivities(resources)
    heard = await ActivityEnvironment().run(ingest.fetch_and_fingerprint, m.CandidateInput(str(found[0]["id"])))
    assert heard.outcome == "ready"
    (row,) = rows(
        database, f"SELECT state, duration_s, audio_object, audio FROM candidates WHERE id = '{found[0]['id']}'"
    )
    assert (row["state"], row["duration_s"], row["audio_object"]) == ("fingerprinted", SECONDS, None)
    assert row["audio"]["codec"] == "aac"
    assert len([path for path in server.asked if path.endswith(".ts")]) == 13  # of 15 segments
    assert list(resources.temporary.iterdir()) == []

    gone = await ActivityEnvironment().run(ingest.fetch_and_fingerprint, m.CandidateInput(str(found[REMOVED]["id"])))
    assert gone.outcome == "settled"


async def test_a_second_crawl_asks_for_what_is_new(database: Database, server: Server, resources: Resources) -> None:
    crawls = CrawlActivities(resources)
    assert (await ActivityEnvironment().run(crawls.crawl, m.CrawlInput(open_run(database)))).complete
    known = rows(database, "SELECT source_key, item_digest, state FROM candidates ORDER BY source_key")
    server.asked.clear()
    server.videos.insert(0, 99)
    assert (await ActivityEnvironment().run(crawls.crawl, m.CrawlInput(open_run(database)))).complete
    assert [path for path in server.asked if "person" not in path] == [
        f"/api/video/{key(99)}/", f"/api/play/options/{key(99)}/",
    ]  # fmt: skip
    found = rows(database, "SELECT source_key, item_digest, state FROM candidates ORDER BY source_key")
    assert [row for row in found if row["source_key"] != key(99)] == known
    assert len(found) == VIDEOS + 1


async def check_snapshots(database: Database, resources: Resources, items: dict[str, Any]) -> None:
    """What is stored can be read again, by the adapter of today, with the same result."""
    stored = rows(database, 'SELECT url, object_key, "offset", length FROM page_snapshots')
    assert len(stored) == VIDEOS + 1
    adapter = get_adapter("rutube")
    read: dict[str, RecordingItem] = {}
    for row in stored:
        data = await asyncio.to_thread(resources.objects.get_bytes, row["object_key"])
        record = read_record(data[row["offset"] : row["offset"] + row["length"]])
        assert b"sign=" not in record.body
        request = PageRequest(row["url"], "channel" if "channel" in row["url"] else "item")
        for thing in adapter.parse(Page(row["url"], request, body=record.body), SourceQuery("rutube")):
            if isinstance(thing, RecordingItem):
                read[thing.source_key] = thing
    assert read.keys() == items.keys()
    # What the list had told of the removed one stands in the frontier, not in its page.
    told = {name: json.loads(json.dumps(item.to_json())) for name, item in read.items() if name != key(REMOVED)}
    assert told == {name: item for name, item in items.items() if name != key(REMOVED)}
