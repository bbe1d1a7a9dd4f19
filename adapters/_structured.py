"""What the web's structured data says about recordings: schema.org in JSON-LD, microdata and RDFa, and Open Graph.

JSON-LD is read first and by itself; extruct's slower readers are asked only where it brought nothing. All input is
untrusted: depth, counts and lengths are bounded, and what cannot be read is left out rather than guessed.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urljoin, urlsplit

import lxml.html
from extruct.opengraph import OpenGraphExtractor
from extruct.w3cmicrodata import MicrodataExtractor
from lxml import etree

from adapters._rdfa import rdfa_nodes
from adapters._values import clean_text, iso_moment, seconds, year_of
from adapters.contract import Credit, ExtractionError, Page, RecordingItem, VersionKind

MAX_ITEMS = 5000
"""Recordings of one page."""
_MAX_DEPTH = 12
_MAX_TITLE, _MAX_TEXT, _MAX_LYRICS, _MAX_URL = 1000, 5000, 50_000, 4000

_RECORDING = frozenset(("musicrecording",))
_MEDIA = frozenset(("videoobject", "audioobject", "musicvideoobject", "podcastepisode"))
_COLLECTION = frozenset(("musicalbum", "musicplaylist", "musicrelease", "musicgroup", "person"))
_ALBUM_KINDS = {
    "livealbum": VersionKind.LIVE,
    "remixalbum": VersionKind.REMIX,
    "demoalbum": VersionKind.DEMO,
}
_CONTAINED = ("@graph", "mainEntity", "itemListElement", "item", "hasPart", "about", "subjectOf")
"""Properties through which the subject of a page is reached."""
_ROLES = (
    ("byArtist", "performer"),
    ("composer", "composer"),
    ("lyricist", "lyricist"),
    ("musicArrangement", "arranger"),
    ("producer", "producer"),
)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
_BLOCK_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_MBID = re.compile(r"musicbrainz\.org/(recording|work)/([0-9a-f-]{36})")


class Document:
    """A parsed HTML page. Raises ExtractionError when nothing of it can be parsed."""

    def __init__(self, page: Page) -> None:
        body = page.body.replace(b"\0", b"")
        parser = lxml.html.HTMLParser(encoding=_encoding(page.headers.get("content-type", ""), body), no_network=True)
        try:
            root = lxml.html.document_fromstring(body, parser=parser)
        except (etree.ParserError, etree.XMLSyntaxError, ValueError, AssertionError) as error:
            raise ExtractionError(f"no readable HTML: {error}") from None
        self.root: Any = root
        self.body = body
        self.url = page.url
        base = root.xpath("string(//base/@href)")
        self.base = _join(page.url, base) or page.url if base else page.url

    def canonical(self) -> str:
        """The page's URL as it names itself, if that is on the same site; else the URL it was fetched from."""
        for href in self.root.xpath("//link[@rel='canonical']/@href")[:1]:
            named = _join(self.base, str(href))
            if named and same_site(named, self.url):
                return named
        return self.url


@dataclass
class _Context:
    """What a node takes over from the page and from the collection it stands in."""

    base: str
    page_url: str
    nodes: Mapping[str, Mapping[str, Any]]
    album: str | None = None
    kind: str | None = None
    artists: tuple[Credit, ...] = ()
    year: int | None = None
    thumbnail: str | None = None
    licence: str | None = None
    work: Mapping[str, Any] | None = None
    position: str = ""
    items: dict[str, RecordingItem] = field(default_factory=dict)


def recordings(document: Document) -> list[RecordingItem]:
    """The recordings that a page tells of, in order, one per source key.

    Raises ExtractionError when the page holds structured data, none of it is readable, and nothing else tells.
    """
    blocks, broken = json_ld(document)
    items = from_nodes(blocks, document)
    if not items:
        items = from_nodes(_microdata(document), document)
    if not items:
        items = from_nodes(rdfa_nodes(document), document)
    if not items:
        items = _open_graph(document)
    if not items and broken and not blocks:
        raise ExtractionError(f"JSON-LD cannot be read: {broken[0]}")
    return items


