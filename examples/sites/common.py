"""What both sites share: audio with ranges and ETags, the access log, pages that misbehave, sitemaps."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.sites.world import Offer, offers_of

HUGE_BYTES = 300_000_000
CRAWL_DELAY_S = 0.05
STATIC = Path(__file__).parent / "static"

for _extension, _type in {
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".js": "text/javascript",
    ".css": "text/css",
}.items():
    mimetypes.add_type(_type, _extension)


class AccessLog:
    """ASGI middleware that remembers each request; ``GET /__log`` gives them as JSON lines.

    A line: ``{"t", "end", "method", "path", "query", "status", "bytes", "range", "user_agent"}``; times are seconds of
    the monotonic clock.
    """

    def __init__(self, app: ASGIApp, capacity: int = 100_000) -> None:
        self.app = app
        self.entries: deque[dict[str, Any]] = deque(maxlen=capacity)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"] == "/__log":
            lines = "".join(json.dumps(entry) + "\n" for entry in list(self.entries))
            await PlainTextResponse(lines, media_type="application/x-ndjson")(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        entry: dict[str, Any] = {
            "t": time.monotonic(),
            "end": None,
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "status": None,
            "bytes": 0,
            "range": headers.get("range"),
            "user_agent": headers.get("user-agent", ""),
        }
        self.entries.append(entry)

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry["status"] = message["status"]
            elif message["type"] == "http.response.body":
                entry["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            entry["end"] = time.monotonic()


class Moods:
    """How often a page was asked for since the start, for those that fail at first."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()

    def refusal(self, offer: Offer) -> Response | None:
        """The bad answer, as long as it lasts."""
        if not offer.behaviour:
            return None
        self._asked[offer.key] += 1
        if offer.behaviour == "rate_limited_once" and self._asked[offer.key] == 1:
            return PlainTextResponse("Слишком много запросов", 429, {"Retry-After": "1"})
        if offer.behaviour == "fails_twice" and self._asked[offer.key] <= 2:
            return PlainTextResponse("Внутренняя ошибка", 500)
        return None


def origin(request: Request) -> str:
    """``http://host:port`` as the client spelt it."""
    return str(request.base_url).rstrip("/")


def robots(request: Request) -> Response:
    lines = ["User-agent: *", "Disallow: /private/", f"Crawl-delay: {CRAWL_DELAY_S}", ""]
    return PlainTextResponse("\n".join([*lines, f"Sitemap: {origin(request)}/sitemap.xml", ""]))


def sitemap(request: Request, paths: list[str], *, index: bool = False) -> Response:
    """A sitemap, or a sitemap index, of site-relative paths."""
    outer, inner = ("sitemapindex", "sitemap") if index else ("urlset", "url")
    rows = "".join(f"  <{inner}><loc>{escape(origin(request) + path)}</loc></{inner}>\n" for path in paths)
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<{outer} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    return Response(f"{xml}{rows}</{outer}>\n", media_type="application/xml")


async def zeros(total: int, filler: bytes) -> AsyncIterator[bytes]:
    """``total`` bytes in small pieces; stops when nobody listens."""
    piece = filler * (65_536 // len(filler))
    for _ in range(0, total, len(piece)):
        yield piece
        await asyncio.sleep(0.002)


async def _huge_audio(request: Request) -> Response:
    headers = {"Content-Length": str(HUGE_BYTES // 65_536 * 65_536)}
    return StreamingResponse(zeros(HUGE_BYTES, b"\0"), media_type="audio/mpeg", headers=headers)


def _not_audio(request: Request) -> Response:
    page = "<!doctype html><title>Вход</title><p>Войдите, чтобы слушать.</p>" * 40
    return Response(page.encode(), media_type="audio/mpeg")


def _empty_audio(request: Request) -> Response:
    return Response(b"", media_type="audio/mpeg")


def gone(request: Request) -> Response:
    return PlainTextResponse("Запись удалена навсегда", 410)


def circle(request: Request) -> Response:
    """One half of a redirect loop."""
    path = request.url.path
    return RedirectResponse(path.removesuffix("-2") if path.endswith("-2") else path + "-2", 302)


def private(request: Request) -> Response:
    return PlainTextResponse("Черновики. Роботам сюда нельзя.")


class _AudioFiles(StaticFiles):
    """The library under the site's own file names: ``key.ext`` there is ``source-key.ext`` here."""

    def __init__(self, source: str, library: Path) -> None:
        super().__init__(directory=library)
        self._names = {f"{o.key}.{o.encoding.extension}": o.file_name for o in offers_of(source) if not o.failure}

    def lookup_path(self, path: str) -> Any:
        return super().lookup_path(self._names.get(path, "none"))


def shared_routes(source: str, library: Path) -> list[BaseRoute]:
    """Audio, static files, robots.txt and the private part."""
    return [
        Route("/robots.txt", robots),
        Route("/private/{name}", private),
        Route("/audio/ogromnaya.mp3", _huge_audio),
        Route("/audio/ne-audio.mp3", _not_audio),
        Route("/audio/pusto.mp3", _empty_audio),
        Mount("/audio", _AudioFiles(source, library)),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


def month_after(year: int, month: int, step: int = 1) -> tuple[int, int]:
    """The month so many months later; years are 1 to 9999."""
    count = year * 12 + month - 1 + step
    return min(max(count // 12, 1), 9999), count % 12 + 1


def iso_duration(seconds: float) -> str:
    """ISO 8601, e.g. ``PT42.6S``."""
    return f"PT{seconds:.2f}".rstrip("0").rstrip(".") + "S"
