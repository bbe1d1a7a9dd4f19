"""`/api/v1/versions`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Generator, Iterator

from fastapi import APIRouter, Request
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import Response, StreamingResponse

from catalog.reads import versions
from catalog.reads.fragments import survivor
from catalog_api.deps import PoolDep, ServicesDep, parse_id
from catalog_api.problems import ApiError, not_found
from catalog_api.responses import Moved, asked_tags, entity_response
from catalog_api.versions import schemas
from catalog_api.versions.streaming import byte_range, content_type

log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1/versions", tags=["versions"])


@router.get("/{version}", response_model=schemas.VersionDetail)
async def get_version(request: Request, pool: PoolDep, version: str) -> Response:
    """A version with its song, credits, sources and waveform."""
    version_id = parse_id(version, "path.version")
    async with pool.connection() as connection:
        found = await versions.version(connection, version_id, asked_tags(request))
    return await entity_response(request, pool, "version", version_id, found, "/api/v1/versions/{}")


@router.get(
    "/{version}/stream",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The audio.", "content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "A part of it."},
    },
)
async def stream_version(request: Request, services: ServicesDep, version: str) -> Response:
    """The stored audio of a version, with byte ranges; 404 `no_stored_audio` where only sources elsewhere have it."""
    version_id = parse_id(version, "path.version")
    async with services.pool.connection() as connection:
        audio = await versions.stored_audio(connection, version_id)
        if audio is None or audio.gone:
            new_id = await survivor(connection, "version", version_id)
            if new_id is not None:
                raise Moved(f"/api/v1/versions/{new_id}/stream", "")
    if audio is None:
        raise not_found("version")
    if audio.gone:
        raise ApiError(410, "gone", "this version was deleted")
    objects, key = services.objects, audio.key
    if objects is None or key is None:
        raise ApiError(404, "no_stored_audio", "its audio is not stored here: see the version's `sources`")
    try:
        size = await run_in_threadpool(objects.size, key)
    except Exception as error:
        log.warning("stored audio of version %s cannot be read: %s", version_id, type(error).__name__)
        raise _away() from error
    if size is None:
        log.warning("stored audio of version %s is not in the store", version_id)
        raise ApiError(404, "no_stored_audio", "its audio is not stored here any more: see the version's `sources`")

    # Objects are immutable: the key and the size name the bytes, so this tag is strong.
    tag = hashlib.blake2b(f"{key}:{size}".encode(), digest_size=12).hexdigest()
    headers = {"ETag": f'"{tag}"', "Accept-Ranges": "bytes", "Cache-Control": "public, max-age=3600"}
    if tag in asked_tags(request):
        return Response(status_code=304, headers=headers)
    condition = request.headers.get("if-range")
    wanted = byte_range(request.headers.get("range"), size) if condition in (None, f'"{tag}"') else None
    offset, length = wanted or (0, size)
    headers["Content-Length"] = str(length)
    if wanted:
        headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{size}"
    status, media_type = 206 if wanted else 200, content_type(audio.info)
    if request.scope.get("versions.head"):
        return Response(status_code=status, headers=headers, media_type=media_type)
    try:
        chunks = await run_in_threadpool(objects.stream, key, offset, length)
    except Exception as error:
        log.warning("stored audio of version %s cannot be read: %s", version_id, type(error).__name__)
        raise _away() from error
    return StreamingResponse(_closing(chunks), status, headers, media_type)


def _away() -> ApiError:
    return ApiError(
        503, "store_unavailable", "stored audio cannot be read now: try again shortly", headers={"Retry-After": "5"}
    )


async def _closing(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks; the store's connection is given back when the listener goes away too."""
    try:
        async for chunk in iterate_in_threadpool(chunks):
            yield chunk
    finally:
        if isinstance(chunks, Generator):
            chunks.close()
