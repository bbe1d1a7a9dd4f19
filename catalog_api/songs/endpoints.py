"""`/api/v1/songs`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from catalog.reads import songs
from catalog_api import cursors
from catalog_api.deps import PoolDep, parse_key
from catalog_api.responses import asked_tags, entity_response, page_response
from catalog_api.songs import schemas

router = APIRouter(prefix="/api/v1/songs", tags=["songs"])

CURSOR_TYPES: dict[songs.Sort, tuple[type, ...]] = {"title": (str, UUID), "newest": (UUID,)}


@router.get("", response_model=schemas.SongPage)
async def list_songs(request: Request, pool: PoolDep, query: Annotated[schemas.SongListQuery, Query()]) -> Response:
    """Songs by title or newest first; follow `next` to see them all, each once."""
    narrowed = songs.SongFilter(
        language=query.language,
        genre=query.genre,
        artist=query.artist,
        kind=query.kind,
        updated_since=query.updated_since,
    )
    scope: list[object] = ["songs", query.model_dump(mode="json", exclude={"cursor", "limit"})]
    after = cursors.decode(scope, query.cursor, CURSOR_TYPES[query.sort])
    async with pool.connection() as connection:
        page = await songs.list_songs(connection, narrowed, sort=query.sort, after=after, limit=query.limit)
    return page_response(request, page, scope)


@router.get("/{song}", response_model=schemas.Song)
async def get_song(request: Request, pool: PoolDep, song: str) -> Response:
    """A song by id or slug, with credits, spellings, and versions with their sources."""
    key = parse_key(song, "path.song")
    async with pool.connection() as connection:
        found = await songs.song(connection, key, asked_tags(request))
    return await entity_response(request, pool, "song", key, found, "/api/v1/songs/{}")


@router.get("/{song}/versions", response_model=schemas.VersionList)
async def get_song_versions(request: Request, pool: PoolDep, song: str) -> Response:
    """All versions of a song."""
    key = parse_key(song, "path.song")
    async with pool.connection() as connection:
        found = await songs.song_versions(connection, key, asked_tags(request))
    return await entity_response(request, pool, "song", key, found, "/api/v1/songs/{}/versions")
