"""A folder of audio files: what their tags say, else what they are called."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import mutagen

from adapters._values import title_of_stem, year_of
from adapters.contract import (
    AudioPolicy,
    Credit,
    Engine,
    Page,
    PageRequest,
    PolitenessDefaults,
    RecordingItem,
    SourceQuery,
    register,
)

# Each field under the names that ID3, MP4, Vorbis comments, APEv2 and ASF have for it, in lower case.
_TITLE = ("title", "tit2", "\xa9nam")
_SUBTITLE = ("version", "tit3", "subtitle")
_ARTIST = ("artist", "tpe1", "\xa9art", "author", "performer")
_ALBUM_ARTIST = ("albumartist", "album artist", "tpe2", "aart", "wm/albumartist")
_ALBUM = ("album", "talb", "\xa9alb", "wm/albumtitle")
_DATE = ("originaldate", "date", "year", "tdor", "tory", "tdrc", "tyer", "tdrl", "\xa9day", "wm/year")
_COMPOSER = ("composer", "tcom", "\xa9wrt", "wm/composer")
_LYRICIST = ("lyricist", "text", "----:com.apple.itunes:lyricist", "wm/writer")
_GENRE = ("genre", "tcon", "\xa9gen", "wm/genre")
_LANGUAGE = ("language", "tlan", "----:com.apple.itunes:language", "wm/language")
_LICENCE = ("license", "licence", "wcop", "txxx:license", "copyright", "tcop", "cprt")
_ISRC = ("isrc", "tsrc", "----:com.apple.itunes:isrc", "wm/isrc")
_MUSICBRAINZ = (
    "musicbrainz_trackid",
    "ufid:http://musicbrainz.org",
    "----:com.apple.itunes:musicbrainz track id",
    "musicbrainz/track id",
)
_LYRICS = ("lyrics", "unsyncedlyrics", "\xa9lyr", "wm/lyrics")
_MAX_TEXT, _MAX_LYRICS = 1000, 50_000


@register
class Folder:
    """Seeds are paths of folders or files. Nothing is copied: the audio is read where it lies.

    Option ``root``: a folder above all seeds; source keys then begin at it, so that a file has one key whether it is
    named itself or found in its folder. Without it they begin at each seed.
    """

    name: ClassVar[str] = "folder"
    summary: ClassVar[str] = "audio files of a local folder, by their tags"
    engine: ClassVar[Engine] = Engine.FILES
    url_patterns: ClassVar[tuple[str, ...]] = ()
    politeness: ClassVar[PolitenessDefaults] = PolitenessDefaults(delay_s=0.0, concurrency=1, respect_robots=False)
    audio_policy: ClassVar[AudioPolicy] = AudioPolicy.FINGERPRINT_ONLY

    def seeds(self, query: SourceQuery) -> Iterable[PageRequest]:
        """One request per folder or file; ``context["key"]`` is what its source keys begin with."""
        if not query.seeds:
            raise ValueError("seeds: empty; name at least one folder or file")
        paths = []
        for seed in query.seeds:
            path = Path(seed).expanduser()
            if "\0" in seed or not path.exists():
                raise ValueError(f"seeds: {seed!r} does not exist; give the path of a folder or an audio file")
            paths.append(path.resolve())
        paths = list(dict.fromkeys(paths))
        root = query.options.get("root")
        keys = _short_names(paths) if root is None else [_below(path, root) for path in paths]
        return [
            PageRequest(path.as_uri(), "folder" if path.is_dir() else "file", 0, {"key": key})
            for path, key in zip(paths, keys, strict=True)
        ]

    def parse(self, page: Page, query: SourceQuery) -> Iterable[RecordingItem | PageRequest]:
        """The one item of a file. Tags that cannot be read are no error: the decoder judges the file later."""
        if page.path is None:
            return
        tags, duration_s = _read(page.path)
        key = str(page.request.context.get("key") or file_name(page.path.name))
        yield _item(page.path, key, tags, duration_s)


def file_name(name: str) -> str:
    """A file name as storable text: composed (NFC), bytes that are no UTF-8 replaced."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))


