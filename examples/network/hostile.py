"""Sites that would hold, flood, fool or misuse a crawler. Each also has songs: what is good of it is still found."""

from __future__ import annotations

import asyncio
import gzip
import sys
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import brotli

from examples.network.http import Exchange
from examples.network.site import MANY, Site, html, path_of, sitemap, sitemap_index

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BOMB_BYTES = 150_000_000
"""Unpacked; packed they are a few hundred kilobytes at most."""
HTML = {"Content-Type": "text/html"}
XML = "application/xml"
SONGS = ["/song/", "/trap/"]
FORBIDDEN = ""
"""Stands for the URL of the host that no campaign allows; it is known when the hosts are up."""
TIMEOUT_S = 2
ATTEMPTS = 2


class _Hostile(Site):
    """Songs, and below ``/trap/`` what is special. ``traps``: paths that the first page links to."""

    settings: ClassVar = {"follow": SONGS, "limits": {"timeout": TIMEOUT_S, "max_attempts": ATTEMPTS}}
    traps: tuple[str, ...] = ()
    most_songs = 3

    def __init__(self, pages: int) -> None:
        super().__init__(min(pages, self.most_songs))
        self.expected.most_requests = 12 + 2 * ATTEMPTS * (len(self.traps) + len(self.songs))

    async def page(self, exchange: Exchange) -> None:
        if exchange.path == "/":
            await exchange.send(html(links=[*self.traps, *map(path_of, self.songs)]))
        elif exchange.path.startswith("/trap/"):
            await self.trap(exchange)
        else:
            await self.song(exchange)

    async def trap(self, exchange: Exchange) -> None:
        raise NotImplementedError


class Calendar(_Hostile):
    """Each month has a next one."""

    name = "calendar"
    settings: ClassVar = {"follow": [], "limits": {"max_pages_per_pattern": 12, "max_depth": 1000}}
    traps = ("/trap/2026/01",)

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.failures = {"trap": MANY}
        self.expected.most_requests = 40

    async def trap(self, exchange: Exchange) -> None:
        _, _, year, month = exchange.path.split("/")
        following = int(year) * 12 + int(month)
        await exchange.send(html(links=[f"/trap/{following // 12}/{following % 12 + 1:02d}", "/"]))


class Redirects(_Hostile):
    """Circles, endless chains, and ways to places that are nobody's business."""

    name = "redirects"
    elsewhere: ClassVar = {
        "/trap/to-loopback": FORBIDDEN,
        "/trap/to-metadata": "http://169.254.169.254/latest/meta-data/",
        "/trap/to-decimal": "http://2130706433/",
        "/trap/to-six": "http://[::ffff:127.0.0.1]:22/",
        "/trap/to-file": "file:///etc/passwd",
        "/trap/to-private": "http://10.0.0.1/",
        "/trap/to-user": "http://songs.example.org@127.0.0.1:9/",
    }
    traps = ("/trap/circle/a", "/trap/self", "/trap/chain/0", *elsewhere)

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.failures = {
            "redirect_loop": {"/trap/circle/a", "/trap/self", "/trap/chain/0"},
            "address_blocked": set(self.elsewhere),
        }
        self.expected.most_requests = 60

    async def trap(self, exchange: Exchange) -> None:
        if exchange.path in self.elsewhere:
            await exchange.redirect(self.elsewhere[exchange.path] or f"{self.forbidden}/secret")
        elif exchange.path.startswith("/trap/chain/"):
            await exchange.redirect(f"/trap/chain/{int(exchange.path.rpartition('/')[2]) + 1}", 301)
        elif exchange.path == "/trap/self":
            await exchange.redirect("/trap/self")
        else:
            await exchange.redirect(f"/trap/circle/{'b' if exchange.path.endswith('a') else 'a'}")


