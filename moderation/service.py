"""The moderator's queue: read cases with their evidence, decide them. Callers own the transaction."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import Session

from catalog.models import Candidate, Decision, MatchProposal, Observation, ReviewCase, Song, Version, VersionCredit
from catalog.publishing import UnknownTargetError, survivor
from identity.evidence import content_words
from moderation.errors import BadCursorError, BadDecisionError, CaseChangedError, CaseClosedError, CaseNotFoundError

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
    content: str = ""
    """What it seems to be instead of music, in words."""
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
    """Cases by priority, then age. Raises BadCursorError on a cursor from elsewhere."""
    query = _cases().where(ReviewCase.state == state)
    if source is not None:
        query = query.where(Candidate.source == source)
    if cursor is not None:
        priority, case_id = _read_cursor(cursor)
        query = query.where(tuple_(-ReviewCase.priority, ReviewCase.id) > (-priority, case_id))
    query = query.order_by(-ReviewCase.priority, ReviewCase.id).limit(limit + 1)
    rows = [(case, candidate) for case, candidate in session.execute(query)]
    views = _views(session, rows[:limit])
    more = len(rows) > limit
    return CasePage(views, _write_cursor(views[-1].priority, views[-1].id) if more else None)


def get_case(session: Session, case_id: uuid.UUID) -> CaseView:
    """One case. Raises CaseNotFoundError."""
    rows = [(case, candidate) for case, candidate in session.execute(_cases().where(ReviewCase.id == case_id))]
    if not rows:
        raise CaseNotFoundError(f"there is no review case {case_id}")
    return _views(session, rows)[0]


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
    named = [
        name for name, value in (("version_id", version_id), ("song_id", song_id), ("new_song", new_song)) if value
    ]
    if action == "retarget" and len(named) != 1:
        raise BadDecisionError("retarget: give exactly one of version_id, song_id and new_song")
    if action != "retarget" and named:
        raise BadDecisionError(f"{action}: {named[0]} does not belong here; use retarget to name a target")
    # The row lock makes the second of two moderators wait, and then see that the case is closed.
    case = session.get(ReviewCase, case_id, with_for_update=True)
    if case is None:
        raise CaseNotFoundError(f"there is no review case {case_id}")
    if case.state != "open":
        raise CaseClosedError(f"the case is {case.state} already; nothing was changed")
    if row_version is not None and row_version != case.row_version:
        raise CaseChangedError(
            f"the case is at row_version {case.row_version}, the decision was made on {row_version}: read it again"
        )
    _check_target(session, version_id, song_id)
    session.add(
        Decision(case_id=case_id, action=action, version_id=version_id, song_id=song_id, actor=actor, note=note[:2000])
    )
    case.state = "decided"
    case.row_version += 1
    session.flush()
    return get_case(session, case_id)


def undecided(session: Session) -> int:
    """How many cases are open."""
    return session.scalar(select(func.count()).select_from(ReviewCase).where(ReviewCase.state == "open")) or 0


def _check_target(session: Session, version_id: uuid.UUID | None, song_id: uuid.UUID | None) -> None:
    target: Version | Song | None = None
    try:
        if version_id is not None:
            target = session.get(Version, survivor(session, "version", version_id))
        elif song_id is not None:
            target = session.get(Song, survivor(session, "song", song_id))
        else:
            return
    except UnknownTargetError as error:
        raise BadDecisionError(str(error)) from error
    if target is None or target.deleted_at is not None:
        name = "version_id" if version_id is not None else "song_id"
        raise BadDecisionError(f"{name}: there is no such {name.removesuffix('_id')} ({version_id or song_id})")


def _cases() -> Select[ReviewCase, Candidate]:
    return select(ReviewCase, Candidate).join(Candidate, Candidate.id == ReviewCase.candidate_id)


def _views(session: Session, rows: Sequence[tuple[ReviewCase, Candidate]]) -> list[CaseView]:
    """The views of these cases, with a fixed number of queries."""
    candidate_ids = [candidate.id for _, candidate in rows]
    proposals: dict[uuid.UUID, list[MatchProposal]] = {}
    for proposal in session.scalars(
        select(MatchProposal)
        .where(MatchProposal.candidate_id.in_(candidate_ids))
        .order_by(MatchProposal.probability.desc(), MatchProposal.id)
    ):
        proposals.setdefault(proposal.candidate_id, []).append(proposal)
    decisions = {
        decision.case_id: decision
        for decision in session.scalars(select(Decision).where(Decision.case_id.in_([case.id for case, _ in rows])))
    }
    contents = {
        candidate_id: content_words(data["kind"], data["sentence"])
        for candidate_id, data in session.execute(
            select(Observation.candidate_id, Observation.data)
            .where(Observation.candidate_id.in_(candidate_ids), Observation.kind == "content")
            .order_by(Observation.id)
        )
    }
    every = [proposal for found in proposals.values() for proposal in found]
    version_ids = {p.version_id for p in every} | {_id(case.suggestion, "version_id") for case, _ in rows}
    song_ids = {p.song_id for p in every} | {_id(case.suggestion, "song_id") for case, _ in rows}
    versions = {v.id: v for v in session.scalars(select(Version).where(Version.id.in_(version_ids - {None})))}
    songs = {s.id: s for s in session.scalars(select(Song).where(Song.id.in_(song_ids - {None})))}
    artists = _artists(session, set(versions))
    return [
        CaseView(
            id=case.id,
            candidate_id=candidate.id,
            state=case.state,
            reason=case.reason,
            detail=case.detail,
            priority=case.priority,
            opened_at=case.created_at,
            expires_at=case.expires_at,
            row_version=case.row_version,
            suggestion=case.suggestion,
            suggestion_text=_suggestion_text(case.suggestion, versions, songs),
            source=candidate.source,
            source_key=candidate.source_key,
            url=candidate.url,
            item=candidate.item,
            duration_s=candidate.duration_s,
            content=contents.get(candidate.id, ""),
            proposals=[
                ProposalView(
                    question=p.question,
                    verdict=p.verdict,
                    probability=p.probability,
                    sentence=p.sentence,
                    version_id=p.version_id,
                    song_id=p.song_id,
                    target_title=_title(p, versions, songs),
                    target_artists=artists.get(p.version_id, "") if p.version_id else "",
                    evidence=p.evidence,
                )
                for p in proposals.get(candidate.id, [])
            ],
            decision=_decision_json(decisions.get(case.id)),
        )
        for case, candidate in rows
    ]


def _title(proposal: MatchProposal, versions: dict[uuid.UUID, Version], songs: dict[uuid.UUID, Song]) -> str:
    target = versions.get(proposal.version_id) if proposal.version_id else None
    if target is not None:
        return target.title
    song = songs.get(proposal.song_id) if proposal.song_id else None
    return song.title if song is not None else ""


def _artists(session: Session, version_ids: set[uuid.UUID]) -> dict[uuid.UUID, str]:
    result: dict[uuid.UUID, str] = {}
    for credit in session.scalars(
        select(VersionCredit)
        .where(VersionCredit.version_id.in_(version_ids))
        .order_by(VersionCredit.version_id, VersionCredit.position)
    ):
        before = result.get(credit.version_id)
        result[credit.version_id] = f"{before}, {credit.credited_as}" if before else credit.credited_as
    return result


def _suggestion_text(
    suggestion: dict[str, Any], versions: dict[uuid.UUID, Version], songs: dict[uuid.UUID, Song]
) -> str:
    version_id, song_id = _id(suggestion, "version_id"), _id(suggestion, "song_id")
    if version_id in versions:
        return f"a further source of the version “{versions[version_id].title}”"
    if song_id in songs:
        return f"a new version of the song “{songs[song_id].title}”"
    return "a new song"


def _id(suggestion: dict[str, Any], key: str) -> uuid.UUID | None:
    return uuid.UUID(suggestion[key]) if suggestion.get(key) else None


def _decision_json(decision: Decision | None) -> dict[str, Any] | None:
    if decision is None:
        return None
    return {
        "action": decision.action,
        "actor": decision.actor,
        "note": decision.note,
        "version_id": decision.version_id and str(decision.version_id),
        "song_id": decision.song_id and str(decision.song_id),
        "decided_at": decision.decided_at.isoformat(),
        "applied_at": decision.applied_at and decision.applied_at.isoformat(),
        "outcome": decision.outcome,
    }


def _write_cursor(priority: int, case_id: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(json.dumps(["reviews", priority, str(case_id)]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[int, uuid.UUID]:
    try:
        kind, priority, case_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if kind != "reviews":
            raise ValueError(kind)
        return int(priority), uuid.UUID(case_id)
    except (ValueError, TypeError, binascii.Error) as error:
        raise BadCursorError("cursor: not one of this list; start without a cursor") from error
