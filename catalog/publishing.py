"""Publication: a candidate becomes a source of a version of a song, in the caller's transaction.

Everything that describes a version or a song is derived from the sources it has, best source first, and is derived
anew whenever a source joins. So the catalog does not depend on the order in which candidates arrived.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, selectinload

from catalog import feed
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
    session.execute(select(func.pg_advisory_xact_lock(func.hashtext(_IDENTITY_LOCK))))


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
                song, created_song = _new_song(session, candidate), True
            version, created_version = _new_version(session, song, candidate), True
        source = VersionSource(version_id=version.id, candidate_id=candidate.id)
        session.add(source)
    _describe_source(source, candidate)
    candidate.version_id = version.id
    session.flush()
    refresh_version(session, version)
    refresh_song(session, song)
    if created_song:
        feed.record(session, "song.created", "song", song.id, title=song.title, slug=song.slug)
    else:
        feed.record(session, "song.updated", "song", song.id, title=song.title, slug=song.slug)
    kind = "version.uploaded" if created_version else "version.updated"
    feed.record(session, kind, "version", version.id, song_id=str(song.id), title=version.title)
    # A duplicate upload is welcome: it is a further source of its version.
    only = (
        created_version
        or session.scalar(select(func.count()).select_from(VersionSource).where(VersionSource.version_id == version.id))
        == 1
    )
    return Published(version.id, song.id, "published" if only or known is not None else "duplicate")


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


def _new_song(session: Session, candidate: Candidate) -> Song:
    title = candidate.normalised["song_titles"][0]["name"]
    song = Song(title=title, slug=free_slug(session, Song.slug, title))
    session.add(song)
    session.flush()
    return song


def _new_version(session: Session, song: Song, candidate: Candidate) -> Version:
    version = Version(song_id=song.id, title=candidate.normalised["title"])
    session.add(version)
    session.flush()
    return version


def _describe_source(source: VersionSource, candidate: Candidate) -> None:
    source.source = candidate.source
    source.source_key = candidate.source_key
    source.url = candidate.url
    source.title = str(candidate.item.get("title", ""))
    source.duration_s = candidate.duration_s
    source.audio_object = candidate.audio_object
    source.audio = candidate.audio
    source.licence = candidate.item.get("licence")
    source.availability = "available"


_NOBODY: tuple[list[CreditName], float] = ([], 0.0)

LOSSLESS = {"flac", "alac", "wavpack", "ape", "pcm_s16le", "pcm_s24le"}


def _quality(row: tuple[VersionSource, Candidate]) -> tuple[Any, ...]:
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


def _sources(session: Session, version_ids: list[uuid.UUID]) -> list[tuple[VersionSource, Candidate]]:
    rows = session.execute(
        select(VersionSource, Candidate)
        .join(Candidate, Candidate.id == VersionSource.candidate_id)
        .where(VersionSource.version_id.in_(version_ids))
    )
    return sorted(((source, candidate) for source, candidate in rows), key=_quality)


def refresh_version(session: Session, version: Version) -> None:
    """Derives the version's fields, credits and source ranks from its sources."""
    rows = _sources(session, [version.id])
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
        _know_artists(session, description["performers"], candidate.trust)
    session.execute(delete(VersionCredit).where(VersionCredit.version_id == version.id))
    for position, credit in enumerate(performers):
        session.add(
            VersionCredit(
                version_id=version.id,
                position=position,
                artist_id=_artist(session, credit, trust).id,
                role=credit["role"],
                credited_as=credit["name"],
                join_phrase=credit["join_phrase"],
            )
        )
    session.flush()


def refresh_song(session: Session, song: Song) -> None:
    """Derives the song's fields, titles, credits and search text from the sources of all its versions."""
    version_ids = list(
        session.scalars(select(Version.id).where(Version.song_id == song.id, Version.deleted_at.is_(None)))
    )
    rows = _sources(session, version_ids)
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
    present = {row.title: row for row in session.scalars(select(SongTitle).where(SongTitle.song_id == song.id))}
    for spelling, title in titles.items():
        if spelling not in present:
            session.add(SongTitle(song_id=song.id, title=spelling, key=title["key"]))
    for spelling, row in present.items():
        if spelling not in titles:
            session.delete(row)

    authors, trust = next(((d["authors"], row[1].trust) for d, row in by_title if d["authors"]), _NOBODY)
    session.execute(delete(SongCredit).where(SongCredit.song_id == song.id))
    for position, credit in enumerate(authors):
        session.add(
            SongCredit(
                song_id=song.id,
                position=position,
                artist_id=_artist(session, credit, trust).id,
                role=credit["role"],
                credited_as=credit["name"],
                join_phrase=credit["join_phrase"],
            )
        )
    words: dict[str, None] = {}
    for title in titles.values():
        words |= {title["name"]: None, title["latin"]: None}
    for description, _ in by_title:
        words |= {description["title"]: None}
        for credit in [*description["performers"], *description["authors"]]:
            words |= {credit["name"]: None, credit["latin"]: None}
    song.search_text = " ".join(words)[:20_000]
    session.flush()


def _know_artists(session: Session, credits: list[CreditName], trust: float) -> None:
    for credit in credits:
        _artist(session, credit, trust)


def _artist(session: Session, credit: CreditName, trust: float) -> Artist:
    """The artist of this name, made if unknown; a new spelling becomes an alias."""
    artist = session.scalar(
        select(Artist)
        .join(ArtistAlias)
        .where(ArtistAlias.key == credit["key"], Artist.deleted_at.is_(None))
        .order_by(Artist.id)
        .limit(1)
        .options(selectinload(Artist.aliases))
    )
    if artist is None:
        artist = Artist(
            name=credit["name"],
            slug=free_slug(session, Artist.slug, credit["name"]),
            type=TRADITIONAL_TYPE if credit["traditional"] else None,
        )
        session.add(artist)
    alias = next((alias for alias in artist.aliases if alias.name == credit["name"]), None)
    if alias is None:
        artist.aliases.append(ArtistAlias(name=credit["name"], key=credit["key"], trust=trust))
    elif alias.trust < trust:
        alias.trust = trust
    best = min(artist.aliases, key=lambda alias: (-alias.trust, alias.name))
    if artist.name != best.name:
        artist.name = best.name
        artist.row_version = (artist.row_version or 0) + 1
    session.flush()
    return artist


def _first(values: Any) -> Any:
    return next((value for value in values if value), None)


def _merged(described: list[Any]) -> dict[str, str]:
    result: dict[str, str] = {}
    for description in described:
        for key, value in description.get("identifiers", {}).items():
            result.setdefault(key, value)
    return result
