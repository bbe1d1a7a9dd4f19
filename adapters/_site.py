"""Sites that are read by their sitemaps, links and structured data, whatever engine fetches them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin, urlsplit

import lxml.html
from lxml import etree

from adapters._structured import Document, recordings, same_site, site_path, web_urls
from adapters._values import clean_text, iso_moment, seconds
from adapters.contract import Credit, ExtractionError, Page, PageRequest, RecordingItem, SourceQuery, XmlBombError

MAX_SITEMAP_BYTES = 50_000_000
"""Unpacked, as the sitemap protocol has it (sitemaps.org)."""
MAX_SITEMAP_URLS = 50_000
MAX_SITEMAP_DEPTH = 3
"""Sitemap indexes above one another; the protocol knows one."""
MAX_LINKS = 2000
_SITEMAP_PRIORITY = 10
_NOT_PAGES = re.compile(
    r"\.(?:7z|aac|avi|avif|bmp|css|csv|docx?|eot|epub|exe|flac|gif|gz|ico|iso|jpe?g|js|json|m3u8?|m4[av]|mkv|mov|mp[34]|"
    r"mpe?g|og[agv]|opus|pdf|png|pptx?|rar|rss|svg|tar|tgz|tiff?|ttf|txt|wav|webm|webp|wma|wmv|woff2?|xlsx?|xml|zip)$",
    re.IGNORECASE,
)
_ORIGIN = re.compile(r"https?://[^/?#\\\s]+(?=/)")
_FROM_ROOT = re.compile(r"/[\w~%=&+,:@/?.-]*", re.ASCII)
_SITEMAP_NAME = re.compile(r"sitemap[^/]*$|\.xml(?:\.gz)?$|/robots\.txt$", re.IGNORECASE)
_ROBOTS_SITEMAP = re.compile(r"\s*sitemap\s*:\s*(\S+)", re.IGNORECASE)
_VIDEO_FIELDS = {
    "title": 1000, "description": 2000, "content_loc": 2000, "thumbnail_loc": 2000, "duration": 40,
    "publication_date": 60, "uploader": 300,
}  # fmt: skip
"""What is kept of a video sitemap's entry, with the most characters of each."""
_BOMB = (etree.ErrorTypes.ERR_ENTITY_LOOP, etree.ErrorTypes.ERR_RESOURCE_LIMIT)
_XML_VIEWER = b"webkit-xml-viewer-source-xml"
# In one call each: an object of Python's for every link is what reading them would cost most.
_HREFS = etree.XPath("descendant::a/@href", smart_strings=False)
_ANY_REL = etree.XPath("boolean(descendant::a/@rel)")
_HREFS_TO_FOLLOW = etree.XPath(
    "descendant::a[not(contains(concat(' ', translate(normalize-space(@rel), 'NOFLW', 'noflw'), ' '), ' nofollow '))]"
    "/@href",
    smart_strings=False,
)
# An album in Open Graph names the pages of its songs.
_SONGS = etree.XPath("descendant::meta[@property='music:song']/@content", smart_strings=False)


@dataclass(frozen=True, slots=True)
class SitemapEntry:
    """A URL of a sitemap. ``lastmod``: ISO 8601; ``video``: what a video sitemap tells of the page."""

    url: str
    lastmod: str | None = None
    video: Mapping[str, str] | None = None

    def told(self) -> dict[str, Any]:
        """What travels with the request."""
        told = {"lastmod": self.lastmod, "video": dict(self.video) if self.video else None}
        return {name: value for name, value in told.items() if value}


def site_seeds(query: SourceQuery) -> Iterator[PageRequest]:
    """The requests of a campaign's seeds: URLs of sitemaps (also .gz), a robots.txt, or pages. Raises ValueError."""
    patterns(tuple(query.follow))
    if not query.seeds:
        raise ValueError("seeds: empty; name at least one URL of a sitemap or a page")
    for seed in query.seeds:
        try:
            split = urlsplit(seed)
            usable = split.scheme in ("http", "https") and bool(split.hostname)
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"seeds: {seed!r} is not an http or https URL; write https://example.org/sitemap.xml")
        if _SITEMAP_NAME.search(split.path):
            yield PageRequest(seed, "sitemap", _SITEMAP_PRIORITY, {"from": "sitemap", "listing": True})
        else:
            yield PageRequest(seed, "page", 0, {"from": "page"})


def read_page(page: Page, query: SourceQuery) -> Iterator[RecordingItem | PageRequest]:
    """Sitemap entries, or the recordings and links of a page."""
    body = _unpacked(page.body)
    if is_sitemap(body):
        yield from _sitemap_requests(page, body)
        return
    if page.request.kind == "sitemap" and not body.lstrip().startswith(b"<"):
        yield from _text_requests(page, body)
        return
    if page.request.kind == "sitemap" and body.lstrip()[:5] == b"<?xml":
        raise ExtractionError("an XML document that is neither a sitemap nor a sitemap index")
    if not body.strip():
        return
    document = Document(Page(page.url, page.request, page.status, page.headers, body))
    # Links first: they are as good on a page whose data is broken.
    yield from _links(document, page, query)
    found = recordings(document)
    yield from found or _video_of_sitemap(page)


