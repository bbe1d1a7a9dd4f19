"""RSS, Atom and podcast feeds: each entry with audio or video is a recording."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

import feedparser
import lxml.html
from lxml import etree
from w3lib.encoding import html_to_unicode

from adapters._structured import same_site, site_path
from adapters._values import clean_text, iso_moment, markup_text, seconds
from adapters.contract import (
    AudioPolicy,
    Chapter,
    Credit,
    Engine,
    ExtractionError,
    Page,
    PageRequest,
    PolitenessDefaults,
    RecordingItem,
    SourceQuery,
    register,
)

MAX_ENTRIES = 20_000
MAX_PAGES = 1000
"""Pages of one paged feed (RFC 5005)."""
MAX_CHAPTERS = 1000
_NEWEST_FIRST = {"newest_first": True}
"""How feeds are ordered: a crawl that comes again may leave their pages at what it knows."""
_ENTRIES = ("media", "all")
_DOCTYPE = re.compile(r"<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>", re.DOTALL | re.IGNORECASE)
_ELEMENT = re.compile(r"<\w")
_FEED_TYPES = ("application/rss+xml", "application/atom+xml")
_MEDIA_TYPES = ("audio/", "video/", "application/ogg")
_MEDIA_NAME = re.compile(r"\.(?:mp3|m4a|m4b|mp4|ogg|oga|opus|flac|wav|aac|webm|m4v|mov)$", re.IGNORECASE)


@register
class Feed:
    """Seeds are URLs of feeds, or of pages that name their feeds.

    Option ``entries``: ``media`` (those with audio or video, the default) or ``all``.
    """

    name: ClassVar[str] = "feed"
    summary: ClassVar[str] = "RSS, Atom and podcasts: entries with audio or video, with chapters"
    engine: ClassVar[Engine] = Engine.HTTP
    url_patterns: ClassVar[tuple[str, ...]] = ()
    politeness: ClassVar[PolitenessDefaults] = PolitenessDefaults(delay_s=1.0, concurrency=2)
    audio_policy: ClassVar[AudioPolicy] = AudioPolicy.STORE
    reads_item_pages: ClassVar[bool] = False

    def seeds(self, query: SourceQuery) -> Iterable[PageRequest]:
        """The first requests. Raises ValueError that names a bad seed or option."""
        if (entries := query.options.get("entries", "media")) not in _ENTRIES:
            raise ValueError(f"options.entries: {entries!r} is none of {', '.join(_ENTRIES)}")
        if not query.seeds:
            raise ValueError("seeds: empty; name at least one URL of a feed")
        for seed in query.seeds:
            if not _is_web(seed):
                raise ValueError(f"seeds: {seed!r} is not an http or https URL; write https://example.org/feed.xml")
        return [PageRequest(seed, "feed", 0, _NEWEST_FIRST) for seed in query.seeds]

    def parse(self, page: Page, query: SourceQuery) -> Iterable[RecordingItem | PageRequest]:
        """The entries of a feed, its next page and its chapter files. Raises ExtractionError."""
        if page.request.kind == "chapters":
            return _with_chapters(page)
        return _read(page, query)


def _read(page: Page, query: SourceQuery) -> Iterator[RecordingItem | PageRequest]:
    text = _text(page)
    found = _parsed(text)
    if not found.get("version") and not found.entries:
        yield from _named_feeds(text, page)
        return
    yield from _next_page(found, page)
    wanted_all = query.options.get("entries") == "all"
    show = clean_text(found.feed.get("title")) if "itunes" in found.get("namespaces", {}) else ""
    keys: set[str] = set()
    for entry in found.entries[:MAX_ENTRIES]:
        media = _media(entry, page.url)
        if media is None and not wanted_all:
            continue
        item = _item(entry, found.feed, media, show, page)
        if item is None or item.source_key in keys:
            continue
        keys.add(item.source_key)
        yield item
        chapters = entry.get("podcast_chapters")
        if not item.chapters and isinstance(chapters, Mapping) and (url := _link(chapters.get("url"), page.url)):
            # The chapters stand in a file of their own; the item is told again with them.
            yield PageRequest(url, "chapters", 0, {"item": item.to_json()})


def _text(page: Page) -> str:
    """The feed as text without a document type: neither its entities nor its addresses are ever looked at."""
    _, text = html_to_unicode(page.headers.get("content-type"), page.body, default_encoding="utf-8")
    text = text.replace("\0", "").lstrip("\ufeff \t\r\n")
    text = _DOCTYPE.sub("", text)
    start = _ELEMENT.search(text)
    if "<!ENTITY" in text[: start.start() if start else None]:
        raise ExtractionError("the feed declares entities where none may stand")
    return text


def _parsed(text: str) -> Any:
    # Without a location: feedparser would make a GUID that is no URL one, and it would change when the feed moves.
    headers = {"content-type": "application/xml; charset=utf-8"}
    try:
        # A stream, so that feedparser takes it for nothing else: a string may be an address to it.
        return feedparser.parse(
            io.BytesIO(text.encode("utf-8", "replace")),
            response_headers=headers,
            resolve_relative_uris=False,
            sanitize_html=False,
        )
    except Exception as error:  # it trips over damaged feeds in many ways
        raise ExtractionError(f"the feed cannot be read: {type(error).__name__}: {error}") from None


def _named_feeds(text: str, page: Page) -> Iterator[PageRequest]:
    """The feeds that an HTML page names. Raises ExtractionError where there are none."""
    links: list[str] = []
    try:
        root = lxml.html.document_fromstring(text.encode("utf-8", "replace")) if text else None
        for element in root.iter("link") if root is not None else ():
            if (element.get("type") or "").lower() in _FEED_TYPES and element.get("href"):
                links.append(urljoin(page.url, element.get("href").strip()))
    except (etree.ParserError, ValueError):
        pass
    links = [url for url in dict.fromkeys(links) if _is_web(url) and same_site(url, page.url)]
    if not links or page.request.context.get("named"):
        raise ExtractionError("neither a feed nor a page that names one")
    for url in links[:20]:
        yield PageRequest(url, "feed", 0, {"named": True, **_NEWEST_FIRST})


def _next_page(found: Any, page: Page) -> Iterator[PageRequest]:
    number = int(page.request.context.get("page", 1))
    for link in found.feed.get("links", ()):
        if link.get("rel") in ("next", "prev-archive") and number < MAX_PAGES:
            url = _link(link.get("href"), page.url)
            if url and url != page.url and same_site(url, page.url):
                yield PageRequest(url, "feed", 1, {"page": number + 1, **_NEWEST_FIRST}, continues=True)
                return


def _item(entry: Any, feed: Any, media: Mapping[str, Any] | None, show: str, page: Page) -> RecordingItem | None:
    url = _link(entry.get("link"), page.url)
    audio_url = _link(media.get("href") or media.get("url"), page.url) if media is not None else None
    title = markup_text(entry.get("title"), 1000) or markup_text(entry.get("itunes_title"), 1000)
    key = clean_text(entry.get("id"), 1000) or site_path(url or audio_url or "")
    if not title or key in ("", "/"):
        return None
    published = iso_moment(entry.get("published")) or iso_moment(dict.get(entry, "updated"))
    duration = entry.get("itunes_duration") or (media.get("duration") if media is not None else None)
    return RecordingItem(
        source_key=key,
        title=title,
        url=url or page.url,
        credits=_credits(entry),
        audio_url=audio_url,
        duration_s=seconds(duration),
        album=show or None,
        language=clean_text(entry.get("language") or feed.get("language"), 40) or None,
        genre=_genre(entry),
        description=_description(entry),
        thumbnail_url=_picture(entry, page.url),
        licence=_licence(entry) or _licence(feed),
        published_at=published,
        chapters=_inline_chapters(entry),
    )


def _media(entry: Any, base: str) -> Mapping[str, Any] | None:
    """The enclosure or Media RSS content to listen to: audio before video, the first of each."""
    found: list[Mapping[str, Any]] = [
        each for each in (*entry.get("enclosures", ()), *entry.get("media_content", ())) if _address(each)
    ]

    def is_kind(each: Mapping[str, Any], prefix: str) -> bool:
        return str(each.get("type", "")).lower().startswith(prefix) or each.get("medium") == prefix.rstrip("/")

    for prefix in _MEDIA_TYPES:
        for each in found:
            if is_kind(each, prefix) and _link(_address(each), base):
                return each
    for each in found:
        # A type that is missing or too general leaves the name to tell.
        if not str(each.get("type", "")).startswith(("image/", "text/")) and _MEDIA_NAME.search(_path(_address(each))):
            return each
    return None


def _address(each: Mapping[str, Any]) -> str:
    return str(each.get("href") or each.get("url") or "")


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _credits(entry: Any) -> tuple[Credit, ...]:
    names = []
    for credit in entry.get("media_credit", ()):
        if credit.get("role", "") in ("artist", "performer", "musician", "author", ""):
            names.append(credit.get("content"))
    if not names:
        authors = [author.get("name") for author in entry.get("authors", ()) if isinstance(author, Mapping)]
        names = [name for name in authors if name] or [entry.get("author")]
    found = (clean_text(name, 300) for name in names[:50])
    return tuple(dict.fromkeys(Credit(name) for name in found if name and "@" not in name))


def _genre(entry: Any) -> str | None:
    terms = (clean_text(tag.get("term"), 60) for tag in entry.get("tags", ())[:5] if isinstance(tag, Mapping))
    return clean_text("; ".join(term for term in terms if term), 200) or None


def _description(entry: Any) -> str | None:
    contents = [part.get("value") for part in entry.get("content", ()) if isinstance(part, Mapping)]
    texts = (markup_text(value) for value in (entry.get("summary"), *contents))
    return next((text for text in texts if text), None)


def _picture(entry: Any, base: str) -> str | None:
    image = entry.get("image")
    thumbnails = [each.get("url") for each in entry.get("media_thumbnail", ()) if isinstance(each, Mapping)]
    named = [image.get("href")] if isinstance(image, Mapping) else []
    return next((url for value in (*thumbnails, *named) if (url := _link(value, base))), None)


def _licence(thing: Any) -> str | None:
    """The licence by its link; a feed's copyright line is none."""
    for link in thing.get("links", ()):
        if link.get("rel") == "license" and link.get("href"):
            return clean_text(link["href"], 500) or None
    return None


