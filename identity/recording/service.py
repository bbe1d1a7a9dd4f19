"""Proposes versions that a fingerprint may be a recording of, with itemised evidence."""

from __future__ import annotations

import math
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.models import AudioFingerprint, Candidate
from identity.evidence import Alignment, Part, Proposal, Question, Verdict
from identity.recording.align import Aligned, align, align_all, align_at
from identity.recording.closer import Closer, OtherSpeed, recall
from identity.recording.index import RecordingIndex, SegmentIndex, driver_connection
from identity.recording.items import Items, items_from_bytes
from identity.recording.reading import WANTED, Source
from identity.recording.tempo import align_at_any_tempo
from identity.recording.timbre import (
    Likeness,
    aligned_by_timbre,
    likeness,
    second_verdict,
    sounding_alike,
    timbre_from_bytes,
)
from identity.recording.verifying import look_up, verdict_of
from identity.thresholds import (
    ALIKE_TIMBRE,
    CHANCE_BIT_ERROR_RATE,
    CLEAR_BIT_ERROR_RATE,
    COMPARED_MEMBERS,
    DAMAGED_BIT_ERROR_RATE,
    DAMAGED_TIMBRE,
    MIN_DISTINCT_SHARE,
    MIN_OVERLAP_S,
    MIN_TIMBRE_S,
    REVIEW_BIT_ERROR_RATE,
    SAME_BIT_ERROR_RATE,
    SAME_TIMBRE,
    VERIFIED_CANDIDATES,
)
from media.types import FRAME_SECONDS, ITEM_SECONDS, Frames

# Two offsets that differ by a rounding of each of two alignments are the same.
_OFFSET_SLACK = 2


_TIER_MEMBERS = 3
"""Of a recording that was missed, so many of the index's best are tried at other tempi (4 ms each)."""

_TIER_SHARED_ITEMS = 6
"""Less in common is chance: at one of twelve speeds something is always shared with somebody."""

_SHIFTS = (0.25, 0.5, 0.75)
_SPEED_STEPS = (-0.0025, 0.0025)
"""What is tried around a speed that was found: between the items, and between the speeds."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A fingerprint of a version."""

    fingerprint_id: int
    candidate_id: uuid.UUID
    version_id: uuid.UUID
    duration_s: float
    items: Items


@dataclass(frozen=True, slots=True)
class _Match:
    """A member, and how the recording lies on it. ``items``: of the recording, with ``speed`` and ``tempo`` undone."""

    member: _Member
    items: Items
    aligned: Aligned
    speed: float = 1.0
    tempo: float = 1.0
    start_s: float = 0.0
    sounds: Likeness | None = None

    @property
    def verdict(self) -> Verdict | None:
        """What alignment and timbre say; a stretched recording is never the same without a person's ear."""
        verdict = second_verdict(verdict_of(self.aligned.alignment), self.aligned.alignment, self.sounds)
        return Verdict.REVIEW if verdict is Verdict.SAME and self.tempo != 1 else verdict

    @property
    def alignment(self) -> Alignment:
        """With the offset of the recording's own beginning."""
        alignment = self.aligned.alignment
        return replace(alignment, offset_s=round(alignment.offset_s - self.start_s * self.speed, 3))


def probability_of(parts: tuple[Part, ...]) -> float:
    """Falls from 1 to 0 as the weighted distances add up; one half at a bit error rate of 0.20 and nothing else.

    The scale orders proposals and is not calibrated: verdicts come from the thresholds.
    """
    distance = sum(part.weight * part.distance for part in parts)
    middle = REVIEW_BIT_ERROR_RATE / CHANCE_BIT_ERROR_RATE
    return round(1 / (1 + math.exp((distance - middle) / 0.06)), 4)


