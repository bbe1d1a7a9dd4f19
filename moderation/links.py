"""Links that people make and cut, and what must never be joined.

A song and a version are what their links make them: cutting a wrong one derives both sides anew, and nothing else has
to be rebuilt. Every function runs in the caller's transaction and takes the identity lock.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from catalog import feed, regrouping
from catalog.models import AudioFingerprint, Candidate, IdentityLink, MatchProposal, MustNotLink, Song, Version
from catalog.publishing import Target, lock_identity, survivor
from identity.evidence import Part, Proposal, Question, Verdict
from identity.recording.align import align
from identity.recording.items import items_from_bytes
from identity.thresholds import COMPARED_MEMBERS, MIN_OVERLAP_S, REVIEW_BIT_ERROR_RATE
from moderation.errors import BadDecisionError, ForbiddenLinkError, MembersDisagreeError

MOST_PAIRS = 2500
"""Pairs that one cut forbids: 50 sources on each side."""


# -- records -----------------------------------------------------------------------------------------------------------


def record(
    session: Session,
    question: Question,
    candidate_id: uuid.UUID,
    version_id: uuid.UUID,
    *,
    song_id: uuid.UUID | None = None,
    made_by: str,
    reason: str,
    evidence: dict[str, Any] | None = None,
) -> None:
    """Keeps why a candidate was joined to a version, or its version to a song."""
    session.execute(
        insert(IdentityLink).values(
            question=question.value,
            candidate_id=candidate_id,
            version_id=version_id,
            song_id=song_id,
            made_by=made_by,
            reason=reason,
            evidence=evidence or {},
        )
    )


def evidence_of(proposal: Proposal | None) -> dict[str, Any]:
    """What a link keeps of the proposal that it followed."""
    if proposal is None:
        return {}
    return {
        "probability": proposal.probability,
        "verdict": proposal.verdict.value,
        "sentence": proposal.sentence,
        **proposal.evidence(),
    }


def recorded_evidence(session: Session, candidate_id: uuid.UUID, target: Target) -> dict[str, Any]:
    """The same, of the proposal for this target that a moderator saw; empty where there was none."""
    row = session.scalar(
        select(MatchProposal)
        .where(MatchProposal.candidate_id == candidate_id)
        .where(
            MatchProposal.version_id == target.version_id
            if target.version_id is not None
            else MatchProposal.song_id == target.song_id
        )
        .limit(1)
    )
    if row is None:
        return {}
    return {"probability": row.probability, "verdict": row.verdict, "sentence": row.sentence, **row.evidence}


def _end(session: Session, actor: str, why: str, *conditions: Any) -> None:
    session.execute(
        update(IdentityLink)
        .where(IdentityLink.ended_at.is_(None), *conditions)
        .values(ended_at=datetime.now(UTC), ended_by=actor, ended_reason=why)
    )


# -- what must not be linked -------------------------------------------------------------------------------------------


def forbid(
    session: Session,
    question: Question,
    ours: Collection[uuid.UUID],
    theirs: Collection[uuid.UUID],
    actor: str,
    note: str,
) -> int:
    """From now on no candidate of one side is joined with one of the other. Returns how many pairs are new.

    Raises BadDecisionError where the sides share a candidate or hold too many.
    """
    if set(ours) & set(theirs) or not ours or not theirs:
        raise BadDecisionError("a source cannot be told apart from itself: name sources of two sides")
    if len(ours) * len(theirs) > MOST_PAIRS:
        raise BadDecisionError(f"{len(ours)} × {len(theirs)} sources: at most {MOST_PAIRS} pairs at once")
    rows = [
        {"question": question.value, "first_id": min(a, b), "second_id": max(a, b), "actor": actor, "note": note}
        for a, b in product(ours, theirs)
    ]
    return len(
        session.scalars(upsert(MustNotLink).values(rows).on_conflict_do_nothing().returning(MustNotLink.first_id)).all()
    )


def allow(session: Session, question: Question, ours: Collection[uuid.UUID], theirs: Collection[uuid.UUID]) -> int:
    """Takes back what `forbid` said. Returns how many pairs there were."""
    pairs = _pairs(question, ours, theirs)
    return len(session.scalars(delete(MustNotLink).where(pairs).returning(MustNotLink.first_id)).all())


def _pairs(question: Question, ours: Collection[uuid.UUID], theirs: Collection[uuid.UUID]) -> Any:
    return and_(
        MustNotLink.question == question.value,
        or_(
            and_(MustNotLink.first_id.in_(ours), MustNotLink.second_id.in_(theirs)),
            and_(MustNotLink.second_id.in_(ours), MustNotLink.first_id.in_(theirs)),
        ),
    )


def check_allowed(
    session: Session, question: Question, ours: Collection[uuid.UUID], theirs: Collection[uuid.UUID]
) -> None:
    """Raises ForbiddenLinkError where somebody said that a source of one side is not the same as one of the other."""
    found = session.scalars(select(MustNotLink).where(_pairs(question, ours, theirs)).limit(1)).first()
    if found is not None:
        what = "recording" if question is Question.RECORDING else "song"
        raise ForbiddenLinkError(
            f"{found.actor} said that these are not the same {what}"
            f"{f' («{found.note}»)' if found.note else ''}; take that back first (`versions link allow`)"
        )


def check_target(session: Session, candidate_id: uuid.UUID, target: Target) -> None:
    """Raises ForbiddenLinkError where a candidate must not go to this target."""
    if target.version_id is not None:
        version_id = survivor(session, "version", target.version_id)
        check_allowed(session, Question.RECORDING, [candidate_id], _sources(session, [version_id]))
    elif target.song_id is not None:
        versions = _versions(session, survivor(session, "song", target.song_id))
        check_allowed(session, Question.SONG, [candidate_id], _sources(session, versions))


def obey(session: Session, candidate_id: uuid.UUID, proposals: Sequence[Proposal]) -> list[Proposal]:
    """The proposals, those against a person's word made weak."""
    others = select(MustNotLink.question, MustNotLink.second_id, MustNotLink.actor).where(
        MustNotLink.first_id == candidate_id
    )
    mirrored = select(MustNotLink.question, MustNotLink.first_id, MustNotLink.actor).where(
        MustNotLink.second_id == candidate_id
    )
    said = others.union_all(mirrored).subquery()
    rows = session.execute(
        select(said.c.question, said.c.actor, Version.id, Version.song_id)
        .join(Candidate, Candidate.id == said.c.second_id)
        .join(Version, Version.id == Candidate.version_id)
    ).all()
    if not rows:
        return list(proposals)
    refused = {
        (question, version_id if question == Question.RECORDING.value else song_id): actor
        for question, actor, version_id, song_id in rows
    }
    result = []
    for proposal in proposals:
        actor = refused.get((proposal.question.value, proposal.version_id or proposal.song_id))
        if actor is not None:
            note = f"{actor} said that it is another {proposal.question.value}"
            proposal = replace(
                proposal,
                verdict=Verdict.WEAK,
                probability=min(proposal.probability, 0.01),
                sentence=f"{note}; {proposal.sentence}",
                parts=(Part("must_not_link", 1.0, 1.0, note), *proposal.parts),
            )
        result.append(proposal)
    return result


