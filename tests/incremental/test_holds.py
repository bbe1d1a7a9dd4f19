"""A run that does not look like the earlier ones publishes nothing before an operator has looked."""

from __future__ import annotations

import hashlib
import uuid

import pytest

from activities import messages as m
from activities.campaigns import CampaignActivities
from activities.ingest import IngestActivities
from catalog.campaigns import holds, thresholds
from catalog.campaigns.health import lost_fields, lost_items, usual
from catalog.campaigns.progress import waiting_items
from catalog.models import CrawlRun
from tests.incremental.conftest import World
from tests.incremental.site import Song, SongSite

FULL = {"items": 100, "read_items": 100, "fields": {"title": 100, "credits": 90, "duration_s": 80, "lyrics": 10}}


def test_a_field_that_is_lost_is_named() -> None:
    before = usual([FULL, FULL])
    assert before is not None
    assert lost_fields({"read_items": 50, "fields": {"title": 50, "credits": 45, "duration_s": 40}}, before) == []
    (sentence,) = lost_fields({"read_items": 50, "fields": {"title": 50, "credits": 10, "duration_s": 30}}, before)
    assert sentence == "credits: in 20% of 50 items, usually in 90%"
    few = {"read_items": thresholds.MIN_ITEMS - 1, "fields": {"title": 1}}
    assert lost_fields(few, before) == [], "too few to judge"


def test_a_run_that_brings_little_is_noticed_unless_it_left_lists_early() -> None:
    before = usual([FULL, {**FULL, "items": 110}, {**FULL, "items": 12, "lists_left": 1}])
    assert before is not None
    assert before.items == 105, "the median of whole runs"
    assert lost_items({"items": 70}, before) == []
    assert lost_items({"items": 40}, before) == ["40 items, usually 105"]
    assert lost_items({"items": 40, "lists_left": 2}, before) == []


def test_one_run_is_not_usual() -> None:
    assert usual([FULL]) is None


@pytest.fixture
def crowded(site: SongSite) -> SongSite:
    # Titles that have nothing in common, so that no moderator is asked.
    site.songs = {number: Song(hashlib.sha256(bytes([number])).hexdigest()[:16]) for number in range(60)}
    return site


async def next_ids(world: World, run_id: uuid.UUID) -> list[str]:
    found = CampaignActivities(world.resources)._next_candidates(m.NextCandidatesInput(str(run_id), limit=1000))
    return [each.candidate_id for each in found.candidates]


async def settle_all(world: World, run: CrawlRun) -> dict[str, int]:
    """What the workflow would do with the candidates of a run."""
    ingest = IngestActivities(world.resources)
    for candidate_id in await next_ids(world, run.id):
        ingest.settle(m.CandidateInput(candidate_id))
    rows = world.rows("SELECT state, count(*) AS n FROM candidates GROUP BY state")
    return {row["state"]: row["n"] for row in rows}


def run_row(world: World, run_id: uuid.UUID) -> CrawlRun:
    with world.database.transaction() as session:
        return session.get_one(CrawlRun, run_id)


async def healthy_runs(world: World) -> None:
    world.campaign["revisit"] = {"incremental": False}
    for _ in range(2):
        run = await world.crawl()
        assert run_row(world, run.id).publication == "open"
    await settle_all(world, run)


async def test_a_lost_field_holds_what_changed_and_the_catalog_stays(world: World, crowded: SongSite) -> None:
    await healthy_runs(world)
    before = world.rows("SELECT title, row_version FROM versions ORDER BY id")
    for song in crowded.songs.values():
        song.title, song.performer = song.title + "!", None
    run = await world.crawl()
    row = run_row(world, run.id)
    assert row.publication == "held"
    assert "credits: in 0% of 60 items, usually in 100%" in row.publication_detail
    assert await next_ids(world, run.id) == []
    assert world.rows("SELECT title, row_version FROM versions ORDER BY id") == before
    with world.database.transaction() as session:
        page = waiting_items(session, row.campaign_id, 100)
    held = [item for item in page.items if item.reason == holds.HELD]
    assert [item.kind for item in held] == ["run"] + 60 * ["candidate"]
    assert {item.waiting_on for item in held} == {"operator"}
    assert all(str(run.id) in item.who for item in held)
    with world.database.transaction() as session:
        assert holds.release(session, run.id) == 60
    assert await settle_all(world, run) == {"published": 60}
    assert world.rows("SELECT 1 FROM versions WHERE title LIKE '%!'")
    with world.database.transaction() as session, pytest.raises(holds.NotHeldError):
        holds.release(session, run.id)


