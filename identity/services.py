"""What music services say of a recording, as proposals: for a moderator, never for automation."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from catalog.models import Candidate, Observation, Version
from identity.evidence import Part, Proposal, Question, Verdict

SAME_TRACK = 0.6
"""Both have the same AcoustID track: the service's own match, at thresholds of its own."""
SAME_RECORDING = 0.6
SAME_WORK = 0.6
"""Both are performances of one work, by the word of MusicBrainz and as far as AcoustID found the right recording."""
MAX_FOUND = 20

KINDS = ("acoustid", "musicbrainz")
"""Of the observations."""


def propose(session: Session, candidate_id: uuid.UUID) -> list[Proposal]:
    """Versions and songs whose sources the services know as the same track, recording or work. All for ``review``."""
    mine = session.scalars(
        select(Observation)
        .where(Observation.candidate_id == candidate_id, Observation.kind.in_(KINDS))
        .order_by(Observation.id)
    ).all()
    if not mine:
        return []
    wanted = []
    for seen in mine:
        if seen.kind == "acoustid":
            wanted.append({"track_id": seen.data["track_id"]})
        else:
            wanted.append({"id": seen.data["id"]})
            wanted += [{"work_ids": [work]} for work in seen.data["work_ids"]]
    others = session.execute(
        select(Observation.kind, Observation.data, Version.id, Version.song_id)
        .join(Candidate, Candidate.id == Observation.candidate_id)
        .join(Version, Version.id == Candidate.version_id)
        .where(Observation.kind.in_(KINDS), or_(*(Observation.data.contains(w) for w in wanted)))
        .where(Candidate.id != candidate_id, Version.deleted_at.is_(None))
        .order_by(Observation.id)
        .limit(MAX_FOUND)
    ).all()
    found: dict[tuple[Question, uuid.UUID], Proposal] = {}
    for kind, data, version_id, song_id in others:
        for seen in mine:
            if seen.kind != kind:
                continue
            if kind == "acoustid" and data["track_id"] == seen.data["track_id"]:
                scores = f"{seen.data['score']:.2f}, {data['score']:.2f}"
                note = f"AcoustID knows both as track {data['track_id']} ({scores})"
                _add(found, Question.RECORDING, version_id, "acoustid_track", SAME_TRACK, note)
            elif kind == "musicbrainz" and data["id"] == seen.data["id"]:
                note = f"MusicBrainz recording «{data['title']}» is the same"
                _add(found, Question.RECORDING, version_id, "musicbrainz_recording", SAME_RECORDING, note)
            shared = set(data.get("work_ids", ())) & set(seen.data.get("work_ids", ()))
            for work in (work for work in data.get("works", ()) if work["id"] in shared):
                note = f"MusicBrainz: both are performances of «{work['title']}»"
                _add(found, Question.SONG, song_id, "musicbrainz_work", SAME_WORK, note)
    return list(found.values())


def _add(
    found: dict[tuple[Question, uuid.UUID], Proposal],
    question: Question,
    target: uuid.UUID,
    name: str,
    probability: float,
    note: str,
) -> None:
    place = (question, target)
    if place not in found:
        found[place] = Proposal(
            question=question,
            probability=probability,
            verdict=Verdict.REVIEW,
            sentence=note,
            parts=(Part(name, 0.0, 1.0, note),),
            version_id=target if question is Question.RECORDING else None,
            song_id=target if question is Question.SONG else None,
        )


def beside(proposals: Sequence[Proposal], said: Sequence[Proposal]) -> list[Proposal]:
    """The proposals, with what the services say of the same targets as further parts, and of other targets at the end.

    Neither verdict nor probability of a proposal changes by it.
    """
    rest = {(each.question, each.version_id, each.song_id): each for each in said}
    result = []
    for proposal in proposals:
        also = rest.pop((proposal.question, proposal.version_id, proposal.song_id), None)
        if also is not None:
            parts = tuple(replace(part, weight=0.0) for part in also.parts)
            proposal = replace(proposal, parts=proposal.parts + parts, sentence=f"{proposal.sentence}; {also.sentence}")
        result.append(proposal)
    return result + list(rest.values())
