"""Any open site with sitemaps or links whose pages describe recordings as structured data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from adapters._site import read_page, site_seeds
from adapters.contract import (
    AudioPolicy,
    Engine,
    Page,
    PageRequest,
    PolitenessDefaults,
    RecordingItem,
    SourceQuery,
    register,
)


@register
class Website:
    """Seeds are URLs of sitemaps, sitemap indexes or pages."""

    name: ClassVar[str] = "website"
    summary: ClassVar[str] = "open sites: sitemaps, JSON-LD, microdata, Open Graph"
    engine: ClassVar[Engine] = Engine.HTTP
    url_patterns: ClassVar[tuple[str, ...]] = ()
    politeness: ClassVar[PolitenessDefaults] = PolitenessDefaults(delay_s=1.0, concurrency=2)
    audio_policy: ClassVar[AudioPolicy] = AudioPolicy.STORE

    def seeds(self, query: SourceQuery) -> Iterable[PageRequest]:
        """The first requests. Raises ValueError that names a bad seed or `follow` expression."""
        return list(site_seeds(query))

    def parse(self, page: Page, query: SourceQuery) -> Iterable[RecordingItem | PageRequest]:
        """Items and further requests of one page. Raises ExtractionError when the page makes no sense."""
        return read_page(page, query)
