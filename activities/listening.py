"""Listens again to a recording that resembles nothing as it is: perhaps somebody changed its speed."""

from __future__ import annotations

import asyncio
import uuid

from activities.resources import Resources
from identity.recording.index import StaleIndexError
from identity.recording.service import OtherSpeed, is_missed, other_speed
from media import speeds
from media.types import AudioFeatures


async def listen_again(resources: Resources, candidate_id: uuid.UUID, features: AudioFeatures) -> OtherSpeed | None:
    """The speed at which the recording resembles a published one, found while its sound is still here; None: none does,
    or it is known as it is.

    Costs a look-up for what is known, and about 0.2 s of CPU for what is not.
    """
    try:
        if not await asyncio.to_thread(_missed, resources, candidate_id, features):
            return None
        async with resources.analysis:
            return await asyncio.to_thread(_find, resources, candidate_id, features)
    except StaleIndexError:
        # Identity will wait for the index; the download should not be done again for it.
        return None


def _missed(resources: Resources, candidate_id: uuid.UUID, features: AudioFeatures) -> bool:
    with resources.database.transaction() as session:
        return is_missed(session, features.fingerprint, exclude_candidate=candidate_id)


def _find(resources: Resources, candidate_id: uuid.UUID, features: AudioFeatures) -> OtherSpeed | None:
    start_s = speeds.start_s(features.pcm)
    tried = [OtherSpeed(speed, items, start_s) for speed, items in speeds.undone(features.pcm)]
    with resources.database.transaction() as session:
        return other_speed(session, tried, exclude_candidate=candidate_id)