def _inline_chapters(entry: Any) -> tuple[Chapter, ...]:
    """Podlove Simple Chapters."""
    listed = entry.get("psc_chapters")
    chapters = listed.get("chapters", ()) if isinstance(listed, Mapping) else ()
    return _chapters((each.get("title"), each.get("start"), None) for each in chapters if isinstance(each, Mapping))


def _chapters(entries: Iterable[tuple[Any, Any, Any]]) -> tuple[Chapter, ...]:
    """Chapters in the order of their starts; an end that is not told is the start of the next."""
    found = []
    for title, start, end in entries:
        text = clean_text(title, 300)
        start_s = 0.0 if start in (0, 0.0, "0", "0.0") or str(start).strip("0:.") == "" else seconds(start)
        if text and start_s is not None:
            found.append(Chapter(text, start_s, seconds(end)))
        if len(found) >= MAX_CHAPTERS:
            break
    found.sort(key=lambda chapter: chapter.start_s)
    ends = [*(chapter.start_s for chapter in found[1:]), None][: len(found)]
    return tuple(
        chapter if chapter.end_s is not None else replace(chapter, end_s=end)
        for chapter, end in zip(found, ends, strict=True)
    )


def _with_chapters(page: Page) -> Iterator[RecordingItem]:
    """The item of the request, with the chapters of this file (Podcasting 2.0, JSON Chapters)."""
    try:
        listed = json.loads(page.body)["chapters"]
        item = RecordingItem.from_json(page.request.context["item"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExtractionError(f"not a file of chapters: {error}") from None
    if not isinstance(listed, list):
        raise ExtractionError("not a file of chapters: `chapters` is no list")
    shown = (each for each in listed if isinstance(each, Mapping) and each.get("toc") is not False)
    yield replace(
        item, chapters=_chapters((each.get("title"), each.get("startTime"), each.get("endTime")) for each in shown)
    )


def _link(value: Any, base: str) -> str | None:
    """An absolute http or https URL, or None."""
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        joined = urljoin(base, value.strip())
    except ValueError:
        return None
    return joined.partition("#")[0] if _is_web(joined) and len(joined) <= 4000 else None


def _is_web(url: str) -> bool:
    try:
        split = urlsplit(url)
        return split.scheme in ("http", "https") and bool(split.hostname)
    except ValueError:
        return False