def json_ld(document: Document) -> tuple[list[Any], list[str]]:
    """The readable JSON-LD blocks, and what is wrong with the others. An empty block is neither."""
    blocks, broken = [], []
    for script in document.root.iter("script"):
        kind = (script.get("type") or "").partition(";")[0].strip().lower()
        if kind != "application/ld+json":
            continue
        text = (script.text or "").strip()
        if not text:
            continue
        try:
            blocks.append(_lenient_json(text))
        except (ValueError, RecursionError) as error:
            broken.append(str(error)[:200] or type(error).__name__)
    return blocks, broken


def from_nodes(blocks: Iterable[Any], document: Document) -> list[RecordingItem]:
    """The recordings among schema.org nodes."""
    blocks = list(blocks)
    nodes: dict[str, Mapping[str, Any]] = {}
    for block in blocks:
        _index(block, nodes, 0)
    context = _Context(document.base, document.canonical(), nodes)
    for wanted in (_RECORDING | _COLLECTION, _MEDIA):
        for number, block in enumerate(blocks):
            _walk(block, wanted, _in_place(context, str(number) if number else ""), 0)
        if context.items:
            break
    items = list(context.items.values())
    if len(items) == 1 and items[0].source_key == f"{site_path(items[0].url)}#{items[0].title}":
        items[0] = replace(items[0], source_key=site_path(items[0].url))
    return items


def same_site(url: str, other: str) -> bool:
    """Whether both have the same host and port; a leading ``www.`` makes no difference."""
    try:
        one, two = urlsplit(url), urlsplit(other)
        return one.scheme in ("http", "https") and _site(one.netloc) == _site(two.netloc)
    except ValueError:
        return False


def site_path(url: str) -> str:
    """Path and query of a URL: a key that stays when the site moves."""
    split = urlsplit(url)
    return (split.path or "/") + (f"?{split.query}" if split.query else "")


def _lenient_json(text: str) -> Any:
    """JSON with what pages wrap around and leave in it: comments, control characters, commas too many."""
    text = text.removeprefix("<!--").removesuffix("-->").strip()
    text = text.removeprefix("//").lstrip().removeprefix("<![CDATA[")
    text = text.removesuffix("]]>").rstrip().removesuffix("//").strip().rstrip(";")
    try:
        return json.loads(text, strict=False, parse_constant=lambda _: None)
    except ValueError as first:
        mended = _TRAILING_COMMA.sub(r"\1", _BLOCK_COMMENT.sub("", text))
        if mended == text:
            raise
        try:
            return json.loads(mended, strict=False, parse_constant=lambda _: None)
        except ValueError:
            raise first from None


def _index(node: Any, nodes: dict[str, Mapping[str, Any]], depth: int) -> None:
    if depth > _MAX_DEPTH or len(nodes) > MAX_ITEMS:
        return
    if isinstance(node, list):
        for inner in node:
            _index(inner, nodes, depth + 1)
    elif isinstance(node, dict):
        identity = node.get("@id")
        if isinstance(identity, str) and len(node) > 1:
            nodes.setdefault(identity, node)
        for inner in node.values():
            if isinstance(inner, dict | list):
                _index(inner, nodes, depth + 1)


def _walk(node: Any, wanted: frozenset[str], context: _Context, depth: int) -> None:
    """Collects the recordings at and below a node into ``context.items``."""
    if depth > _MAX_DEPTH or len(context.items) >= MAX_ITEMS:
        return
    if isinstance(node, list):
        for number, inner in enumerate(node, 1):
            _walk(inner, wanted, _in_place(context, f"{context.position}.{number}".lstrip(".")), depth + 1)
        return
    node = _resolve(node, context)
    if node is None:
        return
    types = _types(node)
    if types & wanted & (_RECORDING | _MEDIA):
        item = _recording(node, context)
        if item is not None:
            context.items.setdefault(item.source_key, item)
        return
    if types & _COLLECTION & wanted:
        for name in ("track", "tracks"):
            if name in node:
                _walk(_listed(node[name], context), wanted, _inside(node, types, context), depth + 1)
        for name in ("album", "albums"):
            if name in node and "musicgroup" in types:
                _walk(node[name], wanted, _inside(node, types, context), depth + 1)
    for name in _CONTAINED:
        if name in node and isinstance(node[name], dict | list):
            _walk(node[name], wanted, context, depth + 1)
    if "musiccomposition" in types and "recordedAs" in node:
        _walk(node["recordedAs"], wanted, replace(context, work=node), depth + 1)


