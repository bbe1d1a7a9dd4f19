"""`/api/v1/search`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from catalog.reads import search as reads
from catalog_api.deps import PoolDep
from catalog_api.responses import json_response
from catalog_api.search import schemas

router = APIRouter(prefix="/api/v1/search", tags=["search"])


@router.get("", response_model=schemas.SearchResult)
async def search(request: Request, pool: PoolDep, query: Annotated[schemas.SearchQuery, Query()]) -> Response:
    """Songs, versions and artists. «катюша», "Katyusha" and "katusha" find the same; «ё» is «е»."""
    async with pool.connection() as connection:
        body = await reads.search(connection, query.q, limit=query.limit)
    return json_response(request, body)


@router.get("/suggest", response_model=schemas.Suggestions)
async def suggest(request: Request, pool: PoolDep, query: Annotated[schemas.SuggestQuery, Query()]) -> Response:
    """Completions while somebody types."""
    async with pool.connection() as connection:
        body = await reads.suggest(connection, query.q, limit=query.limit)
    return json_response(request, body)
