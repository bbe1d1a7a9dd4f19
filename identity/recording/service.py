"""Proposes versions that a fingerprint may be a recording of, with itemised evidence."""

from __future__ import annotations

import base64
import math
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.models import AudioFingerprint, Candidate, Observation
from identity.evidence import Alignment, Part, Proposal, Question, Verdict
from identity.recording.align import Aligned, align, align_all, align_at
from identity.recording.index import RecordingIndex, SegmentIndex, driver_connection
from identity.recording.items import Items, fingerprint_bytes, items_from_bytes
from identity.recording.tempo import align_at_any_tempo
from identity.recording.verifying import look_up, verdict_of
from identity.thresholds import (
    CHANCE_BIT_ERROR_RATE,
    COMPARED_MEMBERS,
    MIN_DISTINCT_SHARE,
    MIN_OVERLAP_S,
    REVIEW_BIT_ERROR_RATE,
    SAME_BIT_ERROR_RATE,
    VERIFIED_CANDIDATES,
)
from media.types import ITEM_SECONDS

# Two offsets that differ by a rounding of each of two alignments are the same.
_OFFSET_SLACK = 2


SPEED_OBSERVATION = "speed"
"""Kind of the `Observation` that keeps a candidate's fingerprint at the speed at which it resembles a recording."""

_TIER_MEMBERS = 3
"""Of a recording that was missed, so many of the index's best are tried at other tempi (4 ms each)."""

_TIER_SHARED_ITEMS = 6
"""Less in common is chance: at one of twelve speeds something is always shared with somebody."""


@dataclass(frozen=True, slots=True)
class OtherSpeed:
    """The fingerprint of a recording with a change of speed undone.

    Attributes:
        speed: how many times as fast as the original it plays, in tempo and pitch.
        start_s: where in the recording, in seconds, the fingerprint begins.
    """

    speed: float
    items: Items
    start_s: float

    def to_json(self) -> dict[str, Any]:
        """For `Observation.data`: about 2 kB."""
        data = base64.b64encode(fingerprint_bytes(self.items)).decode()
        return {"speed": self.speed, "start_s": self.start_s, "items": data}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> OtherSpeed:
        """Inverse of `to_json`."""
        return cls(data["speed"], items_from_bytes(base64.b64decode(data["items"])), data["start_s"])


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

    @property
    def verdict(self) -> Verdict | None:
        """What the alignment says; a stretched recording is never the same without a person's ear."""
        verdict = verdict_of(self.aligned.alignment)
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


