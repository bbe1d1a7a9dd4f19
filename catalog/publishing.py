"""Publication: a candidate becomes a source of a version of a song, in the caller's transaction.

Everything that describes a version or a song is derived from the sources it has, best source first, and is derived
anew whenever a source joins. So the catalog does not depend on the order in which candidates arrived.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, defer, joinedload

from catalog import feed
from catalog.locks import lock_once
from catalog.models import (
    Artist,
    ArtistAlias,
    Candidate,
    Redirect,
    Song,
    SongCredit,
    SongTitle,
    Version,
    VersionCredit,
    VersionSource,
)
from catalog.slugs import free_slug

_IDENTITY_LOCK = "versions.identity"

TRADITIONAL_TYPE = "traditional"
"""`Artist.type` of the one who stands for «народная»."""


class SpelledName(TypedDict):
    """A name as spelled, its comparison key, and its plain Latin form for search."""

    name: str
    key: str
    latin: str


class CreditName(SpelledName):
    role: str
    join_phrase: str
    traditional: bool


class Description(TypedDict):
    """What identity understood of a candidate: the form of `Candidate.normalised`.

    ``title``: of the recording; ``song_titles``: of the composition, best first; ``performers`` and ``authors`` in
    order; ``complete``: title, performer and duration are known.
    """

    title: str
    song_titles: list[SpelledName]
    performers: list[CreditName]
    authors: list[CreditName]
    kind: str | None
    year: int | None
    language: str | None
    genre: str | None
    lyrics: str | None
    identifiers: dict[str, str]
    complete: bool


class UnknownTargetError(LookupError):
    """The version or song to publish to does not exist (any more)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a candidate goes: ``attach`` to a version, ``new_version`` of a song, or ``new_song``."""

    action: Literal["attach", "new_version", "new_song"]
    version_id: uuid.UUID | None = None
    song_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Published:
    version_id: uuid.UUID
    song_id: uuid.UUID
    state: str


def lock_identity(session: Session) -> None:
    """Serialises identity decisions until the end of the transaction.

    Two uploads of one recording that arrive at the same moment must not both find the catalog without it.
    """
    lock_once(session, _IDENTITY_LOCK)


def survivor(session: Session, entity: str, entity_id: uuid.UUID) -> uuid.UUID:
    """The id that a merged id leads to now; the id itself if it was never merged."""
    for _ in range(100):
        new_id = session.scalar(select(Redirect.new_id).where(Redirect.entity == entity, Redirect.old_id == entity_id))
        if new_id is None:
            return entity_id
        entity_id = new_id
    raise UnknownTargetError(f"redirects of {entity} {entity_id} go in a circle")


def publish(session: Session, candidate: Candidate, target: Target) -> Published:
    """Makes the candidate a source, once; a candidate that is published stays where it is and is described anew.

    The caller holds the identity lock. Raises UnknownTargetError.
    """
    # All that is new is written when it is complete: one INSERT each, and no UPDATE that completes it.
    with session.no_autoflush:
        return _publish(session, candidate, target)


def _publish(session: Session, candidate: Candidate, target: Target) -> Published:
    known: VersionSource | None = None
    if candidate.version_id is not None:
        known = session.scalar(select(VersionSource).where(VersionSource.candidate_id == candidate.id))
    created_song = created_version = False
    if known is not None:
        version = session.get_one(Version, known.version_id)
        song = session.get_one(Song, version.song_id)
        source = known
    else:
        if target.action == "attach":
            version = _version(session, target.version_id)
            song = session.get_one(Song, version.song_id)
        else:
            if target.action == "new_version":
                song = _song(session, target.song_id)
            else:
                song, created_song = new_song(session, candidate), True
            version, created_version = Version(song=song, title=candidate.normalised["title"]), True
            session.add(version)
        source = VersionSource(version=version, candidate_id=candidate.id)
        session.add(source)
    _describe_source(source, candidate)
    of_song, of_version = ([], []) if created_song else _sources(session, song, version)
    if known is None:
        of_song, of_version = [*of_song, (source, candidate)], [*of_version, (source, candidate)]
    of_song.sort(key=_quality)
    of_version.sort(key=_quality)
    artists = _Artists(session, of_song + of_version)
    _refresh_version(version, of_version, artists)
    _refresh_song(song, of_song, artists)
    session.flush()
    candidate.version_id = version.id
    feed.record_all(
        session,
        [
            feed.event(
                "song.created" if created_song else "song.updated", "song", song.id, title=song.title, slug=song.slug
            ),
            feed.event(
                "version.uploaded" if created_version else "version.updated",
                "version",
                version.id,
                song_id=str(song.id),
                title=version.title,
            ),
        ],
    )
    # A duplicate upload is welcome: it is a further source of its version.
    only = len(of_version) == 1
    return Published(version.id, song.id, "published" if only or known is not None else "duplicate")


def derive(session: Session, song_ids: Iterable[uuid.UUID], version_ids: Iterable[uuid.UUID]) -> list[dict[str, Any]]:
    """Describes songs and versions anew after their sources were moved; what has none left is deleted.

    Returns the events that tell of it, for `feed.record_all`. The caller holds the identity lock.
    """
    session.flush()
    events: list[dict[str, Any]] = []
    for version_id in sorted(set(version_ids)):
        version = session.get_one(Version, version_id)
        rows = _rows(session, VersionSource.version_id == version_id)
        if rows:
            version.deleted_at = None
            _refresh_version(version, rows, _Artists(session, rows))
            events.append(
                feed.event("version.updated", "version", version_id, song_id=str(version.song_id), title=version.title)
            )
        elif version.deleted_at is None:
            version.deleted_at = datetime.now(UTC)
            events.append(feed.event("version.deleted", "version", version_id))
    session.flush()
    for song_id in sorted(set(song_ids)):
        song = session.get_one(Song, song_id)
        rows = _rows(session, Version.song_id == song_id, Version.deleted_at.is_(None))
        if rows:
            song.deleted_at = None
            _refresh_song(song, rows, _Artists(session, rows))
            events.append(feed.event("song.updated", "song", song_id, title=song.title, slug=song.slug))
        elif song.deleted_at is None:
            song.deleted_at = datetime.now(UTC)
            events.append(feed.event("song.deleted", "song", song_id))
    session.flush()
    return events


def _rows(session: Session, *conditions: ColumnElement[bool]) -> list[_Row]:
    """Sources with their candidates, best first."""
    rows = session.execute(
        select(VersionSource, Candidate)
        .join(Candidate, Candidate.id == VersionSource.candidate_id)
        .join(Version, Version.id == VersionSource.version_id)
        .where(*conditions)
        .options(defer(Candidate.item), defer(Candidate.audio), defer(Candidate.waveform))
    ).all()
    return sorted(((source, candidate) for source, candidate in rows), key=_quality)


def _version(session: Session, version_id: uuid.UUID | None) -> Version:
    version = version_id and session.get(Version, survivor(session, "version", version_id))
    if not version or version.deleted_at:
        raise UnknownTargetError(f"there is no version {version_id}")
    return version


def _song(session: Session, song_id: uuid.UUID | None) -> Song:
    song = song_id and session.get(Song, survivor(session, "song", song_id))
    if not song or song.deleted_at:
        raise UnknownTargetError(f"there is no song {song_id}")
    return song


def new_song(session: Session, candidate: Candidate) -> Song:
    """A song that this candidate will be the first source of; it is written with it."""
    title = candidate.normalised["song_titles"][0]["name"]
    song = Song(title=title, slug=free_slug(session, Song.slug, title))
    session.add(song)
    return song


def _describe_source(source: VersionSource, candidate: Candidate) -> None:
    source.source = candidate.source
    source.source_key = candidate.source_key
    source.url = candidate.url
    source.title = str(candidate.item.get("title", ""))
    source.duration_s = candidate.duration_s
    source.audio_object = candidate.audio_object
    source.audio = candidate.audio
    source.licence = candidate.item.get("licence")
    source.availability, source.availability_reason, source.suspected_at = "available", None, None


_Row = tuple[VersionSource, Candidate]
_NOBODY: tuple[list[CreditName], float] = ([], 0.0)

LOSSLESS = {"flac", "alac", "wavpack", "ape", "pcm_s16le", "pcm_s24le"}


def _quality(row: _Row) -> tuple[Any, ...]:
    """Sorts the sources of a version, best first; total, so that the order never depends on arrival."""
    source, candidate = row
    return (
        source.availability != "available",
        not candidate.normalised.get("complete"),
        -candidate.trust,
        -round(source.duration_s or 0),
        source.audio.get("codec") not in LOSSLESS,
        -(source.audio.get("bit_rate") or 0),
        source.source,
        source.source_key,
    )


def _sources(session: Session, song: Song, version: Version) -> tuple[list[_Row], list[_Row]]:
    """The sources of all versions of the song, and those of the one version."""
    rows = session.execute(
        select(VersionSource, Candidate, Version.deleted_at)
        .join(Candidate, Candidate.id == VersionSource.candidate_id)
        .join(Version, Version.id == VersionSource.version_id)
        .where(Version.song_id == song.id)
        # Large, and nothing that is looked at here (but the waveform of the best).
        .options(defer(Candidate.item), defer(Candidate.audio), defer(Candidate.waveform))
    ).all()
    of_song = [(source, candidate) for source, candidate, deleted_at in rows if deleted_at is None]
    of_version = [(source, candidate) for source, candidate, _ in rows if source.version_id == version.id]
    return of_song, of_version


def _refresh_version(version: Version, rows: list[_Row], artists: _Artists) -> None:
    """Derives the version's fields, credits and source ranks from its sources, best first."""
    for rank, (source, _) in enumerate(rows):
        source.rank = rank
    described = [candidate.normalised for _, candidate in rows]
    best_source, best = rows[0]
    version.title = described[0]["title"]
    version.kind = _first(d.get("kind") for d in described) or "original"
    version.duration_s = best_source.duration_s
    version.release_year = _first(d.get("year") for d in described)
    version.language = _first(d.get("language") for d in described)
    version.identifiers = _merged(described)
    version.quality = best_source.audio
    version.waveform = best.waveform
    version.row_version = (version.row_version or 0) + 1
    performers, trust = next(
        ((c.normalised["performers"], c.trust) for _, c in rows if c.normalised["performers"]), _NOBODY
    )
    for description, (_, candidate) in zip(described, rows, strict=True):
        for credit in description["performers"]:
            artists.named(credit, candidate.trust)
    _set_credits(version.credits, VersionCredit, performers, trust, artists)


