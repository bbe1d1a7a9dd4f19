"""`/api/v1/artists`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from catalog.reads import artists
from catalog_api import cursors
from catalog_api.artists import schemas
from catalog_api.deps import PageQuery, PoolDep, parse_key
from catalog_api.responses import page_response, present

router = APIRouter(prefix="/api/v1/artists", tags=["artists"])


@router.get("", response_model=schemas.ArtistPage)
async def list_artists(request: Request, pool: PoolDep, query: Annotated[PageQuery, Query()]) -> Response:
    """Artists by name."""
    scope: list[object] = ["artists"]
    after = cursors.decode(scope, query.cursor, (str, UUID))
    async with pool.connection() as connection:
        page = await artists.list_artists(connection, after=after, limit=query.limit)
    return page_response(request, page, scope)


@router.get("/{artist}", response_model=schemas.ArtistWithVersions)
async def get_artist(request: Request, pool: PoolDep, artist: str, query: Annotated[PageQuery, Query()]) -> Response:
    """An artist by id or slug, with a page of the versions that credit them."""
    key = parse_key(artist, "path.artist")
    async with pool.connection() as connection:
        found = await artists.artist(connection, key)
    there = await present(request, pool, "artist", key, found, "/api/v1/artists/{}")
    scope: list[object] = ["artist", str(there.id)]
    after = cursors.decode(scope, query.cursor, (UUID,))
    async with pool.connection() as connection:
        page = await artists.artist_versions(connection, there.id, after=after, limit=query.limit)
    return page_response(request, page, scope, head=b'"artist":%s,' % (there.body or b"null"))