def _parts(alignment: Alignment, ours_s: float, theirs_s: float, worst: float | None) -> tuple[Part, ...]:
    longest = max(ours_s, theirs_s, 0.001)
    parts = [
        Part(
            "bit_error_rate",
            round(min(1.0, alignment.bit_error_rate / CHANCE_BIT_ERROR_RATE), 4),
            1.0,
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
    if worst is not None:
        sentence += f"; but another source of this version differs (bit error rate {worst:.2f})"
    return sentence


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


_READ = """
    SELECT stored.id, stored.candidate_id, candidate.version_id, stored.duration_s, stored.items
    FROM unnest(%s::bigint[]) WITH ORDINALITY AS wanted (id, place)
    JOIN audio_fingerprints AS stored USING (id)
    JOIN candidates AS candidate ON candidate.id = stored.candidate_id
    WHERE candidate.version_id IS NOT NULL AND candidate.id IS DISTINCT FROM %s
    ORDER BY wanted.place LIMIT %s
"""


def _read(session: Session, exclude: uuid.UUID | None, fingerprint_ids: Sequence[int], most: int) -> list[_Member]:
    """The first so many of published recordings."""
    session.flush()  # as the session does by itself before its own queries
    with driver_connection(session).cursor(binary=True) as cursor:
        rows = cursor.execute(_READ, (list(fingerprint_ids), exclude, most)).fetchall()
    return [
        _Member(fingerprint_id, candidate_id, version_id, duration_s, items_from_bytes(data))
        for fingerprint_id, candidate_id, version_id, duration_s, data in rows
    ]


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
) -> list[Proposal]:
    """Versions that this may be a recording of, most probable first; one proposal for each, by its best member.

    Where nothing is like it as it is, it is tried at other tempi, and at the speed that was found when it was heard
    (`other_speed`), if one was.

    Args:
        items: uint32 chromaprint items, 1-D.
        duration_s: of the whole recording, seconds.
        exclude_candidate: whose own fingerprint is no target.

    Only fingerprints of candidates that became sources of a version are targets.
    """
    index = index or SegmentIndex()
    members, matches = _matches(session, index, items, exclude_candidate)
    if not _sure(matches):
        matches += _stretched(items, members)
        if (other := _known_speed(session, exclude_candidate)) is not None:
            matches += _at_speed(session, index, other, exclude_candidate)
    by_version: defaultdict[uuid.UUID, list[_Match]] = defaultdict(list)
    for match in matches:
        by_version[match.member.version_id].append(match)
    proposals = [
        _proposal(session, duration_s, version_id, found, exclude_candidate) for version_id, found in by_version.items()
    ]
    return sorted(proposals, key=lambda proposal: (-proposal.probability, str(proposal.version_id)))


def _matches(
    session: Session, index: RecordingIndex, items: Items, exclude: uuid.UUID | None
) -> tuple[list[_Member], list[_Match]]:
    """The best members, and those of them that the recording resembles as it is."""
    compared = look_up(session, index, items, partial(_read, session, exclude))
    return [member for member, _ in compared], [
        _Match(member, items, aligned) for member, aligned in compared if aligned and verdict_of(aligned.alignment)
    ]


def _sure(matches: list[_Match]) -> bool:
    return any(match.verdict in (Verdict.SAME, Verdict.REVIEW) for match in matches)


def _stretched(items: Items, members: list[_Member], speed: float = 1.0, start_s: float = 0.0) -> list[_Match]:
    """Members that the recording resembles at another tempo."""
    result = []
    for member in members[:_TIER_MEMBERS]:
        shared = np.intersect1d(items, member.items).size
        if shared >= _TIER_SHARED_ITEMS and (found := align_at_any_tempo(items, member.items)):
            aligned = Aligned(found.offset, found.alignment)
            match = _Match(member, found.items, aligned, speed, found.tempo, start_s)
            if match.verdict in (Verdict.SAME, Verdict.REVIEW):
                result.append(match)
    return result


def _at_speed(session: Session, index: RecordingIndex, other: OtherSpeed, exclude: uuid.UUID | None) -> list[_Match]:
    """Members that the recording resembles at this speed, with or without its tempo."""
    members, found = _matches(session, index, other.items, exclude)
    result = [
        replace(match, speed=other.speed, start_s=other.start_s)
        for match in found
        if match.verdict in (Verdict.SAME, Verdict.REVIEW)
    ]
    return result or _stretched(other.items, members, other.speed, other.start_s)


def _known_speed(session: Session, candidate_id: uuid.UUID | None) -> OtherSpeed | None:
    if candidate_id is None:
        return None
    data = session.scalar(
        select(Observation.data)
        .where(Observation.candidate_id == candidate_id, Observation.kind == SPEED_OBSERVATION)
        .order_by(Observation.created_at.desc())
        .limit(1)
    )
    return None if data is None else OtherSpeed.from_json(data)


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
    *,
    exclude_candidate: uuid.UUID | None = None,
    index: RecordingIndex | None = None,
) -> OtherSpeed | None:
    """The speed at which the recording is most like a published one; None where it is at none."""
    best: tuple[float, OtherSpeed] | None = None
    for other in tried:
        for match in _at_speed(session, index or SegmentIndex(), other, exclude_candidate):
            rate = match.aligned.alignment.bit_error_rate
            if best is None or rate < best[0]:
                best = (rate, other)
    return best and best[1]


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
    parts = _parts(alignment, duration_s * match.speed * match.tempo, member.duration_s, worst)
    extra: dict[str, Any] = {
        "target_candidate_id": str(member.candidate_id),
        "begins_at_s": {"candidate": max(0.0, -alignment.offset_s), "target": max(0.0, alignment.offset_s)},
    }
    if (match.speed, match.tempo) != (1.0, 1.0):
        extra |= {"speed_factor": match.speed, "tempo_factor": match.tempo}
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
