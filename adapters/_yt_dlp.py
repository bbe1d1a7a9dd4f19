"""What the sources have in common that yt-dlp reads.

A page of these sources is a JSON object that `crawlers.yt_dlp` makes of yt-dlp's answer: one recording, a window of a
list, or why something is not available. URLs are recognised here by their form, without yt-dlp: its patterns say which
extractor wants a URL, not what identifies the thing behind it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from adapters.contract import (
    AudioPolicy,
    Availability,
    Chapter,
    Credit,
    Engine,
    ExtractionError,
    Page,
    PageRequest,
    PolitenessDefaults,
    Recognised,
    RecordingItem,
    SourceQuery,
)

ITEM = "item"
AUDIO_SCHEME = "yt-dlp+"
"""Before the page's URL: the audio's own address is found when it is fetched, for it expires."""
DEFAULT_MAX_ENTRIES = 5_000
"""Entries of one list, unless the campaign's option ``max_entries`` says otherwise."""
_OF_LISTS = ("newest_first", "title")
_SECRET_WORDS = ("cookie", "passw", "token", "secret", "account", "login", "username", "netrc", "auth", "sessionid")
_MAX_TITLE, _MAX_TEXT = 1000, 5000
_MAX_CHAPTERS = 500
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, taken apart. ``host`` in lower case, without ``www.`` and ``m.``; ``parts``: the path's, decoded."""

    host: str
    parts: tuple[str, ...]
    query: Mapping[str, str]

    @classmethod
    def of(cls, url: str) -> Address | None:
        """None for what is no http URL. A missing scheme before ``//`` and ``&amp;`` for ``&`` are forgiven."""
        text = unescape(unescape(url.strip()))
        if text.startswith("//"):
            text = "https:" + text
        try:
            split = urlsplit(text)
            host = (split.hostname or "").lower().rstrip(".")
        except ValueError:
            return None
        if split.scheme.lower() not in ("http", "https") or not host:
            return None
        for prefix in ("www.", "m."):
            host = host.removeprefix(prefix)
        parts = tuple(unquote(part) for part in split.path.split("/") if part)
        query: dict[str, str] = {}
        for name, value in parse_qsl(split.query):
            query.setdefault(name, value)  # yt-dlp, too, takes the first of two
        return cls(host, parts, query)

    def part(self, number: int) -> str:
        """A part of the path; empty where there is none."""
        return self.parts[number] if number < len(self.parts) else ""


