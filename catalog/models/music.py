"""Songs, artists, versions and where versions can be found."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column, relationship

from catalog.models.base import Base, Keyed, Timestamped

VERSION_KINDS = (
    "original",
    "cover",
    "live",
    "demo",
    "remix",
    "acoustic",
    "instrumental",
    "karaoke",
    "remaster",
    "edit",
)
AVAILABILITIES = (
    "available",
    "removed",
    "private",
    "geo_blocked",
    "age_restricted",
    "auth_required",
    "rate_limited",
    "adapter_broken",
    "unknown",
)


def one_of(column: str, values: tuple[str, ...], name: str) -> CheckConstraint:
    """A check that a text column holds one of the values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name)


class Song(Keyed, Timestamped, Base):
    """A composition. ``row_version`` grows with every change of it or of its versions; ETags come from it."""

    __tablename__ = "songs"

    slug: Mapped[str] = mapped_column(Text, unique=True)
    title: Mapped[str] = mapped_column(Text)
    original_title: Mapped[str | None] = mapped_column(Text)
    language: Mapped[str | None] = mapped_column(Text)
    genre: Mapped[str | None] = mapped_column(Text)
    era: Mapped[str | None] = mapped_column(Text)
    lyrics_markup: Mapped[str | None] = mapped_column(Text)
    identifiers: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    row_version: Mapped[int] = mapped_column(server_default="1")
    search_text: Mapped[str] = mapped_column(Text, server_default="")
    """All spellings of title and credits, transliterated ones too; kept by publication."""
    search: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed(
            "setweight(to_tsvector('simple', coalesce(title, '')), 'A') || "
            "setweight(to_tsvector('russian', search_text), 'B') || "
            "setweight(to_tsvector('simple', search_text), 'B') || "
            "setweight(to_tsvector('russian', coalesce(lyrics_markup, '')), 'D')",
            persisted=True,
        ),
        deferred=True,
    )
    deleted_at: Mapped[datetime | None]

    titles: Mapped[list[SongTitle]] = relationship(back_populates="song", cascade="all, delete-orphan")
    credits: Mapped[list[SongCredit]] = relationship(cascade="all, delete-orphan", order_by="SongCredit.position")
    versions: Mapped[list[Version]] = relationship(back_populates="song")

    __table_args__ = (
        Index("ix_songs_search", "search", postgresql_using="gin"),
        Index(
            "ix_songs_search_text_trgm",
            "search_text",
            postgresql_using="gin",
            postgresql_ops={"search_text": "gin_trgm_ops"},
        ),
    )


class SongTitle(Keyed, Base):
    """A spelling of a song's title. ``key``: the folded, transliterated form that linking compares."""

    __tablename__ = "song_titles"

    song_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("songs.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    words: Mapped[list[str]] = mapped_column(
        ARRAY(Text), Computed("string_to_array(key, ' ')", persisted=True), deferred=True
    )
    """The key's words, by which titles are found that a noisy title names in part."""
    song: Mapped[Song] = relationship(back_populates="titles")

    __table_args__ = (
        UniqueConstraint("song_id", "title"),
        Index("ix_song_titles_key", "key"),
        Index("ix_song_titles_joined", text("replace(key, ' '::text, ''::text)")),
        Index("ix_song_titles_key_trgm", "key", postgresql_using="gin", postgresql_ops={"key": "gin_trgm_ops"}),
        Index("ix_song_titles_words", "words", postgresql_using="gin"),
    )


class Artist(Keyed, Timestamped, Base):
    """A person or a group."""

    __tablename__ = "artists"

    slug: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    type: Mapped[str | None] = mapped_column(Text)
    country: Mapped[str | None] = mapped_column(Text)
    bio: Mapped[str | None] = mapped_column(Text)
    row_version: Mapped[int] = mapped_column(server_default="1")
    deleted_at: Mapped[datetime | None]

    aliases: Mapped[list[ArtistAlias]] = relationship(back_populates="artist", cascade="all, delete-orphan")


