"""Listens again to a recording that resembles nothing as it is: perhaps somebody changed its speed, or damaged it.

Whoever calls holds a core (`Resources.analysis`) from the decoding on: who let go of it in between would wait for all
that came after, and all of a batch would end at the same time, with nobody left to decode while they are settled.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy.orm import Session

from catalog.database import Database
from identity.melody import service as melody
from identity.melody.thresholds import COMPARED
from identity.recording.closer import Closer, OtherSpeed
from identity.recording.index import StaleIndexError
from identity.recording.service import alike_by_timbre, is_missed, other_speed
from media import speeds
from media.types import AudioFeatures, Frames


def beside_others(
    database: Database, features: AudioFeatures, *, exclude: uuid.UUID | None = None
) -> tuple[melody.Found, Closer]:
    """`like_melodies` and `listen_closer`."""
    with database.transaction() as session:
        melodies = like_melodies(session, features, exclude=exclude)
        return melodies, listen_closer(session, features, melodies, exclude=exclude)


def like_melodies(session: Session, features: AudioFeatures, *, exclude: uuid.UUID | None = None) -> melody.Found:
    """Recordings that follow the same melody."""
    return melody.Found() if features.chroma is None else melody.find(session, features.chroma.views, exclude=exclude)


def listen_closer(
    session: Session, features: AudioFeatures, melodies: melody.Found, *, exclude: uuid.UUID | None = None
) -> Closer:
    """What is found while its sound is still here: the speed at which it resembles a published recording, and
    recordings that it may be a damaged copy of; neither where it is known as it is, or no melody is near.

    Melodies say what it may be, however little alike: a copy in between two keys has half of its likeness left. Timbre
    says whether it is, at any tempo. Only then, or where timbre cannot say, twelve speeds are tried.

    Costs a look-up for what is known, about 20 ms of CPU for what is not, and 0.2 s more for what sounds alike.
    """
    timbre = features.chroma.timbre if features.chroma is not None else None
    try:
        # Copies as they are, which are most, are told by the fingerprint for less than by timbre.
        if melodies.may_be_altered and not is_missed(session, features.fingerprint, exclude_candidate=exclude):
            return Closer(timbre)
        alike, decided = _alike(session, timbre, melodies)
        near = (*alike, *(() if decided else (each for each in melodies.near if each not in alike)))
        if not alike and (decided or not melodies.may_be_altered):
            return Closer(timbre)
        if not melodies.may_be_altered and not is_missed(session, features.fingerprint, exclude_candidate=exclude):
            return Closer(timbre)
        return Closer(timbre, _find(session, exclude, features, alike), near)
    except StaleIndexError:
        # Identity will wait for the index; the download should not be done again for it.
        return Closer(timbre)


def _alike(session: Session, timbre: Frames | None, melodies: melody.Found) -> tuple[list[uuid.UUID], bool]:
    """Whose timbre agrees; and whether that leaves nothing to be asked: the nearest by melody were all compared, and
    they are not so many that others as near were left out."""
    if timbre is None or not melodies.compared:
        return [], melodies.likeness is not None
    alike, known = alike_by_timbre(session, timbre, melodies.compared)
    return alike, len(melodies.near) < COMPARED and known.issuperset(melodies.near)


def _find(
    session: Session, exclude: uuid.UUID | None, features: AudioFeatures, alike: Sequence[uuid.UUID]
) -> OtherSpeed | None:
    def again(speed: float, shift: float) -> OtherSpeed:
        return _other(speeds.undone_at(features.pcm, speed, shift))

    tried = [_other(each) for each in speeds.undone(features.pcm)]
    return other_speed(session, tried, again, near=alike, exclude_candidate=exclude)


def _other(undone: speeds.Undone) -> OtherSpeed:
    return OtherSpeed(undone.speed, undone.items, undone.start_s)
