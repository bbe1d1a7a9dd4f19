"""Sites that mean well and fail: slow, flaky, limiting, cut off; all their items are found in the end."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from examples.network.http import Exchange
from examples.network.site import MANY, Site, html, json_ld, path_of

SONGS = ["/song/"]


class _Linked(Site):
    """Songs that the first page links to."""

    settings: ClassVar = {"follow": SONGS}

    async def page(self, exchange: Exchange) -> None:
        if exchange.path == "/":
            await exchange.send(html(links=[*map(path_of, self.songs)]))
        else:
            await self.song(exchange)


class Slow(_Linked):
    """Half a second a page."""

    name = "slow"

    async def page(self, exchange: Exchange) -> None:
        await asyncio.sleep(0.5)
        await super().page(exchange)


class Flaky(_Linked):
    """Each page fails once, in one of several ways, and then works."""

    name = "flaky"

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.expected.most_requests = 4 * pages + 8

    async def page(self, exchange: Exchange) -> None:
        if exchange.path == "/" or exchange.number >= 1:
            await super().page(exchange)
            return
        way = int(exchange.path.rpartition("/")[2]) % 4
        if way == 0:
            await exchange.send("try again", 500)
        elif way == 1:
            exchange.reset()
        elif way == 2:
            await exchange.send("busy", 503, Retry_After="1")
        else:  # half of what was announced
            await exchange.raw(exchange.head(200, {"Content-Type": "text/html", "Content-Length": "5000"}) + b"<p>")
            exchange.hang_up()


class Limiting(_Linked):
    """At most so many requests a second; who asks more often is told to wait."""

    name = "limiting"
    most_per_s = 4
    delay_s = 0.1

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self._asked: list[float] = []
        self.expected.most_requests = 4 * pages + 8

    async def page(self, exchange: Exchange) -> None:
        now = time.monotonic()
        self._asked = [moment for moment in self._asked if moment > now - 1] + [now]
        if len(self._asked) > self.most_per_s:
            await exchange.send("slow down", 429, Retry_After="1")
        else:
            await super().page(exchange)


class Sessions(Site):
    """Every link carries a new session id: an endless number of URLs for the same few pages."""

    name = "sessions"
    settings: ClassVar = {"limits": {"max_pages_per_pattern": 10, "max_depth": 100}}
    _next = 0

    def __init__(self, pages: int) -> None:
        super().__init__(min(pages, 6))
        self.expected.failures = {"trap": MANY}
        self.expected.most_requests = 150

    async def page(self, exchange: Exchange) -> None:
        links = []
        for song in self.songs:
            self._next += 1
            links.append(f"{path_of(song)}?sid={self._next:08d}")
        found = next((song for song in self.songs if exchange.path == path_of(song)), None)
        if found is None:
            await exchange.send(html(links=links))
            return
        canonical = f'<link rel="canonical" href="{path_of(found)}">'
        await exchange.send(html(json_ld(found, url=path_of(found)), links=links, head=canonical))


class Cut(_Linked):
    """One page is never whole."""

    name = "cut"

    def __init__(self, pages: int) -> None:
        super().__init__(max(pages // 2, 3))
        lost = self.songs[0]
        self.expected.items.discard(lost.key)
        self.expected.failures = {"connection": {path_of(lost)}}

    async def page(self, exchange: Exchange) -> None:
        if exchange.path == path_of(self.songs[0]):
            await exchange.raw(exchange.head(200, {"Content-Type": "text/html", "Content-Length": "5000"}) + b"<p>")
            exchange.hang_up()
        else:
            await super().page(exchange)


SITES: tuple[type[Site], ...] = (Slow, Flaky, Limiting, Sessions, Cut)