class YtDlpAdapter:
    """Seeds are URLs, bare ids and @handles of the site.

    Options: ``max_entries``, how many entries of one list are followed; ``listed: true`` takes recordings as lists name
    them, without a request for each.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    engine: ClassVar[Engine] = Engine.YT_DLP
    url_patterns: ClassVar[tuple[str, ...]]
    politeness: ClassVar[PolitenessDefaults]
    audio_policy: ClassVar[AudioPolicy] = AudioPolicy.FINGERPRINT_ONLY
    extractors: ClassVar[tuple[str, ...]]
    """Names of yt-dlp's extractor classes, without IE, in the order in which they are asked; no other ever runs."""
    extractor_args: ClassVar[Mapping[str, Mapping[str, Sequence[str]]]] = {}
    """yt-dlp's ``extractor_args`` for reading pages (not for audio)."""
    newest_first: ClassVar[frozenset[str]] = frozenset()
    """Kinds of lists that begin with the newest: a later crawl may leave them at what it knows."""
    seed_forms: ClassVar[str]
    """What a seed may look like, for the message about one that does not."""
    search_missing: ClassVar[str] = "yt-dlp cannot search this site; name its channels, playlists or items as seeds"

    def recognise(self, url: str) -> Recognised | None:
        """What this URL or bare id leads to."""
        raise NotImplementedError

    def search_url(self, wanted: str) -> str:
        """The page of a search. Raises ValueError where yt-dlp has none for this site."""
        raise ValueError(f"search: {self.search_missing}")

    def seeds(self, query: SourceQuery) -> Iterable[PageRequest]:
        """One request per seed and search text."""
        _check_options(query.options)
        if not query.seeds and not query.search:
            raise ValueError(f"seeds: empty; name {self.seed_forms}")
        requests = []
        for seed in query.seeds:
            found = self.recognise(seed)
            if found is None:
                raise ValueError(f"seeds: {seed!r} is nothing of {self.name}; name {self.seed_forms}")
            if not found.source_key:
                raise ValueError(f"seeds: {seed!r} is cut off; give the whole address")
            requests.append(PageRequest(found.url, found.kind, 0, self._context(found)))
        for wanted in query.search:
            if not wanted.strip():
                raise ValueError("search: an empty text finds nothing; leave it out")
            requests.append(PageRequest(self.search_url(wanted.strip()), "search"))
        return requests

    def parse(self, page: Page, query: SourceQuery) -> Iterator[RecordingItem | PageRequest]:
        """The recording of an item's page; the entries of a list and the request for its next window."""
        try:
            info = json.loads(page.body)
        except ValueError as error:
            raise ExtractionError(f"not the JSON of yt-dlp's answer: {error}") from error
        if not isinstance(info, dict):
            raise ExtractionError("not an object of yt-dlp's answer")
        kind = info.get("_type") or "video"
        if kind == "unavailable":
            yield from self._unavailable(info, page.request)
        elif kind in ("playlist", "multi_video"):
            yield from self._list(info, page.request, query)
        elif kind in ("url", "url_transparent"):
            if (target := self._entry(info)) is not None:
                yield PageRequest(target.url, target.kind, 1)
        elif (item := self.item(info, page.request)) is not None:
            yield item

    def item(self, info: Mapping[str, Any], request: PageRequest) -> RecordingItem | None:
        """The recording that an info dict describes; None for a broadcast that is not over."""
        if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
            return None
        key = self.key_of(info)
        if not key:
            raise ExtractionError("the answer names no id")
        url = self.url_of(info, request)
        availability = _availability(info)
        detail = text(info.get("_unavailable_detail"), 300) or None
        available = availability is Availability.AVAILABLE
        return RecordingItem(
            source_key=key,
            title=self.title_of(info) or str(request.context.get("title") or "") or key,
            url=url,
            credits=self.credits_of(info),
            audio_url=self._audio_url(url, key) if available else None,
            duration_s=seconds(info.get("duration")),
            album=text(info.get("album"), _MAX_TITLE) or None,
            year=_year(info.get("release_year")) or _year(str(info.get("release_date") or "")[:4]),
            language=text(info.get("language"), 20) or None,
            genre=", ".join(names(info, "genres", "genre"))[:_MAX_TITLE] or None,
            description=text(info.get("description"), _MAX_TEXT) or None,
            thumbnail_url=_http(info.get("thumbnail")),
            licence=text(info.get("license"), _MAX_TITLE) or None,
            identifiers={self.name: key},
            published_at=_moment(info),
            chapters=tuple(_chapters(info.get("chapters"))),
            availability=availability,
            availability_detail=None if available else detail,
        )

    def _context(self, found: Recognised) -> dict[str, Any]:
        return {"newest_first": True} if found.kind in self.newest_first else {}

    def _audio_url(self, url: str, key: str) -> str:
        found = self.recognise(url)
        # Of several recordings in one page the fragment says which.
        return f"{AUDIO_SCHEME}{url}" + ("" if found is not None and found.kind == ITEM else f"#{key}")

    def key_of(self, info: Mapping[str, Any]) -> str:
        """The source key of an info dict."""
        return text(info.get("id"), 200)

    def url_of(self, info: Mapping[str, Any], request: PageRequest) -> str:
        """The page a person can open."""
        for url in (info.get("webpage_url"), request.url):
            if isinstance(url, str) and (found := self.recognise(url)) is not None and found.kind == ITEM:
                return found.url
        return request.url

    def title_of(self, info: Mapping[str, Any]) -> str:
        """The title as the site spells it."""
        return text(info.get("title"), _MAX_TITLE)

    def credits_of(self, info: Mapping[str, Any]) -> tuple[Credit, ...]:
        """Performers and composers that the site names as such, then whose channel it is."""
        performers = names(info, "artists", "artist")
        channel = text(info.get("channel") or info.get("uploader"), _MAX_TITLE)
        credits = [Credit(name) for name in performers]
        credits += [Credit(name, "composer") for name in names(info, "composers", "composer")]
        if channel and channel not in performers:
            credits.append(Credit(channel, "channel"))
        return tuple(credits)

    def _unavailable(self, info: Mapping[str, Any], request: PageRequest) -> Iterator[RecordingItem]:
        """What is known of an item that cannot be had: enough to mark a source that was known before."""
        found = self.recognise(request.url)
        if found is None or found.kind != ITEM:
            return  # a list, or a page whose item nobody knows
        yield RecordingItem(
            source_key=found.source_key,
            title=text(request.context.get("title"), _MAX_TITLE) or found.source_key,
            url=found.url,
            identifiers={self.name: found.source_key},
            availability=_availability(info),
            availability_detail=text(info.get("_unavailable_detail"), 300) or None,
        )

    def _list(
        self, info: Mapping[str, Any], request: PageRequest, query: SourceQuery
    ) -> Iterator[RecordingItem | PageRequest]:
        entries = info.get("entries")
        if not isinstance(entries, list):
            raise ExtractionError("a list without entries")
        most = int(query.options.get("max_entries") or DEFAULT_MAX_ENTRIES)
        offset = _count(request.context.get("offset"))
        listed = bool(query.options.get("listed"))
        for entry in entries[: max(most - offset, 0)]:
            if not isinstance(entry, dict):
                continue
            if (entry.get("_type") or "video") == "video":
                if (item := self.item(entry, request)) is not None:
                    yield item
                continue
            target = self._entry(entry)
            if target is None:
                continue
            title = text(entry.get("title"), 300)
            if listed and target.kind == ITEM and title:
                item = self.item({**entry, "id": target.source_key, "webpage_url": target.url}, request)
                if item is not None:
                    yield item
            else:
                # Items first: a channel's next window is wanted only after what was found in this one.
                context = self._context(target) | ({"title": title} if title else {})
                yield PageRequest(target.url, target.kind, 1 if target.kind == ITEM else 0, context)
        following = _count(info.get("_next_offset"))
        if offset < following < most:
            rest = {name: request.context[name] for name in _OF_LISTS if name in request.context}
            rest["offset"] = following
            yield PageRequest(request.url, request.kind, request.priority, rest, continues=True)

    def _entry(self, entry: Mapping[str, Any]) -> Recognised | None:
        url = entry.get("url") or entry.get("webpage_url")  # of a list within a list there is only the latter
        found = self.recognise(url) if isinstance(url, str) else None
        return found if found is not None and found.source_key else None