# -- what people do ----------------------------------------------------------------------------------------------------


def cut_source(session: Session, candidate_id: uuid.UUID, *, actor: str, note: str = "") -> uuid.UUID:
    """A source is another recording than the rest of its version: it becomes a version of its own, for good.

    Returns the new version's id. Raises BadDecisionError where there is nothing to cut from.
    """
    lock_identity(session)
    candidate = session.get(Candidate, candidate_id, with_for_update=True)
    if candidate is None or candidate.version_id is None:
        raise BadDecisionError("only a published source can be cut from its version")
    old_id = candidate.version_id
    rest = [each for each in _sources(session, [old_id]) if each != candidate_id]
    if not rest:
        raise BadDecisionError("it is the only source of its version already; to move the version use `move`")
    song_id = session.get_one(Version, old_id).song_id
    forbid(session, Question.RECORDING, [candidate_id], rest[:MOST_PAIRS], actor, note)
    version, events = regrouping.cut_source(session, candidate)
    if candidate.state == "duplicate":
        candidate.state, candidate.reason, candidate.detail = "published", "cut", note[:2000]
        candidate.since = datetime.now(UTC)
    recording = (IdentityLink.question == Question.RECORDING.value, IdentityLink.candidate_id == candidate_id)
    _end(session, actor, note or "cut", *recording)
    record(session, Question.SONG, candidate_id, version.id, song_id=song_id, made_by=actor, reason="cut")
    feed.record_all(session, events)
    return version.id


