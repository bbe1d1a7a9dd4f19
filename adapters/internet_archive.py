"""The Internet Archive, by its public interfaces for search and for the metadata of an item.

An item of the archive holds originals and the formats made of them; each playable original is one recording here, and
its audio is fetched in the smallest form that is still good (archive.org/developers: "Metadata API", "Scraping API").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlencode, urljoin, urlsplit

from adapters._values import clean_text, iso_moment, markup_text, seconds, title_of_stem, year_of
from adapters.contract import (
    AudioPolicy,
    Availability,
    Credit,
    Engine,
    ExtractionError,
    Page,
    PageRequest,
    PolitenessDefaults,
    Recognised,
    RecordingItem,
    SourceQuery,
    VersionKind,
    register,
)

BASE = "https://archive.org"
PAGE_SIZE = 1000
"""Items of one answer of the scraping interface, which takes 100 to 10,000."""
MAX_ITEMS = 10_000
"""Items of one search, unless option ``max_items`` says otherwise."""
MAX_FILES = 20_000
MEDIATYPES = ("audio", "etree")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_LOSSLESS = ("flac", "wav", "aiff", "aif", "shn", "ape", "alac")
_COMPRESSED = ("mp3", "m4a", "ogg", "oga", "opus", "aac", "wma", "mp2")
_VIDEO = ("mp4", "m4v", "mkv", "webm", "ogv", "avi", "mpeg", "mpg", "mov")
# What a fingerprint and a listener are well served by, smallest effort for the archive first.
_DERIVED = (
    "vbr mp3",
    "320kbps mp3",
    "256kbps mp3",
    "192kbps mp3",
    "128kbps mp3",
    "ogg vorbis",
    "aac",
    "apple lossless",
)
_POOR = ("64kbps", "sample", "m3u", "metadata", "spectrogram", "png", "waveform", "peaks")
_URN = re.compile(r"urn:(mb_recording_id|isrc):([\w-]{5,40})", re.IGNORECASE)


@register
class InternetArchive:
    """Seeds are ids of items or collections, ``collection:ID``, and URLs of archive.org (details, download, search).

    Options: ``max_items`` of one search; ``mediatypes`` (``[audio, etree]``; with ``movies`` films are recordings too);
    ``base`` for a mirror.
    """

    name: ClassVar[str] = "internet_archive"
    summary: ClassVar[str] = "archive.org: items, collections, searches; each original file is a recording"
    engine: ClassVar[Engine] = Engine.HTTP
    url_patterns: ClassVar[tuple[str, ...]] = (
        "archive.org/details/",
        "archive.org/download/",
        "archive.org/metadata/",
        "archive.org/search",
        "archive.org/search.php",
        "archive.org/advancedsearch.php",
    )
    politeness: ClassVar[PolitenessDefaults] = PolitenessDefaults(delay_s=1.0, concurrency=2)
    audio_policy: ClassVar[AudioPolicy] = AudioPolicy.STORE

    def seeds(self, query: SourceQuery) -> Iterable[PageRequest]:
        """The first requests. Raises ValueError that names a bad seed or option."""
        _mediatypes(query)
        _max_items(query)
        if not query.seeds and not query.search:
            raise ValueError("seeds: empty; name an id or a URL of archive.org, or a text under `search`")
        found = [_seed(seed, query) for seed in query.seeds]
        for text in query.search:
            if not text.strip():
                raise ValueError("search: empty; write words, or a query such as creator:(Кобзон)")
            found.append(_search(f"({text}) AND {_of_types(query)}", query))
        return found

    def parse(self, page: Page, query: SourceQuery) -> Iterable[RecordingItem | PageRequest]:
        """The items that a search names, or the recordings of an item. Raises ExtractionError."""
        try:
            answer = json.loads(page.body)
        except (ValueError, RecursionError) as error:
            raise ExtractionError(f"not an answer of the archive: {error}") from None
        if page.request.kind == "search":
            return _found(answer, page, query)
        return _item(answer, page, query)

    def recognise(self, url: str) -> Recognised | None:
        """A file of an item is one recording; an item, a collection among them, is an ``upload``."""
        try:
            split = urlsplit(url.strip())
            host = (split.hostname or "").removeprefix("www.")
        except ValueError:
            return None
        parts = [unquote(part) for part in split.path.split("/") if part]
        if host != "archive.org" or len(parts) < 2 or parts[0] not in ("details", "download", "metadata"):
            return None
        identifier, name = parts[1], "/".join(parts[2:])
        if not _IDENTIFIER.fullmatch(identifier):
            return None
        address = f"{BASE}/details/{quote(identifier)}"
        if not name or parts[0] == "metadata":
            return Recognised(self.name, "upload", identifier, address)
        return Recognised(self.name, "item", f"{identifier}/{name}", f"{address}/{quote(name)}")


def _base(query: SourceQuery) -> str:
    base = str(query.options.get("base", BASE)).rstrip("/")
    if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).hostname:
        raise ValueError(f"options.base: {base!r} is not an http or https URL; leave it out for {BASE}")
    return base


def _mediatypes(query: SourceQuery) -> tuple[str, ...]:
    value = query.options.get("mediatypes", MEDIATYPES)
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) for name in value):
        raise ValueError(f"options.mediatypes: {value!r} is not a list of words such as [audio, etree]")
    return tuple(value)


def _max_items(query: SourceQuery) -> int:
    value = query.options.get("max_items", MAX_ITEMS)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"options.max_items: {value!r} is not a whole number above 0")
    return value


def _of_types(query: SourceQuery) -> str:
    return f"mediatype:({' OR '.join(_mediatypes(query))})"


def _seed(seed: str, query: SourceQuery) -> PageRequest:
    base = _base(query)
    name, text = seed.strip(), ""
    if "://" in name:
        try:
            split = urlsplit(name)
            host = split.hostname or ""
        except ValueError:
            host = ""
        if host.removeprefix("www.") not in ("archive.org", urlsplit(base).hostname):
            raise ValueError(f"seeds: {seed!r} is not on archive.org; write {BASE}/details/ID, or the id alone")
        parts = [unquote(part) for part in split.path.split("/") if part]
        asked = parse_qs(split.query)
        if parts[:1] == ["advancedsearch.php"] and asked.get("output") == ["json"]:
            return PageRequest(name, "search", 5, {"listing": True})
        if parts and parts[0].removesuffix(".php") in ("search", "advancedsearch"):
            wanted = [*asked.get("query", asked.get("q", [])), *asked.get("and[]", [])]
            text = " AND ".join(f"({words})" for words in wanted if words.strip())
            if not text:
                raise ValueError(f"seeds: {seed!r} searches for nothing; it needs ?query=")
            return _search(text, query)
        name = parts[1] if len(parts) > 1 and parts[0] in ("details", "download", "metadata") else ""
    elif name.startswith("collection:"):
        name = name.removeprefix("collection:").strip()
        if _IDENTIFIER.fullmatch(name):
            return _search(f"collection:({name}) AND {_of_types(query)}", query)
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(f"seeds: {seed!r} names no item; write {BASE}/details/ID, the id alone, or collection:ID")
    return _metadata(name, base)


def _metadata(identifier: str, base: str, context: Mapping[str, Any] | None = None) -> PageRequest:
    return PageRequest(f"{base}/metadata/{quote(identifier)}", "item", 0, {"id": identifier, **(context or {})})


def _search(text: str, query: SourceQuery, cursor: str | None = None, seen: int = 0) -> PageRequest:
    left = max(_max_items(query) - seen, 0)
    asked = {
        "q": text,
        "fields": "identifier,mediatype,oai_updatedate",
        "count": str(min(PAGE_SIZE, max(left, 100))),
        **({"cursor": cursor} if cursor else {}),
    }
    url = f"{_base(query)}/services/search/v1/scrape?{urlencode(asked)}"
    return PageRequest(url, "search", 5, {"q": text, "seen": seen, "listing": True}, continues=cursor is not None)


def _found(answer: Any, page: Page, query: SourceQuery) -> Iterator[PageRequest]:
    """Requests for the items of an answer of the scraping or the advanced search interface, and for its next page."""
    if not isinstance(answer, Mapping):
        raise ExtractionError("not an answer to a search")
    if answer.get("error"):
        raise ExtractionError(f"the archive refuses the search: {clean_text(answer['error'], 300)}")
    response = answer.get("response")
    entries = response.get("docs") if isinstance(response, Mapping) else answer.get("items")
    if not isinstance(entries, list):
        raise ExtractionError("an answer to a search without items")
    base, wanted = urljoin(page.url, "/").rstrip("/"), _mediatypes(query)
    seen = int(page.request.context.get("seen", 0))
    left = _max_items(query) - seen
    # The next page first, so that it is known even when this one is cut short.
    if left > len(entries) > 0 and (following := _next_page(answer, page, query, seen + len(entries))) is not None:
        yield following
    for entry in entries[: max(left, 0)]:
        identifier = entry.get("identifier") if isinstance(entry, Mapping) else None
        if not isinstance(identifier, str) or not _IDENTIFIER.fullmatch(identifier):
            continue
        if entry.get("mediatype", wanted[0]) not in wanted:
            continue
        updated = entry.get("oai_updatedate")
        lastmod = iso_moment(updated[-1] if isinstance(updated, list) and updated else updated)
        yield _metadata(identifier, base, {"lastmod": lastmod} if lastmod else None)


def _next_page(answer: Mapping[str, Any], page: Page, query: SourceQuery, seen: int) -> PageRequest | None:
    cursor = answer.get("cursor")
    text = page.request.context.get("q")
    if isinstance(cursor, str) and cursor and isinstance(text, str):
        return _search(text, query, cursor, seen)
    response = answer.get("response")
    if isinstance(response, Mapping) and isinstance(response.get("numFound"), int) and seen < response["numFound"]:
        split = urlsplit(page.request.url)
        asked = {name: values for name, values in parse_qs(split.query).items() if name not in ("page", "start")}
        url = split._replace(query=urlencode({**asked, "start": str(seen)}, doseq=True)).geturl()
        return PageRequest(url, "search", 5, {"seen": seen, "listing": True}, continues=True)
    return None


def _item(answer: Any, page: Page, query: SourceQuery) -> Iterator[RecordingItem | PageRequest]:
    identifier = str(page.request.context.get("id") or page.request.url.rpartition("/")[2])
    base = urljoin(page.url, "/").rstrip("/")
    if isinstance(answer, Mapping) and answer.get("error"):
        raise ExtractionError(f"the archive refuses: {clean_text(answer['error'], 300)}")
    if answer in ({}, []):
        yield _missing(identifier, base, "the archive has no item of this name")
        return
    about = answer.get("metadata") if isinstance(answer, Mapping) else None
    if isinstance(answer, Mapping) and answer.get("is_dark"):
        yield _missing(identifier, base, "the archive has taken this item out of sight (dark)", about)
        return
    if not isinstance(about, Mapping) or not isinstance(answer.get("files", []), list):
        raise ExtractionError("an answer without the metadata of an item")
    if about.get("mediatype") == "collection":
        yield _search(f"collection:({identifier}) AND {_of_types(query)}", query)
        return
    files = [file for file in answer.get("files", [])[:MAX_FILES] if isinstance(file, Mapping) and _name(file)]
    endings = _LOSSLESS + _COMPRESSED + (_VIDEO if "movies" in _mediatypes(query) else ())
    originals = _originals(files, endings)
    for original in originals:
        yield _recording(original, files, about, identifier, base, alone=len(originals) == 1)


def _missing(identifier: str, base: str, detail: str, about: Any = None) -> RecordingItem:
    title = clean_text(about.get("title")) if isinstance(about, Mapping) else ""
    return RecordingItem(
        source_key=identifier,
        title=title or identifier,
        url=f"{base}/details/{quote(identifier)}",
        availability=Availability.REMOVED,
        availability_detail=detail,
    )


def _name(file: Mapping[str, Any]) -> str:
    name = file.get("name")
    return name if isinstance(name, str) else ""


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _poor(file: Mapping[str, Any]) -> bool:
    return any(word in str(file.get("format", "")).lower() for word in _POOR)


def _originals(files: list[Mapping[str, Any]], endings: tuple[str, ...]) -> list[Mapping[str, Any]]:
    """The playable originals in the order of the item; of one that was uploaded in two formats, the better one."""
    best: dict[str, Mapping[str, Any]] = {}
    for file in files:
        ending = _ending(_name(file))
        if file.get("source") != "original" or ending not in endings or _poor(file):
            continue
        stem = _name(file)[: -len(ending) - 1]
        known = best.get(stem)
        if known is None or endings.index(ending) < endings.index(_ending(_name(known))):
            best[stem] = file
    return list(best.values())


def _audio(original: Mapping[str, Any], files: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The file to fetch: a compressed original itself, else the best of what was made of it, else the original."""
    name = _name(original)
    stem = name.rpartition(".")[0]

    def usable(file: Mapping[str, Any]) -> bool:
        return str(file.get("private", "")).lower() != "true"

    if _ending(name) in _COMPRESSED and usable(original):
        return original
    ranked: list[tuple[int, Mapping[str, Any]]] = []
    for file in files:
        made_of_it = file.get("original") == name or _name(file).rpartition(".")[0] == stem
        if file is original or not made_of_it or not usable(file) or _poor(file):
            continue
        kind = str(file.get("format", "")).lower()
        if kind in _DERIVED:
            ranked.append((_DERIVED.index(kind), file))
        elif _ending(_name(file)) in _COMPRESSED:
            ranked.append((len(_DERIVED), file))
    if ranked:
        return min(ranked, key=lambda pair: pair[0])[1]
    return original if usable(original) else None


