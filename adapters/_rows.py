"""Tables of recordings, CSV (RFC 4180 and what programs make of it) and JSON Lines, read row by row.

A row that makes no sense is told with its line and costs nothing but itself. Reading can end after any row and go on
there later: `Position` says where.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from adapters._values import clean_text, iso_moment, markup_text, seconds, year_of
from adapters.contract import Credit, ExtractionError, RecordingItem, SourceQuery, VersionKind

MAX_ROWS = 1_000_000
"""Rows of one table, unless option ``max_rows`` says otherwise."""
MAX_LINE = 1_000_000
"""Bytes of one line; a longer one is passed over as a bad row."""
MAX_RECORD_LINES = 500
"""Lines of one CSV row: a quote that is never closed ends here."""
_SAMPLE = 1 << 16
_TOLD_ROWS = 8
_DELIMITERS = (",", ";", "\t", "|")
_FORMATS = ("csv", "jsonl")
_MBID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")

FIELDS: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "key", "sourcekey", "trackid", "recordingid", "versionid", "guid", "идентификатор", "код"),
    "title": ("title", "tracktitle", "name", "trackname", "songtitle", "song", "track", "название", "песня", "трек"),
    "artist": ("artist", "artists", "artistname", "performer", "performers", "band", "исполнитель", "исполнители"),
    "composer": ("composer", "composers", "music", "композитор", "автормузыки"),
    "lyricist": ("lyricist", "lyricists", "author", "words", "автор", "авторслов", "авторстихов"),
    "url": ("url", "link", "page", "pageurl", "webpage", "ссылка", "адрес", "страница"),
    "audio": ("audio", "audiourl", "file", "fileurl", "filename", "path", "mp3", "stream", "аудио", "файл"),
    "duration": ("duration", "durations", "durationseconds", "length", "seconds", "time", "длительность", "время"),
    "duration_ms": ("durationms", "lengthms", "milliseconds"),
    "work_title": ("worktitle", "work", "composition", "произведение"),
    "album": ("album", "albumtitle", "release", "альбом", "диск"),
    "year": ("year", "releaseyear", "date", "releasedate", "год", "дата"),
    "published_at": ("publishedat", "published", "uploaddate", "added", "опубликовано"),
    "kind": ("kind", "versionkind"),
    "language": ("language", "lang", "язык"),
    "genre": ("genre", "style", "жанр", "стиль"),
    "lyrics": ("lyrics", "lyric", "text", "текст", "слова"),
    "description": ("description", "comment", "notes", "описание", "примечание"),
    "thumbnail": ("thumbnail", "thumbnailurl", "image", "cover", "picture", "обложка"),
    "licence": ("licence", "license", "licenseurl", "лицензия"),
    "isrc": ("isrc",),
    "iswc": ("iswc",),
    "musicbrainz_recording": ("musicbrainzrecording", "mbid", "musicbrainzid", "recordingmbid"),
}
"""What a column can be, and the names that are understood without being told, without case, blanks and signs."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a table is to be read; from the campaign's options.

    ``columns``: field to the name of its column (dots lead into objects of JSON Lines); ``separator``: between several
    names of one cell.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    delimiter: str | None = None
    format: str | None = None
    separator: str | None = None
    max_rows: int = MAX_ROWS

    @classmethod
    def of(cls, query: SourceQuery) -> Shape:
        """The shape of a query's options. Raises ValueError that names the bad one."""
        options = query.options
        columns = options.get("columns", {})
        if not isinstance(columns, Mapping):
            raise ValueError(f"options.columns: {columns!r} is not a mapping such as {{title: Song, artist: Singer}}")
        for name, column in columns.items():
            if name not in FIELDS:
                raise ValueError(f"options.columns: no field {name!r}; there are: {', '.join(FIELDS)}")
            if not isinstance(column, str) or not column:
                raise ValueError(f"options.columns.{name}: {column!r} is not the name of a column")
        encoding = options.get("encoding")
        if encoding is not None:
            try:
                if "a\n".encode(encoding) != b"a\n":
                    raise LookupError
            except (LookupError, TypeError, UnicodeError):
                raise ValueError(
                    f"options.encoding: {encoding!r} is not known or has no lines; use utf-8, cp1251, koi8-r…"
                ) from None
        delimiter, separator = options.get("delimiter"), options.get("separator")
        if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n'):
            raise ValueError(f"options.delimiter: {delimiter!r} is not one character such as ';'")
        if separator is not None and (not isinstance(separator, str) or not separator):
            raise ValueError(f"options.separator: {separator!r} is not a text such as ';'")
        form, rows = options.get("format"), options.get("max_rows", MAX_ROWS)
        if form is not None and form not in _FORMATS:
            raise ValueError(f"options.format: {form!r} is none of {', '.join(_FORMATS)}")
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise ValueError(f"options.max_rows: {rows!r} is not a whole number above 0")
        return cls(columns, encoding, delimiter, form, separator, rows)


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading goes on: ``offset`` in bytes, ``line`` from 1, ``rows`` read before; and what the head told."""

    offset: int = 0
    line: int = 1
    rows: int = 0
    format: str = ""
    encoding: str = ""
    delimiter: str = ","
    header: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Small JSON values, for the context of a request."""
        return {name: getattr(self, name) for name in self.__slots__} | {"header": list(self.header)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Position:
        """The inverse of `to_json`."""
        return cls(**{**data, "header": tuple(data["header"])})


class Rows:
    """Reads rows from a stream that stands at the position's offset.

    ``position`` moves on with each row; ``problems`` holds what was wrong, by line; ``ended``: no row is left.
    """

    def __init__(self, stream: BinaryIO, shape: Shape, position: Position | None, name: str = "") -> None:
        self.problems: list[str] = []
        self.ended = False
        self._shape = shape
        self._lines = _Lines(stream)
        self._at = position if position is not None else self._head(stream, name)
        self._lines.start(self._at.offset, self._at.line)
        self._rows = self._at.rows
        if self._at.format == "csv" and position is None:
            self._read_header()
        else:
            self._columns = self._map(self._at.header)

    @property
    def position(self) -> Position:
        """Where the next row begins."""
        at = self._at
        return Position(
            self._lines.offset, self._lines.line, self._rows, at.format, at.encoding, at.delimiter, at.header
        )

    def read(self, limit: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Up to ``limit`` rows as line and values by field; bad ones become problems and count too."""
        for _ in range(limit):
            if self._rows >= self._shape.max_rows:
                self.problem(self._lines.line, f"options.max_rows is {self._shape.max_rows}; the rest is not read")
                self.ended = True
                return
            line = self._lines.line
            try:
                values = self._next()
            except _BadRowError as error:
                self._rows += 1
                self.problem(line, str(error))
                continue
            if values is None:
                self.ended = True
                return
            self._rows += 1
            if values:
                yield line, values

    def problem(self, line: int, text: str) -> None:
        """Something is wrong with the row at this line."""
        self.problems.append(f"line {line}: {text}")

    def raise_problems(self) -> None:
        """Raises ExtractionError when there were any."""
        if self.problems:
            told = "; ".join(self.problems[:_TOLD_ROWS])
            more = len(self.problems) - _TOLD_ROWS
            raise ExtractionError(f"{len(self.problems)} bad rows: {told}{f'; and {more} more' if more > 0 else ''}")

    def _head(self, stream: BinaryIO, name: str) -> Position:
        sample = stream.read(_SAMPLE)
        stream.seek(0)
        if sample[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in sample:
            raise ExtractionError("not a table of text in lines (UTF-16 or binary); save it as UTF-8")
        offset = 3 if sample.startswith(b"\xef\xbb\xbf") else 0
        encoding = self._shape.encoding or ("utf-8" if offset else _encoding(sample))
        start = sample[offset:].lstrip()
        if start.startswith(b"["):
            raise ExtractionError("a JSON array; write one object a line (JSON Lines)")
        if start[:200].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
            raise ExtractionError("a page of markup, not a table")
        ending = name.rpartition(".")[2].lower()
        guess = "jsonl" if start.startswith(b"{") or ending in ("jsonl", "ndjson") else "csv"
        stream.seek(offset)
        return Position(offset, 1, 0, self._shape.format or guess, encoding)

    def _read_header(self) -> None:
        """The first row that is not blank names the columns."""
        header: tuple[str, ...] = ()
        delimiter = ","
        while not any(header):
            first = self._lines.next()
            if first is None:
                raise ExtractionError("an empty table")
            self._lines.back([first])
            try:
                text = self._decoded(first)
                delimiter = self._shape.delimiter or max(_DELIMITERS, key=lambda each: _outside_quotes(text, each))
                header = tuple(clean_text(name, 200) for name in self._cells(delimiter) or ())
            except _BadRowError as error:
                raise ExtractionError(f"the head of the table: {error}") from None
        at = self._at
        self._at = Position(at.offset, at.line, 0, at.format, at.encoding, delimiter, header[:500])
        self._columns = self._map(header)
        if "title" not in self._columns:
            raise ExtractionError(
                f"no column is the title; there are: {', '.join(header)[:200]}; name it in options.columns.title"
            )

    def _map(self, header: Sequence[str]) -> dict[str, Any]:
        """Field to the number of its column (CSV) or to the path of its key (JSON Lines)."""
        if self._at.format == "jsonl":
            return {name: tuple(column.split(".")) for name, column in self._shape.columns.items()}
        known = {name: number for number, name in reversed(list(enumerate(header)))}
        folded = {_folded(name): number for name, number in reversed(known.items())}
        result: dict[str, Any] = {}
        for name in FIELDS:
            if (told := self._shape.columns.get(name)) is not None:
                number = known.get(told, folded.get(_folded(told)))
                if number is None:
                    raise ExtractionError(
                        f"options.columns.{name}: no column {told!r}; there are: {', '.join(header)[:200]}"
                    )
                result[name] = number
        taken = set(result.values())
        for name, synonyms in FIELDS.items():
            for each in synonyms:
                if name not in result and each in folded and folded[each] not in taken:
                    result[name] = folded[each]
                    taken.add(folded[each])
        return result

    def _next(self) -> dict[str, Any] | None:
        """The next row's values by field, empty for a blank line, None at the end. Raises _BadRowError."""
        if self._at.format == "jsonl":
            return self._next_object()
        cells = self._cells(self._at.delimiter)
        if cells is None or not any(cells):
            return None if cells is None else {}
        width = len(self._at.header)
        if len(cells) > width and any(cell.strip() for cell in cells[width:]):
            raise _BadRowError(f"{len(cells)} cells, the head has {width}")
        return {name: cells[number] for name, number in self._columns.items() if number < len(cells)}

    def _next_object(self) -> dict[str, Any] | None:
        raw = self._lines.next()
        if raw is None:
            return None
        text = self._decoded(raw).strip()
        if not text:
            return {}
        try:
            row = json.loads(text, parse_constant=lambda _: None)
        except (ValueError, RecursionError) as error:
            raise _BadRowError(f"no readable JSON: {str(error)[:80]}") from None
        if not isinstance(row, dict):
            raise _BadRowError("not a JSON object")
        folded = {_folded(str(name)): value for name, value in reversed(row.items())}
        values: dict[str, Any] = {"title": None}
        taken = {path[0] for path in self._columns.values()}
        for name, synonyms in FIELDS.items():
            if name in self._columns:
                values[name] = _at_path(row, self._columns[name])
            else:
                each = next((each for each in synonyms if each in folded and each not in taken), None)
                if each is not None:
                    values[name] = folded[each]
        return values

    def _cells(self, delimiter: str) -> list[str] | None:
        """The cells of a CSV row, which may go over several lines; None at the end.

        Raises _BadRowError; the line after the first is then the next to be read.
        """
        first = self._lines.next()
        if first is None:
            return None
        further: list[bytes] = []
        unclosed = False

        def lines() -> Iterator[str]:
            nonlocal unclosed
            yield self._decoded(first)
            while len(further) < MAX_RECORD_LINES and (raw := self._lines.next()) is not None:
                further.append(raw)
                yield self._decoded(raw)
            unclosed = True

        try:
            # The reader asks for another line only while a quote is open.
            cells = next(csv.reader(lines(), delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            self._lines.back(further)
            said = "a quote is opened and not closed" if unclosed else f"no readable CSV: {error}"
            raise _BadRowError(said) from None
        except _BadRowError:
            self._lines.back(further)
            raise
        return cells

    def _decoded(self, raw: bytes) -> str:
        if len(raw) > MAX_LINE:
            raise _BadRowError(f"longer than {MAX_LINE} bytes")
        try:
            return raw.decode(self._at.encoding)
        except UnicodeDecodeError:
            raise _BadRowError(f"not {self._at.encoding}; set options.encoding") from None


class _BadRowError(Exception):
    """A row that cannot be read; the message says why."""


class _Lines:
    """Lines with their places; some can be given back."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._sizes: deque[int] = deque(maxlen=MAX_RECORD_LINES + 1)
        self.offset = 0
        self.line = 1

    def start(self, offset: int, line: int) -> None:
        """The stream stands here."""
        self.offset, self.line = offset, line

    def next(self) -> bytes | None:
        """The next line with its end; of one that is too long, one byte more than is permitted."""
        if self._waiting:
            raw, size = self._waiting.popleft()
        else:
            raw = self._stream.readline(MAX_LINE + 1)
            size = len(raw)
            piece = raw
            while len(piece) > MAX_LINE and not piece.endswith(b"\n"):
                piece = self._stream.readline(MAX_LINE + 1)
                size += len(piece)
            if not raw:
                return None
        self.offset += size
        self.line += 1
        self._sizes.append(size)
        return raw

    def back(self, lines: Sequence[bytes]) -> None:
        """These, the last that were taken, come again."""
        for raw in reversed(lines):
            size = self._sizes.pop()
            self._waiting.appendleft((raw, size))
            self.offset -= size
            self.line -= 1


def item_of(
    values: Mapping[str, Any],
    shape: Shape,
    *,
    page_url: str,
    link: Callable[[str], str | None],
    audio_link: Callable[[str], str | None],
) -> tuple[RecordingItem | None, list[str]]:
    """The recording of a row, and what of it could not be understood; None where the row names none.

    ``link``, ``audio_link``: an absolute URL of a cell, None for what may not be one.
    """
    problems: list[str] = []

    def text(name: str, limit: int = 1000) -> str:
        return clean_text(values.get(name), limit)

    def address(name: str, resolve: Callable[[str], str | None]) -> str | None:
        told = text(name, 4000)
        found = resolve(told) if told else None
        if told and found is None:
            problems.append(f"{name}: {told[:60]!r} is no address that may be used")
        return found

    title = text("title")
    if not title:
        return None, ["no title"]
    credits = [
        Credit(name, role)
        for field_name, role in (("artist", "performer"), ("composer", "composer"), ("lyricist", "lyricist"))
        for name in _names(values.get(field_name), shape.separator)
    ]
    duration_s = seconds(values.get("duration"))
    if duration_s is None and (told := seconds(values.get("duration_ms"))) is not None:
        duration_s = round(told / 1000, 3)
    if duration_s is None and text("duration", 40) not in ("", "0"):
        problems.append(f"duration: {text('duration', 40)!r} is no time")
    kind = text("kind", 40).lower()
    if kind and kind not in {each.value for each in VersionKind}:
        problems.append(f"kind: {kind!r} is none of {', '.join(each.value for each in VersionKind)}")
        kind = ""
    url, audio_url = address("url", link), address("audio", audio_link)
    mbid = _MBID.search(text("musicbrainz_recording", 200).lower())
    identifiers = {
        "isrc": text("isrc", 40),
        "iswc": text("iswc", 40),
        "musicbrainz_recording": mbid[0] if mbid else "",
    }
    # As the table spells them: resolved addresses would change when the table moves.
    key = text("id", 400) or (url and text("url", 4000)) or (audio_url and text("audio", 4000))
    item = RecordingItem(
        source_key=key or _digest(credits, title, text("album")),
        title=title,
        url=url or page_url,
        credits=tuple(dict.fromkeys(credits)),
        audio_url=audio_url,
        duration_s=duration_s,
        work_title=text("work_title") or None,
        kind=kind or None,
        album=text("album") or None,
        year=year_of(text("year", 100)),
        language=text("language", 40) or None,
        genre=text("genre", 200) or None,
        lyrics=_lyrics(values.get("lyrics")),
        description=markup_text(values.get("description")) or None,
        thumbnail_url=address("thumbnail", link),
        licence=text("licence", 500) or None,
        identifiers={name: value for name, value in identifiers.items() if value},
        published_at=iso_moment(text("published_at", 100)),
    )
    return item, problems


def _names(value: Any, separator: str | None) -> list[str]:
    if value is None or value == "":
        return []
    texts = [clean_text(each, 2000) for each in (value if isinstance(value, list) else [value])[:50]]
    if separator:
        texts = [part.strip() for text in texts for part in text.split(separator)]
    return [text[:300] for text in texts if text]


def _lyrics(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    return "\n".join(clean_text(line) for line in value[:50_000].splitlines()).strip() or None


def _digest(credits: Sequence[Credit], title: str, album: str) -> str:
    """A key for rows that bring none: what they are about, not where they stand."""
    names = "\n".join((title, album, *(credit.name for credit in credits if credit.role == "performer")))
    return "row-" + hashlib.blake2b(names.casefold().encode(), digest_size=12).hexdigest()


def _folded(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _outside_quotes(text: str, character: str) -> int:
    return sum(part.count(character) for part in text.split('"')[::2])


def _at_path(row: Any, path: Sequence[str]) -> Any:
    for name in path:
        if isinstance(row, list):
            row = [inner.get(name) for inner in row if isinstance(inner, Mapping)]
        elif isinstance(row, Mapping):
            row = row.get(name)
        else:
            return None
    return row


def _encoding(sample: bytes) -> str:
    """UTF-8 where it is that; else Windows-1251 where its letters are mostly Cyrillic then, else Windows-1252."""
    try:
        sample[: sample.rfind(b"\n") + 1 or None].decode("utf-8")
    except UnicodeDecodeError:
        high = sum(byte >= 0x80 for byte in sample)
        # In Western text letters with accents stand alone among plain ones; Cyrillic words are high bytes throughout.
        in_words = sum(len(run) for run in re.findall(rb"[\xc0-\xff\xa8\xb8]{3,}", sample))
        return "cp1251" if in_words > high / 2 else "cp1252"
    return "utf-8"
