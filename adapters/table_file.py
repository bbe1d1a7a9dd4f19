"""Tables in local files, CSV and JSON Lines, of any size: read in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from adapters._rows import Position, Rows, Shape, item_of
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

ROWS_AT_ONCE = 1000
"""Rows of one part; after a crash reading goes on at the part that was not finished."""


@register
class TableFile:
    """Seeds are paths of CSV or JSON Lines files; options as for `table`.

    Audio may be an http or https URL, or a file below the folder of the table.
    """

    name: ClassVar[str] = "table_file"
    summary: ClassVar[str] = "CSV and JSON Lines in local files: a recording in each row"
    engine: ClassVar[Engine] = Engine.FILES
    url_patterns: ClassVar[tuple[str, ...]] = ()
    politeness: ClassVar[PolitenessDefaults] = PolitenessDefaults(delay_s=0.0, concurrency=1, respect_robots=False)
    audio_policy: ClassVar[AudioPolicy] = AudioPolicy.STORE

    def seeds(self, query: SourceQuery) -> Iterable[PageRequest]:
        """One request per file. Raises ValueError that names a bad seed or option."""
        Shape.of(query)
        if not query.seeds:
            raise ValueError("seeds: empty; name at least one CSV or JSON Lines file")
        paths = []
        for seed in query.seeds:
            path = Path(seed).expanduser()
            if "\0" in seed or not path.is_file():
                raise ValueError(f"seeds: {seed!r} is not a file; give the path of a CSV or JSON Lines file")
            paths.append(path.resolve())
        return [PageRequest(path.as_uri(), "table") for path in dict.fromkeys(paths)]

    def parse(self, page: Page, query: SourceQuery) -> Iterable[RecordingItem | PageRequest]:
        """The recordings of one part, and the request of the next. Raises ExtractionError, in the end, for bad rows."""
        return _read(page.path, page, query) if page.path is not None else ()


def _read(path: Path, page: Page, query: SourceQuery) -> Iterator[RecordingItem | PageRequest]:
    shape = Shape.of(query)
    context = page.request.context
    stat = path.stat()
    stamp = f"{stat.st_size}.{stat.st_mtime_ns}"
    if context.get("stamp", stamp) != stamp:
        raise ExtractionError("the file was changed while it was read; start the campaign again")
    if stat.st_size == 0:
        raise ExtractionError("an empty table")
    table_url = page.request.url.partition("#")[0]
    folder = path.resolve().parent

    def link(value: str) -> str | None:
        return next(web_urls([value], "about:blank"), None)

    def audio_link(value: str) -> str | None:
        return link(value) or _file_below(value, folder)

    with path.open("rb") as stream:
        position = Position.from_json(context["position"]) if "position" in context else None
        if position is not None:
            stream.seek(position.offset)
        rows = Rows(stream, shape, position, path.name)
        for line, values in rows.read(ROWS_AT_ONCE):
            item, problems = item_of(values, shape, page_url=table_url, link=link, audio_link=audio_link)
            for problem in problems:
                rows.problem(line, problem)
            if item is not None:
                yield item
        if not rows.ended:
            following = rows.position
            yield PageRequest(
                f"{table_url}#byte={following.offset}",
                "table",
                0,
                {"position": following.to_json(), "stamp": stamp},
                continues=True,
            )
    rows.raise_problems()


def _file_below(value: str, folder: Path) -> str | None:
    """The URL of a file in the folder of the table, however it is named; None for what lies elsewhere."""
    name = unquote(urlsplit(value).path) if value.startswith("file:") else value
    if "\0" in name or "://" in name:
        return None
    try:
        path = (folder / name).resolve()
    except (OSError, ValueError, RuntimeError):
        return None
    return path.as_uri() if path.is_relative_to(folder) and path != folder else None