def _parts(match: _Match, duration_s: float, worst: float | None) -> tuple[Part, ...]:
    alignment, sounds = match.alignment, match.sounds
    ours_s, theirs_s = duration_s * match.speed * match.tempo, match.member.duration_s
    longest = max(ours_s, theirs_s, 0.001)
    parts = [
        Part(
            "bit_error_rate",
            round(min(1.0, alignment.bit_error_rate / CHANCE_BIT_ERROR_RATE), 4),
            # What was heard besides has its own say.
            1.0 if sounds is None else 0.6,
            f"{alignment.bit_error_rate:.1%} of the bits differ (unrelated recordings: about half)",
        ),
        Part(
            "overlap",
            round(max(0.0, 1 - alignment.overlap_s / MIN_OVERLAP_S), 4),
            0.5,
            f"{alignment.overlap_s:.0f} s compared",
        ),
        Part(
            "distinct_share",
            round(max(0.0, 1 - alignment.distinct_share / MIN_DISTINCT_SHARE), 4),
            0.5,
            f"{alignment.distinct_share:.0%} of the compared sound is distinct",
        ),
        Part(
            "duration",
            round(abs(ours_s - theirs_s) / longest, 4),
            # A trimmed copy is the same recording: shown, not counted.
            0.0,
            f"{ours_s:.1f} s against {theirs_s:.1f} s",
        ),
    ]
    if sounds is not None:
        words = f"timbre {sounds.balance:.2f} alike (1: the same mix, 0: strangers)"
        parts.append(Part("timbre", round(min(1.0, max(0.0, 1 - sounds.balance)), 4), 0.6, words))
    if worst is not None:
        parts.append(
            Part("worst_member", 1.0, 0.25, f"another source of this version differs (bit error rate {worst:.2f})")
        )
    return tuple(parts)


def _shift(offset_s: float) -> str:
    if abs(offset_s) < 2 * ITEM_SECONDS:
        return "from the same start"
    # Our time 0 lies at this time of theirs, so we begin that much later in the music.
    return f"starts {abs(offset_s):.1f} s {'later' if offset_s > 0 else 'earlier'}"


def _pace(match: _Match) -> str:
    """What was done to the speed, in words."""
    words = []
    if match.speed != 1:
        words.append(f"{abs(match.speed - 1):.1%} {'faster and higher' if match.speed > 1 else 'slower and lower'}")
    if match.tempo != 1:
        words.append(f"its tempo {abs(match.tempo - 1):.1%} {'faster' if match.tempo > 1 else 'slower'}")
    return f", played {', '.join(words)}" if words else ""


def _sentence(match: _Match, worst: float | None) -> str:
    alignment = match.alignment
    likeness = "Same" if alignment.bit_error_rate <= SAME_BIT_ERROR_RATE else "Similar"
    sentence = (
        f"{likeness} sound over {alignment.overlap_s:.0f} s "
        f"(bit error rate {alignment.bit_error_rate:.2f}), {_shift(alignment.offset_s)}{_pace(match)}"
    )
    if alignment.overlap_s < MIN_OVERLAP_S:
        sentence += f"; under {MIN_OVERLAP_S:.0f} s, so a person should listen"
    if match.sounds is not None:
        sentence += f"; {_sounding(alignment, match.sounds)}"
    if worst is not None:
        sentence += f"; but another source of this version differs (bit error rate {worst:.2f})"
    return sentence


def _sounding(alignment: Alignment, sounds: Likeness) -> str:
    """What timbre adds, in words."""
    if sounds.balance >= SAME_TIMBRE:
        return f"the same mix (timbre {sounds.balance:.2f})"
    if alignment.bit_error_rate > REVIEW_BIT_ERROR_RATE and sounds.balance >= DAMAGED_TIMBRE:
        return f"perhaps a damaged copy (timbre {sounds.balance:.2f})"
    return f"instruments, voices or mix may differ (timbre {sounds.balance:.2f})"


