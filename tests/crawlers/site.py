"""A small site with good and hostile pages, served for real on loopback."""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import brotli
from aiohttp import web


def page(*links: str, item: str = "") -> str:
    """HTML with links, and an item in a data attribute."""
    anchors = "".join(f'<a href="{link}">x</a>' for link in links)
    return f"<!doctype html><html><body>{f'<p data-item={item!r}></p>' if item else ''}{anchors}</body></html>"


class Site:
    """What is asked of it is counted in ``hits`` by path and query."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.robots: str | int = 404
        self.robots_failures = 0
        self.start: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.slow_s = 30.0
        self.agents: set[str] = set()
        self.url = ""
        self.host = ""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Site]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.host = f"127.0.0.1:{runner.addresses[0][1]}"
        self.url = f"http://{self.host}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.hits[request.path_qs] += 1
        self.agents.add(request.headers.get("User-Agent", ""))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0.002)
            return await self._page(request)
        finally:
            self.in_flight -= 1

    async def _page(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        html = {"content_type": "text/html"}
        number = path.rpartition("/")[2]
        if path == "/robots.txt":
            if self.robots_failures > 0:
                self.robots_failures -= 1
                return web.Response(status=503)
            if isinstance(self.robots, int):
                return web.Response(status=self.robots)
            return web.Response(text=self.robots)
        if path == "/":
            return web.Response(text=page(*self.start), **html)
        if path.startswith("/song/"):
            return web.Response(text=page(item=number), **html)
        if path.startswith("/list/"):
            first = int(number) * 10
            links = [f"/song/{n}" for n in range(first, first + 10)]
            lists = [f"/list/{n}" for n in (2 * int(number) + 1, 2 * int(number) + 2) if n < 10]
            return web.Response(text=page(*links, *lists, "/"), **html)
        if path == "/challenge":
            return web.Response(text="<title>Just a moment...</title><a href='/song/7'>x</a>", status=200, **html)
        if path.startswith("/status/"):
            return web.Response(status=int(number), text="no")
        if path.startswith("/empty/"):
            return web.Response(status=int(number))
        if path.startswith("/flaky/"):
            if self.hits[request.path_qs] <= 2:
                return web.Response(status=500, text="broken")
            return web.Response(text=page(item=f"flaky{number}"), **html)
        if path.startswith("/busy/"):
            if self.hits[request.path_qs] <= 1:
                moment = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
                after = "1" if number == "seconds" else moment
                return web.Response(status=429 if number == "seconds" else 503, headers={"Retry-After": after})
            return web.Response(text=page(item=f"busy{number}"), **html)
        if path == "/circle/a":
            raise web.HTTPFound("/circle/b")
        if path == "/circle/b":
            raise web.HTTPMovedPermanently("/circle/a")
        if path.startswith("/chain/"):
            raise web.HTTPFound(f"/chain/{int(number) + 1}")
        if path == "/moved":
            raise web.HTTPTemporaryRedirect("/song/900")
        if path == "/out":
            return web.Response(status=302, headers={"Location": request.query["to"]})
        if path.startswith("/calendar/"):
            return web.Response(text=page(f"/calendar/{int(number) + 1}"), **html)
        if path.startswith("/deep/"):
            return web.Response(text=page(f"{path}a/", f"{path}b/"), **html)
        if path == "/big":
            return web.Response(text="<p>" + "x" * 300_000, **html)
        if path == "/big-chunked":
            response = web.StreamResponse(headers={"Content-Type": "text/html"})
            await response.prepare(request)
            for _ in range(100):
                await response.write(b"x" * 10_000)
            return response
        if path == "/bomb":
            body = gzip.compress(b"<p>" + b"0" * 20_000_000)
            return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "text/html"})
        if path == "/brotli":
            body = brotli.compress(page(item="brotli").encode())
            return web.Response(body=body, headers={"Content-Encoding": "br", "Content-Type": "text/html"})
        if path == "/sitemap.xml.gz":
            body = gzip.compress(page(item="sitemap").encode())
            return web.Response(body=body, headers={"Content-Type": "application/gzip"})
        if path == "/audio":
            return web.Response(body=b"ID3" + b"\0" * 50_000, content_type="audio/mpeg")
        if path == "/untold":
            return web.Response(body=b"\x89PNG" + b"\0" * 100, content_type="application/octet-stream")
        if path == "/hang":
            await asyncio.sleep(self.slow_s)
            return web.Response(text="late")
        if path == "/cut":
            response = web.StreamResponse(headers={"Content-Type": "text/html", "Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"<p>")
            assert request.transport is not None
            request.transport.close()
            return response
        if path in ("/broken", "/bomb-of-xml", "/bug", "/half"):
            return web.Response(text=page(item=number), **html)
        if path == "/script":
            body = "<script>setTimeout(() => { document.body.innerHTML = `" + page("/song/1", item="rendered")
            return web.Response(text=f"<body></body>{body}`; }}, 50)</script>", **html)
        if path == "/spy":
            private = request.query["to"]
            text = f"<img src='/picture.png'><script>fetch('{private}').catch(() => 0)</script>"
            return web.Response(text=text + page(item="spy"), **html)
        if path == "/dialog":
            return web.Response(text="<script>alert(1); window.open('/popup')</script>" + page(item="dialog"), **html)
        if path == "/download":
            return web.Response(body=b"x", headers={"Content-Disposition": "attachment; filename=a.bin"})
        return web.Response(status=404, text="not here")
