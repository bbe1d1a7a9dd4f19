"""The contract of a source.

An adapter is pure: it is given fetched pages and yields items and further requests. It never sees a database,
Temporal or a socket, so that it can be tested on saved pages and be run again over stored snapshots.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable


class Engine(StrEnum):
    """How the pages of a source are fetched."""

    HTTP = "http"  # Scrapy
    BROWSER = "browser"  # Scrapy with Playwright's Chromium
    YT_DLP = "yt_dlp"
    FILES = "files"  # a local folder


class AudioPolicy(StrEnum):
    """What may be done with the audio of a source, least first."""

    NONE = "none"  # never fetched
    FINGERPRINT_ONLY = "fingerprint_only"  # fetched, fingerprinted, deleted
    STORE = "store"  # licensed: kept in the object store


class Availability(StrEnum):
    """Whether a source of a version can be reached, and if not, why."""

    AVAILABLE = "available"
    REMOVED = "removed"
    PRIVATE = "private"
    GEO_BLOCKED = "geo_blocked"
    AGE_RESTRICTED = "age_restricted"
    AUTH_REQUIRED = "auth_required"
    RATE_LIMITED = "rate_limited"
    ADAPTER_BROKEN = "adapter_broken"
    UNKNOWN = "unknown"


class VersionKind(StrEnum):
    """What kind of version of a song a recording is."""

    ORIGINAL = "original"
    COVER = "cover"
    LIVE = "live"
    DEMO = "demo"
    REMIX = "remix"
    ACOUSTIC = "acoustic"
    INSTRUMENTAL = "instrumental"
    KARAOKE = "karaoke"
    REMASTER = "remaster"
    EDIT = "edit"


@dataclass(frozen=True, slots=True)
class Credit:
    """A credited name as the source spells it. ``role``: performer, composer, lyricist, arranger, ensemble…"""

    name: str
    role: str = "performer"
    join_phrase: str = ""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A named part of a longer recording; seconds from its start. ``end_s``: None where the source does not say."""

    title: str
    start_s: float
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class RecordingItem:
    """One recording as a source describes it: raw values; identity normalises them later.

    Only ``source_key`` and ``title`` are mandatory; all the rest may be missing.

    Attributes:
        source_key: stable id of the item on its source (a video id, a site-relative path).
        url: the page a person can open.
        title: as the source spells it.
        credits: who performs, composed, wrote, in order.
        audio_url: where the audio itself can be fetched (http, https, file), if anywhere.
        duration_s: seconds.
        work_title: title of the composition, where the source tells it apart from the recording's.
        kind: one of `VersionKind`, only where the source itself says so.
        identifiers: e.g. ``{"isrc": …, "musicbrainz_recording": …, "iswc": …}``.
        published_at: when the source published it, ISO 8601 (a date or a time in UTC).
        chapters: parts of a concert or an album in one file.
        availability_detail: the source's own words where it is not available.
    """

    source_key: str
    title: str
    url: str = ""
    credits: tuple[Credit, ...] = ()
    audio_url: str | None = None
    duration_s: float | None = None
    work_title: str | None = None
    kind: str | None = None
    album: str | None = None
    year: int | None = None
    language: str | None = None
    genre: str | None = None
    lyrics: str | None = None
    description: str | None = None
    thumbnail_url: str | None = None
    licence: str | None = None
    identifiers: Mapping[str, str] = field(default_factory=dict)
    published_at: str | None = None
    chapters: tuple[Chapter, ...] = ()
    availability: Availability = Availability.AVAILABLE
    availability_detail: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object without the empty values."""
        # By hand: `asdict` copies each value deeply, and this is done for every item of every page.
        values: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if value or value == 0:
                values[name] = value
        if self.credits:
            values["credits"] = tuple(
                {"name": each.name, "role": each.role, "join_phrase": each.join_phrase} for each in self.credits
            )
        if self.chapters:
            values["chapters"] = tuple(asdict(chapter) for chapter in self.chapters)
        if self.identifiers:
            values["identifiers"] = dict(self.identifiers)
        return values

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RecordingItem:
        """The inverse of `to_json`."""
        values = dict(data)
        values["credits"] = tuple(Credit(**credit) for credit in values.get("credits", ()))
        values["chapters"] = tuple(Chapter(**chapter) for chapter in values.get("chapters", ()))
        if "availability" in values:
            values["availability"] = Availability(values["availability"])
        return cls(**values)

    def digest(self) -> str:
        """Changes whenever the source says something else about this item; a site that only moved says the same."""
        return digest_of(self.to_json())


def digest_of(told: Mapping[str, Any]) -> str:
    """`RecordingItem.digest` of what `RecordingItem.to_json` told."""
    data = dict(told)
    scheme, separator, rest = data.get("url", "").partition("://")
    origin = f"{scheme}{separator}{rest.partition('/')[0]}/"
    if separator:
        for name in ("url", "audio_url", "thumbnail_url"):
            if name in data:
                data[name] = data[name].removeprefix(origin)
    text = json.dumps(data, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page that an adapter wants to see next.

    Attributes:
        url: absolute URL.
        kind: what the adapter expects there (its own word: ``sitemap``, ``page``, ``api``); given back in `Page`.
        priority: higher is fetched earlier.
        context: small JSON values that travel with the request and come back in `Page.request`. These keys have a
            meaning for the house: ``lastmod``, when the source says that this page last changed (ISO 8601);
            ``newest_first`` (true), for a list that begins with the newest; ``listing`` (true), for a list that the
            source itself keeps, such as a sitemap or an answer to a search: that it brings no item is no sign of a
            trap.
        continues: the next part of the list that this request was found in: it is no deeper than that.
    """

    url: str
    kind: str = "page"
    priority: int = 0
    context: Mapping[str, Any] = field(default_factory=dict)
    continues: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A fetched page.

    Attributes:
        url: the final URL, after redirects.
        request: what was asked for.
        status: HTTP status (200 for files).
        headers: lower-case names.
        body: decoded (un-gzipped) bytes; the rendered HTML for a browser page; empty for a file.
        path: the local file, for the files engine only.
    """

    url: str
    request: PageRequest
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    path: Path | None = None


class ExtractionError(Exception):
    """The page was fetched but its meaning could not be read; the crawl reports it as ``broken_markup``."""


class XmlBombError(ExtractionError):
    """The page is XML that unpacks into far more than it holds, by entities within entities; the crawl reports it as
    ``xml_bomb``."""


@dataclass(frozen=True, slots=True)
class SourceQuery:
    """What a campaign asks of a source.

    Attributes:
        source: the site's name, part of every candidate's identity.
        seeds: start URLs, paths or ids, as the campaign spells them.
        search: search texts, for sources that can search.
        follow: URL regular expressions of links to follow; empty: the adapter's own rule.
        options: the adapter's own options.
    """

    source: str
    seeds: Sequence[str] = ()
    search: Sequence[str] = ()
    follow: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PolitenessDefaults:
    """What an adapter suggests; a campaign may only be politer unless the operator allows more.

    ``delay_s``: seconds between two requests to one server group; ``concurrency``: requests in flight there.
    """

    delay_s: float = 1.0
    concurrency: int = 2
    respect_robots: bool = True


@runtime_checkable
class Adapter(Protocol):
    """What every file in ``adapters/`` provides, as a class registered with `register`."""

    name: ClassVar[str]
    """The word a campaign uses."""
    summary: ClassVar[str]
    """One line for ``versions source list``."""
    engine: ClassVar[Engine]
    url_patterns: ClassVar[tuple[str, ...]]
    """`url-matcher` patterns of the URLs this adapter recognises; empty for generic ones."""
    politeness: ClassVar[PolitenessDefaults]
    audio_policy: ClassVar[AudioPolicy]
    """The most that this source permits; a campaign may ask for less."""

    def seeds(self, query: SourceQuery) -> Iterable[PageRequest]:
        """The first requests. Raises ValueError that names a bad seed and the remedy."""
        ...

    def parse(self, page: Page, query: SourceQuery) -> Iterable[RecordingItem | PageRequest]:
        """Items and further requests of one page. Raises ExtractionError when the page makes no sense."""
        ...


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a URL leads to, told by its form alone: nobody was asked whether it exists.

    Attributes:
        adapter: the source it belongs to.
        kind: the adapter's own word for what is there; ``item`` is one recording for every adapter.
        source_key: of an item, the key its `RecordingItem` has; of anything else, its stable id among its kind; empty
            where the URL was cut off and names nothing.
        url: the same place as the adapter itself spells it.
    """

    adapter: str
    kind: str
    source_key: str
    url: str


