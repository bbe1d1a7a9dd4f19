"""Dry runs and samples: what they tell is right, and nothing is changed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InternalError
from typer.testing import CliRunner

from activities import messages as m
from activities.ingest import IngestActivities
from catalog.campaigns import repository
from catalog.campaigns.plan import plan
from catalog.database import Database
from crawlers.ephemeral import EphemeralStore
from moderation.trial import read_only
from runtime.cli import _context, build_app
from runtime.settings import Settings
from runtime.trial import NoTrialError, dry_run, sample
from tests.incremental.conftest import World
from tests.incremental.site import Song, SongSite

TITLES = ("Katyusha", "Podmoskovnye vechera", "Kalinka", "Ochi chyornye", "Smuglyanka", "Dorogoi dlinnoyu")


@pytest.fixture
def few(site: SongSite) -> SongSite:
    site.songs = {number: Song(title) for number, title in enumerate(TITLES)}
    return site


def everything(database: Database) -> dict[str, list[Any]]:
    """All rows of all tables, but the budget's."""
    with database.transaction() as session:
        names = session.scalars(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1")
        ).all()
        return {
            name: sorted(map(str, session.execute(text(f'SELECT * FROM "{name}"')).all()))
            for name in names
            if not name.startswith("politeness")
        }


async def publish_all(world: World) -> None:
    run = await world.crawl()
    ingest = IngestActivities(world.resources)
    for row in world.rows("SELECT id FROM candidates WHERE crawl_run_id = :run ORDER BY id", run=run.id):
        assert ingest.settle(m.CandidateInput(str(row["id"]))).state == "published"


async def test_a_dry_run_says_what_a_run_would_do_and_changes_nothing(world: World, few: SongSite) -> None:
    await publish_all(world)
    few.songs[0].duration = "PT4M"
    few.songs[50] = Song("Выхожу один я на дорогу")
    few.songs[51] = Song("Katyusha", performer="Другой хор")
    few.songs[52] = Song("Выхожу один я на дорогу")
    few.songs[53] = Song("Без исполнителя", performer=None)
    few.songs[54] = Song("Kalinka")
    few.status = {2: 404}
    world.campaign["approval"] = {"recording": "auto", "song": "auto", "new_song": "auto", "require": ["performer"]}
    spec = world.spec()
    before, objects = everything(world.database), sorted(world.resources.objects.keys())
    (trial,) = await asyncio.to_thread(dry_run, world.database, Settings(), spec, 100)
    assert everything(world.database) == before
    assert sorted(world.resources.objects.keys()) == objects
    found = {each.url.rpartition("/")[2]: each for each in trial.findings}
    assert found["0"].kind == "changed"
    assert found["0"].fields == {"duration_s": (180.0, 240.0)}
    assert found["1"].kind == "unchanged"
    twins = sorted((found[number].kind, found[number].reason) for number in ("50", "52"))
    assert twins == [("new", "new_song"), ("review", "same_in_this_run")], "whichever came first"
    assert (found["51"].kind, found["51"].reason) == ("review", "possible_song")
    assert "song «Katyusha»" in found["51"].of
    assert (found["53"].reason, found["53"].detail) == ("incomplete_metadata", "Not known: performer.")
    assert (found["54"].kind, found["54"].reason) == ("review", "similar_recording")
    assert trial.failures == {"not_found": 1}
    assert trial.counts == {"changed": 1, "new": 1, "review": 4, "unchanged": 4}


async def test_it_stops_where_it_is_told(world: World, few: SongSite) -> None:
    (trial,) = await asyncio.to_thread(dry_run, world.database, Settings(), world.spec(), 3)
    assert len(trial.findings) == 2
    assert trial.left == 4
    assert trial.known == 7


async def test_a_sample_makes_a_plan_and_tells_the_difference_to_the_last_run(world: World, few: SongSite) -> None:
    await world.crawl()
    for number in range(50, 60):
        few.songs[number] = Song(f"Neu {number}")
    spec = world.spec()
    before = everything(world.database)
    samples = await asyncio.to_thread(sample, world.database, Settings(), spec, 4)
    assert everything(world.database) == before
    with world.database.transaction() as session:
        (made,) = plan(session, spec, samples).sources
        (unsampled,) = plan(session, spec).sources
    assert made.basis == "sample"
    assert made.requests == 17, "the sitemap names sixteen pages"
    assert made.note == "from 4 pages: at least 17 requests"
    assert made.since_last[0] == "requests: 7 → 17 (+143%)"
    assert unsampled.basis == "last_run"
    assert unsampled.requests == 7


async def test_a_refresh_campaign_is_planned_by_what_is_due_and_not_tried(world: World, few: SongSite) -> None:
    await publish_all(world)
    world.rows("UPDATE version_sources SET next_check_at = now() WHERE url LIKE '%/song/_' RETURNING 1")
    world.campaign = {"name": "there", "kind": "refresh", "refresh": {"max_checks": 4}}
    with world.database.transaction() as session:
        (made,) = plan(session, world.spec()).sources
    assert (made.basis, made.requests) == ("due", 4)
    assert made.note == "6 sources are due; at most 4 in one run"
    with pytest.raises(NoTrialError):
        await asyncio.to_thread(dry_run, world.database, Settings(), world.spec(), 3)


def test_the_database_itself_refuses_a_change(database: Database) -> None:
    with database.transaction() as session:
        read_only(session)
        with pytest.raises(InternalError, match="read-only transaction"):
            session.execute(text("INSERT INTO campaigns (name, spec) VALUES ('x', '{}')"))
        session.rollback()


async def test_an_ephemeral_frontier_does_not_wait_until_tomorrow(world: World) -> None:
    from adapters.contract import PageRequest
    from crawlers.ports import PageOutcome, QueuedRequest

    store = EphemeralStore(lambda items: None)
    await store.seed(
        [QueuedRequest("a", PageRequest("http://a/")), QueuedRequest("b", PageRequest("http://b/", priority=5))]
    )
    first, second = await store.take(5, [])
    assert [first.request_key, second.request_key] == ["b", "a"], "highest priority first"
    await store.commit([PageOutcome(first, retry_in_s=30.0), PageOutcome(second, retry_in_s=86_400.0)])
    assert await store.take(5, []) == []
    assert 29 < (await store.next_due_in_s() or 0) <= 30
    await store.commit([PageOutcome(first, status=200)])
    assert await store.next_due_in_s() is None
    assert store.left == 1


def test_the_commands(world: World, few: SongSite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The site lives in this test's loop, which the commands do not have: nobody answers.
    url = world.database.engine.url.render_as_string(False)
    monkeypatch.setattr(_context, "open_context", lambda: _context.Context(Database(url), None))
    world.source = {"limits": {"max_attempts": 1, "timeout": 0.2}}
    with world.database.transaction() as session:
        repository.apply(session, world.spec())
    output = tmp_path / "report.json"
    for words in (
        ["campaign", "dry-run", "songs", "--output", str(output)],
        ["campaign", "start", "songs", "--dry-run"],
    ):
        done = CliRunner().invoke(build_app(), words, env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        assert "timeout" in done.output
    report = json.loads(output.read_text())
    assert report["sources"][0]["failures"] == {"timeout": 1}
    assert world.rows("SELECT 1 FROM crawl_runs") == []
