"""From evidence to a ruling: a fingerprinted candidate is published, joined, or put before a moderator.

Each function runs in the caller's transaction, under the identity lock, and may be repeated after a crash.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, delete, false, func, or_, select
from sqlalchemy.orm import Session

from catalog import feed
from catalog.campaigns.holds import HELD
from catalog.models import (
    FINAL_STATES,
    AudioFingerprint,
    Candidate,
    CrawlRun,
    Decision,
    MatchProposal,
    Observation,
    ReviewCase,
    SongTitle,
    Version,
    VersionSource,
)
from catalog.publishing import CreditName, Description, SpelledName, Target, UnknownTargetError, lock_identity, publish
from identity import services, song
from identity.evidence import Proposal, Question
from identity.melody import service as melody
from identity.names import fold, title_key
from identity.recording import closer as closer_look
from identity.recording import service as recording
from identity.recording.closer import Closer
from identity.recording.items import Items, items_from_bytes
from identity.recording.second_look import second_look
from identity.recording.timbre import timbre_from_bytes
from identity.subject import Name, Subject, subject_from_item
from moderation import links
from moderation.errors import CaseNotFoundError, ForbiddenLinkError
from moderation.policy import ApprovalPolicy, Ruling, decide, suggest

MOST_LOOKED_AT_AGAIN = 50
"""Cases of one song that a publication has looked at again; a song with more is for people anyway."""


@dataclass(frozen=True, slots=True)
class Settled:
    """``state``: the candidate's; ``case_id``: its open case, with the seconds after which to remind and to expire.

    ``look_again``: candidates in review whose evidence this publication changed; they may settle by themselves now.
    """

    state: str
    case_id: uuid.UUID | None = None
    remind_after_s: float | None = None
    expire_after_s: float | None = None
    version_id: uuid.UUID | None = None
    song_id: uuid.UUID | None = None
    look_again: tuple[uuid.UUID, ...] = ()


def set_state(
    candidate: Candidate,
    state: str,
    reason: str,
    detail: str = "",
    *,
    waiting_on: str | None = None,
    next_attempt_at: datetime | None = None,
) -> None:
    """The one place where a candidate changes its state, so that why, since when and on whom are always told."""
    if (candidate.state, candidate.reason) != (state, reason):
        candidate.since = datetime.now(UTC)
    candidate.state = state
    candidate.reason = reason
    candidate.detail = detail[:2000]
    candidate.waiting_on = waiting_on
    candidate.next_attempt_at = next_attempt_at


def settle(session: Session, candidate_id: uuid.UUID) -> Settled:
    """Rules on a candidate. Idempotent: a settled one answers with its state, an open case with itself."""
    lock_identity(session)
    candidate, run, case = session.execute(
        select(Candidate, CrawlRun, ReviewCase)
        .outerjoin(CrawlRun, CrawlRun.id == Candidate.crawl_run_id)
        .outerjoin(ReviewCase, and_(ReviewCase.candidate_id == Candidate.id, ReviewCase.state.in_(("open", "decided"))))
        .where(Candidate.id == candidate_id)
        .with_for_update(of=Candidate)
        .execution_options(populate_existing=True)
    ).one()
    policy = ApprovalPolicy.from_spec(run.spec.get("approval") if run else None)
    if case is not None and case.state == "decided":
        return apply_decision(session, case.id)
    if candidate.state in FINAL_STATES:
        return _settled_before(session, candidate)
    if candidate.reason == HELD:  # after a worker had taken it up
        return Settled(candidate.state)

    subject = subject_from_item(_measured(candidate))
    first = not candidate.normalised
    candidate.normalised = dict(describe(subject, candidate.item))
    candidate.metadata_key = subject.metadata_key
    if candidate.version_id is not None:
        # Known already, but its source tells something else about it now.
        return _publish(session, candidate, Target("attach", version_id=candidate.version_id), "changed")
    with session.no_autoflush:  # the questions are about others; what changes here is written once
        proposals = find_proposals(session, candidate, subject)
        if not first:  # nobody can have spoken of one that was never seen before
            proposals = links.obey(session, candidate.id, proposals)
    _record_proposals(session, candidate, proposals, first=first)
    ruling = _after_its_copy(session, candidate, decide(policy, subject.missing, proposals))
    if ruling.automatic:
        if case is not None:
            _close(session, case, ruling.detail)
        return _publish(session, candidate, ruling.target, ruling.reason, ruling.detail, proposals=proposals)

    if case is None:
        case = ReviewCase(candidate_id=candidate_id)
        session.add(case)
    case.reason, case.detail = ruling.reason, ruling.detail
    case.suggestion = suggestion_json(ruling.target)
    case.row_version = (case.row_version or 0) + 1
    if case.expires_at is None and policy.expire_after is not None:
        case.expires_at = datetime.now(UTC) + policy.expire_after
    session.flush()
    set_state(candidate, "in_review", ruling.reason, ruling.detail, waiting_on="moderator")
    return Settled(
        "in_review",
        case.id,
        policy.remind_after.total_seconds(),
        None if case.expires_at is None else max(0.0, (case.expires_at - datetime.now(UTC)).total_seconds()),
    )


def apply_decision(session: Session, case_id: uuid.UUID) -> Settled:
    """Carries out a recorded decision; done once, it answers with what it did. Raises CaseNotFoundError."""
    lock_identity(session)
    case = session.get(ReviewCase, case_id, with_for_update=True)
    if case is None:
        raise CaseNotFoundError(f"there is no case {case_id}")
    candidate = session.get_one(Candidate, case.candidate_id, with_for_update=True)
    decision = session.scalar(select(Decision).where(Decision.case_id == case_id))
    if case.state != "decided" or decision is None:
        return _settled_before(session, candidate)
    if decision.action == "reject":
        set_state(candidate, "rejected", "moderator", decision.note)
        settled = Settled("rejected", look_again=tuple(_waiting_copies(session, candidate)))
    else:
        target = Target(**suggestion_target(case.suggestion))
        if decision.action == "retarget":
            target = retarget(decision.version_id, decision.song_id)
        elif target.action == "new_song" and (now := _suggested_now(session, candidate, case)) != target:
            # Somebody published that song in between: a moderator who approved "a new song" did not know of it.
            return _reopen(session, case, decision, "the catalog has a song like it by now; look again", now)
        try:
            links.check_target(session, candidate.id, target)
            settled = _publish(session, candidate, target, "moderator", decision.note, made_by=decision.actor)
        except (UnknownTargetError, ForbiddenLinkError) as error:
            # The target went away, or was forbidden, between decision and application: a moderator must look again.
            return _reopen(session, case, decision, str(error), target)
    case.state = "applied"
    case.row_version += 1
    decision.applied_at = datetime.now(UTC)
    decision.outcome = {
        "state": settled.state,
        "version_id": settled.version_id and str(settled.version_id),
        "song_id": settled.song_id and str(settled.song_id),
    }
    return settled


def _suggested_now(session: Session, candidate: Candidate, case: ReviewCase) -> Target:
    """What approval would mean with the catalog as it stands; the new evidence is recorded."""
    subject = subject_from_item(_measured(candidate))
    proposals = find_proposals(session, candidate, subject)
    target = suggest(proposals)
    if suggestion_json(target) != case.suggestion:
        _record_proposals(session, candidate, proposals, first=False)
    return target


def _reopen(session: Session, case: ReviewCase, decision: Decision, why: str, target: Target) -> Settled:
    session.delete(decision)
    case.state, case.row_version = "open", case.row_version + 1
    case.suggestion = suggestion_json(target)
    case.detail = f"The decision could not be carried out: {why}"
    return Settled("in_review", case.id)


def expire(session: Session, case_id: uuid.UUID) -> Settled:
    """Ends a case that nobody decided in time: the candidate is rejected with that reason."""
    case = session.get(ReviewCase, case_id, with_for_update=True)
    if case is None:
        raise CaseNotFoundError(f"there is no case {case_id}")
    candidate = session.get_one(Candidate, case.candidate_id, with_for_update=True)
    if case.state == "open":
        case.state = "expired"
        case.row_version += 1
        set_state(candidate, "rejected", "review_expired", "Nobody decided in time.")
    return Settled(candidate.state, version_id=candidate.version_id)


def remind(session: Session, case_id: uuid.UUID) -> Settled:
    """A case that waits long moves up in the queue and says so in the change feed."""
    case = session.get(ReviewCase, case_id, with_for_update=True)
    if case is None:
        raise CaseNotFoundError(f"there is no case {case_id}")
    if case.state == "open":
        case.priority += 1
        case.reminded_at = datetime.now(UTC)
        feed.record(session, "review.overdue", "review_case", case.id, reason=case.reason)
    candidate = session.get_one(Candidate, case.candidate_id)
    return Settled(candidate.state, version_id=candidate.version_id)


def retarget(version_id: uuid.UUID | None, song_id: uuid.UUID | None) -> Target:
    """The target that a moderator named; neither id means a new song."""
    if version_id is not None:
        return Target("attach", version_id=version_id)
    if song_id is not None:
        return Target("new_version", song_id=song_id)
    return Target("new_song")


def suggestion_json(target: Target) -> dict[str, Any]:
    """For `ReviewCase.suggestion`."""
    ids = {"version_id": target.version_id, "song_id": target.song_id}
    return {"action": target.action, **{key: str(value) for key, value in ids.items() if value}}


def suggestion_target(suggestion: dict[str, Any]) -> dict[str, Any]:
    """The inverse: arguments of `Target`."""
    ids = {key: uuid.UUID(suggestion[key]) for key in ("version_id", "song_id") if suggestion.get(key)}
    return {"action": suggestion["action"], **ids}


def find_proposals(session: Session, candidate: Candidate, subject: Subject) -> list[Proposal]:
    """Asks both identity questions."""
    fingerprint: AudioFingerprint | None = None
    observed: set[str] = set()
    closer = None
    if candidate.audio_sha256 is not None:  # heard
        kinds = select(Observation.kind).where(Observation.candidate_id == AudioFingerprint.candidate_id)
        query = select(AudioFingerprint, func.array(kinds.scalar_subquery()))
        row = session.execute(query.where(AudioFingerprint.candidate_id == candidate.id)).one_or_none()
        if row is not None:
            fingerprint, observed = row[0], set(row[1])
    if fingerprint is not None and observed.isdisjoint(closer_look.KINDS):
        closer = Closer(None if fingerprint.timbre is None else timbre_from_bytes(fingerprint.timbre))
    result = ask(
        session,
        subject,
        None if fingerprint is None else items_from_bytes(fingerprint.items),
        None if fingerprint is None else fingerprint.duration_s,
        exclude_candidate=candidate.id,
        closer=closer,
    )
    if melody.KIND in observed:
        result = melody.propose(session, candidate.id, result)
    if not observed.isdisjoint(services.KINDS):
        result = services.beside(result, services.propose(session, candidate.id))
    return result


def ask(
    session: Session,
    subject: Subject,
    items: Items | None,
    duration_s: float | None,
    *,
    exclude_candidate: uuid.UUID | None = None,
    closer: Closer | None = None,
) -> list[Proposal]:
    """Both identity questions about anything. ``items``: its fingerprint, None where it was not heard.

    ``closer``: what else was heard; None: what is recorded of ``exclude_candidate``.
    """
    result: list[Proposal] = []
    if items is not None:
        alike = recording.propose(session, items, duration_s or 0.0, exclude_candidate=exclude_candidate, closer=closer)
        result += second_look(session, alike, subject.kind)
    found = {proposal.version_id for proposal in result}
    for proposal in song.recordings_with_same_metadata(session, subject):
        # Where both have been heard, the fingerprints have answered already, and names must not contradict them.
        heard = items is not None and _is_heard(session, proposal.version_id)
        if proposal.version_id not in found and not heard:
            result.append(proposal)
    return result + song.propose(session, subject)


def _is_heard(session: Session, version_id: uuid.UUID | None) -> bool:
    query = select(AudioFingerprint.id).join(Candidate).where(Candidate.version_id == version_id).limit(1)
    return session.scalar(query) is not None


def _measured(candidate: Candidate) -> dict[str, Any]:
    """The item with the duration that was measured, which is surer than what the page says."""
    if candidate.duration_s is None:
        return candidate.item
    return {**candidate.item, "duration_s": candidate.duration_s}


def describe(subject: Subject, item: dict[str, Any]) -> Description:
    """What publication needs to know of a candidate."""
    joins = {credit["name"]: credit.get("join_phrase", "") for credit in item.get("credits", ())}
    authors = [(name, "composer") for name in subject.composers] + [(name, "lyricist") for name in subject.lyricists]
    return Description(
        title=subject.title,
        song_titles=_titles(_song_titles(subject)),
        performers=[_credit(name, "performer", joins.get(name.name, "")) for name in subject.performers],
        authors=[_credit(name, role, "") for name, role in authors],
        kind=subject.kind,
        year=subject.year,
        language=subject.language,
        genre=item.get("genre"),
        lyrics=item.get("lyrics"),
        identifiers=dict(subject.identifiers),
        complete=subject.complete,
    )


def _song_titles(subject: Subject) -> list[str]:
    """Where the source names the composition, what it calls the recording is no name of the song, unless it agrees."""
    if subject.work_title is None:
        return [subject.title]
    same = title_key(subject.title) == title_key(subject.work_title)
    return [subject.work_title, subject.title] if same else [subject.work_title]


def _titles(titles: Sequence[str]) -> list[SpelledName]:
    return [SpelledName(name=title, key=title_key(title), latin=fold(title)) for title in dict.fromkeys(titles)]


def _credit(name: Name, role: str, join_phrase: str) -> CreditName:
    return CreditName(
        name=name.name,
        key=name.key,
        latin=fold(name.name),
        role=role,
        join_phrase=join_phrase,
        traditional=name.traditional,
    )


def _publish(
    session: Session,
    candidate: Candidate,
    target: Target,
    reason: str,
    detail: str = "",
    *,
    made_by: str = "automation",
    proposals: Sequence[Proposal] | None = None,
) -> Settled:
    """``proposals``: the evidence at hand; None: as it was recorded for the moderator."""
    known = candidate.version_id is not None
    published = publish(session, candidate, target)
    if not known and target.action != "new_song":
        song_link = target.action == "new_version"
        links.record(
            session,
            Question.SONG if song_link else Question.RECORDING,
            candidate.id,
            published.version_id,
            song_id=published.song_id if song_link else None,
            made_by=made_by,
            reason=reason,
            evidence=_followed(session, candidate, target, proposals),
        )
    set_state(candidate, published.state, reason, detail)
    return Settled(
        published.state,
        version_id=published.version_id,
        song_id=published.song_id,
        look_again=_touched(session, candidate, published.song_id),
    )


def _followed(
    session: Session, candidate: Candidate, target: Target, proposals: Sequence[Proposal] | None
) -> dict[str, Any]:
    """The evidence for this target, as a link keeps it."""
    if proposals is not None:
        ids = (target.version_id, target.song_id)
        return links.evidence_of(next((p for p in proposals if (p.version_id, p.song_id) == ids), None))
    return links.recorded_evidence(session, candidate.id, target)


def _settled_before(session: Session, candidate: Candidate) -> Settled:
    """The answer to whoever asks again: a worker that was killed may have told nobody of the first."""
    if candidate.state == "rejected":
        return Settled("rejected", look_again=tuple(_waiting_copies(session, candidate)))
    if candidate.version_id is None or candidate.state not in FINAL_STATES:
        return Settled(candidate.state)
    song_id = session.get_one(Version, candidate.version_id).song_id
    return Settled(
        candidate.state,
        version_id=candidate.version_id,
        song_id=song_id,
        look_again=_touched(session, candidate, song_id),
    )


WAITS_FOR_COPY = "recording_in_review"


def _after_its_copy(session: Session, candidate: Candidate, ruling: Ruling) -> Ruling:
    """A copy that tells little of its song follows the copy of which a moderator is asked already."""
    if not ruling.automatic or ruling.target.action != "new_song" or candidate.normalised["complete"]:
        return ruling
    asked = session.scalar(
        select(Candidate)
        .where(Candidate.id.in_(_waiting_copies(session, candidate)), Candidate.reason != WAITS_FOR_COPY)
        .order_by(Candidate.id)
        .limit(1)
    )
    if asked is None:
        return ruling
    detail = f"The same recording waits for a moderator already: «{asked.item.get('title', '')}» of {asked.source}."
    return Ruling(False, ruling.target, WAITS_FOR_COPY, detail)


def _waiting_copies(session: Session, candidate: Candidate) -> list[uuid.UUID]:
    items = session.scalar(select(AudioFingerprint.items).where(AudioFingerprint.candidate_id == candidate.id))
    if items is None:
        return []
    return recording.waiting_copies(session, items_from_bytes(items), exclude_candidate=candidate.id)


def _close(session: Session, case: ReviewCase, why: str) -> None:
    """Ends a case that new evidence settled before a moderator came to it."""
    session.add(Decision(case_id=case.id, action="approve", actor="automation", note=why, applied_at=datetime.now(UTC)))
    case.state = "applied"
    case.row_version += 1
    session.flush()


def _touched(session: Session, candidate: Candidate, song_id: uuid.UUID) -> tuple[uuid.UUID, ...]:
    """Candidates in review that this publication is evidence for.

    Those are the ones that are the same recording, that were compared with this song or with one of its versions, and,
    where the song is new, those that bear its title: they were compared with nothing, and each would become a song of
    its own.
    """
    if session.scalar(select(ReviewCase.id).where(ReviewCase.state == "open").limit(1)) is None:
        return ()
    waiting = (
        select(ReviewCase.candidate_id)
        .where(ReviewCase.state == "open", ReviewCase.candidate_id != candidate.id)
        .distinct()
        .order_by(ReviewCase.candidate_id)
        .limit(MOST_LOOKED_AT_AGAIN)
    )
    of_song = select(Version.id).where(Version.song_id == song_id)
    compared = waiting.join(MatchProposal, MatchProposal.candidate_id == ReviewCase.candidate_id).where(
        or_(MatchProposal.song_id == song_id, MatchProposal.version_id.in_(of_song))
    )
    found = {*session.scalars(compared), *_waiting_copies(session, candidate)}
    sources = select(func.count(VersionSource.id)).join(Version).where(Version.song_id == song_id)
    if session.scalar(sources) == 1:
        keys = session.scalars(select(SongTitle.key).where(SongTitle.song_id == song_id)).all()
        titled = [Candidate.normalised.contains({"song_titles": [{"key": key}]}) for key in keys]
        named = waiting.join(Candidate, Candidate.id == ReviewCase.candidate_id).where(or_(false(), *titled))
        found.update(session.scalars(named))
    return tuple(sorted(found)[:MOST_LOOKED_AT_AGAIN])


def _record_proposals(session: Session, candidate: Candidate, proposals: Sequence[Proposal], *, first: bool) -> None:
    if not first:
        session.execute(delete(MatchProposal).where(MatchProposal.candidate_id == candidate.id))
    session.add_all(
        MatchProposal(
            candidate_id=candidate.id,
            question=proposal.question.value,
            version_id=proposal.version_id,
            song_id=proposal.song_id,
            probability=proposal.probability,
            verdict=proposal.verdict.value,
            sentence=proposal.sentence,
            evidence=proposal.evidence(),
        )
        for proposal in proposals
    )
