"""What all sites share: who they are, what a crawl of them must find, and how they describe songs."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

from examples.network.http import Exchange

_ADJECTIVES = (
    "Синий", "Дальний", "Тихий", "Северный", "Старый", "Зимний", "Вечерний", "Степной", "Озорной", "Лунный",
    "Горький", "Весенний", "Молодой", "Хрустальный", "Бродячий", "Морской", "Забытый", "Рассветный",
    "Янтарный", "Лесной",
)  # fmt: skip
_NOUNS = (
    "колокольчик", "паровоз", "берег", "караван", "фонарь", "журавль", "вокзал", "ручей", "барабан", "корабль",
    "трамвай", "костёр", "огород", "бубенец", "парусник", "портрет", "сапожник", "горизонт", "платок", "самовар",
    "тополь", "ветерок", "граммофон", "камешек", "бульвар", "оркестр", "колодец", "чердак", "пирожок", "дирижёр",
    "светлячок", "водовоз", "каштан", "плотник", "мостик", "хоровод", "телеграф", "снегирь", "чемодан", "маятник",
)  # fmt: skip
_TITLES = [f"{adjective} {noun}" for noun, adjective in itertools.product(_NOUNS, _ADJECTIVES)]
MOST_PAGES = 24
"""Songs of one site, so that all have titles of their own."""
_blocks: dict[str, int] = {}
MANY = "many"


@dataclass(frozen=True, slots=True)
class Song:
    """A song that only one site has."""

    key: str
    title: str
    performer: str
    duration_s: int = 180


@dataclass(slots=True)
class Expected:
    """What a crawl must come to.

    Attributes:
        items: the source keys found, all and no other.
        failures: final failures by class: the paths, or `MANY` where only the class is certain.
        most_requests: the site is never asked more often, robots.txt and repetitions included.
    """

    items: set[str] = field(default_factory=set)
    failures: dict[str, set[str] | str] = field(default_factory=dict)
    most_requests: int = 200


class Site:
    """A site. ``settings``: its entry in the campaign, beside source and seeds.

    ``robots``: text of robots.txt; without it there is none.
    """

    name = ""
    adapter = "website"
    seeds: tuple[str, ...] = ("/",)
    settings: ClassVar[dict[str, Any]] = {}
    delay_s = 0.1
    robots: str | None = None
    forbidden = ""
    """URL of a host that nobody may ask; it is known when all are up."""

    def __init__(self, pages: int) -> None:
        self.songs = songs(self.name, pages)
        self.expected = Expected({song.key for song in self.songs})

    def prepare(self) -> None:
        """What takes long and is to be done before the first request."""

    async def answer(self, exchange: Exchange) -> None:
        """One request."""
        if exchange.path == "/robots.txt":
            if self.robots is None:
                await exchange.send("no rules", 404, "text/plain")
            else:
                await exchange.send(self.robots, content_type="text/plain")
            return
        await self.page(exchange)

    async def page(self, exchange: Exchange) -> None:
        """A request for anything else than robots.txt."""
        raise NotImplementedError

    async def song(self, exchange: Exchange) -> None:
        """The page of the song that the path names, or 404."""
        found = next((song for song in self.songs if exchange.path == path_of(song)), None)
        if found is None:
            await exchange.send("not here", 404)
        else:
            await exchange.send(html(json_ld(found), title=found.title))


def songs(site: str, count: int) -> list[Song]:
    """So many songs (at most `MOST_PAGES`) with titles that no other site has."""
    first = _blocks.setdefault(site, len(_blocks)) * MOST_PAGES
    titles = _TITLES[first : first + min(count, MOST_PAGES)]
    return [
        Song(f"{site}-{number}", title, f"Ансамбль «{site.capitalize()}»", 120 + number)
        for number, title in enumerate(titles)
    ]


def path_of(song: Song) -> str:
    """Where a song's page is."""
    return f"/song/{song.key.rpartition('-')[2]}"


def json_ld(*found: Song, **more: Any) -> str:
    """The songs as schema.org has them."""
    data = [
        {
            "@context": "https://schema.org",
            "@type": "MusicRecording",
            "identifier": song.key,
            "name": song.title,
            "byArtist": {"@type": "MusicGroup", "name": song.performer},
            "duration": f"PT{song.duration_s}S",
            **more,
        }
        for song in found
    ]
    return f'<script type="application/ld+json">{json.dumps(data, ensure_ascii=False)}</script>'


def html(*parts: str, title: str = "", links: list[str] | None = None, head: str = "") -> str:
    """A page."""
    anchors = "".join(f'<li><a href="{link}">{link}</a></li>' for link in links or [])
    body = f"{''.join(parts)}<ul>{anchors}</ul>"
    return f"<!doctype html><html><head><title>{title}</title>{head}</head><body>{body}</body></html>"


def sitemap(*urls: str) -> str:
    """A sitemap of these pages."""
    entries = "".join(f"<url><loc>{url}</loc></url>" for url in urls)
    return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>'


def sitemap_index(*urls: str) -> str:
    """An index of these sitemaps."""
    entries = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    return f'<?xml version="1.0"?><sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</sitemapindex>'