def disagreement(items: Items, member: Items, ours: Aligned, others: list[Items]) -> float | None:
    """The bit error rate of the member that contradicts a match, if any does: it lies on us for 20 s or more, and
    differs by more than `REVIEW_BIT_ERROR_RATE`. A merge must satisfy the worst member too.

    Where a member lies on us follows from where both lie on ``member``, which matched: the end of a recording does
    not contradict its beginning.
    """
    worst: float | None = None
    for other in others:
        link = align(other, member)
        linked = link is not None and verdict_of(link.alignment) in (Verdict.SAME, Verdict.REVIEW)
        if link is not None and linked:
            expected = ours.offset - link.offset
            steps = range(expected - _OFFSET_SLACK, expected + _OFFSET_SLACK + 1)
            found = [alignment for step in steps if (alignment := align_at(items, other, step))]
            if not found or max(alignment.overlap_s for alignment in found) < MIN_OVERLAP_S:
                continue
        else:
            found = []
        if free := align(items, other):
            found.append(free.alignment)
        rates = [alignment.bit_error_rate for alignment in found if alignment.overlap_s >= MIN_OVERLAP_S]
        if rates and min(rates) > REVIEW_BIT_ERROR_RATE:
            worst = max(worst or 0.0, min(rates))
    return worst


def _published(exclude: uuid.UUID | None) -> Source[_Member]:
    """Fingerprints of candidates that became sources of a version."""
    return Source(
        "stored.id, stored.items, stored.candidate_id, candidate.version_id, stored.duration_s",
        ("uuid", "uuid", "float8"),
        f"{WANTED} JOIN audio_fingerprints AS stored USING (id)"
        " JOIN candidates AS candidate ON candidate.id = stored.candidate_id"
        " WHERE candidate.version_id IS NOT NULL AND candidate.id IS DISTINCT FROM %(exclude)s::uuid",
        _member,
        {"exclude": exclude},
    )


def _member(
    fingerprint_id: int, data: bytes, candidate_id: uuid.UUID, version_id: uuid.UUID, duration_s: float
) -> _Member:
    return _Member(fingerprint_id, candidate_id, version_id, duration_s, items_from_bytes(data))


def _others(session: Session, version_id: uuid.UUID, known: set[uuid.UUID]) -> list[Items]:
    rows = session.scalars(
        select(AudioFingerprint.items)
        .join(Candidate, Candidate.id == AudioFingerprint.candidate_id)
        .where(Candidate.version_id == version_id, Candidate.id.not_in(known))
        .order_by(AudioFingerprint.id)
        .limit(COMPARED_MEMBERS)
    )
    return [items_from_bytes(row) for row in rows]


def propose(
    session: Session,
    items: Items,
    duration_s: float,
    *,
    exclude_candidate: uuid.UUID | None = None,
    index: RecordingIndex | None = None,
    closer: Closer | None = None,
) -> list[Proposal]:
    """Versions that this may be a recording of, surest first; one proposal for each, by its best member.

    Where nothing is like it as it is, it is tried at other tempi, at the speed that was found when it was heard
    (`other_speed`), and against the recordings whose melody is near. Where the fingerprints leave a doubt, the timbre
    is compared.

    Args:
        items: uint32 chromaprint items, 1-D.
        duration_s: of the whole recording, seconds.
        exclude_candidate: whose own fingerprint is no target.
        closer: what else was heard; None: what is recorded of ``exclude_candidate``.

    Only fingerprints of candidates that became sources of a version are targets.
    """
    index = index or SegmentIndex()
    members, matches = _matches(session, index, items, exclude_candidate)
    missed = not _sure(matches)
    if (missed or _doubtful(matches)) and closer is None and exclude_candidate is not None:
        closer = recall(session, exclude_candidate)
    closer = closer or Closer()
    if missed:
        near = _nearest(session, closer.near)
        matches += _stretched(items, members, near)
        if closer.speed is not None:
            matches += _at_speed(session, index, closer.speed, exclude_candidate, near)
        matches += _near(session, items, closer, {match.member.candidate_id for match in matches})
    if closer.timbre is not None:
        matches = _sounding_like(session, closer.timbre, matches)
    matches = [match for match in matches if match.verdict is not None]
    by_version: defaultdict[uuid.UUID, list[_Match]] = defaultdict(list)
    for match in matches:
        by_version[match.member.version_id].append(match)
    proposals = [
        _proposal(session, duration_s, version_id, found, exclude_candidate) for version_id, found in by_version.items()
    ]
    return sorted(proposals, key=lambda each: (_RANK[each.verdict], -each.probability, str(each.version_id)))


