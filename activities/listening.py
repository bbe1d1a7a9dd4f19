"""Listens again to a recording that resembles nothing as it is: perhaps somebody changed its speed, or damaged it."""

from __future__ import annotations

import asyncio
import uuid

from activities.resources import Resources
from identity.melody import service as melody
from identity.recording.closer import Closer, OtherSpeed
from identity.recording.index import StaleIndexError
from identity.recording.service import is_missed, other_speed
from media import speeds
from media.types import AudioFeatures


async def like_melodies(
    resources: Resources, features: AudioFeatures, *, exclude: uuid.UUID | None = None
) -> melody.Found:
    """Recordings that follow the same melody. The caller holds a core (`Resources.analysis`)."""
    if features.chroma is None:
        return melody.Found()
    return await asyncio.to_thread(_like_melodies, resources, features, exclude)


async def listen_closer(
    resources: Resources, features: AudioFeatures, melodies: melody.Found, *, exclude: uuid.UUID | None = None
) -> Closer:
    """What is found while its sound is still here: the speed at which it resembles a published recording, and
    recordings that it may be a damaged copy of; neither where it is known as it is, or no melody is near.

    Costs a look-up for what is known, and about 0.2 s of CPU for what is not.
    """
    timbre = features.chroma.timbre if features.chroma is not None else None
    if not melodies.may_be_altered:
        return Closer(timbre)
    try:
        if not await asyncio.to_thread(_missed, resources, exclude, features):
            return Closer(timbre)
        async with resources.analysis:
            return Closer(timbre, await asyncio.to_thread(_find, resources, exclude, features), melodies.near)
    except StaleIndexError:
        # Identity will wait for the index; the download should not be done again for it.
        return Closer(timbre)


def _like_melodies(resources: Resources, features: AudioFeatures, exclude: uuid.UUID | None) -> melody.Found:
    assert features.chroma is not None
    with resources.database.transaction() as session:
        return melody.find(session, features.chroma.views, exclude=exclude)


def _missed(resources: Resources, exclude: uuid.UUID | None, features: AudioFeatures) -> bool:
    with resources.database.transaction() as session:
        return is_missed(session, features.fingerprint, exclude_candidate=exclude)


def _find(resources: Resources, exclude: uuid.UUID | None, features: AudioFeatures) -> OtherSpeed | None:
    start_s = speeds.start_s(features.pcm)
    tried = [OtherSpeed(speed, items, start_s) for speed, items in speeds.undone(features.pcm)]
    with resources.database.transaction() as session:
        return other_speed(session, tried, exclude_candidate=exclude)
