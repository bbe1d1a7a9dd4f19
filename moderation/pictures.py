"""The picture of a proposal: two recordings aligned, or two melodies against each other."""

from __future__ import annotations

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.models import AudioMelody, Candidate
from identity.evidence import Alignment
from identity.melody import service as melody
from identity.melody.picture import melody_svg
from identity.recording.picture import alignment_svg
from moderation import service
from moderation.errors import NoPictureError


def proposal_picture(session: Session, case_id: uuid.UUID, number: int) -> str:
    """SVG of the case's proposal of that number (from 1, in the order in which a case shows them).

    Raises CaseNotFoundError, NoPictureError.
    """
    case = service.get_case(session, case_id)
    if not 1 <= number <= len(case.proposals):
        raise NoPictureError(f"number: the case has {len(case.proposals)} proposals, there is no {number}")
    proposal = case.proposals[number - 1]
    ours = session.get_one(Candidate, case.candidate_id)
    title = str(case.item.get("title", "") or "Candidate")
    if found := proposal.evidence.get("melody"):
        heard = {
            row.candidate_id: melody.views_of(row)
            for row in session.scalars(
                select(AudioMelody).where(
                    AudioMelody.candidate_id.in_([ours.id, uuid.UUID(str(found["candidate_id"]))])
                )
            )
        }
        if len(heard) == 2:
            return melody_svg(
                heard[ours.id],
                heard[uuid.UUID(str(found["candidate_id"]))],
                factor=float(found["factor"]),
                semitones=int(found["semitones"]),
                title=f"{title} against {proposal.target_title}",
            )
    theirs_id = proposal.evidence.get("target_candidate_id")
    theirs = session.get(Candidate, uuid.UUID(str(theirs_id))) if theirs_id else None
    if (known := proposal.evidence.get("alignment")) and theirs is not None:
        return alignment_svg(
            Alignment(**{**known, "profile": tuple(known.get("profile", ()))}),
            ours.waveform or [],
            theirs.waveform or [],
            candidate_duration_s=ours.duration_s or 0.0,
            target_duration_s=theirs.duration_s or 0.0,
            candidate_title=title,
            target_title=proposal.target_title,
        )
    raise NoPictureError(f"proposal {number} rests on words, there is nothing to draw")
