"""AcoustID and MusicBrainz, played by a local server: asked politely and once, recorded as evidence, never obeyed."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from activities.enrichment import enrich
from activities.resources import Resources
from catalog.database import Database
from catalog.models import Candidate, MatchProposal, Observation, ReviewCase
from crawlers.errors import FailureClass, FetchError
from crawlers.music_services import MusicServices
from media.types import AudioFeatures, AudioInfo
from moderation import settlement
from tests.candidates import performance
from tests.crawlers.servers import Server, answer, serving
from tests.crawlers.test_download import RecordingBudget

ONE, TWO = "0b6d3c5e-7d1e-4a86-9f3c-6c9f0d4f6a01", "1b6d3c5e-7d1e-4a86-9f3c-6c9f0d4f6a02"
WORK = "2b6d3c5e-7d1e-4a86-9f3c-6c9f0d4f6a03"
TRACK = "9ff43b6a-4f16-427c-93c2-92307ca505e0"


def acoustid(*results: dict[str, Any]) -> bytes:
    return json.dumps({"status": "ok", "results": list(results)}).encode()


def musicbrainz(mbid: str, title: str) -> bytes:
    work = {
        "id": WORK,
        "title": "Калинка",
        "iswcs": ["T-000.000.001-0"],
        "relations": [{"type": "composer", "artist": {"id": ONE, "name": "Иван Ларионов"}}],
    }
    recording = {
        "id": mbid,
        "title": title,
        "length": 185_000,
        "isrcs": ["RUA010000001"],
        "artist-credit": [{"name": "Хор Примера", "joinphrase": "", "artist": {"id": TWO, "name": "Хор Примера"}}],
        "relations": [{"type": "performance", "attributes": ["live"], "work": work}],
    }
    return json.dumps(recording).encode()


HIT = {"id": TRACK, "score": 0.93, "recordings": [{"id": ONE}]}


@pytest.fixture
def server() -> Iterator[Server]:
    routes = {
        "/v2/lookup": answer(body=acoustid(HIT, {"id": "poor", "score": 0.2}, {"nothing": 1}, "broken")),
        f"/ws/2/recording/{ONE}": answer(body=musicbrainz(ONE, "Калинка"), content_type="application/json"),
        f"/ws/2/recording/{TWO}": answer(body=musicbrainz(TWO, "Kalinka (live)"), content_type="application/json"),
    }
    with serving(routes) as found:
        yield found


def services(server: Server, budget: RecordingBudget, **options: Any) -> MusicServices:
    options = {"acoustid_key": "SECRETKEY", "musicbrainz": True, **options}
    return MusicServices(
        budget,
        user_agent="VersionsBot/test (someone@example.org)",
        acoustid_url=server.url("/v2/"),
        musicbrainz_url=server.url("/ws/2/"),
        **options,
    )


def features(seed: int = 1) -> AudioFeatures:
    return AudioFeatures(AudioInfo(185.0, "mp3", 44100, 2), performance(seed), [0.5], -12.0)


def resources(database: Database, tmp_path: Path, asked: MusicServices | None) -> Resources:
    unused: Any = None
    return Resources(database=database, objects=unused, budget=unused, temporary=tmp_path, services=asked)


def seen(database: Database, candidate_id: uuid.UUID) -> list[tuple[str, dict[str, Any]]]:
    with database.transaction() as session:
        rows = session.scalars(
            select(Observation).where(Observation.candidate_id == candidate_id).order_by(Observation.id)
        )
        return [(row.kind, row.data) for row in rows]


@pytest.fixture
def candidate(database: Database, add: Callable[..., Candidate]) -> uuid.UUID:
    with database.transaction() as session:
        return add(session, "a", items=performance(1)).id


async def test_what_they_know_is_recorded_once_and_asked_once(
    database: Database, candidate: uuid.UUID, server: Server, tmp_path: Path
) -> None:
    budget = RecordingBudget()
    what = resources(database, tmp_path, services(server, budget))
    for _ in range(2):
        await enrich(what, candidate, features())
        observations = seen(database, candidate)
        assert [kind for kind, _ in observations] == ["acoustid", "musicbrainz"]
        assert observations[0][1] == {"track_id": TRACK, "score": 0.93, "recordings": [ONE]}
        known = observations[1][1]
        assert (known["title"], known["artists"], known["length_s"]) == ("Калинка", ["Хор Примера"], 185.0)
        assert known["isrcs"] == ["RUA010000001"]
        assert known["works"][0]["credits"] == [["Иван Ларионов", "composer"]]
        assert known["work_ids"] == [WORK]
        # The second time the kept answers serve.
        assert [path.partition("?")[0] for path, _ in server.requests] == ["/v2/lookup", f"/ws/2/recording/{ONE}"]
    assert budget.acquired == [server.host] * 2
    assert "someone@example.org" in server.requests[1][1]["user-agent"]


async def test_off_by_default_and_each_alone(
    database: Database, candidate: uuid.UUID, server: Server, tmp_path: Path
) -> None:
    for asked in (None, services(server, RecordingBudget(), acoustid_key=None, musicbrainz=False)):
        await enrich(resources(database, tmp_path, asked), candidate, features())
    assert not server.requests
    alone = services(server, RecordingBudget(), musicbrainz=False)
    await enrich(resources(database, tmp_path, alone), candidate, features())
    assert [kind for kind, _ in seen(database, candidate)] == ["acoustid"]


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (b"{}", "broken_markup"),
        (b"<html>", "connection"),
        (json.dumps({"status": "error", "error": {"code": 4, "message": "invalid API key"}}).encode(), "auth_required"),
    ],
)
async def test_a_service_that_fails_is_noted_and_no_more(
    database: Database, candidate: uuid.UUID, tmp_path: Path, body: bytes, failure: str
) -> None:
    with serving({"/v2/lookup": answer(body=body)}) as server:
        await enrich(resources(database, tmp_path, services(server, RecordingBudget())), candidate, features())
    ((kind, data),) = seen(database, candidate)
    assert (kind, data["failure"]) == ("enrichment_failed", failure)
    assert "SECRETKEY" not in str(data)


async def test_musicbrainz_refuses_and_redirects_elsewhere(tmp_path: Path) -> None:
    with serving({}) as elsewhere:
        routes = {
            f"/ws/2/recording/{ONE}": answer(503, retry_after="7"),
            f"/ws/2/recording/{TWO}": answer(302, location=elsewhere.url("/")),
        }
        with serving(routes) as server:
            asked = services(server, RecordingBudget())
            with pytest.raises(FetchError) as error:
                await asked.recording(ONE)
            assert error.value.retry_after_s == 7
            with pytest.raises(FetchError) as error:
                await asked.recording(TWO)
            assert error.value.failure is FailureClass.ADDRESS_BLOCKED
            with pytest.raises(ValueError, match="no MusicBrainz id"):
                await asked.recording("../../etc")
        assert not elsewhere.requests


async def test_one_work_is_a_proposal_for_a_moderator_and_no_merge(
    database: Database, add: Callable[..., Candidate], server: Server, tmp_path: Path
) -> None:
    """Two titles that names do not link, with the same work and the same track by the services' word."""
    what = resources(database, tmp_path, services(server, RecordingBudget()))

    def settle(candidate_id: uuid.UUID) -> settlement.Settled:
        with database.transaction() as session:
            return settlement.settle(session, candidate_id)

    with database.transaction() as session:
        known = add(session, "known", title="Калинка", items=performance(1)).id
        other = add(session, "other", title="Вдоль по улице", composer=None, items=performance(2)).id
    await enrich(what, known, features(1))
    await enrich(what, other, features(2))
    first = await asyncio.to_thread(settle, known)
    assert first.state == "published"
    second = await asyncio.to_thread(settle, other)
    assert second.state == "in_review", "evidence of a service is a question, not an answer"
    with database.transaction() as session:
        proposals = session.scalars(select(MatchProposal).where(MatchProposal.candidate_id == other)).all()
        assert session.scalars(select(ReviewCase.candidate_id)).one() == other
    by_question = {proposal.question: proposal for proposal in proposals}
    assert by_question["song"].song_id == first.song_id
    assert by_question["song"].sentence == "MusicBrainz: both are performances of «Калинка»"
    assert by_question["recording"].version_id == first.version_id
    assert f"AcoustID knows both as track {TRACK} (0.93, 0.93)" in by_question["recording"].sentence
    assert {proposal.verdict for proposal in proposals} == {"review"}
