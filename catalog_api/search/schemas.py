"""The contract of search."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from catalog_api.artists.schemas import SUMMARY_EXAMPLE as ARTIST_EXAMPLE
from catalog_api.artists.schemas import ArtistSummary
from catalog_api.deps import Query, Text
from catalog_api.schemas import SONG_ID, VERSION_OF_SONG_EXAMPLE, VersionOfSong, example
from catalog_api.songs.schemas import SUMMARY_EXAMPLE as SONG_EXAMPLE
from catalog_api.songs.schemas import SongSummary


class SearchQuery(Query):
    """What to look for."""

    q: Text = Field(description="Words of titles and names, in any script, with a typo or two.", examples=["katyusha"])
    limit: int = Field(default=20, ge=1, le=50, description="Most hits of each sort.")


class SuggestQuery(Query):
    """What was typed so far."""

    q: Text = Field(examples=["кат"])
    limit: int = Field(default=10, ge=1, le=20)


class SearchResult(BaseModel):
    """Hits of each sort, best first."""

    model_config = example(
        {
            "query": "katyusha",
            "songs": [SONG_EXAMPLE],
            "versions": [VERSION_OF_SONG_EXAMPLE],
            "artists": [ARTIST_EXAMPLE],
        }
    )

    query: str
    songs: list[SongSummary]
    versions: list[VersionOfSong]
    artists: list[ArtistSummary]


class Suggestion(BaseModel):
    """A song or an artist that may be meant."""

    model_config = example({"entity": "song", "id": SONG_ID, "slug": "katyusha", "text": "Катюша"})

    entity: Literal["song", "artist"]
    id: UUID
    slug: str
    text: str


class Suggestions(BaseModel):
    """What may be meant, likeliest first."""

    model_config = example(
        {"query": "кат", "items": [{"entity": "song", "id": SONG_ID, "slug": "katyusha", "text": "Катюша"}]}
    )

    query: str
    items: list[Suggestion]
