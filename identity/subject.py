"""What is known about an item when identity is asked: structured fields first, then what its title says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from identity.names import TRADITIONAL, artist_key, is_traditional, mentions_people, metadata_key, title_key, title_keys
from identity.titles import parse_title

# Roles as sources write them, by what they mean for a song.
PERFORMER_ROLES = frozenset(
    {"performer", "ensemble", "artist", "vocals", "vocal", "singer", "soloist", "choir", "orchestra", "band", "group"}
)
COMPOSER_ROLES = frozenset({"composer", "music", "author", "writer", "songwriter"})
LYRICIST_ROLES = frozenset({"lyricist", "lyrics", "words", "poet", "librettist", "author", "writer", "songwriter"})


@dataclass(frozen=True, slots=True)
class Name:
    """A credited name as it was spelled, and the key that compares it. ``key`` may be `names.TRADITIONAL`."""

    name: str
    key: str

    @property
    def traditional(self) -> bool:
        """Whether this is "the people", which must not be linked as a person."""
        return self.key == TRADITIONAL


@dataclass(frozen=True, slots=True)
class Subject:
    """An item, normalised.

    Attributes:
        title: the song's title, without artists, version words and noise.
        raw_title: as the source spells it.
        title_keys: keys under which its song may be known, best first (see `names.title_keys`).
        other_keys: keys that it has if its title is read otherwise (the artist's side of the dash was the title).
        work_title: of the composition, where the source tells it.
        performers, composers, lyricists: in order, without repeats; featured guests come last among the performers.
        kind: one of `catalog.models.VERSION_KINDS`, or None.
        duration_s: seconds.
        identifiers: as given, e.g. ``iswc``, ``isrc``.
        metadata_key: see `names.metadata_key`; guests do not count.
        credited: keys of the performers whom the source itself names, beside those read from the title.
        channel: whose channel it is, where the source has channels.
        missing: which of ``title``, ``performer``, ``duration`` are missing; ``complete``: none is.
    """

    title: str
    raw_title: str
    title_keys: tuple[str, ...] = ()
    other_keys: tuple[str, ...] = ()
    work_title: str | None = None
    performers: tuple[Name, ...] = ()
    composers: tuple[Name, ...] = ()
    lyricists: tuple[Name, ...] = ()
    kind: str | None = None
    year: int | None = None
    language: str | None = None
    duration_s: float | None = None
    identifiers: Mapping[str, str] = field(default_factory=dict)
    metadata_key: str = ""
    credited: tuple[str, ...] = ()
    channel: str = ""
    missing: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether title, performer and duration are all known."""
        return not self.missing


def subject_from_item(item: Mapping[str, Any]) -> Subject:
    """Normalises ``RecordingItem.to_json()``.

    Structured fields win: credits over artists in the title, ``kind`` and ``year`` over words in the title. Credited
    performers are cut out of the title; where none is credited, "Artist - Title" names them. «Народная» among the
    composers or in the title («… (русская народная песня)») is `names.TRADITIONAL`.
    """
    raw_title = str(item.get("title") or "")
    credited = [(str(c.get("role") or "performer").lower(), str(c["name"])) for c in item.get("credits") or ()]
    performers = _names(name for role, name in credited if role in PERFORMER_ROLES)
    composers = _names(name for role, name in credited if role in COMPOSER_ROLES)
    lyricists = _names(name for role, name in credited if role in LYRICIST_ROLES)

    credited_keys = tuple(name.key for name in performers if not name.traditional)

    known = (*performers, *composers, *lyricists)
    parsed = parse_title(raw_title, [name.name for name in known])
    title, from_title = parsed.title, parsed.artists
    others: tuple[str, ...] = ()
    if from_title and not _any_shared(_names(from_title), known):
        if _keeps_dash(raw_title, item):
            title, from_title = raw_title.strip(), ()
        else:
            others = tuple(title_key(side) for side in from_title)
    if not performers:
        performers = _names(from_title)
    guests = tuple(guest for guest in _names(parsed.featuring) if guest not in performers)

    noted = [*parsed.noise, raw_title, str(item.get("genre") or "")]
    if not composers and any(is_traditional(note) and mentions_people(note) for note in noted if note):
        composers = _names(["народная"])
    # The people do not perform: «Русская народная песня - Калинка» has no performer.
    if any(performer.traditional for performer in performers):
        composers = composers or tuple(p for p in performers if p.traditional)
        performers = tuple(p for p in performers if not p.traditional)

    work_title = str(item["work_title"]).strip() if item.get("work_title") else None
    keys = list(title_keys(title))
    if work_title:
        work = parse_title(work_title)
        keys = [*title_keys(work_title if work.artists else work.title), *keys]
    duration = _number(item.get("duration_s"))
    has_title = bool(title.strip())
    missing = [
        name
        for name, there in (("title", has_title), ("performer", bool(performers)), ("duration", duration is not None))
        if not there
    ]
    return Subject(
        title=title,
        raw_title=raw_title,
        title_keys=tuple(dict.fromkeys(key for key in keys if key)),
        other_keys=tuple(dict.fromkeys(key for key in others if key and key not in keys)),
        work_title=work_title,
        performers=performers + guests,
        composers=composers,
        lyricists=lyricists,
        kind=str(item["kind"]) if item.get("kind") else parsed.kind,
        year=int(item["year"]) if item.get("year") else parsed.year,
        language=str(item["language"]).lower() if item.get("language") else None,
        duration_s=duration,
        identifiers={str(k): str(v) for k, v in (item.get("identifiers") or {}).items()},
        metadata_key=metadata_key(title, [performer.name for performer in performers], duration),
        credited=credited_keys,
        channel=next((name for role, name in credited if role == "channel"), ""),
        missing=tuple(missing),
    )


def _names(names: Iterable[str]) -> tuple[Name, ...]:
    """Names with their keys, each key once, in order."""
    found: dict[str, Name] = {}
    for name in names:
        key = artist_key(name)
        if key:
            found.setdefault(key, Name(name.strip(), key))
    return tuple(found.values())


def _any_shared(some: Iterable[Name], others: Iterable[Name]) -> bool:
    keys = {name.key for name in others}
    words = {word for key in keys for word in key.split()}
    return any(name.key in keys or set(name.key.split()) <= words for name in some)


def _keeps_dash(raw_title: str, item: Mapping[str, Any]) -> bool:
    """Whether the dash is within the title: the source tells the work apart, and its title has the dash too."""
    work = item.get("work_title")
    return bool(work) and title_key(str(work)) == title_key(raw_title)


def _number(value: Any) -> float | None:
    """A finite positive number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
