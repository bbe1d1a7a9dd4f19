"""`/api/v1/reviews`: for moderators."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from catalog_api.auth import ModeratorDep
from catalog_api.deps import ServicesDep, parse_id
from catalog_api.problems import ApiError, FieldProblem
from catalog_api.responses import next_link
from catalog_api.reviews import schemas
from moderation import errors, pictures, service

log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1/reviews", tags=["reviews"])

_STATUS = {"case_not_found": 404, "no_picture": 404, "case_closed": 409, "case_changed": 409, "bad_decision": 422}


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except errors.ModerationError as error:
        raise ApiError(_STATUS.get(error.code, 409), error.code, str(error)) from error


def _json(model: BaseModel, link: str | None = None) -> Response:
    headers = {"Cache-Control": "no-store"} | ({"Link": link} if link else {})
    return Response(model.model_dump_json(), headers=headers, media_type="application/json")


@router.get("", response_model=schemas.CasePage)
async def list_reviews(
    request: Request, services: ServicesDep, moderator: ModeratorDep, query: Annotated[schemas.CaseListQuery, Query()]
) -> Response:
    """Cases of a state, highest priority first, then oldest."""

    def read() -> service.CasePage:
        with services.database.transaction() as session:
            return service.list_cases(
                session, state=query.state, source=query.source, cursor=query.cursor, limit=query.limit
            )

    try:
        page = await run_in_threadpool(read)
    except errors.BadCursorError as error:
        problem = FieldProblem(field="query.cursor", message=str(error), remedy="start again without a cursor")
        raise ApiError(400, "bad_cursor", str(error), errors=[problem]) from error
    cases = [schemas.Case.model_validate(case) for case in page.cases]
    return _json(schemas.CasePage(items=cases, next=page.next_cursor), next_link(request, page.next_cursor))


@router.get("/{case}", response_model=schemas.Case)
async def get_review(services: ServicesDep, moderator: ModeratorDep, case: str) -> Response:
    """A case with its evidence."""
    case_id = parse_id(case, "path.case")

    def read() -> service.CaseView:
        with services.database.transaction() as session:
            return service.get_case(session, case_id)

    with _refusals():
        return _json(schemas.Case.model_validate(await run_in_threadpool(read)))


@router.get(
    "/{case}/proposals/{number}/picture",
    response_class=Response,
    responses={200: {"content": {"image/svg+xml": {}}, "description": "An SVG picture."}},
)
async def get_picture(services: ServicesDep, moderator: ModeratorDep, case: str, number: int) -> Response:
    """Both recordings aligned, or both melodies against each other. Numbers begin with 1."""
    case_id = parse_id(case, "path.case")

    def read() -> str:
        with services.database.transaction() as session:
            return pictures.proposal_picture(session, case_id, number)

    with _refusals():
        svg = await run_in_threadpool(read)
    return Response(svg, headers={"Cache-Control": "no-store"}, media_type="image/svg+xml")


@router.post("/{case}/decision", response_model=schemas.DecisionResult)
async def decide_review(
    services: ServicesDep, moderator: ModeratorDep, case: str, decision: schemas.DecisionRequest
) -> Response:
    """Records a decision and has it applied. The second of two moderators gets 409 `case_closed`."""
    case_id = parse_id(case, "path.case")

    def write() -> service.CaseView:
        with services.database.transaction() as session:
            return service.decide(
                session,
                case_id,
                action=decision.action,
                actor=moderator.name,
                note=decision.note,
                version_id=decision.version_id,
                song_id=decision.song_id,
                new_song=decision.new_song,
                row_version=decision.row_version,
            )

    def read() -> service.CaseView:
        with services.database.transaction() as session:
            return service.get_case(session, case_id)

    with _refusals():
        view = await run_in_threadpool(write)
    applied = False
    if services.workflows is not None:
        # The decision stands in the database already: whatever happens here, it will be applied, perhaps later.
        try:
            applied = await services.workflows.decide(str(view.candidate_id), str(case_id)) is not None
        except Exception:
            log.warning("the decision on case %s is recorded, but no workflow took it", case_id, exc_info=True)
    if applied:
        view = await run_in_threadpool(read)
    return _json(schemas.DecisionResult(case=schemas.Case.model_validate(view), applied=applied))
