"""What AcoustID and MusicBrainz know of a candidate's audio, recorded as observations.

Evidence only: a service that is away, slow or wrong never holds up or fails a candidate.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete

from activities.resources import Resources
from catalog.models import Candidate, Observation
from catalog.repositories import service_answers
from crawlers.errors import FetchError
from crawlers.music_services import MusicServices
from crawlers.ports import NotNow
from media.compressed import compress
from media.types import AudioFeatures

KINDS = ("acoustid", "musicbrainz", "enrichment_failed")
MIN_SCORE = 0.5
"""AcoustID's own score below which it is rather another recording."""
MAX_RECORDINGS = 3
"""MusicBrainz recordings that are looked at of one candidate: a second each."""

logger = logging.getLogger(__name__)


async def enrich(resources: Resources, candidate_id: uuid.UUID, features: AudioFeatures) -> None:
    """Asks the services that are switched on and records what they say. Raises nothing but cancellation."""
    services = resources.services
    if services is None or not (services.knows_sounds or services.knows_recordings):
        return
    found: list[tuple[str, dict[str, Any]]] = []
    try:
        await _ask(resources, services, candidate_id, features, found)
    except (FetchError, NotNow) as error:
        failure = error.failure.value if isinstance(error, FetchError) else error.reason
        found.append(("enrichment_failed", {"failure": failure, "detail": str(error)[:300]}))
        logger.info("candidate %s could not be looked up: %s", candidate_id, error)
    await asyncio.to_thread(_record, resources, candidate_id, found)


async def _ask(
    resources: Resources,
    services: MusicServices,
    candidate_id: uuid.UUID,
    features: AudioFeatures,
    found: list[tuple[str, dict[str, Any]]],
) -> None:
    recordings = await asyncio.to_thread(_named_recording, resources, candidate_id)
    if services.knows_sounds:
        fingerprint, duration_s = compress(features.fingerprint), features.info.duration_s
        key = hashlib.blake2b(f"{round(duration_s)} {fingerprint}".encode(), digest_size=16).hexdigest()

        async def look_up() -> dict[str, Any]:
            return {"hits": [asdict(hit) for hit in await services.look_up(fingerprint, duration_s)]}

        answer = await _remembered(resources, "acoustid", key, look_up)
        hits = [hit for hit in answer["hits"] if hit["score"] >= MIN_SCORE]
        found += [("acoustid", hit) for hit in hits]
        recordings += [each for hit in hits for each in hit["recordings"]]
    if services.knows_recordings:
        for mbid in list(dict.fromkeys(recordings))[:MAX_RECORDINGS]:

            async def recording(mbid: str = mbid) -> dict[str, Any]:
                return asdict(await services.recording(mbid))

            try:
                data = await _remembered(resources, "musicbrainz", mbid, recording)
            except ValueError:  # the page named something that is no MusicBrainz id
                continue
            found.append(("musicbrainz", {**data, "work_ids": [work["id"] for work in data["works"]]}))


async def _remembered(
    resources: Resources, service: str, key: str, ask: Callable[[], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    def read() -> dict[str, Any] | None:
        with resources.database.transaction() as session:
            return service_answers.get(session, service, key)

    def write(answer: dict[str, Any]) -> None:
        with resources.database.transaction() as session:
            service_answers.put(session, service, key, answer)

    if (known := await asyncio.to_thread(read)) is not None:
        return known
    answer = await ask()
    await asyncio.to_thread(write, answer)
    return answer


def _named_recording(resources: Resources, candidate_id: uuid.UUID) -> list[str]:
    """The MusicBrainz recording that the source itself names, if any."""
    with resources.database.transaction() as session:
        identifiers = session.get_one(Candidate, candidate_id).item.get("identifiers") or {}
        return [str(identifiers["musicbrainz_recording"])] if identifiers.get("musicbrainz_recording") else []


def _record(resources: Resources, candidate_id: uuid.UUID, found: list[tuple[str, dict[str, Any]]]) -> None:
    with resources.database.transaction() as session:
        session.execute(
            delete(Observation).where(Observation.candidate_id == candidate_id, Observation.kind.in_(KINDS))
        )
        session.add_all(Observation(candidate_id=candidate_id, kind=kind, data=data) for kind, data in found)