def is_sitemap(body: bytes) -> bool:
    """Whether these bytes are a sitemap or an index, raw or in Chromium's viewer of XML."""
    return b"<urlset" in body[:4000] or b"<sitemapindex" in body[:4000] or _XML_VIEWER in body


def sitemap_entries(body: bytes) -> tuple[list[SitemapEntry], list[SitemapEntry]]:
    """The pages and the further sitemaps that it names.

    Raises ExtractionError when it cannot be parsed, XmlBombError where its entities would unpack without end: libxml2
    stops there, and what it recovered is a part that nobody can tell from the whole.
    """
    try:
        if _XML_VIEWER in body:
            root = lxml.html.document_fromstring(body)
            (viewer,) = root.xpath(f"//*[@id='{_XML_VIEWER.decode()}']")[:1] or (root,)
        else:
            parser = etree.XMLParser(
                resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False,
                recover=True, remove_comments=True, remove_pis=True,
            )  # fmt: skip
            viewer = etree.fromstring(body.lstrip(), parser)
            for complaint in parser.error_log:
                if complaint.type in _BOMB and "entity" in complaint.message.lower():
                    raise XmlBombError(f"entities of the sitemap's XML: {complaint.message}")
    except (etree.XMLSyntaxError, etree.ParserError, ValueError) as error:
        raise ExtractionError(f"the sitemap cannot be parsed: {error}") from None
    if viewer is None:
        raise ExtractionError("the sitemap cannot be parsed: no element in it")
    pages: list[SitemapEntry] = []
    sitemaps: list[SitemapEntry] = []
    for element in viewer.iter():
        name = _local(element.tag) if isinstance(element.tag, str) else ""
        if name in ("url", "sitemap") and (entry := _entry(element)) is not None:
            (pages if name == "url" else sitemaps).append(entry)
        if len(pages) >= MAX_SITEMAP_URLS or len(sitemaps) >= MAX_SITEMAP_URLS:
            break
    return pages, sitemaps


def _entry(element: Any) -> SitemapEntry | None:
    """What a ``url`` or ``sitemap`` element says; addresses of pictures in it are not its own."""
    url, lastmod, video = "", None, None
    for child in element:
        name = _local(child.tag) if isinstance(child.tag, str) else ""
        if name == "loc" and not url:
            url = (child.text or "").strip()
        elif name == "lastmod":
            lastmod = iso_moment(child.text or "")
        elif name == "video" and video is None:
            video = _video(child)
    return SitemapEntry(url, lastmod, video) if url else None


def _video(element: Any) -> dict[str, str] | None:
    """The first video of an entry of a video sitemap, if it has a name."""
    told = {_local(child.tag): (child.text or "").strip() for child in element if isinstance(child.tag, str)}
    result = {name: clean_text(told.get(name), limit) for name, limit in _VIDEO_FIELDS.items() if told.get(name)}
    return result if result.get("title") else None


