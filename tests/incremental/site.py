"""A site of songs whose pages change on demand, served for real; every answer is counted."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from aiohttp import web


@dataclass
class Song:
    """A page with one recording. ``changed``: what Last-Modified and the sitemap say."""

    title: str
    changed: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    performer: str | None = "Хор Примера"
    duration: str | None = "PT3M"


@dataclass
class SongSite:
    """``validators``: which of ``etag`` and ``modified`` are sent and honoured; ``lastmod``: of the sitemap."""

    songs: dict[int, Song] = field(default_factory=dict)
    validators: tuple[str, ...] = ("etag",)
    lastmod: bool = False
    news_per_page: int = 5
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    bytes: int = 0
    url: str = ""
    gone: set[int] = field(default_factory=set)
    status: dict[int, int] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return sum(self.answers.values())

    def forget(self) -> None:
        """Counts anew."""
        self.answers.clear()
        self.bytes = 0

    def paths(self, status: int) -> list[str]:
        return sorted(path for path, given in self.answers if given == status)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[SongSite]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        response = self._page(request)
        self.answers[request.path_qs, response.status] += 1
        self.bytes += len(response.body or b"")
        return response

    def _page(self, request: web.Request) -> web.Response:
        path, number = request.path, request.path.rpartition("/")[2]
        if path == "/sitemap.xml":
            return self._validated(request, self._sitemap(), "application/xml", None)
        if path == "/list":
            return self._validated(request, self._list(), "text/html", None)
        if path.startswith("/news"):
            return self._validated(request, self._news(int(request.query.get("page", "0"))), "text/html", None)
        if path.startswith("/trap/"):
            return self._validated(request, f'<a href="/trap/{int(number) + 1}">next</a>', "text/html", None)
        if path.startswith("/song/") and int(number) in self.songs and int(number) not in self.gone:
            if (status := self.status.get(int(number))) is not None:
                return web.Response(status=status)
            song = self.songs[int(number)]
            return self._validated(request, self._song(int(number), song), "text/html", song.changed)
        return web.Response(status=404)

    def _validated(self, request: web.Request, text: str, kind: str, changed: datetime | None) -> web.Response:
        headers = {}
        fresh = False
        if "etag" in self.validators:
            etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'
            headers["ETag"] = etag
            fresh = request.headers.get("If-None-Match") == etag
        if "modified" in self.validators and changed is not None:
            headers["Last-Modified"] = format_datetime(changed, usegmt=True)
            since = request.headers.get("If-Modified-Since")
            fresh = fresh or (since is not None and parsedate_to_datetime(since) >= changed.replace(microsecond=0))
        if fresh:
            return web.Response(status=304, headers=headers)
        return web.Response(text=text, content_type=kind, headers=headers)

    def _listed(self) -> list[int]:
        return [number for number in sorted(self.songs, reverse=True) if number not in self.gone]

    def _sitemap(self) -> str:
        entries = []
        for number in self._listed():
            lastmod = f"<lastmod>{self.songs[number].changed.isoformat()}</lastmod>" if self.lastmod else ""
            entries.append(f"<url><loc>{self.url}/song/{number}</loc>{lastmod}</url>")
        return f'<?xml version="1.0"?><urlset>{"".join(entries)}</urlset>'

    def _list(self) -> str:
        return "".join(f'<a href="/song/{number}">{number}</a>' for number in self._listed())

    def _news(self, page: int) -> str:
        listed, size = self._listed(), self.news_per_page
        links = "".join(f'<a href="/song/{number}">{number}</a>' for number in listed[page * size : (page + 1) * size])
        more = f'<a href="/news?page={page + 1}">older</a>' if (page + 1) * size < len(listed) else ""
        return f"<html><body>{links}{more}</body></html>"

    def _song(self, number: int, song: Song) -> str:
        data = {"@context": "https://schema.org", "@type": "MusicRecording", "@id": f"{self.url}/song/{number}"}
        data |= {"name": song.title, "url": f"{self.url}/song/{number}"}
        if song.performer:
            data["byArtist"] = {"@type": "MusicGroup", "name": song.performer}  # type: ignore[assignment]
        if song.duration:
            data["duration"] = song.duration
        text = json.dumps(data, ensure_ascii=False)
        return f'<html><body><script type="application/ld+json">{text}</script></body></html>'
