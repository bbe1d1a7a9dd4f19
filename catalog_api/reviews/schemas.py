"""The contract of reviews."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from catalog_api.deps import PageQuery, Text
from catalog_api.schemas import SONG_ID, VERSION_ID, WHEN, example

_CASE_ID = "01990f3a-5b60-7f11-9a0b-2c3d4e5f6a7b"
_PROPOSAL: dict[str, Any] = {
    "question": "recording",
    "verdict": "review",
    "probability": 0.71,
    "sentence": "Sounds alike for 118 s, with 14 % of the bits differing.",
    "version_id": VERSION_ID,
    "song_id": None,
    "target_title": "Катюша",
    "target_artists": "Лидия Русланова",
    "evidence": {"parts": [{"name": "fingerprint", "distance": 0.14, "weight": 1.0, "note": "118 s compared"}]},
}
CASE_EXAMPLE: dict[str, Any] = {
    "id": _CASE_ID,
    "candidate_id": "01990f3a-5b61-7a22-8b1c-3d4e5f6a7b8c",
    "state": "open",
    "reason": "similar_recording",
    "detail": "",
    "priority": 0,
    "opened_at": WHEN,
    "expires_at": None,
    "row_version": 1,
    "suggestion": {"action": "attach", "version_id": VERSION_ID},
    "suggestion_text": "a further source of the version “Катюша”",
    "source": "archive",
    "source_key": "katyusha-1939",
    "url": "https://archive.example/katyusha-1939",
    "item": {"source_key": "katyusha-1939", "title": "Katyusha (1939)"},
    "duration_s": 164.0,
    "content": "",
    "proposals": [_PROPOSAL],
    "decision": None,
}


class Proposal(BaseModel):
    """A possible identity of the candidate, with its evidence."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [_PROPOSAL]})

    question: Literal["recording", "song"]
    verdict: Literal["same", "review", "weak"]
    probability: float
    sentence: str
    version_id: UUID | None
    song_id: UUID | None
    target_title: str
    target_artists: str
    evidence: dict[str, Any]


class Case(BaseModel):
    """A review case with its evidence. Send ``row_version`` back with the decision."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [CASE_EXAMPLE]})

    id: UUID
    candidate_id: UUID
    state: Literal["open", "decided", "applied", "expired"]
    reason: str
    detail: str
    priority: int
    opened_at: datetime
    expires_at: datetime | None
    row_version: int
    suggestion: dict[str, Any]
    suggestion_text: str
    source: str
    source_key: str
    url: str
    item: dict[str, Any]
    duration_s: float | None = Field(description="Seconds.")
    content: str = Field(description="What it seems to be instead of music (speech, a tone) and why; empty for music.")
    proposals: list[Proposal]
    decision: dict[str, Any] | None


class CasePage(BaseModel):
    """A page of cases: highest priority first, then oldest. ``next``: null on the last page."""

    model_config = example({"items": [CASE_EXAMPLE], "next": None})

    items: list[Case]
    next: str | None


class CaseListQuery(PageQuery):
    """Which cases."""

    state: Literal["open", "decided", "applied", "expired"] = "open"
    source: Text | None = None


class DecisionRequest(BaseModel):
    """What is decided. ``retarget`` names exactly one of ``version_id``, ``song_id`` and ``new_song``."""

    model_config = example(
        {"action": "retarget", "song_id": SONG_ID, "note": "another arrangement of it", "row_version": 1}
    )

    action: Literal["approve", "reject", "retarget"]
    version_id: UUID | None = None
    song_id: UUID | None = None
    new_song: bool = False
    note: str = Field(default="", max_length=2000, pattern=r"^[^\x00]*$")
    row_version: int | None = Field(default=None, ge=1, le=2**31 - 1)


class DecisionResult(BaseModel):
    """``applied``: the catalog shows it already; else it is recorded, and a worker will carry it out."""

    model_config = example({"case": {**CASE_EXAMPLE, "state": "decided", "row_version": 2}, "applied": True})

    case: Case
    applied: bool