@lru_cache(maxsize=64)
def patterns(follow: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """The compiled ``follow`` expressions. Raises ValueError that names the bad one."""
    result = []
    for expression in follow:
        try:
            result.append(re.compile(expression))
        except re.error as error:
            raise ValueError(f"follow: {expression!r} is not a regular expression: {error}") from None
    return tuple(result)


def _sitemap_requests(page: Page, body: bytes) -> Iterator[PageRequest]:
    pages, sitemaps = sitemap_entries(body)
    yield from _listed(pages, sitemaps, page)


def _listed(pages: Iterable[SitemapEntry], sitemaps: Iterable[SitemapEntry], page: Page) -> Iterator[PageRequest]:
    depth = int(page.request.context.get("sitemaps", 0)) + 1
    if depth <= MAX_SITEMAP_DEPTH:
        for entry in _own(sitemaps, page):
            context = {"from": "sitemap", "sitemaps": depth, "listing": True, **entry.told()}
            yield PageRequest(entry.url, "sitemap", _SITEMAP_PRIORITY, context)
    for entry in _own(pages, page):
        yield PageRequest(entry.url, "page", 0, {"from": "sitemap", **entry.told()})


def _text_requests(page: Page, body: bytes) -> Iterator[PageRequest]:
    """A sitemap that is a list of URLs, or the ``Sitemap`` lines of a robots.txt."""
    lines = body.decode("utf-8-sig", "replace").splitlines()[: MAX_SITEMAP_URLS * 2]
    named = [found[1] for line in lines if (found := _ROBOTS_SITEMAP.match(line))]
    pages = [line.strip() for line in lines if line.strip().startswith(("http://", "https://"))]
    if not named and not pages:
        raise ExtractionError("a text that names neither pages nor sitemaps")
    yield from _listed(
        (SitemapEntry(url) for url in pages[:MAX_SITEMAP_URLS]), (SitemapEntry(url) for url in named), page
    )


def _video_of_sitemap(page: Page) -> Iterator[RecordingItem]:
    """What the sitemap told of the page's video; the page itself told nothing."""
    told = page.request.context.get("video")
    if not isinstance(told, Mapping) or not (title := clean_text(told.get("title"))):
        return
    performer = clean_text(told.get("uploader"), 300)
    published = iso_moment(told.get("publication_date"))
    yield RecordingItem(
        source_key=site_path(page.url),
        title=title,
        url=page.url,
        credits=(Credit(performer),) if performer else (),
        audio_url=next(web_urls([told.get("content_loc")], page.url), None),
        duration_s=seconds(told.get("duration")),
        description=clean_text(told.get("description"), 5000) or None,
        thumbnail_url=next(web_urls([told.get("thumbnail_loc")], page.url), None),
        published_at=published,
    )


def _links(document: Document, page: Page, query: SourceQuery) -> Iterator[PageRequest]:
    follow = patterns(tuple(query.follow))
    if not follow and page.request.context.get("from") == "sitemap":
        return
    read = _HREFS_TO_FOLLOW if _ANY_REL(document.root) else _HREFS
    hrefs = [href for href in (*read(document.root), *_SONGS(document.root)) if href]
    context = {"from": str(page.request.context.get("from", "page"))}
    found = 0
    join, on_site = _joiner(document.base), _Own(page)
    for url in map(on_site, map(join, hrefs)):
        if url is None or not _names_a_page(url):
            continue
        if follow and not any(pattern.search(url) for pattern in follow):
            continue
        yield PageRequest(url, "page", 0, context)
        found += 1
        if found >= MAX_LINKS:
            return


@lru_cache(maxsize=2048)
def _names_a_page(url: str) -> bool:
    """Whether the URL does not look like a picture, a script or another file. A menu names the same on every page."""
    return not _NOT_PAGES.search(urlsplit(url).path)


def _own(entries: Iterable[SitemapEntry], page: Page) -> Iterator[SitemapEntry]:
    """Those on the site of the page, without fragments, each once."""
    on_site = _Own(page)
    for entry in entries:
        bare = on_site(entry.url)
        if bare is not None:
            yield entry if bare == entry.url else replace(entry, url=bare)


class _Own:
    """Tells which URLs are on the site of a page, each once. A page may have thousands: most are judged by a prefix."""

    def __init__(self, page: Page) -> None:
        self._pages = {page.url, page.request.url}
        self._origins = tuple(f"{origin}/" for url in self._pages if (origin := _origin(url)))
        self._seen: set[str] = set()

    def __call__(self, url: str) -> str | None:
        """The URL without its fragment; None where it is elsewhere, too long, or was told before."""
        bare = url.partition("#")[0]
        if bare in self._seen or len(bare) > 4000:
            return None
        if not bare.startswith(self._origins) and not any(same_site(bare, page) for page in self._pages):
            return None
        self._seen.add(bare)
        return bare


def _joiner(base: str) -> Callable[[str], str]:
    """`urljoin` to this base, with a short way for the most frequent form: a path from the root that joining cannot
    change, without dot segments, double slashes, parameters and an empty query.
    """
    origin = _origin(base)

    def join(href: str) -> str:
        href = href.strip()
        plain = _FROM_ROOT.fullmatch(href) and "//" not in href and "/." not in href and href[-1] != "?"
        if origin and plain:
            return origin + href
        try:
            return urljoin(base, href)
        except ValueError:
            return ""

    return join


def _origin(url: str) -> str:
    """``scheme://host`` as it is spelled; empty where it is none of the web."""
    found = _ORIGIN.match(url)
    return found[0] if found else ""


def _local(tag: str) -> str:
    return tag.rpartition("}")[2].rpartition(":")[2].lower()


def _unpacked(body: bytes) -> bytes:
    """Gzip undone, within the protocol's limit."""
    if body[:2] != b"\x1f\x8b":
        return body
    unpacker = zlib.decompressobj(wbits=31)
    try:
        result = unpacker.decompress(body, MAX_SITEMAP_BYTES + 1)
    except zlib.error as error:
        raise ExtractionError(f"the gzip file is damaged: {error}") from None
    if len(result) > MAX_SITEMAP_BYTES:
        raise ExtractionError(f"the gzip file holds more than {MAX_SITEMAP_BYTES} bytes")
    return result


__all__: Sequence[str] = ("SitemapEntry", "is_sitemap", "patterns", "read_page", "site_seeds", "sitemap_entries")
