"""Sites that are read by their sitemaps, links and structured data, whatever engine fetches them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

import lxml.html
from lxml import etree

from adapters._structured import Document, recordings, same_site
from adapters.contract import ExtractionError, Page, PageRequest, RecordingItem, SourceQuery

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
_SITEMAP_NAME = re.compile(r"sitemap[^/]*$|\.xml(?:\.gz)?$", re.IGNORECASE)
_XML_VIEWER = b"webkit-xml-viewer-source-xml"


def site_seeds(query: SourceQuery) -> Iterator[PageRequest]:
    """The requests of a campaign's seeds: URLs of sitemaps (also .gz) or pages. Raises ValueError."""
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
            yield PageRequest(seed, "sitemap", _SITEMAP_PRIORITY, {"from": "sitemap"})
        else:
            yield PageRequest(seed, "page", 0, {"from": "page"})


def read_page(page: Page, query: SourceQuery) -> Iterator[RecordingItem | PageRequest]:
    """Sitemap entries, or the recordings and links of a page."""
    body = _unpacked(page.body)
    if is_sitemap(body):
        yield from _sitemap_requests(page, body)
        return
    if page.request.kind == "sitemap" and body.lstrip()[:5] == b"<?xml":
        raise ExtractionError("an XML document that is neither a sitemap nor a sitemap index")
    if not body.strip():
        return
    document = Document(Page(page.url, page.request, page.status, page.headers, body))
    # Links first: they are as good on a page whose data is broken.
    yield from _links(document, page, query)
    yield from recordings(document)


def is_sitemap(body: bytes) -> bool:
    """Whether these bytes are a sitemap or an index, raw or in Chromium's viewer of XML."""
    return b"<urlset" in body[:4000] or b"<sitemapindex" in body[:4000] or _XML_VIEWER in body


def sitemap_entries(body: bytes) -> tuple[list[str], list[str]]:
    """The URLs of pages and of further sitemaps. Raises ExtractionError when it cannot be parsed."""
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
    except (etree.XMLSyntaxError, etree.ParserError, ValueError) as error:
        raise ExtractionError(f"the sitemap cannot be parsed: {error}") from None
    if viewer is None:
        raise ExtractionError("the sitemap cannot be parsed: no element in it")
    pages: list[str] = []
    sitemaps: list[str] = []
    for element in viewer.iter():
        if not isinstance(element.tag, str) or _local(element.tag) != "loc" or element.getparent() is None:
            continue
        url = (element.text or "").strip()
        parent = _local(str(element.getparent().tag))
        if url and parent == "url":
            pages.append(url)
        elif url and parent == "sitemap":
            sitemaps.append(url)
        if len(pages) >= MAX_SITEMAP_URLS or len(sitemaps) >= MAX_SITEMAP_URLS:
            break
    return pages, sitemaps


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
    depth = int(page.request.context.get("sitemaps", 0)) + 1
    if depth <= MAX_SITEMAP_DEPTH:
        for url in _own(sitemaps, page):
            yield PageRequest(url, "sitemap", _SITEMAP_PRIORITY, {"from": "sitemap", "sitemaps": depth})
    for url in _own(pages, page):
        yield PageRequest(url, "page", 0, {"from": "sitemap"})


def _links(document: Document, page: Page, query: SourceQuery) -> Iterator[PageRequest]:
    follow = patterns(tuple(query.follow))
    if not follow and page.request.context.get("from") == "sitemap":
        return
    hrefs = (
        str(element.get("href")) for element in document.root.iter("a")
        if element.get("href") and "nofollow" not in (element.get("rel") or "").lower().split()
    )  # fmt: skip
    found = 0
    for url in _own((_joined(document.base, href) for href in hrefs), page):
        if _NOT_PAGES.search(urlsplit(url).path):
            continue
        if follow and not any(pattern.search(url) for pattern in follow):
            continue
        yield PageRequest(url, "page", 0, {"from": str(page.request.context.get("from", "page"))})
        found += 1
        if found >= MAX_LINKS:
            return


def _own(urls: Iterable[str], page: Page) -> Iterator[str]:
    """The URLs on the site of the page, without fragments, each once."""
    seen: set[str] = set()
    for url in urls:
        bare = url.partition("#")[0]
        if bare not in seen and len(bare) <= 4000 and (same_site(bare, page.url) or same_site(bare, page.request.url)):
            seen.add(bare)
            yield bare


def _joined(base: str, href: str) -> str:
    try:
        return urljoin(base, href.strip())
    except ValueError:
        return ""


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


__all__: Sequence[str] = ("is_sitemap", "patterns", "read_page", "site_seeds", "sitemap_entries")
