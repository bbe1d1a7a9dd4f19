"""The contract of artists."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from catalog_api.schemas import ARTIST_REF_EXAMPLE, VERSION_OF_SONG_EXAMPLE, WHEN, VersionOfSong, example

SUMMARY_EXAMPLE: dict[str, Any] = {
    **ARTIST_REF_EXAMPLE,
    "type": "person",
    "country": "RU",
    "version_count": 12,
    "updated_at": WHEN,
}


class ArtistSummary(BaseModel):
    """An artist as lists show it."""

    model_config = example(SUMMARY_EXAMPLE)

    id: UUID
    slug: str
    name: str
    type: str | None
    country: str | None
    version_count: int
    updated_at: datetime


class ArtistPage(BaseModel):
    """A page of artists. ``next``: the cursor of the next page, null on the last."""

    model_config = example({"items": [SUMMARY_EXAMPLE], "next": None})

    items: list[ArtistSummary]
    next: str | None


class VersionPage(BaseModel):
    """A page of versions. ``next``: the cursor of the next page, null on the last."""

    model_config = example({"items": [VERSION_OF_SONG_EXAMPLE], "next": None})

    items: list[VersionOfSong]
    next: str | None


class Artist(BaseModel):
    """A person or a group. ``aliases``: further spellings."""

    model_config = example(
        {
            **ARTIST_REF_EXAMPLE,
            "type": "person",
            "country": "RU",
            "bio": None,
            "aliases": ["Lidiya Ruslanova"],
            "row_version": 2,
            "updated_at": WHEN,
        }
    )

    id: UUID
    slug: str
    name: str
    type: str | None
    country: str | None
    bio: str | None
    aliases: list[str]
    row_version: int
    updated_at: datetime


class ArtistWithVersions(BaseModel):
    """An artist and a page of the versions that credit them, newest in the catalog first."""

    model_config = example(
        {
            "artist": {
                **ARTIST_REF_EXAMPLE,
                "type": "person",
                "country": "RU",
                "bio": None,
                "aliases": ["Lidiya Ruslanova"],
                "row_version": 2,
                "updated_at": WHEN,
            },
            "items": [VERSION_OF_SONG_EXAMPLE],
            "next": None,
        }
    )

    artist: Artist
    items: list[VersionOfSong]
    next: str | None
