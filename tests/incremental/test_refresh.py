"""Are the published sources still there? On a real site, by the crawl activity."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import pytest
from aiohttp import web

from activities import messages as m
from activities.ingest import IngestActivities
from catalog import availability
from catalog.availability import Bounds, Look
from catalog.campaigns import thresholds
from catalog.database import Database
from catalog.models import Candidate, CrawlRun, VersionSource
from tests.factories import Factory
from tests.incremental.conftest import World
from tests.incremental.site import Song, SongSite

HOUR = 3600.0
BOUNDS = Bounds(confirm_after_s=6 * HOUR)


@pytest.fixture
def crowded(site: SongSite) -> SongSite:
    # Titles that have nothing in common, so that no moderator is asked.
    site.songs = {number: Song(hashlib.sha256(bytes([number])).hexdigest()[:16]) for number in range(30)}
    return site


async def publish_all(world: World) -> None:
    run = await world.crawl()
    ingest = IngestActivities(world.resources)
    for row in world.rows("SELECT id FROM candidates WHERE crawl_run_id = :run ORDER BY id", run=run.id):
        assert ingest.settle(m.CandidateInput(str(row["id"]))).state == "published"


async def refresh(world: World, **values: Any) -> CrawlRun:
    """One refresh run; all sources are due, and suspicions of earlier runs are old enough to be confirmed."""
    world.rows("UPDATE version_sources SET next_check_at = now() - interval '1 minute' RETURNING 1")
    world.campaign = {"name": "songs-refresh", "kind": "refresh", "refresh": {"confirm_after": "6h", **values}}
    return await world.crawl()


def later(world: World, hours: float) -> None:
    world.rows(
        "UPDATE version_sources SET suspected_at = suspected_at - make_interval(hours => :hours) RETURNING 1",
        hours=hours,
    )
    world.rows(
        "UPDATE availability_checks SET checked_at = checked_at - make_interval(hours => :hours) RETURNING 1",
        hours=hours,
    )


def looks(run: CrawlRun) -> dict[str, int]:
    found: dict[str, int] = run.counters["looks"]
    return found


def gone(world: World) -> list[str]:
    rows = world.rows("SELECT url FROM version_sources WHERE availability = 'removed' ORDER BY url")
    return [row["url"].rpartition("/")[2] for row in rows]


async def test_a_removal_is_confirmed_before_it_counts(world: World, crowded: SongSite) -> None:
    await publish_all(world)
    crowded.gone = {7}
    first = await refresh(world)
    assert looks(first) == {"available": 29, "suspected": 1}
    assert len(crowded.paths(304)) == 29, "what is there costs no body"
    assert gone(world) == []
    too_soon = await refresh(world)
    assert looks(too_soon) == {"available": 29, "suspected": 1}
    assert gone(world) == []
    later(world, 7)
    seq = world.rows("SELECT max(seq) AS seq FROM events")[0]["seq"]
    second = await refresh(world)
    assert looks(second) == {"available": 29, "removed": 1}
    assert gone(world) == ["7"]
    events = world.rows("SELECT kind, payload FROM events WHERE seq > :seq AND entity = 'version'", seq=seq)
    assert [(event["kind"], event["payload"]["sources"][0]["reason"]) for event in events] == [
        ("version.updated", "removed")
    ]
    assert world.rows("SELECT 1 FROM candidates WHERE crawl_run_id = :run", run=second.id) == [], (
        "no candidate is touched"
    )
    crowded.gone.clear()
    back = await refresh(world)
    assert looks(back) == {"available": 29, "restored": 1}
    assert gone(world) == []
    (row,) = world.rows("SELECT vanished, suspected_at FROM version_sources WHERE url LIKE '%/song/7'")
    assert row == {"vanished": 1, "suspected_at": None}


async def test_what_a_crawl_sees_again_is_looked_at_soon(world: World, crowded: SongSite) -> None:
    await publish_all(world)
    world.rows(
        "UPDATE version_sources SET availability = 'removed', next_check_at = now() + interval '60 days'"
        " WHERE url LIKE '%/song/_' RETURNING 1"
    )
    world.campaign = {}
    await world.crawl()
    with world.database.transaction() as session:
        assert len(availability.due(session, "site", BOUNDS, 100)) == 10
    assert len(gone(world)) == 10, "a crawl's word alone brings nothing back"


async def test_an_item_that_left_its_page_and_errors_that_say_nothing(world: World, crowded: SongSite) -> None:
    await publish_all(world)
    crowded.songs[3].performer = crowded.songs[3].duration = None
    page = crowded._song
    crowded._song = lambda number, song: "<html>nothing here</html>" if number == 3 else page(number, song)  # type: ignore[method-assign]
    crowded.status = {4: 500, 5: 403, 6: 401}
    world.source = {"limits": {"max_attempts": 1}}
    run = await refresh(world)
    assert looks(run) == {"available": 26, "suspected": 2, "unknown": 2}
    rows = world.rows("SELECT verdict, reason FROM availability_checks WHERE verdict <> 'available' ORDER BY reason")
    assert [tuple(row.values()) for row in rows] == [
        ("auth_required", "auth_required"), ("unknown", "forbidden"), ("removed", "item_missing"),
        ("unknown", "server_error"),
    ]  # fmt: skip


async def test_pages_that_only_a_list_tells_of_are_there_when_they_answer(world: World, crowded: SongSite) -> None:
    lines = [f"{song.title},{crowded.url}/song/{number}" for number, song in crowded.songs.items()]
    page = crowded._page

    def with_table(request: web.Request) -> web.Response:
        if request.path != "/songs.csv":
            return page(request)
        return web.Response(text="\n".join(["title,url", *lines]), content_type="text/csv")

    crowded._page = with_table  # type: ignore[method-assign]
    world.source = {"adapter": "table", "seeds": [f"{crowded.url}/songs.csv"]}
    await publish_all(world)
    crowded.gone = {7}
    assert looks(await refresh(world)) == {"available": 29, "suspected": 1}


async def test_a_mass_disappearance_freezes_retraction_until_it_is_released(world: World, crowded: SongSite) -> None:
    await publish_all(world)
    crowded.gone = set(range(12))
    await refresh(world)
    with world.database.transaction() as session:
        (freeze,) = availability.frozen_sources(session, ["site"])
    assert freeze.reason == "mass_disappearance"
    assert freeze.detail.startswith("12 of 30 sources")
    later(world, 30)
    still = await refresh(world)
    assert looks(still) == {"available": 18, "frozen": 12}
    assert gone(world) == []
    with world.database.transaction() as session:
        availability.thaw(session, "site")
    with world.database.transaction() as session, pytest.raises(availability.NotFrozenError):
        availability.thaw(session, "site")
    confirmed = await refresh(world)
    assert looks(confirmed) == {"available": 18, "removed": 12}
    assert len(gone(world)) == 12
    again = await refresh(world)
    assert looks(again) == {"available": 18, "removed_still": 12}
    with world.database.transaction() as session:
        assert availability.frozen(session, "site") is None, "what was judged once is no news"


async def test_a_run_looks_at_so_many_and_goes_on_where_it_was_left(world: World, crowded: SongSite) -> None:
    await publish_all(world)
    world.rows("UPDATE version_sources SET vanished = 2 WHERE url LIKE '%/song/9' RETURNING 1")
    world.rows("UPDATE version_sources SET suspected_at = now() WHERE url LIKE '%/song/8' RETURNING 1")
    run = await refresh(world, max_checks=2)
    assert sorted(path for path, _ in crowded.answers) == ["/song/8", "/song/9"], "doubtful ones first"
    assert looks(run) == {"available": 2}
    world.rows("UPDATE crawl_runs SET state = 'running', crawled_at = NULL WHERE id = :id RETURNING 1", id=run.id)
    await world.crawl(run.id)
    assert crowded.requests == 0, "a further attempt chooses nothing new"


def test_the_next_source_is_preferred_when_the_preferred_one_dies(database: Database) -> None:
    with database.transaction() as session:
        factory = Factory(session)
        version = factory.version(factory.song("Катюша"), sources=0)
        ranks = [
            factory.source(version, rank=rank, source=name, duration_s=100.0) for rank, name in enumerate(("a", "b"))
        ]
        for row in ranks:
            candidate = session.get_one(Candidate, row.candidate_id)
            candidate.normalised = {
                "title": "Катюша", "song_titles": [{"name": "Катюша", "key": "katyusha", "latin": "katyusha"}],
                "performers": [], "authors": [], "kind": None, "year": None, "language": None, "genre": None,
                "lyrics": None, "identifiers": {}, "complete": True,
            }  # fmt: skip
        key, version_id = ranks[0].source_key, version.id
    one_look_confirms = Bounds(confirm_after_s=0.0)
    with database.transaction() as session:
        assert availability.record(session, "a", [Look(key, "removed", "gone")], one_look_confirms) == {"suspected": 1}
    with database.transaction() as session:
        assert availability.record(session, "a", [Look(key, "removed", "gone")], one_look_confirms) == {"removed": 1}
    with database.transaction() as session:
        rows = session.query(VersionSource).filter_by(version_id=version_id).order_by(VersionSource.rank).all()
        assert [(row.source, row.availability, row.availability_reason) for row in rows] == [
            ("b", "available", None), ("a", "removed", "gone"),
        ]  # fmt: skip


def test_sites_that_delete_fast_are_looked_at_more_often() -> None:
    day = 86_400.0
    slow, fast = 1 / (5 * 365 * day), 1 / (100 * day)
    assert availability.interval_s(slow, 0, BOUNDS) == thresholds.MAX_CHECK_INTERVAL_S
    assert day < availability.interval_s(fast, 0, BOUNDS) < 6 * day
    assert availability.interval_s(fast, 3, BOUNDS) < availability.interval_s(fast, 0, BOUNDS)
    assert availability.interval_s(1.0, 0, BOUNDS) == thresholds.MIN_CHECK_INTERVAL_S


def test_what_was_just_published_is_not_due(database: Database) -> None:
    with database.transaction() as session:
        factory = Factory(session)
        version = factory.version(factory.song("Катюша"), sources=2)
        assert version.id
        assert availability.due(session, "archive", BOUNDS, 10) == []
        assert availability.count_due(session, "archive", BOUNDS) == 0
        assert availability.vanish_rate(session, str(uuid.uuid4())) > 0