def _recording(
    file: Mapping[str, Any],
    files: list[Mapping[str, Any]],
    about: Mapping[str, Any],
    identifier: str,
    base: str,
    *,
    alone: bool,
) -> RecordingItem:
    name = _name(file)
    audio = _audio(file, files)
    whole = clean_text(about.get("title"))
    title = clean_text(file.get("title")) or (whole if alone else "") or _title_of(name)
    availability, detail = Availability.AVAILABLE, None
    if str(about.get("access-restricted-item", "")).lower() == "true":
        availability, detail = Availability.AUTH_REQUIRED, "the archive lends this item to its members only"
    elif audio is None:
        availability, detail = Availability.PRIVATE, "the archive keeps the audio of this file to itself"
    album = clean_text(file.get("album")) or ("" if alone else whole)
    return RecordingItem(
        source_key=f"{identifier}/{name}",
        title=title,
        url=f"{base}/details/{quote(identifier)}/{quote(name)}",
        credits=_credits(file, about),
        audio_url=f"{base}/download/{quote(identifier)}/{quote(_name(audio))}" if audio is not None else None,
        duration_s=seconds(file.get("length")) or (seconds(audio.get("length")) if audio is not None else None),
        kind=VersionKind.LIVE if about.get("mediatype") == "etree" else None,
        album=album or None,
        year=year_of(_first(about.get("year"))) or year_of(_first(about.get("date"))),
        language=clean_text(about.get("language"), 40) or None,
        genre=_genre(file, about),
        description=markup_text(about.get("description")) or None,
        thumbnail_url=f"{base}/services/img/{quote(identifier)}",
        licence=clean_text(about.get("licenseurl") or about.get("rights"), 500) or None,
        identifiers=_identifiers(file),
        published_at=iso_moment(about.get("publicdate")),
        availability=availability,
        availability_detail=detail,
    )