def _matches(
    session: Session, index: RecordingIndex, items: Items, exclude: uuid.UUID | None
) -> tuple[list[_Member], list[_Match]]:
    """The best members, and those of them that the recording resembles as it is."""
    if session.autoflush:  # as the session does by itself before its own queries
        session.flush()
    compared = look_up(session, index, items, _published(exclude))
    return [member for member, _ in compared], [
        _Match(member, items, aligned) for member, aligned in compared if aligned and verdict_of(aligned.alignment)
    ]


def _sure(matches: list[_Match]) -> bool:
    return any(match.verdict in (Verdict.SAME, Verdict.REVIEW) for match in matches)


def _stretched(
    items: Items, members: list[_Member], near: list[_Member], speed: float = 1.0, start_s: float = 0.0
) -> list[_Match]:
    """Members that the recording resembles at another tempo. ``near``: not by what they share, but by ear."""
    known = {member.fingerprint_id for member in near}
    tried = near + [
        member
        for member in members[:_TIER_MEMBERS]
        if member.fingerprint_id not in known and np.intersect1d(items, member.items).size >= _TIER_SHARED_ITEMS
    ]
    result = []
    for member in tried:
        if found := align_at_any_tempo(items, member.items):
            aligned = Aligned(found.offset, found.alignment)
            match = _Match(member, found.items, aligned, speed, found.tempo, start_s)
            if match.verdict in (Verdict.SAME, Verdict.REVIEW):
                result.append(match)
    return result


def _at_speed(
    session: Session, index: RecordingIndex, other: OtherSpeed, exclude: uuid.UUID | None, near: list[_Member]
) -> list[_Match]:
    """Members that the recording resembles at this speed, with or without its tempo."""
    members, found = _matches(session, index, other.items, exclude)
    result = [
        replace(match, speed=other.speed, start_s=other.start_s)
        for match in found
        if match.verdict in (Verdict.SAME, Verdict.REVIEW)
    ]
    return result or _stretched(other.items, members, near, other.speed, other.start_s)


def _nearest(session: Session, near: Sequence[uuid.UUID]) -> list[_Member]:
    """The first few of those that are near by ear."""
    return _of_candidates(session, near[:_TIER_MEMBERS])


def _of_candidates(session: Session, candidate_ids: Sequence[uuid.UUID]) -> list[_Member]:
    if not candidate_ids:
        return []
    query = select(AudioFingerprint.id).where(AudioFingerprint.candidate_id.in_(candidate_ids))
    ids = list(session.scalars(query))
    return _published(None).read(driver_connection(session), ids, len(candidate_ids))


def _near(session: Session, items: Items, closer: Closer, known: set[uuid.UUID]) -> list[_Match]:
    """Members whose melody is near and whose timbre agrees, at the offset of the fingerprints, or, where these are too
    damaged, at that of the timbre."""
    wanted = [each for each in closer.near if each not in known]
    if not wanted or closer.timbre is None:
        return []
    members = _of_candidates(session, wanted)
    timbres = _timbres(session, [member.candidate_id for member in members])
    found = align_all(items, [member.items for member in members], DAMAGED_BIT_ERROR_RATE)
    result = []
    for member, aligned in zip(members, found, strict=True):
        if (theirs := timbres.get(member.candidate_id)) is None:
            continue
        if aligned is None or not _agrees(closer.timbre, theirs, aligned.alignment):
            aligned = aligned_by_timbre(items, closer.timbre, member.items, theirs)
        if aligned and _agrees(closer.timbre, theirs, aligned.alignment):
            result.append(_Match(member, items, aligned))
    return result


