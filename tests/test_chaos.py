"""Nothing is lost and nothing doubled when parts of the stack are killed, or Temporal's file goes away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select
from temporalio.client import WorkflowExecutionStatus

from catalog.campaigns.spec import CampaignSpec
from catalog.database import Database
from catalog.models import Candidate, CrawlRun, ReviewCase, Song, VersionSource
from examples import chaos, snapshot
from examples.demo import newest_event
from examples.expected import EXPECTED, Expected, key_of
from examples.sites.library import library_key, prepare
from examples.sites.world import PESENNIK, offers_of
from examples.snapshot import Snapshot
from moderation import service
from runtime.connections import Connections
from runtime.embedded.parts import NAMES
from runtime.embedded.supervisor import Supervisor
from runtime.temporal import TemporalWorkflowClient, connect
from tests.runtime.conftest import wait_for
from workflows.names import ingest_workflow_id

# A machine that is busy with other tests as well may need several times what an idle one does.
pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.xdist_group("stack"), pytest.mark.timeout(500)]

ONLY = (PESENNIK,)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of the sample sites with the recordings of the first."""
    data = tmp_path_factory.mktemp("sites")
    offers = [offer for offer in offers_of(PESENNIK) if not offer.failure]
    prepare(data, offers).rename(data / f"audio-{library_key()}")
    return data


def _on_first_site(expected: Expected) -> Expected:
    """What is expected where only the first site is crawled."""
    songs = {}
    for slug, versions in expected.songs.items():
        mine = (frozenset(key for key in sources if key.startswith(f"{PESENNIK}:")) for sources in versions)
        if kept := frozenset(sources for sources in mine if sources):
            songs[slug] = kept
    return Expected(
        songs=songs,
        review=frozenset(key for key in expected.review if key.startswith(f"{PESENNIK}:")),
        failed={key: why for key, why in expected.failed.items() if key.startswith(f"{PESENNIK}:")},
        failures={PESENNIK: expected.failures[PESENNIK]},
        recovered={PESENNIK: expected.recovered[PESENNIK]},
    )


def _differences(expected: Expected, found: Snapshot, incidents: set[tuple[str, str, str]]) -> list[str]:
    return expected.differences(
        partition=found.partition, review=found.review, failed=found.failed, incidents=incidents
    )


def test_kills_lose_nothing_and_double_nothing(tmp_path: Path, sites: Path) -> None:
    expected = _on_first_site(EXPECTED)
    rng = random.Random(11)
    disturbed = chaos.trial(
        tmp_path / "data",
        sites,
        steps=chaos.plan(rng, len(NAMES)),
        rng=rng,
        work=2 * len(offers_of(PESENNIK)),
        delay_s=0.08,
        only=ONLY,
        expected=lambda found: found.partition == expected.partition,
        timeout_s=300,
    )
    assert _differences(expected, disturbed.snapshot, disturbed.incidents) == []
    assert disturbed.wrong == []
    assert disturbed.snapshot.unfinished == frozenset()
    assert {kill.part for kill in disturbed.kills} == set(NAMES)
    assert sum(disturbed.restarts.values()) >= len(NAMES) - 1  # one backend may have died alone
    assert disturbed.reads["200"]


def _reviewed(urls: dict[str, str]) -> CampaignSpec:
    """Further versions of a known song wait for a moderator."""
    spec = chaos.campaign(urls, delay_s=0.05, only=ONLY)
    return spec.model_copy(update={"approval": spec.approval.model_copy(update={"song": "review"})})


def _an_open_case(database: Database) -> uuid.UUID | None:
    with database.transaction() as session:
        return session.scalar(select(ReviewCase.id).where(ReviewCase.state == "open").limit(1))


def _still(database: Database) -> bool:
    """Nothing is published any more: what was decided is evidence for cases that settle a moment later."""
    before = newest_event(database)
    time.sleep(3)
    return newest_event(database) == before


def _settled(database: Database) -> bool:
    """The run is over, and each candidate is final or with a moderator."""
    with database.transaction() as session:
        states = set(session.scalars(select(CrawlRun.state)))
        decided = session.scalar(select(ReviewCase.id).where(ReviewCase.state == "decided").limit(1))
        return states == {"finished"} and decided is None and not snapshot.take(session).unfinished


