"""Sites that behave, each with another way of telling what it has."""

from __future__ import annotations

import gzip
from typing import ClassVar

import brotli

from examples.network.http import Exchange
from examples.network.site import Site, html, json_ld, path_of, sitemap, sitemap_index

ANYTHING = ["."]
XML = "application/xml"


class Sitemapped(Site):
    """JSON-LD, found by a sitemap."""

    name = "sitemapped"
    seeds = ("/sitemap.xml",)

    async def page(self, exchange: Exchange) -> None:
        if exchange.path == "/sitemap.xml":
            base = f"http://{exchange.headers['host']}"
            await exchange.send(sitemap(*(base + path_of(song) for song in self.songs)), content_type=XML)
        else:
            await self.song(exchange)


class Indexed(Site):
    """A sitemap index with packed sitemaps; pages come in Brotli."""

    name = "indexed"
    seeds = ("/index.xml",)

    async def page(self, exchange: Exchange) -> None:
        base = f"http://{exchange.headers['host']}"
        if exchange.path == "/index.xml":
            await exchange.send(sitemap_index(f"{base}/one.xml.gz", f"{base}/two.xml.gz"), content_type=XML)
        elif exchange.path.endswith(".xml.gz"):
            mine = self.songs[exchange.path == "/two.xml.gz" :: 2]
            packed = gzip.compress(sitemap(*(base + path_of(song) for song in mine)).encode())
            await exchange.send(packed, content_type="application/gzip")
        elif found := next((song for song in self.songs if exchange.path == path_of(song)), None):
            await exchange.send(brotli.compress(html(json_ld(found)).encode()), Content_Encoding="br")
        else:
            await exchange.send("not here", 404)


class Microdata(Site):
    """Microdata, found by following links."""

    name = "microdata"
    settings: ClassVar = {"follow": ["/song/"]}

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.items = {path_of(song) for song in self.songs}

    async def page(self, exchange: Exchange) -> None:
        if exchange.path == "/":
            await exchange.send(html(links=[*map(path_of, self.songs), "/about"]))
            return
        found = next((song for song in self.songs if exchange.path == path_of(song)), None)
        if found is None:
            await exchange.send("not here", 404)
            return
        text = (
            f'<div itemscope itemtype="https://schema.org/MusicRecording"><h1 itemprop="name">{found.title}</h1>'
            f'<span itemprop="byArtist">{found.performer}</span>'
            f'<meta itemprop="duration" content="PT{found.duration_s}S"></div>'
        )
        await exchange.send(html(text))


class OpenGraph(Site):
    """Open Graph alone."""

    name = "opengraph"
    settings: ClassVar = {"follow": ["/song/"]}

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.items = {path_of(song) for song in self.songs}

    async def page(self, exchange: Exchange) -> None:
        if exchange.path == "/":
            await exchange.send(html(links=[*map(path_of, self.songs)]))
            return
        found = next((song for song in self.songs if exchange.path == path_of(song)), None)
        if found is None:
            await exchange.send("not here", 404)
            return
        head = (
            '<meta property="og:type" content="music.song">'
            f'<meta property="og:title" content="{found.title}">'
            f'<meta property="music:musician" content="{found.performer}">'
            f'<meta property="music:duration" content="{found.duration_s}">'
        )
        await exchange.send(f'<html prefix="og: https://ogp.me/ns#"><head>{head}</head><body></body></html>')


class Feed(Site):
    """RSS."""

    name = "feed"
    adapter = "feed"
    seeds = ("/feed.xml",)

    async def page(self, exchange: Exchange) -> None:
        if exchange.path != "/feed.xml":
            await exchange.send("not here", 404)
            return
        base = f"http://{exchange.headers['host']}"
        entries = "".join(
            f"<item><title>{song.title}</title><guid isPermaLink='false'>{song.key}</guid>"
            f"<author>{song.performer}</author><link>{base}{path_of(song)}</link>"
            f"<enclosure url='{base}/{song.key}.mp3' type='audio/mpeg' length='1'/></item>"
            for song in self.songs
        )
        text = f"<?xml version='1.0'?><rss version='2.0'><channel><title>Feed</title>{entries}</channel></rss>"
        await exchange.send(text, content_type="application/rss+xml")


class Paged(Site):
    """A list over many pages, each of which links to the next."""

    name = "paged"
    seeds = ("/list?page=1",)
    settings: ClassVar = {"follow": [r"/list\?page=\d+$", "/song/"], "limits": {"max_depth": 30}}

    async def page(self, exchange: Exchange) -> None:
        if exchange.path != "/list":
            await self.song(exchange)
            return
        number = int(exchange.query.get("page", "1"))
        mine = self.songs[(number - 1) * 5 : number * 5]
        following = [f"/list?page={number + 1}"] if number * 5 < len(self.songs) else []
        await exchange.send(html(links=[*map(path_of, mine), *following, "/list?page=1"]))


class Albums(Site):
    """Albums with their tracks on one page."""

    name = "albums"
    settings: ClassVar = {"follow": ["/album/"]}
    size = 8

    async def page(self, exchange: Exchange) -> None:
        count = -(-len(self.songs) // self.size)
        if exchange.path == "/":
            await exchange.send(html(links=[f"/album/{number}" for number in range(count)]))
        elif exchange.path.startswith("/album/"):
            number = int(exchange.path.rpartition("/")[2])
            await exchange.send(html(json_ld(*self.songs[number * self.size : (number + 1) * self.size])))
        else:
            await exchange.send("not here", 404)


class Moved(Site):
    """Every page lies elsewhere, in one of the ways of saying so."""

    name = "moved"
    seeds = ("/old-sitemap.xml",)

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.most_requests = 2 * pages + 4

    async def page(self, exchange: Exchange) -> None:
        if exchange.path == "/old-sitemap.xml":
            await exchange.redirect("/sitemap.xml", 301)
        elif exchange.path == "/sitemap.xml":
            base = f"http://{exchange.headers['host']}"
            await exchange.send(sitemap(*(f"{base}/old{path_of(song)}" for song in self.songs)), content_type=XML)
        elif exchange.path.startswith("/old/"):
            number = int(exchange.path.rpartition("/")[2])
            await exchange.redirect(exchange.path.removeprefix("/old"), (301, 302, 303, 307, 308)[number % 5])
        else:
            await self.song(exchange)


class Ruled(Site):
    """robots.txt with a Crawl-delay, its sitemap, and a closed part."""

    name = "ruled"
    robots = "User-agent: *\nCrawl-delay: 0.3\nDisallow: /private/\n"
    delay_s = 0.05
    settings: ClassVar = {"follow": ANYTHING}

    def __init__(self, pages: int) -> None:
        super().__init__(max(pages // 2, 3))
        self.expected.failures = {"robots_disallowed": {"/private/a", "/private/b"}}

    async def page(self, exchange: Exchange) -> None:
        if exchange.path == "/":
            await exchange.send(html(links=[*map(path_of, self.songs), "/private/a", "/private/b"]))
        else:
            await self.song(exchange)


SITES: tuple[type[Site], ...] = (
    Sitemapped, Indexed, Microdata, OpenGraph, Feed, Paged, Albums, Moved, Ruled,
)  # fmt: skip
