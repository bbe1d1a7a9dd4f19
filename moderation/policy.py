"""What automation may decide, from a campaign's `approval` and the evidence. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from catalog.publishing import Target
from identity.evidence import Proposal, Question, Verdict

Mode = Literal["auto", "review"]


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """The `approval` part of a campaign.

    ``recording``: joining the same recording; ``song``: a new version of a known song; ``new_song``: a song that the
    catalog does not have; ``require``: what must be known of a candidate (`title, performer, duration`).
    """

    recording: Mode = "auto"
    song: Mode = "auto"
    new_song: Mode = "auto"
    require: tuple[str, ...] = ("title", "performer", "duration")
    remind_after: timedelta = timedelta(days=2)
    expire_after: timedelta | None = None

    @classmethod
    def from_spec(cls, approval: Mapping[str, Any] | None) -> ApprovalPolicy:
        """From the checked campaign's JSON; durations in seconds."""
        spec = dict(approval or {})
        values: dict[str, Any] = {key: spec[key] for key in ("recording", "song", "new_song") if key in spec}
        if "require" in spec:
            values["require"] = tuple(spec["require"])
        for key in ("remind_after", "expire_after"):
            if spec.get(key) is not None:
                values[key] = timedelta(seconds=float(spec[key]))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Ruling:
    """``automatic``: carry ``target`` out; else open a case with ``reason`` and suggest it."""

    automatic: bool
    target: Target
    reason: str
    detail: str


def decide(policy: ApprovalPolicy, missing: Sequence[str], proposals: Sequence[Proposal]) -> Ruling:
    """What happens with a candidate. ``missing``: what is not known of it; ``proposals``: best first per question."""
    recordings = [p for p in proposals if p.question is Question.RECORDING]
    songs = [p for p in proposals if p.question is Question.SONG]
    same = [p for p in recordings if p.verdict is Verdict.SAME]
    suggestion = suggest(proposals)

    if len(same) == 1:
        if policy.recording == "auto":
            return Ruling(True, suggestion, "same_recording", same[0].sentence)
        return Ruling(False, suggestion, "policy", "The campaign wants every joined recording to be reviewed.")
    if same:
        return Ruling(False, suggestion, "several_recordings", "It is the same recording as more than one version.")

    lacking = [name for name in policy.require if name in missing]
    if lacking:
        return Ruling(False, suggestion, "incomplete_metadata", f"Not known: {', '.join(lacking)}.")
    similar = [p for p in recordings if p.verdict is Verdict.REVIEW]
    if similar:
        return Ruling(False, suggestion, "similar_recording", similar[0].sentence)

    same_songs = [p for p in songs if p.verdict is Verdict.SAME]
    if len(same_songs) == 1:
        if policy.song == "auto":
            return Ruling(True, suggestion, "same_song", same_songs[0].sentence)
        return Ruling(False, suggestion, "policy", "The campaign wants every linked song to be reviewed.")
    if same_songs:
        return Ruling(False, suggestion, "several_songs", "It may be a version of more than one song.")
    possible = [p for p in songs if p.verdict is Verdict.REVIEW]
    if possible:
        return Ruling(False, suggestion, "possible_song", possible[0].sentence)
    if policy.new_song == "auto":
        return Ruling(True, suggestion, "new_song", "Nothing like it is in the catalog.")
    return Ruling(False, suggestion, "policy", "The campaign wants every new song to be reviewed.")


def suggest(proposals: Sequence[Proposal]) -> Target:
    """What approval of a case would do: the surest reading of the evidence that joins nothing wrongly."""
    recordings = [p for p in proposals if p.question is Question.RECORDING]
    songs = [p for p in proposals if p.question is Question.SONG]
    for proposal in recordings:
        if proposal.verdict is Verdict.SAME:
            return Target("attach", version_id=proposal.version_id)
    for verdict in (Verdict.SAME, Verdict.REVIEW):
        for proposal in songs:
            if proposal.verdict is verdict:
                return Target("new_version", song_id=proposal.song_id)
    for proposal in recordings:
        if proposal.verdict is Verdict.REVIEW:
            return Target("attach", version_id=proposal.version_id)
    return Target("new_song")
