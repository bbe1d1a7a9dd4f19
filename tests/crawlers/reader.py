"""A tiny adapter: links of the same site, items from data attributes, and pages that break it on purpose."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar
from urllib.parse import urljoin, urlsplit

from adapters.contract import (
    AudioPolicy,
    Engine,
    ExtractionError,
    Page,
    PageRequest,
    PolitenessDefaults,
    RecordingItem,
    SourceQuery,
    XmlBombError,
)

_LINK = re.compile(r'href="([^"]+)"')
_ITEM = re.compile(r"""data-item=['"]([^'"]+)['"]""")


class Reader:
    name: ClassVar[str] = "reader"
    summary: ClassVar[str] = "test pages"
    engine: ClassVar[Engine] = Engine.HTTP
    url_patterns: ClassVar[tuple[str, ...]] = ()
    politeness: ClassVar[PolitenessDefaults] = PolitenessDefaults()
    audio_policy: ClassVar[AudioPolicy] = AudioPolicy.NONE

    def seeds(self, query: SourceQuery) -> Iterable[PageRequest]:
        for url in query.seeds:
            if not url.startswith("http"):
                raise ValueError(f"seeds: {url!r} is not an http URL")
            yield PageRequest(url)

    def parse(self, page: Page, query: SourceQuery) -> Iterable[RecordingItem | PageRequest]:
        path = urlsplit(page.url).path
        if path == "/broken":
            raise ExtractionError("the JSON-LD ends in the middle")
        if path == "/bomb-of-xml":
            raise XmlBombError("entities within entities")
        if path == "/bug":
            raise KeyError("title")
        text = page.body.decode()
        for key in _ITEM.findall(text):
            yield RecordingItem(source_key=key, title=f"Song {key}", url=page.url)
        if path == "/half":
            raise ExtractionError("only the first half is readable")
        for link in _LINK.findall(text):
            yield PageRequest(urljoin(page.url, link))


class RenderedReader(Reader):
    name: ClassVar[str] = "rendered_reader"
    engine: ClassVar[Engine] = Engine.BROWSER