def _refresh_song(song: Song, rows: list[_Row], artists: _Artists) -> None:
    """Derives the song's fields, titles, credits and search text from the sources of all its versions."""
    described = [candidate.normalised for _, candidate in rows]
    # A source that names the composition apart from the recording knows its title best.
    by_title = sorted(zip(described, rows, strict=True), key=lambda pair: (not pair[0]["authors"], _quality(pair[1])))
    song.title = by_title[0][0]["song_titles"][0]["name"]
    song.language = _first(d.get("language") for d, _ in by_title)
    song.genre = _first(d.get("genre") for d, _ in by_title)
    song.lyrics_markup = _first(d.get("lyrics") for d, _ in by_title)
    song.identifiers = {
        key: value for key, value in _merged([d for d, _ in by_title]).items() if key in ("iswc", "musicbrainz_work")
    }
    song.row_version = (song.row_version or 0) + 1

    titles: dict[str, SpelledName] = {}
    for description, _ in by_title:
        for title in description["song_titles"]:
            titles.setdefault(title["name"], title)
    present = {row.title: row for row in song.titles}
    for spelling, title in titles.items():
        if spelling not in present:
            song.titles.append(SongTitle(title=spelling, key=title["key"]))
    for spelling, row in present.items():
        if spelling not in titles:
            song.titles.remove(row)

    authors, trust = next(((d["authors"], row[1].trust) for d, row in by_title if d["authors"]), _NOBODY)
    _set_credits(song.credits, SongCredit, authors, trust, artists)
    words: dict[str, None] = {}
    for title in titles.values():
        words |= {title["name"]: None, title["latin"]: None}
    for description, _ in by_title:
        words |= {description["title"]: None}
        for credit in [*description["performers"], *description["authors"]]:
            words |= {credit["name"]: None, credit["latin"]: None}
    song.search_text = " ".join(words)[:20_000]