@runtime_checkable
class Recogniser(Protocol):
    """An adapter that knows its site's URLs; generic adapters are none."""

    def recognise(self, url: str) -> Recognised | None:
        """What this URL (or, for this adapter alone, a bare id) leads to; None for anything of another site."""
        ...


_registry: dict[str, type[Adapter]] = {}
A = TypeVar("A", bound=Adapter)


def register(cls: type[A]) -> type[A]:
    """Class decorator: makes an adapter known under its name. Raises ValueError for a name that is taken."""
    known = _registry.get(cls.name)
    if known is not None and known.__module__ != cls.__module__:
        raise ValueError(f"name: {cls.name!r} is the name of the adapter in {known.__module__}; choose another one")
    _registry[cls.name] = cls
    return cls


class UnknownAdapterError(LookupError):
    """No adapter has this name; the message lists those there are."""


def get_adapter(name: str) -> Adapter:
    """A new instance of the adapter of this name."""
    load_adapters()
    try:
        return _registry[name]()
    except KeyError:
        there = f"no source named {name!r}; there are: {', '.join(sorted(_registry))}"
        broken = "".join(f"; not loaded: {place}: {why}" for place, why in adapter_problems().items())
        raise UnknownAdapterError(there + broken) from None


def adapter_names() -> list[str]:
    """All names, sorted."""
    load_adapters()
    return sorted(_registry)


def recognise(url: str) -> Recognised | None:
    """The source, kind and key of a URL; None where no adapter knows it. A bare id is not looked at: many sites have
    ids of one form."""
    if ":" not in url and not url.startswith("//"):
        return None
    for name in adapter_names():
        adapter = _registry[name]()
        if isinstance(adapter, Recogniser) and (found := adapter.recognise(url)) is not None:
            return found
    return None


def load_adapters() -> None:
    """Imports every module of this package once, so that each registers itself; then those of the user's own.

    What the user's own are: `adapters._outside`.
    """
    import importlib
    import pkgutil

    import adapters
    from adapters import _outside

    for module in pkgutil.iter_modules(adapters.__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"adapters.{module.name}")
    _unregister(_outside.load())


def reload_own_adapters() -> None:
    """Reads the user's own adapters again; the rest stays."""
    from adapters import _outside

    _unregister(_outside.forget())
    load_adapters()


def adapter_problems() -> dict[str, str]:
    """The user's own adapters that could not be loaded, by file, and why."""
    from adapters import _outside

    return _outside.problems()


def _unregister(modules: set[str]) -> None:
    for name in [name for name, cls in _registry.items() if cls.__module__ in modules]:
        del _registry[name]