def move_version(
    session: Session, version_id: uuid.UUID, song_id: uuid.UUID | None, *, actor: str, note: str = ""
) -> uuid.UUID:
    """A version is of another song (None: of a new one) than where it was, for good. Returns the song's id.

    Raises BadDecisionError, ForbiddenLinkError.
    """
    lock_identity(session)
    version = _live(session, Version, version_id)
    target = _live(session, Song, song_id) if song_id is not None else None
    if target is not None and target.id == version.song_id:
        raise BadDecisionError("the version is of that song already")
    mine = _sources(session, [version.id])
    old_song_id = version.song_id
    rest = _sources(session, [each for each in _versions(session, old_song_id) if each != version.id])
    if target is None and not rest:
        raise BadDecisionError("it is the only version of its song already")
    if target is not None:
        check_allowed(session, Question.SONG, mine, _sources(session, _versions(session, target.id)))
    song, events = regrouping.move_version(session, version, target)
    if rest:
        side = max(1, MOST_PAIRS // len(mine))
        forbid(session, Question.SONG, mine, rest[:side], actor, note)
    _end(
        session,
        actor,
        note or "moved",
        IdentityLink.question == Question.SONG.value,
        IdentityLink.version_id == version.id,
    )
    record(session, Question.SONG, mine[0], version.id, song_id=song.id, made_by=actor, reason="moved")
    feed.record_all(session, events)
    return song.id


def merge_versions(
    session: Session, loser_id: uuid.UUID, winner_id: uuid.UUID, *, actor: str, note: str = "", anyway: bool = False
) -> None:
    """Two versions are one recording. The worst pair of their sources must agree too, unless ``anyway``.

    Raises BadDecisionError, ForbiddenLinkError, MembersDisagreeError.
    """
    lock_identity(session)
    loser, winner = _live(session, Version, loser_id), _live(session, Version, winner_id)
    if loser.id == winner.id:
        raise BadDecisionError("a version cannot be merged with itself")
    ours, theirs = _sources(session, [loser.id]), _sources(session, [winner.id])
    check_allowed(session, Question.RECORDING, ours, theirs)
    if loser.song_id != winner.song_id:
        check_allowed(session, Question.SONG, ours, theirs)
    if not anyway and (worst := _worst(session, ours, theirs)) is not None:
        raise MembersDisagreeError(
            f"two of their sources sound different (bit error rate {worst:.2f} where they lie on each other, at most "
            f"{REVIEW_BIT_ERROR_RATE} is likely one recording); cut the wrong source first, or insist"
        )
    for candidate_id in ours:
        record(
            session, Question.RECORDING, candidate_id, winner.id, made_by=actor, reason="merged",
            evidence={"from_version_id": str(loser.id), "note": note},
        )  # fmt: skip
    _end(session, actor, f"merged into {winner.id}", IdentityLink.version_id == loser.id)
    old_song, new_song = session.get_one(Song, loser.song_id), winner.song_id
    events = regrouping.merge_versions(session, loser, winner)
    if old_song.deleted_at is not None and old_song.id != new_song:
        # Its only version went: who knows the song finds it where the version is.
        regrouping.redirect(session, "song", old_song.id, new_song)
        events = [each for each in events if each["entity_id"] != old_song.id]
        events.append(feed.event("song.merged", "song", old_song.id, into=str(new_song)))
    feed.record_all(session, events)


def merge_songs(session: Session, loser_id: uuid.UUID, winner_id: uuid.UUID, *, actor: str, note: str = "") -> None:
    """Two songs are one. Raises BadDecisionError, ForbiddenLinkError."""
    lock_identity(session)
    loser, winner = _live(session, Song, loser_id), _live(session, Song, winner_id)
    if loser.id == winner.id:
        raise BadDecisionError("a song cannot be merged with itself")
    versions = _versions(session, loser.id)
    check_allowed(session, Question.SONG, _sources(session, versions), _sources(session, _versions(session, winner.id)))
    for version_id in versions:
        record(
            session, Question.SONG, _sources(session, [version_id])[0], version_id, song_id=winner.id, made_by=actor,
            reason="merged", evidence={"from_song_id": str(loser.id), "note": note},
        )  # fmt: skip
    _end(session, actor, f"merged into {winner.id}", IdentityLink.song_id == loser.id)
    feed.record_all(session, regrouping.merge_songs(session, loser, winner))


def _live(session: Session, model: type[Any], entity_id: uuid.UUID) -> Any:
    name = model.__name__.lower()
    found = session.get(model, survivor(session, name, entity_id), with_for_update=True)
    if found is None or found.deleted_at is not None:
        raise BadDecisionError(f"there is no {name} {entity_id}")
    return found


def _versions(session: Session, song_id: uuid.UUID) -> list[uuid.UUID]:
    query = select(Version.id).where(Version.song_id == song_id, Version.deleted_at.is_(None))
    return list(session.scalars(query.order_by(Version.id)))


def _sources(session: Session, version_ids: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    """Candidates that are sources of these versions, by id."""
    query = select(Candidate.id).where(Candidate.version_id.in_(list(version_ids)))
    return list(session.scalars(query.order_by(Candidate.id)))


def _worst(session: Session, ours: Sequence[uuid.UUID], theirs: Sequence[uuid.UUID]) -> float | None:
    """The highest bit error rate of two sources that lie on each other for long enough, where it is too high."""

    def heard(ids: Sequence[uuid.UUID]) -> list[Any]:
        query = select(AudioFingerprint.items).where(AudioFingerprint.candidate_id.in_(ids))
        return [
            items_from_bytes(row)
            for row in session.scalars(query.order_by(AudioFingerprint.id).limit(COMPARED_MEMBERS))
        ]

    rates = []
    for one, other in product(heard(ours), heard(theirs)):
        found = align(one, other)
        if found is not None and found.alignment.overlap_s >= MIN_OVERLAP_S:
            rates.append(found.alignment.bit_error_rate)
    worst = max(rates, default=0.0)
    return worst if worst > REVIEW_BIT_ERROR_RATE else None