def _agrees(ours: Frames, theirs: Frames, alignment: Alignment) -> bool:
    sounds = likeness(ours, theirs, alignment.offset_s)
    return alignment.distinct_share >= MIN_DISTINCT_SHARE and sounds is not None and sounds.balance >= DAMAGED_TIMBRE


def _doubtful(matches: list[_Match]) -> bool:
    return any(match.aligned.alignment.bit_error_rate > CLEAR_BIT_ERROR_RATE for match in matches)


def _sounding_like(session: Session, timbre: Frames, matches: list[_Match]) -> list[_Match]:
    """The matches; those in doubt with their likeness of timbre."""
    asked = [match.member.candidate_id for match in matches if _doubtful([match])]
    if not asked:
        return matches
    theirs = _timbres(session, asked)
    return [
        replace(match, sounds=_likeness(match, timbre, theirs[match.member.candidate_id]))
        if match.member.candidate_id in theirs
        else match
        for match in matches
    ]


def _timbres(session: Session, candidate_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Frames]:
    query = select(AudioFingerprint.candidate_id, AudioFingerprint.timbre)
    rows = session.execute(query.where(AudioFingerprint.candidate_id.in_(candidate_ids)))
    return {candidate_id: timbre_from_bytes(data) for candidate_id, data in rows if data is not None}


def _likeness(match: _Match, ours: Frames, theirs: Frames) -> Likeness | None:
    return likeness(ours, theirs, match.alignment.offset_s, match.speed * match.tempo)


def is_missed(
    session: Session, items: Items, *, exclude_candidate: uuid.UUID | None = None, index: RecordingIndex | None = None
) -> bool:
    """Whether something is published, but nothing like this recording as it is, so that it is worth while to listen
    again."""
    if session.scalar(select(Candidate.id).where(Candidate.version_id.is_not(None)).limit(1)) is None:
        return False
    return not _sure(_matches(session, index or SegmentIndex(), items, exclude_candidate)[1])


def other_speed(
    session: Session,
    tried: Iterable[OtherSpeed],
    again: Callable[[float, float], OtherSpeed],
    *,
    near: Sequence[uuid.UUID] = (),
    exclude_candidate: uuid.UUID | None = None,
    index: RecordingIndex | None = None,
) -> OtherSpeed | None:
    """The speed at which the recording is most like a published one; None where it is at none.

    Args:
        again: listens once more at a speed, beginning so many items later; asked where the likeness leaves a doubt.
        near: candidates that sound alike, whether or not the index finds them.
    """
    known = _nearest(session, near)
    best: tuple[float, OtherSpeed, _Match] | None = None
    for other in tried:
        for match in _at_speed(session, index or SegmentIndex(), other, exclude_candidate, known):
            rate = match.aligned.alignment.bit_error_rate
            if best is None or rate < best[0]:
                best = (rate, other, match)
    if best is None:
        return None
    rate, other, match = best
    return _refined(rate, other, match.member.items, again) if match.tempo == 1 else other


def _refined(rate: float, other: OtherSpeed, target: Items, again: Callable[[float, float], OtherSpeed]) -> OtherSpeed:
    """The same between the items and between the speeds, if it agrees better there. What is clear already, stays."""
    shift = 0.0
    for step, speed_step in [(step, 0.0) for step in _SHIFTS] + [(0.0, step) for step in _SPEED_STEPS]:
        if rate <= CLEAR_BIT_ERROR_RATE:
            break
        tried = again(round(other.speed + speed_step, 4), step or shift)
        found = align(tried.items, target)
        if found and found.alignment.bit_error_rate < rate:
            rate, other, shift = found.alignment.bit_error_rate, tried, step or shift
    return other


