"""Tables on the web, CSV and JSON Lines: a recording in each row."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import ClassVar
from urllib.parse import urlsplit

from adapters._rows import Rows, Shape, item_of
from adapters._structured import web_urls
from adapters.contract import (
    AudioPolicy,
    Engine,
    ExtractionError,
    Page,
    PageRequest,
    PolitenessDefaults,
    RecordingItem,
    SourceQuery,
    register,
)


@register
class Table:
    """Seeds are URLs of CSV or JSON Lines files; ``limits.max_page_bytes`` bounds their size.

    Options: ``columns`` (field to name of its column), ``encoding``, ``delimiter``, ``format`` (csv, jsonl),
    ``separator`` (between several names of a cell), ``max_rows``.
    """

    name: ClassVar[str] = "table"
    summary: ClassVar[str] = "CSV and JSON Lines on the web: a recording in each row"
    engine: ClassVar[Engine] = Engine.HTTP
    url_patterns: ClassVar[tuple[str, ...]] = ()
    politeness: ClassVar[PolitenessDefaults] = PolitenessDefaults(delay_s=1.0, concurrency=2)
    audio_policy: ClassVar[AudioPolicy] = AudioPolicy.STORE
    reads_item_pages: ClassVar[bool] = False

    def seeds(self, query: SourceQuery) -> Iterable[PageRequest]:
        """One request per table. Raises ValueError that names a bad seed or option."""
        Shape.of(query)
        if not query.seeds:
            raise ValueError("seeds: empty; name at least one URL of a CSV or JSON Lines file")
        for seed in query.seeds:
            try:
                split = urlsplit(seed)
                usable = split.scheme in ("http", "https") and bool(split.hostname)
            except ValueError:
                usable = False
            if not usable:
                raise ValueError(f"seeds: {seed!r} is not an http or https URL; for local files use table_file")
        return [PageRequest(seed, "table") for seed in query.seeds]

    def parse(self, page: Page, query: SourceQuery) -> Iterable[RecordingItem | PageRequest]:
        """The recordings of all rows. Raises ExtractionError, in the end, where rows cannot be read."""
        return _read(page, query)


def _read(page: Page, query: SourceQuery) -> Iterator[RecordingItem]:
    if not page.body.strip():
        raise ExtractionError("an empty table")
    shape = Shape.of(query)
    rows = Rows(io.BytesIO(page.body), shape, None, urlsplit(page.url).path)

    def link(value: str) -> str | None:
        return next(web_urls([value], page.url), None)

    for line, values in rows.read(shape.max_rows + 1):
        item, problems = item_of(values, shape, page_url=page.url, link=link, audio_link=link)
        for problem in problems:
            rows.problem(line, problem)
        if item is not None:
            yield item
    rows.raise_problems()
