"""What a closer look found at a recording that resembles nothing as it is. It is kept with its candidate."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from catalog.models import AudioFingerprint, Observation
from identity.recording.items import Items, fingerprint_bytes, items_from_bytes
from identity.recording.timbre import timbre_from_bytes
from media.types import Frames

SPEED_OBSERVATION = "speed"
"""Kind of the `Observation` that keeps a candidate's fingerprint at the speed at which it resembles a recording."""

NEAR_OBSERVATION = "near"
"""Kind of the `Observation` that names recordings of which it may be a damaged copy."""

KINDS = (SPEED_OBSERVATION, NEAR_OBSERVATION)


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
class Closer:
    """What is known of a recording besides its fingerprint.

    Attributes:
        timbre: how it sounds; None where that was not heard.
        speed: at which it resembles a published recording.
        near: candidates whose melody is so near that it may be a damaged copy of them, nearest first.
    """

    timbre: Frames | None = None
    speed: OtherSpeed | None = None
    near: tuple[uuid.UUID, ...] = ()


def record(session: Session, candidate_id: uuid.UUID, closer: Closer | None, *, first: bool = False) -> None:
    """Keeps what was found, in place of what was found before. The timbre stands beside the fingerprint.

    ``first``: nothing was found before.
    """
    if not first:
        before = delete(Observation).where(Observation.candidate_id == candidate_id, Observation.kind.in_(KINDS))
        session.execute(before)
    if closer is not None and closer.speed is not None:
        session.add(Observation(candidate_id=candidate_id, kind=SPEED_OBSERVATION, data=closer.speed.to_json()))
    if closer is not None and closer.near:
        data = {"candidates": [str(each) for each in closer.near]}
        session.add(Observation(candidate_id=candidate_id, kind=NEAR_OBSERVATION, data=data))


def recall(session: Session, candidate_id: uuid.UUID) -> Closer:
    """Inverse of `record`, with the timbre."""
    timbre = session.scalar(select(AudioFingerprint.timbre).where(AudioFingerprint.candidate_id == candidate_id))
    rows = session.execute(
        select(Observation.kind, Observation.data)
        .where(Observation.candidate_id == candidate_id)
        .where(Observation.kind.in_(KINDS))
        .order_by(Observation.id)
    )
    known = {kind: data for kind, data in rows}  # noqa: C416 - a row is no pair to mypy
    return Closer(
        None if timbre is None else timbre_from_bytes(timbre),
        OtherSpeed.from_json(known[SPEED_OBSERVATION]) if SPEED_OBSERVATION in known else None,
        tuple(uuid.UUID(each) for each in known[NEAR_OBSERVATION]["candidates"]) if NEAR_OBSERVATION in known else (),
    )