class ArtistAlias(Keyed, Base):
    """A spelling of an artist's name. ``key``: the folded, transliterated form; it belongs to one artist only."""

    __tablename__ = "artist_aliases"

    artist_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("artists.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    trust: Mapped[float] = mapped_column(server_default="0.5")
    """Of the best source that spells it so; the artist is named after the most trusted spelling."""
    artist: Mapped[Artist] = relationship(back_populates="aliases")

    __table_args__ = (
        UniqueConstraint("artist_id", "name"),
        Index("ix_artist_aliases_key", "key"),
        Index("ix_artist_aliases_key_trgm", "key", postgresql_using="gin", postgresql_ops={"key": "gin_trgm_ops"}),
    )


class SongCredit(Base):
    """Who composed or wrote a song, in order."""

    __tablename__ = "song_credits"

    song_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("songs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    artist_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("artists.id"), index=True)
    role: Mapped[str] = mapped_column(Text)
    credited_as: Mapped[str] = mapped_column(Text)
    join_phrase: Mapped[str] = mapped_column(Text, server_default="")
    artist: Mapped[Artist] = relationship()


class Version(Keyed, Timestamped, Base):
    """One recording of a song. Its descriptive fields are derived from its best source (see `catalog.publishing`)."""

    __tablename__ = "versions"

    song_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("songs.id"), index=True)
    title: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text, server_default="original")
    duration_s: Mapped[float | None]
    release_year: Mapped[int | None]
    language: Mapped[str | None] = mapped_column(Text)
    identifiers: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    quality: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    waveform: Mapped[list[Any] | None]
    """Peaks in 0..1, evenly spaced over the whole recording."""
    row_version: Mapped[int] = mapped_column(server_default="1")
    deleted_at: Mapped[datetime | None]

    song: Mapped[Song] = relationship(back_populates="versions")
    credits: Mapped[list[VersionCredit]] = relationship(cascade="all, delete-orphan", order_by="VersionCredit.position")
    sources: Mapped[list[VersionSource]] = relationship(back_populates="version", order_by="VersionSource.rank")

    __table_args__ = (one_of("kind", VERSION_KINDS, "kind"),)


class VersionCredit(Base):
    """Who performs a version, in order."""

    __tablename__ = "version_credits"

    version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    artist_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("artists.id"), index=True)
    role: Mapped[str] = mapped_column(Text)
    credited_as: Mapped[str] = mapped_column(Text)
    join_phrase: Mapped[str] = mapped_column(Text, server_default="")
    artist: Mapped[Artist] = relationship()


class VersionSource(Keyed, Timestamped, Base):
    """One place where a version can be found. ``rank``: 0 is the preferred one."""

    __tablename__ = "version_sources"

    version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("versions.id"), index=True)
    candidate_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("candidates.id"), unique=True)
    source: Mapped[str] = mapped_column(Text)
    source_key: Mapped[str] = mapped_column(Text)
    url: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    """As the source spells it."""
    rank: Mapped[int] = mapped_column(server_default="0")
    duration_s: Mapped[float | None]
    audio_object: Mapped[str | None] = mapped_column(Text)
    """Key in the object store, where the licence permits to keep the audio."""
    audio: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """Codec, bit rate, sample rate, channels."""
    licence: Mapped[str | None] = mapped_column(Text)
    availability: Mapped[str] = mapped_column(Text, server_default="available")
    availability_reason: Mapped[str | None] = mapped_column(Text)
    checked_at: Mapped[datetime] = mapped_column(server_default=func.now())
    checks: Mapped[int] = mapped_column(server_default="0")
    """Looks at it by refresh runs; ``vanished``: how many times it was found gone and confirmed."""
    vanished: Mapped[int] = mapped_column(server_default="0")
    suspected_at: Mapped[datetime | None]
    """When it was first found unavailable, before that is confirmed."""
    next_check_at: Mapped[datetime | None]

    version: Mapped[Version] = relationship(back_populates="sources")

    __table_args__ = (
        UniqueConstraint("source", "source_key"),
        Index("ix_version_sources_next_check", "source", "next_check_at"),
        one_of("availability", AVAILABILITIES, "availability"),
    )


class VersionRelationship(Base):
    """How two versions relate beyond being of one song: ``remaster_of, edit_of, samples, medley_of, based_on``."""

    __tablename__ = "version_relationships"

    version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    related_version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Redirect(Base):
    """A merged id and the survivor it leads to, for ever."""

    __tablename__ = "redirects"

    entity: Mapped[str] = mapped_column(Text, primary_key=True)
    old_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    new_id: Mapped[uuid.UUID] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Event(Base):
    """One line of the change feed, which is the outbox too.

    ``seq`` grows in commit order: writers take an advisory lock before they draw it (see `catalog.feed`).
    """

    __tablename__ = "events"

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(Text)
    """``song.created, song.updated, song.merged, song.deleted, version.uploaded, version.updated, …``"""
    entity: Mapped[str] = mapped_column(Text)
    entity_id: Mapped[uuid.UUID]
    payload: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index("ix_events_entity", "entity", "entity_id"),)
