"""The adapters of open sources through the HTTP engine, against a local server that answers as the real ones do."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from adapters.contract import get_adapter
from crawlers.classify import Backoff
from crawlers.engine import crawl
from crawlers.errors import FailureClass
from crawlers.ports import CrawlJob, CrawlLimits, CrawlProgress
from tests.crawlers.memory import MemoryBudget, MemoryGuard, MemorySnapshots, MemoryStore, Stop
from tests.crawlers.servers import Server, answer, serving


async def run(server: Server, adapter: str, seeds: list[str], **job: Any) -> MemoryStore:
    store = MemoryStore()
    limits = CrawlLimits(**job.pop("limits", {}))
    complete = await crawl(
        CrawlJob("run", "site", adapter, seeds, delay_s=0.0, concurrency=4, limits=limits, **job),
        get_adapter(adapter),
        store=store,
        snapshots=MemorySnapshots(),
        budget=MemoryBudget(),
        guard=MemoryGuard([server.host]),
        progress=CrawlProgress(),
        stop=Stop(),
        backoff=Backoff(base_s=0.05, cap_s=0.2),
    )
    assert complete
    return store


def as_json(handler: BaseHTTPRequestHandler, value: Any) -> None:
    answer(200, json.dumps(value).encode(), content_type="application/json; charset=UTF-8")(handler)


async def test_the_archive_is_searched_page_by_page() -> None:
    """Three pages of a search, deeper than ``max_depth`` would let links go; one item is dark."""

    def scrape(handler: BaseHTTPRequestHandler) -> None:
        asked = parse_qs(urlsplit(handler.path).query)
        number = int(asked.get("cursor", ["0"])[0])
        value: dict[str, Any] = {"items": [{"identifier": f"item{number}x{n}"} for n in range(4)], "total": 24}
        if number < 5:
            value["cursor"] = str(number + 1)
        as_json(handler, value)

    def metadata(handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.rpartition("/")[2]
        if name == "item0x0":
            return as_json(handler, {"is_dark": True})
        file = {"name": "song.mp3", "source": "original", "format": "VBR MP3", "length": "61.5"}
        return as_json(handler, {"files": [file], "metadata": {"mediatype": "audio", "title": f"Song {name}"}})

    routes = {f"/metadata/item{page}x{n}": metadata for page in range(6) for n in range(4)}
    with serving({"/services/search/v1/scrape": scrape, **routes}) as server:
        options = {"base": server.url("")}
        store = await run(server, "internet_archive", [], search=["song"], options=options, limits={"max_depth": 2})
        assert not store.incidents
        assert len(store.items) == 24
        assert store.items["item0x0"].availability == "removed"
        song = store.items["item5x3/song.mp3"]
        assert (song.title, song.duration_s) == ("Song item5x3", 61.5)
        assert song.audio_url == server.url("/download/item5x3/song.mp3")
        depths = {outcome.queued.depth for outcome in store.outcomes}
        assert depths == {0, 1}


async def test_many_sitemaps_are_no_trap() -> None:
    index = "".join(f"<sitemap><loc>{{}}/sitemap-{n}.xml</loc></sitemap>" for n in range(30))
    page = b'<script type="application/ld+json">{"@type": "MusicRecording", "name": "A"}</script>'

    def sitemap(handler: BaseHTTPRequestHandler) -> None:
        origin = f"http://{handler.headers['host']}"
        if handler.path == "/sitemap.xml":
            body = f"<sitemapindex>{index.replace('{}', origin)}</sitemapindex>"
        else:
            body = f"<urlset><url><loc>{origin}/song-{handler.path[9:-4]}</loc></url></urlset>"
        answer(200, body.encode(), content_type="application/xml")(handler)

    routes = {"/sitemap.xml": sitemap} | {f"/sitemap-{n}.xml": sitemap for n in range(30)}
    routes |= {f"/song-{n}": answer(200, page, content_type="text/html") for n in range(30)}
    with serving(routes) as server:
        limits = {"max_pages_per_pattern": 5}
        store = await run(server, "website", [server.url("/sitemap.xml")], limits=limits)
        assert not store.incidents
        assert len(store.items) == 30


async def test_a_paged_podcast_with_chapters() -> None:
    def feed(handler: BaseHTTPRequestHandler) -> None:
        number = int(parse_qs(urlsplit(handler.path).query).get("page", ["1"])[0])
        body = f"""<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"
            xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel><title>T</title>
            {f'<atom:link rel="next" href="/feed.xml?page={number + 1}"/>' if number < 12 else ""}
            <item><title>Song {number}</title><guid>g{number}</guid><enclosure url="/{number}.mp3" type="audio/mpeg"/>
            <podcast:chapters url="/chapters.json?{number}" type="application/json+chapters"/></item></channel></rss>"""
        answer(200, body.encode(), content_type="application/rss+xml")(handler)

    chapters = json.dumps({"chapters": [{"startTime": 0, "title": "One"}, {"startTime": 30, "title": "Two"}]}).encode()
    routes = {"/feed.xml": feed, "/chapters.json": answer(200, chapters, content_type="application/json+chapters")}
    with serving(routes) as server:
        store = await run(server, "feed", [server.url("/feed.xml")])
        assert not store.incidents
        assert set(store.items) == {f"g{number}" for number in range(1, 13)}
        assert {len(item.chapters) for item in store.items.values()} == {2}


async def test_tables_by_whatever_type_servers_give_them() -> None:
    body = "title,artist\nПесня,Хор\n".encode()
    types = ("text/csv", "application/csv", "application/octet-stream", "application/vnd.ms-excel", "text/plain")
    routes = {f"/{n}.csv": answer(200, body + f"Song {n},\n".encode(), content_type=t) for n, t in enumerate(types)}
    routes["/x.jsonl"] = answer(200, b'{"title": "Line"}\n{}\n', content_type="application/x-ndjson")
    routes["/song.csv"] = answer(200, b"ID3\x04\0\0\0", content_type="application/octet-stream")
    with serving(routes) as server:
        store = await run(server, "table", [server.url(path) for path in routes])
        titles = {item.title for item in store.items.values()}
        assert titles == {"Песня", "Line", *(f"Song {n}" for n in range(len(types)))}
        assert {i.url.rpartition("/")[2]: i.failure for i in store.incidents} == {
            "x.jsonl": FailureClass.BROKEN_MARKUP,
            "song.csv": FailureClass.WRONG_TYPE,
        }
