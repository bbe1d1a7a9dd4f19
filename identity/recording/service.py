"""Proposes versions that a fingerprint may be a recording of, with itemised evidence."""

from __future__ import annotations

import math
import uuid
from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.models import AudioFingerprint, Candidate
from identity.evidence import Alignment, Part, Proposal, Question, Verdict
from identity.recording.align import Aligned, align, align_all, align_at
from identity.recording.index import RecordingIndex, SegmentIndex
from identity.recording.items import Items, items_from_bytes
from identity.thresholds import (
    CHANCE_BIT_ERROR_RATE,
    COMPARED_MEMBERS,
    MIN_DISTINCT_SHARE,
    MIN_OVERLAP_REVIEW_S,
    MIN_OVERLAP_S,
    REVIEW_BIT_ERROR_RATE,
    SAME_BIT_ERROR_RATE,
    VERIFIED_CANDIDATES,
    WEAK_BIT_ERROR_RATE,
)
from media.types import ITEM_SECONDS

_MOST_HITS = 50 * VERIFIED_CANDIDATES
_LOADED_AT_ONCE = (2 * VERIFIED_CANDIDATES, 10 * VERIFIED_CANDIDATES, _MOST_HITS)

# Two offsets that differ by a rounding of each of two alignments are the same.
_OFFSET_SLACK = 2


@dataclass(frozen=True, slots=True)
class _Member:
    """A fingerprint of a version."""

    candidate_id: uuid.UUID
    version_id: uuid.UUID
    duration_s: float
    items: Items


def verdict_of(alignment: Alignment) -> Verdict | None:
    """What an alignment says by itself; None: nothing.

    Under 20 s of overlap everything counts one step less; few distinct items (held notes, silence) prove nothing.
    """
    short = alignment.overlap_s < MIN_OVERLAP_S
    if alignment.overlap_s < MIN_OVERLAP_REVIEW_S or alignment.distinct_share < MIN_DISTINCT_SHARE:
        return None
    if alignment.bit_error_rate <= SAME_BIT_ERROR_RATE:
        return Verdict.REVIEW if short else Verdict.SAME
    if alignment.bit_error_rate <= REVIEW_BIT_ERROR_RATE:
        return Verdict.WEAK if short else Verdict.REVIEW
    if alignment.bit_error_rate <= WEAK_BIT_ERROR_RATE and not short:
        return Verdict.WEAK
    return None


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


