"""Any open site whose pages only a browser renders; read as `website` is, after JavaScript ran."""

from __future__ import annotations

from typing import ClassVar

from adapters.contract import Engine, register
from adapters.website import Website


@register
class RenderedWebsite(Website):
    """Seeds are URLs of sitemaps, sitemap indexes or pages."""

    name: ClassVar[str] = "website_rendered"
    summary: ClassVar[str] = "sites that need a browser: as website, after JavaScript ran"
    engine: ClassVar[Engine] = Engine.BROWSER