def _check_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if any(word in name.lower() for word in _SECRET_WORDS):
            raise ValueError(
                f"options.{name}: accounts and cookies do not stand in campaign files; put a cookie file into the "
                "folder that VERSIONS_ACCOUNTS_DIR names (docs/operator.md)"
            )
        if name == "max_entries":
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"options.max_entries: {value!r} must be a number from 1 up")
        elif name == "listed":
            if not isinstance(value, bool):
                raise ValueError(f"options.listed: {value!r} must be true or false")
        else:
            raise ValueError(f"options.{name} is unknown; there are max_entries and listed")


def text(value: Any, limit: int) -> str:
    """A clean string of at most so many characters; empty for what is no text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return ""
    return _CONTROL.sub("", value).strip()[:limit]


def names(info: Mapping[str, Any], several: str, single: str) -> list[str]:
    """Names from yt-dlp's newer field, which holds a list, or its older one."""
    found = info.get(several)
    if not isinstance(found, list):
        found = [info.get(single)]
    return list(dict.fromkeys(name for each in found[:50] if (name := text(each, _MAX_TITLE))))


def seconds(value: Any) -> float | None:
    """A positive finite number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if math.isfinite(number) and 0 < number < 1e7 else None


def _availability(info: Mapping[str, Any]) -> Availability:
    try:
        return Availability(info.get("_availability") or "available")
    except ValueError:
        return Availability.UNKNOWN


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _year(value: Any) -> int | None:
    try:
        year = int(value)
    except (TypeError, ValueError):
        return None
    return year if 1000 <= year <= 2999 else None


def _moment(info: Mapping[str, Any]) -> str | None:
    """When it was published: a time in UTC, or the day where only that is known."""
    stamp = info.get("timestamp")
    if isinstance(stamp, int | float) and not isinstance(stamp, bool):
        try:
            return datetime.fromtimestamp(stamp, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        except (ValueError, OverflowError, OSError):
            pass
    day = str(info.get("upload_date") or "")
    try:
        return datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        return None


def _chapters(value: Any) -> Iterator[Chapter]:
    if not isinstance(value, list):
        return
    for entry in value[:_MAX_CHAPTERS]:
        if not isinstance(entry, dict):
            continue
        start, end = entry.get("start_time"), entry.get("end_time")
        title = text(entry.get("title"), 300)
        if not title or isinstance(start, bool) or not isinstance(start, int | float) or not 0 <= start < 1e7:
            continue
        yield Chapter(title, float(start), seconds(end))


def _http(value: Any) -> str | None:
    found = text(value, 2000)
    if found.startswith("//"):
        found = "https:" + found
    return found if found.startswith(("http://", "https://")) else None