def alike_by_timbre(
    session: Session, timbre: Frames, candidate_ids: Sequence[uuid.UUID]
) -> tuple[list[uuid.UUID], set[uuid.UUID]]:
    """Those of the candidates that are published and sound like this at some tempo, likest first; and all that were
    compared or are no targets, so that nothing more has to be asked of them."""
    rows = session.execute(
        select(Candidate.id, Candidate.version_id, AudioFingerprint.timbre)
        .join(AudioFingerprint, AudioFingerprint.candidate_id == Candidate.id)
        .where(Candidate.id.in_(candidate_ids))
    ).all()
    targets = {
        candidate_id: timbre_from_bytes(data)
        for candidate_id, version_id, data in rows
        if version_id is not None and data is not None
    }
    if len(timbre) * FRAME_SECONDS < MIN_TIMBRE_S:
        return [], set()
    found = dict(zip(targets, sounding_alike(timbre, list(targets.values())), strict=True))
    alike = sorted((each for each, balance in found.items() if balance >= ALIKE_TIMBRE), key=lambda each: -found[each])
    known = {each for each, frames in targets.items() if len(frames) * FRAME_SECONDS >= MIN_TIMBRE_S}
    return alike, known | {candidate_id for candidate_id, version_id, _ in rows if version_id is None}


def waiting_copies(
    session: Session, items: Items, *, exclude_candidate: uuid.UUID, index: RecordingIndex | None = None
) -> list[uuid.UUID]:
    """Candidates in review that are the same recording without a doubt: no version stands for them yet."""
    if session.scalar(select(Candidate.id).where(Candidate.state == "in_review").limit(1)) is None:
        return []
    hits = [found for found, _ in (index or SegmentIndex()).search(session, items, 2 * VERIFIED_CANDIDATES)]
    rows = session.execute(
        select(Candidate.id, AudioFingerprint.items)
        .join(AudioFingerprint, AudioFingerprint.candidate_id == Candidate.id)
        .where(AudioFingerprint.id.in_(hits), Candidate.state == "in_review", Candidate.id != exclude_candidate)
        .order_by(Candidate.id)
    ).all()
    found = align_all(items, [items_from_bytes(data) for _, data in rows], SAME_BIT_ERROR_RATE)
    return [
        candidate_id
        for (candidate_id, _), aligned in zip(rows, found, strict=True)
        if aligned and verdict_of(aligned.alignment) is Verdict.SAME
    ]


_RANK = {Verdict.SAME: 0, Verdict.REVIEW: 1, Verdict.WEAK: 2}


def _proposal(
    session: Session,
    duration_s: float,
    version_id: uuid.UUID,
    matches: list[_Match],
    exclude: uuid.UUID | None,
) -> Proposal:
    def key(match: _Match) -> tuple[int, float]:
        return (_RANK[match.verdict] if match.verdict else 3, match.aligned.alignment.bit_error_rate)

    match = min(matches, key=key)
    member, alignment = match.member, match.alignment
    verdict = match.verdict or Verdict.WEAK
    worst: float | None = None
    if verdict is Verdict.SAME:
        known = {member.candidate_id} | ({exclude} if exclude else set())
        worst = disagreement(match.items, member.items, match.aligned, _others(session, version_id, known))
        if worst is not None:
            verdict = Verdict.REVIEW
    parts = _parts(match, duration_s, worst)
    extra: dict[str, Any] = {
        "target_candidate_id": str(member.candidate_id),
        "begins_at_s": {"candidate": max(0.0, -alignment.offset_s), "target": max(0.0, alignment.offset_s)},
        "speed_factor": match.speed,
        "tempo_factor": match.tempo,
    }
    if match.sounds is not None:
        extra["timbre"] = {"likeness": match.sounds.balance, "least": match.sounds.least}
    return Proposal(
        question=Question.RECORDING,
        probability=probability_of(parts),
        verdict=verdict,
        sentence=_sentence(match, worst),
        parts=parts,
        version_id=version_id,
        alignment=alignment,
        extra=extra,
    )
