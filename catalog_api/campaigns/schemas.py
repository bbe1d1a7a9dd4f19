"""The contract of campaigns."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from catalog_api.schemas import WHEN, example

_RUN_ID = "01990f3a-5b70-7d33-9c2d-4e5f6a7b8c9d"
_CAMPAIGN: dict[str, Any] = {
    "id": "01990f3a-5b71-7e44-8d3e-5f6a7b8c9dae",
    "name": "folk",
    "state": "active",
    "revision": 2,
    "updated_at": WHEN,
}
_RUN: dict[str, Any] = {
    "run_id": _RUN_ID,
    "source": "archive",
    "adapter": "jsonld",
    "state": "running",
    "reason": "crawling",
    "waiting_on": None,
    "next_attempt_at": None,
    "started_at": WHEN,
    "finished_at": None,
    "crawled": False,
    "found": 40,
    "fetched": 32,
    "fingerprinted": 30,
    "duplicates": 4,
    "in_review": 2,
    "published": 20,
    "rejected": 0,
    "unavailable": 1,
    "failed": 1,
    "open": 12,
    "errors": {"not_found": 1},
    "requests_done": 55,
    "requests_failed": 1,
    "requests_queued": 9,
    "requests_waiting": 0,
    "next_request_at": None,
    "rate_per_s": 1.5,
    "time_left_s": 14.0,
}
_WAITING: dict[str, Any] = {
    "kind": "candidate",
    "id": "01990f3a-5b61-7a22-8b1c-3d4e5f6a7b8c",
    "run_id": _RUN_ID,
    "source": "archive",
    "what": "Katyusha (1939)",
    "state": "in_review",
    "reason": "similar_recording",
    "detail": "",
    "since": WHEN,
    "next_attempt_at": None,
    "waiting_on": "moderator",
    "who": "a moderator decides",
    "count": 1,
    "case_id": "01990f3a-5b60-7f11-9a0b-2c3d4e5f6a7b",
}


class Campaign(BaseModel):
    """A campaign. ``state``: whether its schedule starts it."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [_CAMPAIGN]})

    id: UUID
    name: str
    state: Literal["active", "paused"]
    revision: int
    updated_at: datetime


class CampaignList(BaseModel):
    """All campaigns, by name."""

    model_config = example({"items": [_CAMPAIGN], "next": None})

    items: list[Campaign]
    next: str | None = None


class Run(BaseModel):
    """How far one crawl run is; counts are of candidates, unless named requests."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [_RUN]})

    run_id: UUID
    source: str
    adapter: str
    state: str
    reason: str
    waiting_on: str | None
    next_attempt_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    crawled: bool
    found: int
    fetched: int
    fingerprinted: int
    duplicates: int
    in_review: int
    published: int
    rejected: int
    unavailable: int
    failed: int
    open: int
    errors: dict[str, int]
    requests_done: int
    requests_failed: int
    requests_queued: int
    requests_waiting: int
    next_request_at: datetime | None
    rate_per_s: float
    time_left_s: float | None


class CampaignDetail(BaseModel):
    """A campaign, its checked file, and the progress of its newest execution."""

    model_config = example({"campaign": _CAMPAIGN, "spec": {"name": "folk"}, "finished": False, "runs": [_RUN]})

    campaign: Campaign
    spec: dict[str, Any]
    finished: bool
    runs: list[Run]


class WaitingItem(BaseModel):
    """Something that is not finished, why, since when, and who can unblock it."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [_WAITING]})

    kind: str
    id: UUID
    run_id: UUID | None
    source: str
    what: str
    state: str
    reason: str
    detail: str
    since: datetime | None
    next_attempt_at: datetime | None
    waiting_on: str
    who: str
    count: int
    case_id: UUID | None


class WaitingPage(BaseModel):
    """A page of what waits, longest first. ``next``: null on the last page."""

    model_config = example({"items": [_WAITING], "next": None})

    items: list[WaitingItem]
    next: str | None


class Started(BaseModel):
    """``trigger_key`` names the execution that was started."""

    model_config = example({"trigger_key": "01990f3a-5b72-7f55-9e4f-6a7b8c9daebf"})

    trigger_key: str