@cache
def bomb(kind: str) -> bytes:
    """Packed piece by piece: the server must not need the memory that it hopes to cost the crawler."""
    if kind == "gzip-gzip":
        return gzip.compress(bomb("gzip"))
    if kind == "br":
        squeezer = brotli.Compressor(quality=4)
        pack, finish = squeezer.process, squeezer.finish
    else:
        makers: dict[str, Callable[[], Any]] = {
            "gzip": lambda: zlib.compressobj(wbits=31),
            "deflate": zlib.compressobj,
            "zstd": zstd.ZstdCompressor,
        }
        packer = makers[kind]()
        pack, finish = packer.compress, packer.flush
    piece = b"0" * 1_000_000
    return b"".join([pack(b"<p>"), *(pack(piece) for _ in range(BOMB_BYTES // len(piece))), finish()])


class Bombs(_Hostile):
    """A small answer that unpacks to 150 MB, in every coding there is, and packed many times over."""

    name = "bombs"
    seeds = ("/", "/trap/sitemap.xml.gz")
    kinds = ("gzip", "deflate", "br", "zstd", "gzip-gzip")
    traps = tuple(f"/trap/{kind}" for kind in (*kinds, "sitemap.xml.gz", "onion"))

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.failures = {"too_large": {*self.traps} - {"/trap/onion"}, "wrong_type": {"/trap/onion"}}

    def prepare(self) -> None:
        """Packs the bombs; that takes seconds."""
        for kind in self.kinds:
            bomb(kind)

    async def trap(self, exchange: Exchange) -> None:
        kind = exchange.path.removeprefix("/trap/")
        if kind == "sitemap.xml.gz":
            await exchange.send(bomb("gzip"), content_type="application/gzip")
        elif kind == "onion":
            body = b"<p>"
            for _ in range(50):
                body = gzip.compress(body)
            await exchange.send(body, Content_Encoding=", ".join(["gzip"] * 50))
        else:
            coding = "gzip, gzip" if kind == "gzip-gzip" else kind
            await exchange.send(bomb(kind), Content_Encoding=coding)


class Drip(_Hostile):
    """Answers that never end: a byte now and then, headers without end, a body without end, nothing at all."""

    name = "drip"
    traps = ("/trap/slow", "/trap/headers", "/trap/flood", "/trap/nothing")

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.failures = {
            "timeout": {"/trap/slow", "/trap/nothing", "/trap/headers"},
            "too_large": {"/trap/flood"},
        }

    async def trap(self, exchange: Exchange) -> None:
        if exchange.path == "/trap/nothing":
            await asyncio.sleep(60)
        elif exchange.path == "/trap/headers":
            await exchange.raw(b"HTTP/1.1 200 OK\r\n")
            await exchange.drip(b"X-More: and more\r\n", 0.2)
        else:
            await exchange.raw(exchange.head(200, HTML))
            flood = exchange.path == "/trap/flood"
            await exchange.drip(b"<p>more</p>" * (10_000 if flood else 1), 0.0 if flood else 0.2)


class Headers(_Hostile):
    """Heads that are no HTTP: far too long, far too many, or nonsense."""

    name = "headers"
    heads: ClassVar = {
        "/trap/long": b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 2_000_000 + b"\r\n\r\n",
        "/trap/many": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(20_000)) + b"\r\n",
        "/trap/status": b"HTTP/1.1 two-hundred OK\r\n\r\n",
        "/trap/none": b"<html>I never heard of HTTP</html>\r\n\r\n",
        "/trap/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n",
        "/trap/lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\n<p>hello",
    }
    traps = tuple(heads)

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.failures = {"protocol_error": set(self.traps)}

    async def trap(self, exchange: Exchange) -> None:
        await exchange.raw(self.heads[exchange.path])
        exchange.hang_up()


class Types(_Hostile):
    """What is no page."""

    name = "types"
    answers: ClassVar = {
        "/trap/audio": ("audio/mpeg", b"ID3" + b"\0" * 1000),
        "/trap/image": ("image/png", b"\x89PNG" + b"\0" * 1000),
        "/trap/pdf": ("application/pdf", b"%PDF-1.7"),
        "/trap/untold": ("", b"\x7fELF" + b"\0" * 1000),
        "/trap/octets": ("application/octet-stream", b"PK\x03\x04" + b"\0" * 1000),
    }
    traps = (*answers, "/trap/big")
    settings: ClassVar = {"follow": SONGS, "limits": {"max_page_bytes": 200_000}}

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.failures = {"wrong_type": set(self.answers), "too_large": {"/trap/big"}}

    async def trap(self, exchange: Exchange) -> None:
        if exchange.path == "/trap/big":
            await exchange.send("<p>" + "x" * 500_000)
        else:
            content_type, body = self.answers[exchange.path]
            await exchange.send(body, content_type=content_type)


class Sitemaps(_Hostile):
    """Sitemaps that name each other, that never end, that are bombs of entities or ask for files."""

    name = "sitemaps"
    seeds = ("/trap/index-a.xml", "/trap/deep-0.xml", "/trap/laughs.xml", "/trap/outside.xml", "/trap/good.xml")
    traps = seeds

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.failures = {"not_found": {"/song/900"}, "xml_bomb": {"/trap/laughs.xml"}}
        self.expected.most_requests = 40

    async def trap(self, exchange: Exchange) -> None:
        base = f"http://{exchange.headers['host']}"
        name = exchange.path.removeprefix("/trap/").removesuffix(".xml")
        if name.startswith("index-"):
            other = "b" if name.endswith("a") else "a"
            text = sitemap_index(f"{base}/trap/index-{other}.xml", base + exchange.path)
        elif name.startswith("deep-"):
            text = sitemap_index(f"{base}/trap/deep-{int(name[5:]) + 1}.xml")
        elif name == "laughs":
            steps = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
            text = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{steps}]><urlset><url><loc>&l9;</loc></url>'
        elif name == "outside":
            asked = f'<!ENTITY f SYSTEM "file:///etc/passwd"><!ENTITY h SYSTEM "{self.forbidden}/entity">'
            loc = f"<url><loc>{base}/song/900</loc></url><url><loc>{base}/&f;&h;</loc></url>"
            text = f'<?xml version="1.0"?><!DOCTYPE x [{asked}]><urlset>{loc}</urlset>'
        else:
            text = sitemap(
                *(base + path_of(song) for song in self.songs), "http://169.254.169.254/", "file:///etc/passwd"
            )
        await exchange.send(text, content_type=XML)


class Deep(_Hostile):
    """A tree of links without a bottom and without digits."""

    name = "deep"
    settings: ClassVar = {"follow": SONGS, "limits": {"max_depth": 4}}
    traps = ("/trap/x/",)

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.failures = {"too_deep": MANY}
        self.expected.most_requests = 60

    async def trap(self, exchange: Exchange) -> None:
        await exchange.send(html(links=[f"{exchange.path}{letter}/" for letter in "abc"]))


class Rules(_Hostile):
    """A robots.txt of 10 MB whose rules stand at its beginning."""

    name = "rules"
    traps = ("/trap/closed",)
    robots = "User-agent: *\nDisallow: /trap/\n" + "# and so on\n" * 850_000

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.failures = {"robots_disallowed": {"/trap/closed"}}

    async def trap(self, exchange: Exchange) -> None:
        raise AssertionError("robots.txt closes this path")


class Malformed(_Hostile):
    """Pages whose data is broken in one way or another; what can be read of them is read."""

    name = "malformed"
    bodies: ClassVar[dict[str, str | bytes]] = {
        "/trap/json": '<script type="application/ld+json">{"@type": "MusicRecording", "name": </script>',
        "/trap/nothing": "",
        "/trap/nul": "<p>\0\0\0</p>",
        "/trap/latin": b"<p>\xff\xfe\xfa\xcc</p>",
        "/trap/nested": "<div>" * 60_000,
        "/trap/links": html(
            links=["http://[", "//", "javascript:alert(1)", "http://999.999.999.999/", "?" + "a" * 9000]
        ),
        "/trap/deep-json": f'<script type="application/ld+json">{"[" * 50_000}</script>',
        "/trap/gzip": b"\x1f\x8b\x08\0broken",
    }
    traps = tuple(bodies)

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.failures = {"broken_markup": {"/trap/json", "/trap/deep-json", "/trap/gzip"}}

    async def trap(self, exchange: Exchange) -> None:
        coding = "gzip" if exchange.path == "/trap/gzip" else ""
        await exchange.send(self.bodies[exchange.path], Content_Encoding=coding)


class Statuses(_Hostile):
    """Every way of saying no."""

    name = "statuses"
    said: ClassVar = {
        401: "auth_required", 402: "forbidden", 403: "forbidden", 404: "not_found", 407: "auth_required",
        410: "gone", 418: "forbidden", 425: "transient", 429: "rate_limited", 451: "geo_blocked", 500: "server_error",
        503: "server_error", 599: "server_error",
    }  # fmt: skip
    traps = tuple(f"/trap/{status}" for status in said)

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        for status, failure in self.said.items():
            paths = self.expected.failures.setdefault(failure, set())
            assert isinstance(paths, set)
            paths.add(f"/trap/{status}")

    async def trap(self, exchange: Exchange) -> None:
        status = int(exchange.path.rpartition("/")[2])
        more = {"Retry_After": "1"} if status == 429 else {}
        await exchange.send("no", status, **more)


class Forbidden(Site):
    """A server of somebody's private network. Nobody may ever ask it anything."""

    name = "forbidden"

    def __init__(self, pages: int) -> None:
        super().__init__(0)
        self.expected.most_requests = 0

    async def page(self, exchange: Exchange) -> None:
        await exchange.send("the secret")


class Dead(Site):
    """Nobody is there."""

    name = "dead"
    settings: ClassVar = {"limits": {"max_attempts": ATTEMPTS}}

    def __init__(self, pages: int) -> None:
        super().__init__(0)
        self.expected.failures = {"connection": MANY}
        self.expected.most_requests = 0


SITES: tuple[type[Site], ...] = (
    Calendar, Redirects, Bombs, Drip, Headers, Types, Sitemaps, Deep, Rules, Malformed, Statuses, Dead,
)  # fmt: skip
