"""From yt-dlp's info dict to the JSON body of a page: only what describes a recording, nothing that grants access.

Signed addresses of media, headers and cookies stand in info dicts, so that what is kept is named, not what is dropped.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from yt_dlp.utils import PagedList

WINDOW = 100
"""Entries of a list in one page."""
MAX_TEXT = 20_000
MAX_ITEMS = 1_000
_KEPT = frozenset((
    "_type", "ie_key", "id", "title", "alt_title", "display_id", "url", "webpage_url", "original_url",
    "description", "duration", "timestamp", "upload_date", "release_timestamp", "release_date", "release_year",
    "modified_date", "uploader", "uploader_id", "uploader_url", "channel", "channel_id", "channel_url",
    "channel_is_verified", "creators", "creator", "categories", "tags", "age_limit",
    "chapters", "track", "track_number", "disc_number", "artist", "artists", "album",
    "album_artist", "album_artists", "album_type", "composer", "composers", "genre", "genres", "license",
    "language", "location", "availability", "live_status", "is_live", "was_live", "media_type", "series",
    "series_id", "season", "season_number", "episode", "episode_number", "playlist_count", "extractor",
    "extractor_key",
))  # fmt: skip
_LINKS = frozenset(("url", "url_transparent"))


@dataclass(slots=True)
class OpenList:
    """The rest of a list that is being read. ``position``: entries that were read before."""

    rest: Iterator[Any]
    position: int


def described(info: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of one info dict."""
    kept: dict[str, Any] = {}
    link = info.get("_type") in _LINKS
    for name in sorted(_KEPT & info.keys()):
        # A recording's own `url` is its media's; a link's is the page that it leads to.
        if name == "url" and not link:
            continue
        value = _plain(info[name], 0)
        if value not in (None, "", [], {}):
            kept[name] = value
    if (thumbnail := _thumbnail(info)) is not None:
        kept["thumbnail"] = thumbnail
    formats = _audio_formats(info)
    if formats:
        kept["audio_formats"] = formats
    return kept


def window(info: Mapping[str, Any], offset: int, open_list: OpenList | None) -> tuple[dict[str, Any], OpenList | None]:
    """One window of a list's entries, and the rest of it if there is more.

    Pages of a list are fetched while it is read, so that no more of them than this window needs.
    """
    if open_list is not None and open_list.position == offset:
        rest = open_list.rest
    else:
        rest = _entries(info.get("entries"), offset)
    found = list(itertools.islice(rest, WINDOW + 1))
    page = described({name: value for name, value in info.items() if name != "entries"})
    page["_type"] = info.get("_type") or "playlist"
    page["entries"] = [described(entry) for entry in found[:WINDOW] if isinstance(entry, Mapping)]
    page["_offset"] = offset
    if len(found) <= WINDOW:
        return page, None
    page["_next_offset"] = offset + WINDOW
    return page, OpenList(itertools.chain(found[WINDOW:], rest), offset + WINDOW)


def body(page: Mapping[str, Any]) -> bytes:
    """The page's bytes: the same info gives the same bytes."""
    return json.dumps(page, ensure_ascii=False, sort_keys=True, indent=1).encode("utf-8", "replace")


def _entries(entries: Any, offset: int) -> Iterator[Any]:
    if isinstance(entries, PagedList):
        return _paged(entries, offset)
    return itertools.islice(iter(entries or ()), offset, None)


def _paged(entries: PagedList, offset: int) -> Iterator[Any]:
    """Page by page from an offset; pages before it are not fetched."""
    while batch := entries.getslice(offset, offset + WINDOW):
        yield from batch
        offset += len(batch)
        if len(batch) < WINDOW:
            return


def _plain(value: Any, depth: int) -> Any:
    """JSON values only, within bounds."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > 4:
        return None
    if isinstance(value, Mapping):
        return {str(key)[:100]: _plain(each, depth + 1) for key, each in itertools.islice(value.items(), 100)}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each, depth + 1) for each in itertools.islice(value, MAX_ITEMS)]
    return None


def _thumbnail(info: Mapping[str, Any]) -> str | None:
    if isinstance(info.get("thumbnail"), str):
        return str(info["thumbnail"])[:2000]
    best: tuple[float, str] | None = None
    for each in info.get("thumbnails") or ():
        if not isinstance(each, Mapping) or not isinstance(each.get("url"), str):
            continue
        rank = float(each.get("preference") or 0) * 1e9 + float(each.get("width") or 0) * float(each.get("height") or 0)
        if best is None or rank >= best[0]:
            best = (rank, each["url"][:2000])
    return None if best is None else best[1]


def _audio_formats(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What audio there is, without where."""
    names = ("format_id", "protocol", "ext", "acodec", "vcodec", "abr", "tbr", "filesize", "has_drm", "language")
    formats = info.get("formats")
    if not isinstance(formats, list):
        formats = [info] if isinstance(info.get("url"), str) and info.get("_type") not in _LINKS else []
    return [
        {name: _plain(each[name], 0) for name in names if each.get(name) is not None}
        for each in formats[:100]
        if isinstance(each, Mapping) and each.get("acodec") != "none"
    ]