def _set_credits(
    present: list[Any],
    kind: type[VersionCredit] | type[SongCredit],
    credits: list[CreditName],
    trust: float,
    artists: _Artists,
) -> None:
    """Makes the credits of a version or a song these; what stays the same is not written."""
    del present[len(credits) :]
    for position, credit in enumerate(credits):
        if position == len(present):
            present.append(kind(position=position))
        row, artist = present[position], artists.named(credit, trust)
        if row.artist_id is None or row.artist_id != artist.id:
            row.artist = artist
        row.role, row.credited_as, row.join_phrase = credit["role"], credit["name"], credit["join_phrase"]


class _Artists:
    """The artists whom these sources name, read at once; the unknown ones are made."""

    def __init__(self, session: Session, rows: list[_Row]) -> None:
        self._session = session
        self._by_key: dict[str, Artist] = {}
        described = [candidate.normalised for _, candidate in rows]
        keys = {credit["key"] for d in described for credit in [*d["performers"], *d["authors"]]}
        if not keys:
            return
        of_keys = select(ArtistAlias.artist_id).where(ArtistAlias.key.in_(sorted(keys)))
        found = session.scalars(
            select(Artist)
            .where(Artist.id.in_(of_keys), Artist.deleted_at.is_(None))
            .order_by(Artist.id)
            .options(joinedload(Artist.aliases))
        ).unique()
        for artist in found:
            for alias in artist.aliases:
                self._by_key.setdefault(alias.key, artist)

    def named(self, credit: CreditName, trust: float) -> Artist:
        """The artist of this name; a new spelling becomes an alias, the most trusted one the name."""
        artist = self._by_key.get(credit["key"])
        if artist is None:
            artist = Artist(
                name=credit["name"],
                slug=free_slug(self._session, Artist.slug, credit["name"]),
                type=TRADITIONAL_TYPE if credit["traditional"] else None,
            )
            self._session.add(artist)
            self._by_key[credit["key"]] = artist
        alias = next((alias for alias in artist.aliases if alias.name == credit["name"]), None)
        if alias is None:
            artist.aliases.append(ArtistAlias(name=credit["name"], key=credit["key"], trust=trust))
        elif alias.trust < trust:
            alias.trust = trust
        best = min(artist.aliases, key=lambda alias: (-alias.trust, alias.name))
        if artist.name != best.name:
            artist.name = best.name
            artist.row_version = (artist.row_version or 0) + 1
        return artist


def _first(values: Any) -> Any:
    return next((value for value in values if value), None)


def _merged(described: list[Any]) -> dict[str, str]:
    result: dict[str, str] = {}
    for description in described:
        for key, value in description.get("identifiers", {}).items():
            result.setdefault(key, value)
    return result
