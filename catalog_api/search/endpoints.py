"""`/api/v1/search`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from catalog.reads import changes
from catalog.reads import search as reads
from catalog_api.deps import Services, ServicesDep
from catalog_api.responses import json_response
from catalog_api.search import schemas

router = APIRouter(prefix="/api/v1/search", tags=["search"])

REMEMBERED_S = 10.0
"""An answer holds until the change feed moves. This bounds what two writers that commit out of order may hide."""


async def _answer(
    services: Services, name: str, query: str, limit: int, read: Callable[..., Awaitable[bytes]]
) -> bytes:
    """The answer that was given since the catalog last changed, else a new one."""
    async with services.pool.connection() as connection:
        key = f"{name}:{await changes.newest(connection)}:{limit}:{query}"
        body = await services.shared.get(key)
        if body is None:
            body = await read(connection, query, limit=limit)
            await services.shared.put(key, body, REMEMBERED_S)
        return body


@router.get("", response_model=schemas.SearchResult)
async def search(request: Request, services: ServicesDep, query: Annotated[schemas.SearchQuery, Query()]) -> Response:
    """Songs, versions and artists. «катюша», "Katyusha" and "katusha" find the same; «ё» is «е»."""
    return json_response(request, await _answer(services, "search", query.q, query.limit, reads.search))


@router.get("/suggest", response_model=schemas.Suggestions)
async def suggest(request: Request, services: ServicesDep, query: Annotated[schemas.SuggestQuery, Query()]) -> Response:
    """Completions while somebody types."""
    return json_response(request, await _answer(services, "suggest", query.q, query.limit, reads.suggest))