def _listed(value: Any, context: _Context) -> Any:
    """The members of an ItemList, each out of its ListItem."""
    node = _resolve(value, context)
    if node is not None and "itemListElement" in node:
        value = node["itemListElement"]
    if not isinstance(value, list):
        value = [value]
    return [inner["item"] if isinstance(inner, dict) and "item" in inner else inner for inner in value]


def _in_place(context: _Context, position: str) -> _Context:
    return context if position == context.position else replace(context, position=position)


def _inside(node: Mapping[str, Any], types: frozenset[str], context: _Context) -> _Context:
    """The context of the tracks of an album, a playlist or a group."""
    inner = replace(context)
    if types & {"musicgroup", "person"}:
        if name := clean_text(node.get("name")):
            inner.artists = (Credit(name),)
        return inner
    inner.artists = _credits(node.get("byArtist"), "performer", context) or context.artists
    inner.thumbnail = _first_url(node.get("image") or node.get("thumbnailUrl"), context)
    inner.licence = _licence(node.get("license"), context) or context.licence
    if "musicalbum" in types or "musicrelease" in types:
        inner.album = clean_text(node.get("name")) or None
        inner.year = year_of(node.get("datePublished"))
        made = str(node.get("albumProductionType", "")).rpartition("/")[2].lower()
        inner.kind = _ALBUM_KINDS.get(made)
    return inner


def _recording(node: Mapping[str, Any], context: _Context) -> RecordingItem | None:
    title = clean_text(node.get("name")) or clean_text(node.get("headline"))
    if not title:
        return None
    work = _work(node, context)
    album_node = _first(node.get("inAlbum"))
    album = _resolve(album_node, context)
    credits: list[Credit] = []
    for name, role in _ROLES:
        credits += _credits(node.get(name), role, context) or _credits(work.get(name), role, context)
    if not any(credit.role == "performer" for credit in credits):
        performers = context.artists or (_credits(album.get("byArtist"), "performer", context) if album else ())
        if not performers and _types(node) & _MEDIA:
            performers = next(
                (found for name in ("author", "creator") if (found := _credits(node.get(name), "performer", context))),
                (),
            )
        credits[:0] = performers
    url = _page_of(node, context)
    identifiers = _identifiers(node, work)
    return RecordingItem(
        source_key=_source_key(node, url, title, context),
        title=title,
        url=url,
        credits=tuple(dict.fromkeys(credits)),
        audio_url=_audio_url(node, context),
        duration_s=seconds(_first(node.get("duration"))) or _media_duration(node, context),
        work_title=clean_text(work.get("name")) or None,
        kind=context.kind,
        album=_name(album or album_node) or context.album,
        year=year_of(_first(node.get("datePublished"))) or year_of(_first(node.get("uploadDate"))) or context.year,
        language=_language(node.get("inLanguage")) or _language(work.get("inLanguage")),
        genre=clean_text(node.get("genre"), 200) or clean_text(work.get("genre"), 200) or None,
        lyrics=_lyrics(node.get("lyrics")) or _lyrics(work.get("lyrics")),
        description=clean_text(node.get("description"), _MAX_TEXT) or None,
        thumbnail_url=_first_url(node.get("thumbnailUrl") or node.get("image"), context) or context.thumbnail,
        licence=_licence(node.get("license"), context) or context.licence,
        identifiers=identifiers,
        # A recording's datePublished is its release, wherever that was.
        published_at=iso_moment(node.get("uploadDate"))
        or (iso_moment(node.get("datePublished")) if _types(node) & _MEDIA else None),
    )


def _work(node: Mapping[str, Any], context: _Context) -> Mapping[str, Any]:
    """The composition: named by the recording, or the one that it is listed under."""
    named = _first(node.get("recordingOf"))
    if (found := _resolve(named, context)) is not None:
        return found
    above = context.work or {}
    name = _name(named)
    return above if name in (None, clean_text(above.get("name"))) else {"name": name}


