"""A second look at recordings that sound alike: does a title say that one of them has no voice?

Chromaprint hears harmony and hardly timbre. An instrumental or karaoke mix that keeps the timing of its original
reaches bit error rates down to `SAME_BIT_ERROR_RATE`, where a heavily encoded copy lies as well. What their titles say
tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.models import Version
from identity.evidence import Part, Proposal, Question, Verdict
from identity.thresholds import EXACT_BIT_ERROR_RATE

WITHOUT_VOICE = frozenset({"instrumental", "karaoke"})
"""Of `catalog.models.VERSION_KINDS`."""


def second_look(session: Session, proposals: Sequence[Proposal], kind: str | None) -> list[Proposal]:
    """The proposals; where titles contradict "the same recording", a moderator is asked and told why.

    An exact copy stays one: there a title is wrong. ``kind``: of the asking item, as its source or title says.
    """
    asked = [proposal.version_id for proposal in proposals if _doubtful(proposal)]
    query = select(Version.id, Version.kind).where(Version.id.in_(asked))
    kinds = {row.id: row.kind for row in session.execute(query)} if asked else {}
    result = []
    for proposal in proposals:
        theirs = kinds.get(proposal.version_id) if proposal.version_id else None
        if _doubtful(proposal) and (kind in WITHOUT_VOICE) != (theirs in WITHOUT_VOICE):
            proposal = _questioned(proposal, kind, theirs)
        result.append(proposal)
    return result


def _doubtful(proposal: Proposal) -> bool:
    return (
        proposal.question is Question.RECORDING
        and proposal.version_id is not None
        and proposal.alignment is not None
        and proposal.alignment.bit_error_rate > EXACT_BIT_ERROR_RATE
    )


def _questioned(proposal: Proposal, ours: str | None, theirs: str | None) -> Proposal:
    who, what = ("this one", ours) if ours in WITHOUT_VOICE else ("the other", theirs)
    note = f"{who} is called {what}, and mixes of one recording sound alike"
    return replace(
        proposal,
        verdict=Verdict.REVIEW if proposal.verdict is Verdict.SAME else proposal.verdict,
        sentence=f"{proposal.sentence}; but {note}",
        parts=(*proposal.parts, Part("voice", 1.0, 0.25, note)),
    )
