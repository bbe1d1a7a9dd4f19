"""The contract of songs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

from catalog_api.deps import PageQuery, Text
from catalog_api.schemas import (
    CREDIT_EXAMPLE,
    SONG_ID,
    VERSION_EXAMPLE,
    WHEN,
    Credit,
    Kind,
    Version,
    example,
)

_COMPOSER = {**CREDIT_EXAMPLE, "role": "composer", "credited_as": "М. Блантер"}
SUMMARY_EXAMPLE: dict[str, Any] = {
    "id": SONG_ID,
    "slug": "katyusha",
    "title": "Катюша",
    "original_title": None,
    "language": "ru",
    "genre": "песня",
    "era": "1930s",
    "credits": [_COMPOSER],
    "version_count": 3,
    "kinds": ["cover", "original"],
    "updated_at": WHEN,
}


class SongSummary(BaseModel):
    """A song as lists show it."""

    model_config = example(SUMMARY_EXAMPLE)

    id: UUID
    slug: str
    title: str
    original_title: str | None
    language: str | None
    genre: str | None
    era: str | None
    credits: list[Credit]
    version_count: int
    kinds: list[Kind]
    updated_at: datetime


class SongPage(BaseModel):
    """A page of songs. ``next``: the cursor of the next page, null on the last."""

    model_config = example({"items": [SUMMARY_EXAMPLE], "next": None})

    items: list[SongSummary]
    next: str | None


class Song(BaseModel):
    """A composition with all its versions. ``titles``: further spellings."""

    model_config = example(
        {
            **{k: v for k, v in SUMMARY_EXAMPLE.items() if k not in ("version_count", "kinds", "updated_at")},
            "titles": ["Katyusha"],
            "lyrics": None,
            "identifiers": {"iswc": "T-034.524.680-1"},
            "versions": [VERSION_EXAMPLE],
            "row_version": 5,
            "created_at": WHEN,
            "updated_at": WHEN,
        }
    )

    id: UUID
    slug: str
    title: str
    original_title: str | None
    titles: list[str]
    language: str | None
    genre: str | None
    era: str | None
    lyrics: str | None
    identifiers: dict[str, Any]
    credits: list[Credit]
    versions: list[Version]
    row_version: int
    created_at: datetime
    updated_at: datetime


class VersionList(BaseModel):
    """All versions of a song, oldest first."""

    model_config = example({"items": [VERSION_EXAMPLE], "next": None})

    items: list[Version]
    next: str | None


class SongListQuery(PageQuery):
    """Which songs, in which order."""

    language: Text | None = Field(default=None, examples=["ru"])
    genre: Text | None = None
    artist: Text | None = Field(default=None, description="Id or slug; as author or performer.")
    kind: Kind | None = Field(default=None, description="Songs with a version of this kind.")
    updated_since: AwareDatetime | None = Field(default=None, examples=["2026-01-31T12:00:00Z"])
    sort: Literal["title", "newest"] = "title"
