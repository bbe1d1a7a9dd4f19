"""Shapes that several resources share. They are the contract; the SQL's JSON is tested against them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal[
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
]
Availability = Literal[
    "available",
    "removed",
    "private",
    "geo_blocked",
    "age_restricted",
    "auth_required",
    "rate_limited",
    "adapter_broken",
    "unknown",
]

SONG_ID = "01990f3a-5b1e-7c2d-8a47-3f0d5e9b6c21"
VERSION_ID = "01990f3a-5b2a-7b11-9c05-6e1f4a7d8b02"
ARTIST_ID = "01990f3a-5b2f-7e90-b3d4-91a2c6e87f13"
SOURCE_ID = "01990f3a-5b33-7a44-8f21-7d5b0c3e9a64"
WHEN = "2026-05-09T10:00:00+00:00"

ARTIST_REF_EXAMPLE: dict[str, Any] = {"id": ARTIST_ID, "slug": "lidiia-ruslanova", "name": "Лидия Русланова"}
CREDIT_EXAMPLE: dict[str, Any] = {
    "artist": ARTIST_REF_EXAMPLE,
    "role": "performer",
    "credited_as": "Л. Русланова",
    "join_phrase": "",
}
SONG_REF_EXAMPLE: dict[str, Any] = {"id": SONG_ID, "slug": "katyusha", "title": "Катюша"}
SOURCE_EXAMPLE: dict[str, Any] = {
    "id": SOURCE_ID,
    "source": "archive",
    "url": "https://archive.example/katyusha-1939",
    "title": "Русланова - Катюша (1939)",
    "preferred": True,
    "availability": "available",
    "availability_reason": None,
    "duration_s": 164.2,
    "licence": "CC0-1.0",
    "audio": {"codec": "flac", "sample_rate": 44100, "channels": 1},
    "stored": True,
    "checked_at": WHEN,
}
VERSION_EXAMPLE: dict[str, Any] = {
    "id": VERSION_ID,
    "song_id": SONG_ID,
    "title": "Катюша",
    "kind": "original",
    "duration_s": 164.2,
    "release_year": 1939,
    "language": "ru",
    "identifiers": {"isrc": "RUA013900001"},
    "credits": [CREDIT_EXAMPLE],
    "sources": [SOURCE_EXAMPLE],
    "stream_url": f"/api/v1/versions/{VERSION_ID}/stream",
    "row_version": 3,
    "updated_at": WHEN,
}
VERSION_OF_SONG_EXAMPLE: dict[str, Any] = {
    "id": VERSION_ID,
    "title": "Катюша",
    "kind": "original",
    "duration_s": 164.2,
    "release_year": 1939,
    "credits": [CREDIT_EXAMPLE],
    "song": SONG_REF_EXAMPLE,
    "stream_url": f"/api/v1/versions/{VERSION_ID}/stream",
    "updated_at": WHEN,
}


def example(value: dict[str, Any]) -> ConfigDict:
    """A model's configuration: nothing undeclared, and this example in OpenAPI."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [value]})


class ArtistRef(BaseModel):
    """An artist, as credits name it."""

    model_config = example(ARTIST_REF_EXAMPLE)

    id: UUID
    slug: str
    name: str


class Credit(BaseModel):
    """Who did what, as the source spells it. ``join_phrase`` goes between this name and the next."""

    model_config = example(CREDIT_EXAMPLE)

    artist: ArtistRef
    role: str
    credited_as: str
    join_phrase: str


class SongRef(BaseModel):
    """A song, as its versions name it."""

    model_config = example(SONG_REF_EXAMPLE)

    id: UUID
    slug: str
    title: str


class Source(BaseModel):
    """One place where a version can be found. ``url`` is null for what has no web address."""

    model_config = example(SOURCE_EXAMPLE)

    id: UUID
    source: str
    url: str | None
    title: str
    preferred: bool
    availability: Availability
    availability_reason: str | None
    duration_s: float | None = Field(description="Seconds.")
    licence: str | None
    audio: dict[str, Any] = Field(description="Codec, bit rate (bit/s), sample rate (Hz), channels.")
    stored: bool = Field(description="Its audio is kept and can be streamed.")
    checked_at: datetime


class Version(BaseModel):
    """One recording of a song, with all places where it can be found, the preferred one first."""

    model_config = example(VERSION_EXAMPLE)

    id: UUID
    song_id: UUID
    title: str
    kind: Kind
    duration_s: float | None = Field(description="Seconds.")
    release_year: int | None
    language: str | None
    identifiers: dict[str, Any]
    credits: list[Credit]
    sources: list[Source]
    stream_url: str | None
    row_version: int
    updated_at: datetime


class VersionOfSong(BaseModel):
    """A version as lists of versions show it."""

    model_config = example(VERSION_OF_SONG_EXAMPLE)

    id: UUID
    title: str
    kind: Kind
    duration_s: float | None = Field(description="Seconds.")
    release_year: int | None
    credits: list[Credit]
    song: SongRef
    stream_url: str | None
    updated_at: datetime