def _source_key(node: Mapping[str, Any], url: str, title: str, context: _Context) -> str:
    identifier = _first(node.get("identifier"))
    if isinstance(identifier, str | int) and not isinstance(identifier, bool) and (key := clean_text(identifier, 300)):
        return site_path(key) if key.startswith(("http://", "https://")) else key
    identity = node.get("@id")
    if isinstance(identity, str) and identity and not identity.startswith("_:"):
        named = _join(context.base, identity)
        if named:
            fragment = urlsplit(named).fragment
            return site_path(named) + (f"#{fragment}" if fragment else "")
    key = site_path(url)
    # Several nameless recordings of one page are told apart by what they are called.
    if context.position and url == context.page_url:
        return f"{key}#{title}"
    return key


def _page_of(node: Mapping[str, Any], context: _Context) -> str:
    for value in (node.get("url"), node.get("mainEntityOfPage"), node.get("@id")):
        value = _first(value)
        if isinstance(value, dict):
            value = value.get("@id") or value.get("url")
        if isinstance(value, str) and value and not value.startswith("_:"):
            joined = _join(context.base, value)
            if joined:
                return joined.partition("#")[0]
    return context.page_url


def _audio_url(node: Mapping[str, Any], context: _Context) -> str | None:
    if found := _first_url(node.get("contentUrl"), context):
        return found
    for name in ("audio", "associatedMedia", "encoding", "video"):
        for value in _many(node.get(name)):
            inner = _resolve(value, context)
            if inner is None:
                if name == "audio" and (found := _first_url(value, context)):
                    return found
            elif found := _first_url(inner.get("contentUrl"), context):
                return found
            elif name == "audio":
                link = inner.get("url") or (inner.get("@id") if len(inner) == 1 else None)
                if found := _first_url(link, context):
                    return found
    return None


def _media_duration(node: Mapping[str, Any], context: _Context) -> float | None:
    for name in ("audio", "associatedMedia", "encoding", "video"):
        for value in _many(node.get(name)):
            inner = _resolve(value, context)
            if inner is not None and (found := seconds(_first(inner.get("duration")))):
                return found
    return None


def _identifiers(node: Mapping[str, Any], work: Mapping[str, Any]) -> dict[str, str]:
    result = {"isrc": clean_text(node.get("isrcCode"), 40), "iswc": clean_text(work.get("iswcCode"), 40)}
    for value in _many(node.get("identifier")):
        if isinstance(value, dict):
            name = clean_text(value.get("propertyID"), 40).lower()
            if name in ("isrc", "iswc"):
                result[name] = result[name] or clean_text(value.get("value"), 40)
    for source in (node, work):
        for value in (*_many(source.get("sameAs")), source.get("@id")):
            if isinstance(value, str) and (found := _MBID.search(value[:_MAX_URL])):
                result.setdefault(f"musicbrainz_{found[1]}", found[2])
    return {name: value for name, value in result.items() if value}


def _credits(value: Any, role: str, context: _Context) -> tuple[Credit, ...]:
    result = []
    for inner in _many(value)[:50]:
        node = _resolve(inner, context)
        if node is not None and "byArtist" in node and "name" not in node:
            node = _resolve(_first(node["byArtist"]), context)
        name = clean_text(node if node is not None else inner, 300)
        if name and not name.startswith(("http://", "https://", "_:")):
            result.append(Credit(name, role))
    return tuple(result)


def _name(value: Any) -> str | None:
    """The name of a thing; a bare link to it is none."""
    name = clean_text(value)
    return name if name and not name.startswith(("http://", "https://")) else None


def _language(value: Any) -> str | None:
    value = _first(value)
    if isinstance(value, dict):
        value = value.get("alternateName") or value.get("name")
    return clean_text(value, 40) or None


def _lyrics(value: Any) -> str | None:
    value = _first(value)
    if isinstance(value, dict):
        value = value.get("text")
    if not isinstance(value, str):
        return None
    lines = (clean_text(line) for line in html.unescape(value[:_MAX_LYRICS]).splitlines())
    return "\n".join(lines).strip() or None


def _licence(value: Any, context: _Context) -> str | None:
    value = _first(value)
    if isinstance(value, dict):
        value = value.get("url") or value.get("@id") or value.get("name")
    return clean_text(value, 500) or None


