"""How an answer is explained: parts that add up, a verdict, a sentence."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Question(StrEnum):
    RECORDING = "recording"
    SONG = "song"


class Verdict(StrEnum):
    """``same``: sure enough for automation; ``review``: a moderator should look; ``weak``: evidence only."""

    SAME = "same"
    REVIEW = "review"
    WEAK = "weak"


@dataclass(frozen=True, slots=True)
class Part:
    """One item of a distance. ``distance``: 0 (agrees) to 1 (contradicts); ``note``: for people."""

    name: str
    distance: float
    weight: float
    note: str


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where two recordings agree.

    Attributes:
        offset_s: the candidate's time 0 lies at this time of the target (negative: before its start).
        overlap_s: seconds compared.
        bit_error_rate: share of differing bits over the overlap, 0..1.
        distinct_share: share of distinct, non-silent items in the overlap.
        profile: bit error rate of successive windows of about 2 s, for the picture.
    """

    offset_s: float
    overlap_s: float
    bit_error_rate: float
    distinct_share: float
    profile: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """A possible identity. Exactly one of ``version_id`` (same recording) and ``song_id`` (same song) is set."""

    question: Question
    probability: float
    verdict: Verdict
    sentence: str
    parts: tuple[Part, ...] = ()
    version_id: uuid.UUID | None = None
    song_id: uuid.UUID | None = None
    alignment: Alignment | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def evidence(self) -> dict[str, Any]:
        """JSON for the record."""
        result: dict[str, Any] = {"parts": [asdict(part) for part in self.parts], **self.extra}
        if self.alignment:
            result["alignment"] = asdict(self.alignment)
        return result


def content_words(kind: str, sentence: str) -> str:
    """What a recording seems to be instead of music (`media.types.Content`), for people: "speech, not music: …"."""
    return f"{kind}, not music: {sentence}"
