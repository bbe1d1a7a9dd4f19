"""The moderator's queue: read cases with their evidence, decide them. Callers own the transaction."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

Action = Literal["approve", "reject", "retarget"]


@dataclass(frozen=True, slots=True)
class ProposalView:
    """A `MatchProposal` with the name of its target."""

    question: str
    verdict: str
    probability: float
    sentence: str
    version_id: uuid.UUID | None
    song_id: uuid.UUID | None
    target_title: str
    target_artists: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CaseView:
    """A review case as a moderator sees it. ``row_version`` goes back with the decision."""

    id: uuid.UUID
    candidate_id: uuid.UUID
    state: str
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
    duration_s: float | None
    proposals: list[ProposalView] = field(default_factory=list)
    decision: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CasePage:
    """``next_cursor``: opaque; None on the last page."""

    cases: list[CaseView]
    next_cursor: str | None


def list_cases(
    session: Session, *, state: str = "open", source: str | None = None, cursor: str | None = None, limit: int = 50
) -> CasePage:
    """Cases by priority, then age. Raises BadDecisionError on a cursor from elsewhere."""
    raise NotImplementedError


def get_case(session: Session, case_id: uuid.UUID) -> CaseView:
    """One case. Raises CaseNotFoundError."""
    raise NotImplementedError


def decide(
    session: Session,
    case_id: uuid.UUID,
    *,
    action: Action,
    actor: str,
    note: str = "",
    version_id: uuid.UUID | None = None,
    song_id: uuid.UUID | None = None,
    new_song: bool = False,
    row_version: int | None = None,
) -> CaseView:
    """Records a decision; the workflow applies it.

    ``approve`` follows the suggestion; ``retarget`` names another version (same recording), another song (a new
    version of it) or asks for a new song; ``reject`` keeps the candidate out.

    Raises CaseNotFoundError, CaseClosedError, CaseChangedError (``row_version`` is not the newest), BadDecisionError.
    """
    raise NotImplementedError
