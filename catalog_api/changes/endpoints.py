"""`/api/v1/changes`."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from catalog.reads import changes as reads
from catalog_api.changes import schemas
from catalog_api.deps import PoolDep
from catalog_api.problems import ApiError, FieldProblem
from catalog_api.responses import json_response

router = APIRouter(prefix="/api/v1/changes", tags=["changes"])

_POLL_S = 0.5


@router.get("", response_model=schemas.ChangePage)
async def changes(request: Request, pool: PoolDep, query: Annotated[schemas.ChangesQuery, Query()]) -> Response:
    """What changed after `since`, with tombstones and merges: apply it in order and you have the catalog."""
    deadline = time.monotonic() + query.wait_s
    while True:
        # No connection is held while we wait.
        async with pool.connection() as connection:
            found = await reads.changes(connection, query.since, query.limit)
        if query.since > found.newest:
            remedy = "the feed was made anew: start with since=0"
            problem = FieldProblem(field="query.since", message=f"the newest event is {found.newest}", remedy=remedy)
            raise ApiError(
                400, "bad_cursor", f"query.since: the newest event is {found.newest}: {remedy}", errors=[problem]
            )
        if found.last is not None or time.monotonic() >= deadline:
            break
        await asyncio.sleep(_POLL_S)
    last = query.since if found.last is None else found.last
    more = last < found.newest
    body = b'{"items":%s,"next":%d,"more":%s}' % (found.items, last, json.dumps(more).encode())
    link = f'<{request.url.path}?since={last}&limit={query.limit}>; rel="next"' if more else None
    return json_response(request, body, link=link)