def _types(node: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(
        str(name).rstrip("/").rpartition("/")[2].rpartition(":")[2].lower()
        for name in _many(node.get("@type"))
        if isinstance(name, str)
    )


def _resolve(value: Any, context: _Context) -> Mapping[str, Any] | None:
    """The node itself, or the one that a bare ``@id`` refers to."""
    if isinstance(value, list):
        value = _first(value)
    if not isinstance(value, dict):
        return None
    if set(value) <= {"@id", "@type"} and isinstance(value.get("@id"), str):
        return context.nodes.get(value["@id"], value)
    return value


def _many(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _first(value: Any) -> Any:
    return next(iter(value), None) if isinstance(value, list) else value


def _first_url(value: Any, context: _Context) -> str | None:
    for inner in _many(value):
        if isinstance(inner, dict):
            inner = inner.get("contentUrl") or inner.get("url") or inner.get("@id")
        if isinstance(inner, str) and inner.strip() and (joined := _join(context.base, inner)):
            return joined
    return None


def _join(base: str, reference: str) -> str | None:
    """An absolute http or https URL, or None."""
    try:
        joined = urljoin(base, reference.strip())
        split = urlsplit(joined)
        if split.scheme in ("http", "https") and split.netloc and len(joined) <= _MAX_URL:
            return joined.encode("utf-8", "replace").decode()
    except ValueError:
        pass
    return None


def _site(netloc: str) -> str:
    return netloc.lower().removeprefix("www.")


def _encoding(content_type: str, body: bytes) -> str | None:
    """The charset of the header, else None where the markup declares one, else UTF-8 if the body is that."""
    if (found := _CHARSET.search(content_type)) is not None:
        try:
            "".encode(found[1])
            return found[1]
        except LookupError:
            pass
    if b"charset" in body[:4096].lower() or b"encoding=" in body[:200]:
        return None
    try:
        body.decode()
    except UnicodeDecodeError:
        return None
    return "utf-8"


def _microdata(document: Document) -> list[Any]:
    """Microdata as JSON-LD nodes; at most a few thousand."""
    if b"itemscope" not in document.body:
        return []
    try:
        found = MicrodataExtractor(nested=True).extract_items(document.root, base_url=document.base)
        return [_as_node(item, 0) for item in found[:MAX_ITEMS]]
    except Exception:  # extruct trips over odd markup in many ways; the page then simply has none
        return []


def _as_node(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, list):
        return [_as_node(inner, depth + 1) for inner in value]
    if not isinstance(value, dict) or "properties" not in value:
        return value
    node: dict[str, Any] = {name: _as_node(inner, depth + 1) for name, inner in value["properties"].items()}
    node["@type"] = value.get("type", [])
    if "id" in value:
        node["@id"] = value["id"]
    return node


def _open_graph(document: Document) -> list[RecordingItem]:
    """One recording, where Open Graph calls the page a song or a video."""
    if b"og:type" not in document.body:
        return []
    values: dict[str, list[str]] = {}
    for extracted in OpenGraphExtractor().extract_items(document.root, base_url=document.base):
        for name, value in extracted.get("properties", ()):
            values.setdefault(str(name), []).append(str(value))

    def first(*names: str) -> str | None:
        return next((values[name][0] for name in names if values.get(name)), None)

    kind = first("og:type") or ""
    title = clean_text(first("og:title"))
    if not title or not (kind == "music.song" or kind.startswith("video")):
        return []
    url = document.canonical()
    for named in web_urls([first("og:url")], document.base):
        url = named if same_site(named, document.url) else url
    audio = (first("og:audio:secure_url", "og:audio:url", "og:audio"),)
    performers = [name for name in values.get("music:musician", ()) if "://" not in name]
    return [
        RecordingItem(
            source_key=site_path(url),
            title=title,
            url=url,
            credits=tuple(Credit(clean_text(name, 300)) for name in performers if name.strip()),
            audio_url=next(web_urls(audio, document.base), None),
            duration_s=seconds(first("music:duration", "video:duration", "og:video:duration")),
            year=year_of(first("music:release_date", "video:release_date")),
            description=clean_text(first("og:description"), _MAX_TEXT) or None,
            thumbnail_url=next(web_urls([first("og:image:secure_url", "og:image")], document.base), None),
            published_at=iso_moment(first("article:published_time", "video:release_date")),
        )
    ]


def web_urls(values: Iterable[Any], base: str) -> Iterator[str]:
    """Those of these references that are http or https URLs, absolute."""
    for value in values:
        if isinstance(value, str) and value.strip() and (joined := _join(base, value)):
            yield joined