def test_a_lost_temporal_file_loses_nothing(tmp_path: Path, sites: Path) -> None:
    data = tmp_path / "data"
    with chaos.sites_of(sites) as (_, urls):
        with chaos.stack_of(data) as stack:
            connections = stack.connections()
            campaign_id, _ = chaos.begin(connections, _reviewed(urls))
            with opened(connections.database_url) as database:
                wait_for(lambda: _an_open_case(database), 150)
        shutil.rmtree(data / "temporal")

        postgres_only = Supervisor(chaos.settings_of(data), only=["postgres"])
        with postgres_only, opened(postgres_only.connections().database_url) as database:
            case_id = _an_open_case(database)
            assert case_id is not None
            assert not _settled(database)
            with database.transaction() as session:
                case = service.decide(session, case_id, action="approve", actor="moderator")

        with chaos.stack_of(data) as stack, opened(stack.connections().database_url) as database:
            connections = stack.connections()
            wait_for(lambda: _settled(database) and _still(database), 200)
            chaos.sweep(connections, database)
            _assert_whole(database, connections, case.candidate_id)
            asyncio.run(_assert_scheduled(connections, str(campaign_id)))
            wait_for(lambda: not asyncio.run(_motionless(connections, _candidates_in_review(database))), 60)
            _assert_reads_without_temporal(stack, connections)


@contextlib.contextmanager
def opened(database_url: str) -> Iterator[Database]:
    database = Database(database_url, pool_size=2)
    try:
        yield database
    finally:
        database.dispose()


def _assert_whole(database: Database, connections: Connections, decided: uuid.UUID) -> None:
    with database.transaction() as session:
        feed = _feed(connections.api_url)
        assert chaos.contradictions(session, chaos.store_of(connections), feed) == []
        found = snapshot.take(session)
        published = {key for song in found.partition for version in song for key in version}
        offers = offers_of(PESENNIK)
        assert found.failed == {key_of(offer): offer.failure for offer in offers if offer.failure}
        assert published | found.review == {key_of(offer) for offer in offers if not offer.failure}
        assert not published & found.review
        assert session.get_one(Candidate, decided).state == "published"
        assert session.scalar(select(VersionSource.id).where(VersionSource.candidate_id == decided)) is not None
        assert found.songs == len(set(session.scalars(select(Song.title)))) == len(_on_first_site(EXPECTED).songs)


def _feed(api_url: str) -> list[int]:
    reader = chaos.FeedReader(lambda: api_url)
    reader.start()
    return reader.finish()


def _candidates_in_review(database: Database) -> list[str]:
    with database.transaction() as session:
        return [str(each) for each in session.scalars(select(Candidate.id).where(Candidate.state == "in_review"))]


async def _assert_scheduled(connections: Connections, campaign_id: str) -> None:
    client = await connect(connections.temporal_address, connections.temporal_namespace)
    assert await TemporalWorkflowClient(client).next_starts(campaign_id)


async def _motionless(connections: Connections, candidates: list[str]) -> set[str]:
    """Candidates in review whose workflow does not run."""
    client = await connect(connections.temporal_address, connections.temporal_namespace)
    assert candidates
    found = [await client.get_workflow_handle(ingest_workflow_id(each)).describe() for each in candidates]
    return {each.id for each in found if each.status is not WorkflowExecutionStatus.RUNNING}


def _assert_reads_without_temporal(stack: Supervisor, connections: Connections) -> None:
    """A Temporal that does not answer is told by /readyz and does not keep anyone from reading."""
    pid = stack.snapshot()["temporal"].pid
    assert pid is not None
    with httpx.Client(base_url=connections.api_url, timeout=15, trust_env=False) as client:
        assert client.get("/readyz").json()["status"] == "ready"
        os.kill(pid, signal.SIGSTOP)
        try:
            unready = client.get("/readyz")
            songs = client.get("/api/v1/songs")
        finally:
            os.kill(pid, signal.SIGCONT)
        assert unready.status_code == 503
        healthy = {name: part["healthy"] for name, part in unready.json()["parts"].items()}
        assert [name for name, well in healthy.items() if not well] == ["temporal"]
        assert songs.status_code == 200
        assert songs.json()["items"]


def test_the_plan_kills_every_part_in_every_round() -> None:
    steps = chaos.plan(random.Random(3), 15)
    parts = [part for part, _ in steps]
    assert [set(parts[at : at + 5]) for at in (0, 5, 10)] == [set(NAMES)] * 3
    assert {way for part, way in steps if part == "postgres"} == {"postmaster", "backend", "group"}