def _item(path: Path, key: str, tags: dict[str, list[str]], duration_s: float | None) -> RecordingItem:
    title = _one(tags, _TITLE)
    subtitle = _one(tags, _SUBTITLE)
    if title and subtitle and subtitle.casefold() not in title.casefold():
        title = f"{title} ({subtitle})"
    credits = [Credit(name) for name in _all(tags, _ARTIST) or _all(tags, _ALBUM_ARTIST)]
    credits += [Credit(name, "composer") for name in _all(tags, _COMPOSER)]
    credits += [Credit(name, "lyricist") for name in _all(tags, _LYRICIST)]
    identifiers = {"isrc": _one(tags, _ISRC), "musicbrainz_recording": _one(tags, _MUSICBRAINZ)}
    return RecordingItem(
        source_key=key,
        title=title or _title_of(path),
        url=path.as_uri(),
        credits=tuple(dict.fromkeys(credits)),
        audio_url=path.as_uri(),
        duration_s=duration_s,
        album=_one(tags, _ALBUM),
        year=next((year for text in _all(tags, _DATE) if (year := year_of(text))), None),
        language=_one(tags, _LANGUAGE),
        genre=_one(tags, _GENRE),
        lyrics=_one(tags, _LYRICS, _MAX_LYRICS) or _unsynchronised(tags),
        licence=_one(tags, _LICENCE),
        identifiers={name: value for name, value in identifiers.items() if value},
    )


def _title_of(path: Path) -> str:
    return title_of_stem(file_name(path.stem)) or file_name(path.name)


def _read(path: Path) -> tuple[dict[str, list[str]], float | None]:
    """Tags by lower-case name, and the duration in seconds; empty and None where they cannot be read."""
    try:
        file: Any = mutagen.File(path)
    except Exception:  # mutagen trips over damaged files in many ways; the name remains
        return {}, None
    if file is None:
        return {}, None
    length = getattr(file.info, "length", None)
    duration_s = round(float(length), 3) if length and 0 < float(length) < 7 * 86400 else None
    tags: dict[str, list[str]] = {}
    try:
        for name, value in (file.tags or {}).items() if hasattr(file.tags, "items") else file.tags or ():
            tags.setdefault(str(name).lower(), []).extend(_texts(value))
    except Exception:
        return {}, duration_s
    return tags, duration_s


def _texts(value: Any) -> Iterator[str]:
    """The texts of a tag value of any format."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    elif (inner := getattr(value, "text", None)) is not None:  # an ID3 text frame
        yield from (_texts(inner) if isinstance(inner, str | bytes) else (str(part) for part in inner))
    elif (inner := getattr(value, "url", None)) is not None:
        yield str(inner)
    elif isinstance(inner := getattr(value, "data", None), bytes) and len(inner) < 200:  # an ID3 UFID
        yield inner.decode("ascii", "replace")
    elif (inner := getattr(value, "value", None)) is not None:  # ASF and APEv2
        yield str(inner)


def _all(tags: dict[str, list[str]], names: Iterable[str], limit: int = _MAX_TEXT) -> list[str]:
    """The non-empty values under the first of these names that has any."""
    for name in names:
        values = [text for value in tags.get(name, ()) if (text := _clean(value, limit))]
        if values:
            return values[:50]
    return []


def _one(tags: dict[str, list[str]], names: Iterable[str], limit: int = _MAX_TEXT) -> str | None:
    return next(iter(_all(tags, names, limit)), None)


def _unsynchronised(tags: dict[str, list[str]]) -> str | None:
    names = [name for name in tags if name.startswith("uslt")]
    return _one(tags, names, _MAX_LYRICS)


def _clean(value: str, limit: int) -> str:
    text = value[:limit].replace("\0", " ").encode("utf-8", "replace").decode()
    return "\n".join(" ".join(line.split()) for line in text.splitlines()).strip()


def _below(path: Path, root: object) -> str:
    """The path from the root's own name on. Raises ValueError."""
    folder = Path(str(root)).expanduser().resolve()
    if not path.is_relative_to(folder):
        raise ValueError(f"options.root: {str(path)!r} does not lie in {str(root)!r}")
    return file_name("/".join((folder.name, *path.relative_to(folder).parts))) or "/"


def _short_names(paths: list[Path]) -> list[str]:
    """The last part of each path, with as many parts before it as tell it from the others."""
    names = []
    for path in paths:
        length = 1
        while length < len(path.parts) and any(
            other != path and other.parts[-length:] == path.parts[-length:] for other in paths
        ):
            length += 1
        names.append(file_name("/".join(path.parts[-length:])) or "/")
    return names