def _sentence(alignment: Alignment, worst: float | None) -> str:
    likeness = "Same" if alignment.bit_error_rate <= SAME_BIT_ERROR_RATE else "Similar"
    sentence = (
        f"{likeness} sound over {alignment.overlap_s:.0f} s "
        f"(bit error rate {alignment.bit_error_rate:.2f}), {_shift(alignment.offset_s)}"
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


def _members(session: Session, index: RecordingIndex, items: Items, exclude: uuid.UUID | None) -> list[_Member]:
    """The best fingerprints of published recordings, best first.

    The index knows pending and deleted ones too, so more of its answers are looked up until enough published ones are
    among them.
    """
    hits = [fingerprint_id for fingerprint_id, _ in index.search(session, items, _MOST_HITS)]
    chosen: list[int] = []
    start = 0
    for end in _LOADED_AT_ONCE:
        asked = hits[start:end]
        if not asked:
            break
        query = (
            select(AudioFingerprint.id)
            .join(Candidate, Candidate.id == AudioFingerprint.candidate_id)
            .where(AudioFingerprint.id.in_(asked), Candidate.version_id.is_not(None))
        )
        if exclude is not None:
            query = query.where(Candidate.id != exclude)
        published = set(session.scalars(query))
        chosen += [hit for hit in asked if hit in published]
        if len(chosen) >= VERIFIED_CANDIDATES:
            break
        start = end
    by_id = _load(session, chosen[:VERIFIED_CANDIDATES])
    return [by_id[hit] for hit in chosen[:VERIFIED_CANDIDATES] if hit in by_id]


def _load(session: Session, fingerprint_ids: list[int]) -> dict[int, _Member]:
    rows = session.execute(
        select(
            AudioFingerprint.id,
            AudioFingerprint.candidate_id,
            Candidate.version_id,
            AudioFingerprint.duration_s,
            AudioFingerprint.items,
        )
        .join(Candidate, Candidate.id == AudioFingerprint.candidate_id)
        .where(AudioFingerprint.id.in_(fingerprint_ids), Candidate.version_id.is_not(None))
    )
    return {
        row.id: _Member(row.candidate_id, row.version_id, row.duration_s, items_from_bytes(row.items)) for row in rows
    }


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

    Args:
        items: uint32 chromaprint items, 1-D.
        duration_s: of the whole recording, seconds.
        exclude_candidate: whose own fingerprint is no target.

    Only fingerprints of candidates that became sources of a version are targets.
    """
    by_version: defaultdict[uuid.UUID, list[tuple[_Member, Aligned]]] = defaultdict(list)
    members = _members(session, index or SegmentIndex(), items, exclude_candidate)
    found = align_all(items, [member.items for member in members], WEAK_BIT_ERROR_RATE)
    for member, aligned in zip(members, found, strict=True):
        if aligned and verdict_of(aligned.alignment):
            by_version[member.version_id].append((member, aligned))
    proposals = [
        _proposal(session, items, duration_s, version_id, matches, exclude_candidate)
        for version_id, matches in by_version.items()
    ]
    return sorted(proposals, key=lambda proposal: (-proposal.probability, str(proposal.version_id)))


def waiting_copies(
    session: Session, items: Items, *, exclude_candidate: uuid.UUID, index: RecordingIndex | None = None
) -> list[uuid.UUID]:
    """Candidates in review that are the same recording without a doubt: no version stands for them yet."""
    if session.scalar(select(Candidate.id).where(Candidate.state == "in_review").limit(1)) is None:
        return []
    hits = [found for found, _ in (index or SegmentIndex()).search(session, items, _LOADED_AT_ONCE[0])]
    rows = session.execute(
        select(Candidate.id, AudioFingerprint.items)
        .join(AudioFingerprint, AudioFingerprint.candidate_id == Candidate.id)
        .where(AudioFingerprint.id.in_(hits), Candidate.state == "in_review", Candidate.id != exclude_candidate)
        .order_by(Candidate.id)
    )
    return [
        candidate_id
        for candidate_id, data in rows
        if (aligned := align(items, items_from_bytes(data))) and verdict_of(aligned.alignment) is Verdict.SAME
    ]


_RANK = {Verdict.SAME: 0, Verdict.REVIEW: 1, Verdict.WEAK: 2}


def _proposal(
    session: Session,
    items: Items,
    duration_s: float,
    version_id: uuid.UUID,
    matches: list[tuple[_Member, Aligned]],
    exclude: uuid.UUID | None,
) -> Proposal:
    def key(match: tuple[_Member, Aligned]) -> tuple[int, float]:
        verdict = verdict_of(match[1].alignment)
        return (_RANK[verdict] if verdict else 3, match[1].alignment.bit_error_rate)

    member, aligned = min(matches, key=key)
    verdict = verdict_of(aligned.alignment) or Verdict.WEAK
    worst: float | None = None
    if verdict is Verdict.SAME:
        known = {member.candidate_id} | ({exclude} if exclude else set())
        worst = disagreement(items, member.items, aligned, _others(session, version_id, known))
        if worst is not None:
            verdict = Verdict.REVIEW
    parts = _parts(aligned.alignment, duration_s, member.duration_s, worst)
    return Proposal(
        question=Question.RECORDING,
        probability=probability_of(parts),
        verdict=verdict,
        sentence=_sentence(aligned.alignment, worst),
        parts=parts,
        version_id=version_id,
        alignment=aligned.alignment,
        extra={"target_candidate_id": str(member.candidate_id)},
    )
