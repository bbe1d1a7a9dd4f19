"""`/api/v1/campaigns`: for operators."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from catalog.campaigns import errors, progress, repository
from catalog.campaigns.spec import NAME_PATTERN
from catalog_api.auth import OperatorDep
from catalog_api.campaigns import schemas
from catalog_api.deps import PageQuery, Services, ServicesDep
from catalog_api.deps import Query as NoQuery
from catalog_api.problems import ApiError, bad_id
from catalog_api.responses import next_link
from workflows.client import CampaignRunningError

log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1/campaigns", tags=["campaigns"])

T = TypeVar("T")
_STATUS = {"campaign_not_found": 404, "run_not_found": 404, "campaign_busy": 409, "bad_cursor": 400}


def _name(campaign: str) -> str:
    """The name, if it can be one. Raises ApiError ``bad_id``."""
    if not re.match(NAME_PATTERN, campaign):
        raise bad_id("path.campaign", f"use a campaign's name: {NAME_PATTERN}")
    return campaign


async def _ask(services: Services, read: Callable[[Session], T]) -> T:
    """Runs ``read`` in a transaction, in a thread; the repository's refusals become problems."""

    def work() -> T:
        with services.database.transaction() as session:
            return read(session)

    try:
        return await run_in_threadpool(work)
    except errors.CampaignError as error:
        raise ApiError(_STATUS.get(error.code, 409), error.code, str(error)) from error


def _json(model: BaseModel, link: str | None = None, status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store"} | ({"Link": link} if link else {})
    return Response(model.model_dump_json(), status, headers, "application/json")


@router.get("", response_model=schemas.CampaignList)
async def list_campaigns(services: ServicesDep, operator: OperatorDep, query: Annotated[NoQuery, Query()]) -> Response:
    """All campaigns."""

    def read(session: Session) -> schemas.CampaignList:
        return schemas.CampaignList(
            items=[schemas.Campaign.model_validate(row) for row in repository.list_campaigns(session)]
        )

    return _json(await _ask(services, read))


@router.get("/{campaign}", response_model=schemas.CampaignDetail)
async def get_campaign(services: ServicesDep, operator: OperatorDep, campaign: str) -> Response:
    """A campaign with the progress of its newest execution."""
    name = _name(campaign)

    def read(session: Session) -> schemas.CampaignDetail:
        row = repository.get(session, name)
        found = progress.campaign_progress(session, row.id)
        return schemas.CampaignDetail(
            campaign=schemas.Campaign.model_validate(row),
            spec=row.spec,
            finished=found.finished,
            runs=[schemas.Run.model_validate(run) for run in found.runs],
        )

    return _json(await _ask(services, read))


@router.get("/{campaign}/waiting", response_model=schemas.WaitingPage)
async def get_waiting(
    request: Request,
    services: ServicesDep,
    operator: OperatorDep,
    campaign: str,
    query: Annotated[PageQuery, Query()],
) -> Response:
    """Everything of a campaign that waits, and for whom."""
    name = _name(campaign)

    def read(session: Session) -> schemas.WaitingPage:
        row = repository.get(session, name)
        page = progress.waiting_items(session, row.id, query.limit, query.cursor)
        return schemas.WaitingPage(
            items=[schemas.WaitingItem.model_validate(item) for item in page.items], next=page.next_cursor
        )

    found = await _ask(services, read)
    return _json(found, next_link(request, found.next))


@router.post("/{campaign}/start", response_model=schemas.Started, status_code=202)
async def start_campaign(services: ServicesDep, operator: OperatorDep, campaign: str) -> Response:
    """Starts one execution now; 409 `campaign_running` if one is under way."""
    name = _name(campaign)
    campaign_id = await _ask(services, lambda session: repository.get(session, name).id)
    away = ApiError(
        503, "workflows_unavailable", "Temporal cannot be reached now: try again", headers={"Retry-After": "5"}
    )
    if services.workflows is None:
        raise away
    try:
        trigger_key = await services.workflows.start_campaign(str(campaign_id))
    except CampaignRunningError as error:
        raise ApiError(409, error.code, "the campaign is under way: stop it first, or wait for its end") from error
    except Exception as error:
        log.warning("campaign %s could not be started", campaign_id, exc_info=True)
        raise away from error
    return _json(schemas.Started(trigger_key=trigger_key), status=202)