def _credits(file: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[Credit, ...]:
    names = _many(file.get("artist")) or _many(file.get("creator")) or _many(about.get("creator"))
    result = [Credit(text) for name in names if (text := clean_text(name, 300))]
    result += [Credit(text, "composer") for name in _many(file.get("composer")) if (text := clean_text(name, 300))]
    return tuple(dict.fromkeys(result[:50]))


def _genre(file: Mapping[str, Any], about: Mapping[str, Any]) -> str | None:
    """The genre of the file or the item, else the item's first subjects, as they stand."""
    said = clean_text(file.get("genre"), 200) or clean_text(about.get("genre"), 200)
    if said:
        return said
    subjects = [part for value in _many(about.get("subject")) for part in str(value).split(";")]
    return clean_text("; ".join(text for part in subjects[:5] if (text := clean_text(part, 60))), 200) or None


def _identifiers(file: Mapping[str, Any]) -> dict[str, str]:
    names = {"mb_recording_id": "musicbrainz_recording", "isrc": "isrc"}
    result: dict[str, str] = {}
    for value in _many(file.get("external-identifier")):
        if found := _URN.fullmatch(str(value).strip()):
            result.setdefault(names[found[1].lower()], found[2])
    return result


def _title_of(name: str) -> str:
    return clean_text(title_of_stem(name.rpartition("/")[2].rpartition(".")[0])) or name


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def _first(value: Any) -> Any:
    return _many(value)[0] if _many(value) else None