async def test_discarded_is_read_anew_by_a_mended_adapter(world: World, crowded: SongSite) -> None:
    await healthy_runs(world)
    world.campaign["revisit"] = {"incremental": True}
    names = {number: song.title for number, song in crowded.songs.items()}
    for song in crowded.songs.values():
        song.title, song.performer = song.title + "!", None
    crowded.songs[99] = Song("Новая", performer=None)
    run = await world.crawl()
    assert run_row(world, run.id).publication == "held"
    with world.database.transaction() as session:
        assert holds.discard(session, run.id) == 61
    rows = world.rows("SELECT state, count(*) AS n FROM candidates GROUP BY state ORDER BY state")
    assert [(row["state"], row["n"]) for row in rows] == [("published", 60), ("rejected", 1)]
    for number, song in crowded.songs.items():
        song.title, song.performer = names.get(number, "Новая"), "Хор Примера"
    mended = await world.crawl()
    assert crowded.paths(304) == [], "the pages of the bad run are forgotten"
    assert run_row(world, mended.id).publication == "open"
    assert await settle_all(world, mended) == {"published": 61}


async def test_a_fall_in_items_holds_the_rest_at_the_end(world: World, crowded: SongSite) -> None:
    await healthy_runs(world)
    crowded.gone = set(range(40))
    crowded.songs[99] = Song("Новая")
    run = await world.crawl()
    row = run_row(world, run.id)
    assert row.publication == "held"
    assert row.publication_detail == "21 items, usually 60"
    assert await next_ids(world, run.id) == []


async def test_the_first_items_are_judged_before_any_is_handed_on(world: World, crowded: SongSite) -> None:
    await healthy_runs(world)
    run_id = world.open()
    with world.database.transaction() as session:
        before = holds.begin(session, run_id)
        assert before is not None
    watch = holds.Watch(before)
    world.rows("UPDATE candidates SET crawl_run_id = :run, state = 'discovered' RETURNING 1", run=run_id)
    assert await next_ids(world, run_id) == []
    good = {"read_items": 30, "fields": dict.fromkeys(before.shares, 30)}
    with world.database.transaction() as session:
        watch.after_commit(session, run_id, good)
    assert await next_ids(world, run_id) == [], "too few to say that all is well"
    with world.database.transaction() as session:
        watch.after_commit(session, run_id, {"read_items": 50, "fields": dict.fromkeys(before.shares, 50)})
    assert len(await next_ids(world, run_id)) == 60
    with world.database.transaction() as session:
        watch.after_commit(session, run_id, {"read_items": 200, "fields": {"title": 200, "url": 200}})
    assert await next_ids(world, run_id) == [], "a site may change in the middle of a run"
    assert run_row(world, run_id).publication == "held"


async def test_a_worker_that_has_one_already_does_not_publish_it(world: World, crowded: SongSite) -> None:
    run = await world.crawl()
    (candidate_id, *_) = await next_ids(world, run.id)
    with world.database.transaction() as session:
        holds.hold(session, run.id, ["because"])
    assert IngestActivities(world.resources).settle(m.CandidateInput(candidate_id)).state == "discovered"
    assert world.rows("SELECT 1 FROM versions") == []


async def test_other_settings_are_not_compared(world: World, crowded: SongSite) -> None:
    await healthy_runs(world)
    world.source = {"seeds": [f"{crowded.url}/song/1"]}
    run = await world.crawl()
    assert run_row(world, run.id).publication == "open"
