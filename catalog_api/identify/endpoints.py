"""`/api/v1/identify`: for contributors. A worker fetches and listens; nothing is kept."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter, Request
from pydantic import ValidationError
from sqlalchemy.dialects.postgresql import insert
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from activities.messages import IdentifyInput
from catalog.models import StoredObject
from catalog_api.auth import ContributorDep
from catalog_api.deps import Services, ServicesDep
from catalog_api.identify import schemas
from catalog_api.problems import ApiError, FieldProblem

_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/IdentifyRequest"}},
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_UNKNOWN = "remove it, or check its spelling"

router = APIRouter(prefix="/api/v1/identify", tags=["identify"])


@router.post("", response_model=schemas.Answers, openapi_extra=_UPLOAD)
async def identify(request: Request, services: ServicesDep, contributor: ContributorDep) -> Response:
    """What is this? Send `{"url": …}` as JSON, or an audio file (at most 50 MB) as the body with its `audio/…` type
    and, if you like, its name in `X-File-Name` (percent-encoded).

    Both identity questions are asked as for a new candidate: the same recording as a version? the same song?
    """
    if unknown := sorted(request.query_params):
        problems = [
            FieldProblem(field=f"query.{name[:100]}", message="unknown", remedy=_UNKNOWN) for name in unknown[:10]
        ]
        raise ApiError(422, "validation_error", "this takes no parameters in its address", errors=problems)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        message = IdentifyInput(url=_url(await _bounded(request, 10_000)))
    elif content_type.startswith(("audio/", "video/")) or content_type == "application/octet-stream":
        name = unquote(request.headers.get("x-file-name", ""))[:200]
        message = IdentifyInput(object_key=await _store(request, services), name=name)
    else:
        raise ApiError(415, "unsupported_media_type", "send application/json with a url, or an audio file")
    if services.workflows is None:
        raise ApiError(503, "workflows_unavailable", "nothing can be identified here: no worker is connected")
    result = await services.workflows.identify(message)
    if result is None:
        raise ApiError(
            503, "workflows_unavailable", "no worker answered in time; try again later", headers={"Retry-After": "30"}
        )
    if result.problem is not None:
        problem = result.problem
        place = FieldProblem(
            field="body.url" if message.url else "body", message=problem["detail"], remedy=problem["remedy"]
        )
        raise ApiError(422, problem["code"], problem["detail"], errors=[place])
    answers = schemas.Answers(items=[schemas.Answer.model_validate(answer) for answer in result.answers])
    return Response(answers.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


def _url(body: bytes) -> str:
    try:
        return schemas.IdentifyRequest.model_validate_json(body).url
    except ValidationError as error:
        problems = [
            FieldProblem(
                field=".".join(["body", *map(str, each["loc"])]),
                message=each["msg"],
                remedy='send {"url": "https://…"}',
            )
            for each in error.errors()
        ]
        raise ApiError(422, "validation_error", "the request is not understood", errors=problems) from error


async def _bounded(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise ApiError(413, "body_too_large", f"send at most {limit} bytes of JSON")
    return bytes(body)


async def _store(request: Request, services: Services) -> str:
    """The body as an object that the worker deletes, or else the sweeper. Returns its key."""
    objects = services.objects
    if objects is None:
        raise ApiError(503, "store_unavailable", "files cannot be taken here: no object store is connected")
    key = f"identify/{uuid.uuid4()}"
    with tempfile.TemporaryDirectory(prefix="versions-upload-") as folder:
        path = Path(folder) / "upload"
        size = 0
        with path.open("wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                file.write(chunk)
        if not size:
            raise ApiError(422, "empty_file", "the body is empty: send the audio file as the body")

        def put() -> None:
            with services.database.transaction() as session:
                session.execute(insert(StoredObject).values(key=key, kind="audio", size=size))
            objects.put_file(key, path, "application/octet-stream")

        await run_in_threadpool(put)
    return key
