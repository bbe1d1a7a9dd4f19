"""A second run of a site: few requests, nothing lost, changes found."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime

import pytest
from temporalio.testing import ActivityEnvironment
from warcio.archiveiterator import ArchiveIterator

from activities import messages as m
from activities.crawls import CrawlActivities
from crawlers import warc
from tests.incremental.conftest import World
from tests.incremental.site import Song, SongSite

LATER = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize("validators", [("etag",), ("modified",), ("etag", "modified")], ids="+".join)
async def test_what_did_not_change_is_seen_again_and_what_did_is_read(
    world: World, site: SongSite, validators: tuple[str, ...]
) -> None:
    site.validators = validators
    first = await world.crawl()
    assert first.counters["new"] == 12
    site.songs[3] = Song("Песня 3, иначе", LATER)
    site.songs[99] = Song("Песня 99", LATER)
    second = await world.crawl()
    assert site.paths(200) == ["/sitemap.xml", "/song/3", "/song/99"]
    assert len(site.paths(304)) == 11
    assert world.titles(second) == {song.title for song in site.songs.values()}, "all are the new run's, changes too"
    counters = second.counters
    assert {name: counters[name] for name in ("items", "new", "changed", "unchanged", "not_modified")} == {
        "items": 13, "new": 1, "changed": 1, "unchanged": 11, "not_modified": 11,
    }  # fmt: skip
    third = await world.crawl()
    assert site.paths(200) == ([] if "etag" in validators else ["/sitemap.xml"])
    assert world.titles(third) == {song.title for song in site.songs.values()}
    assert third.counters["changed"] == third.counters["new"] == 0


async def test_a_sitemap_that_says_what_changed_saves_the_requests(world: World, site: SongSite) -> None:
    site.lastmod = True
    first = await world.crawl()
    site.songs[5] = Song("Песня 5, иначе", LATER)
    second = await world.crawl()
    assert sorted(site.answers) == [("/sitemap.xml", 200), ("/song/5", 200)]
    assert second.counters["skipped"] == 11
    assert second.counters["requests"] == 2 < first.counters["requests"] == 13
    assert world.titles(second) == {song.title for song in site.songs.values()}
    third = await world.crawl()
    assert sorted(site.answers) == [("/sitemap.xml", 304)], "its known links lead to all known pages"
    assert world.titles(third) == {song.title for song in site.songs.values()}


async def test_a_sitemap_is_not_believed_for_ever(world: World, site: SongSite) -> None:
    site.lastmod = True
    world.campaign = {"revisit": {"max": "1h"}}
    await world.crawl()
    world.rows("UPDATE page_history SET checked_at = now() - interval '2 hours' RETURNING 1")
    site.songs[5].title = "Песня 5, ohne lastmod geändert"
    second = await world.crawl()
    assert site.paths(200) == ["/song/5"]
    assert site.songs[5].title in world.titles(second)


async def test_a_date_without_a_time_says_nothing_of_the_rest_of_its_day(world: World, site: SongSite) -> None:
    site.lastmod = True
    for song in site.songs.values():
        song.changed = datetime.now(UTC)
    await world.crawl()
    today = datetime.now(UTC).date().isoformat()
    world.rows("UPDATE page_history SET lastmod = :today WHERE url LIKE '%/song/%' RETURNING 1", today=today)
    world.rows(
        "UPDATE page_history SET links = (SELECT jsonb_agg(jsonb_set(l, '{context,lastmod}', to_jsonb(CAST(:today AS"
        " text)))) FROM jsonb_array_elements(links) l) WHERE url LIKE '%sitemap%' RETURNING 1",
        today=today,
    )
    await world.crawl()
    assert len(site.paths(304)) == 13, "every page was asked"


async def test_without_validators_an_equal_body_is_stored_once(world: World, site: SongSite) -> None:
    site.validators = ()
    await world.crawl()
    second = await world.crawl()
    assert second.counters["unchanged"] == 12
    rows = world.rows("SELECT * FROM page_snapshots WHERE crawl_run_id = :run AND url LIKE '%/song/3'", run=second.id)
    (row,) = rows
    record = world.resources.objects.get_bytes(row["object_key"], row["offset"], row["length"])
    (revisit,) = ArchiveIterator(io.BytesIO(record))
    assert revisit.rec_type == "revisit"
    assert revisit.rec_headers.get_header("WARC-Profile").endswith("/revisit/identical-payload-digest")
    assert revisit.rec_headers.get_header("WARC-Refers-To-Target-URI") == f"{site.url}/song/3"
    body = world.resources.objects.get_bytes(row["body_object_key"], row["body_offset"], row["body_length"])
    original = warc.read_record(body)
    assert "Песня 3" in original.body.decode()
    assert revisit.rec_headers.get_header("WARC-Refers-To-Date") == original.fetched_at
    assert revisit.rec_headers.get_header("WARC-Payload-Digest") == row["digest"]
    third = await world.crawl()
    (again,) = world.rows(
        "SELECT body_object_key FROM page_snapshots WHERE crawl_run_id = :run AND url LIKE '%/song/3'", run=third.id
    )
    assert again["body_object_key"] == row["body_object_key"], "it refers to the body, not to a repetition"


async def test_a_304_is_kept_as_one(world: World, site: SongSite) -> None:
    await world.crawl()
    second = await world.crawl()
    (row,) = world.rows("SELECT * FROM page_snapshots WHERE crawl_run_id = :run AND url LIKE '%/song/3'", run=second.id)
    (revisit,) = ArchiveIterator(
        io.BytesIO(world.resources.objects.get_bytes(row["object_key"], row["offset"], row["length"]))
    )
    assert revisit.rec_headers.get_header("WARC-Profile").endswith("/revisit/server-not-modified")
    assert revisit.http_headers.get_statuscode() == "304"
    assert row["body_object_key"]


async def test_other_settings_make_every_page_new(world: World, site: SongSite) -> None:
    world.source = {"seeds": [f"{site.url}/list"], "follow": ["/song/[0-5]$"]}
    first = await world.crawl()
    assert len(world.titles(first)) == 6
    world.source["follow"] = ["/song/[0-9]+$"]
    second = await world.crawl()
    assert world.titles(second) == {song.title for song in site.songs.values()}
    assert site.paths(304) == []


async def test_switched_off_it_reads_everything(world: World, site: SongSite) -> None:
    world.campaign = {"revisit": {"incremental": False}}
    await world.crawl()
    assert world.rows("SELECT 1 FROM page_history") == []
    await world.crawl()
    assert len(site.paths(200)) == 13


async def test_a_page_that_is_gone_is_forgotten_and_new_when_it_is_back(world: World, site: SongSite) -> None:
    world.source = {"seeds": [f"{site.url}/song/4"]}
    await world.crawl()
    site.gone.add(4)
    await world.crawl()
    assert site.paths(404) == ["/song/4"]
    assert world.rows("SELECT 1 FROM page_history") == []
    site.gone.clear()
    await world.crawl()
    assert site.paths(200) == ["/song/4"]


async def test_what_failed_for_a_passing_reason_is_tried_again_without_reading(world: World, site: SongSite) -> None:
    await world.crawl()
    world.rows(
        "UPDATE candidates SET state = 'failed', reason = 'timeout', waiting_on = NULL"
        " WHERE item ->> 'title' = 'Песня 7' RETURNING 1"
    )
    world.rows(
        "UPDATE candidates SET state = 'failed', reason = 'not_audio', waiting_on = NULL"
        " WHERE item ->> 'title' = 'Песня 8' RETURNING 1"
    )
    await world.crawl()
    rows = world.rows("SELECT item ->> 'title' AS title, state, reason FROM candidates WHERE reason <> 'new'")
    assert sorted((row["title"], row["state"], row["reason"]) for row in rows) == [
        ("Песня 7", "discovered", "retried"),
        ("Песня 8", "failed", "not_audio"),
    ]


async def test_pages_are_asked_when_they_are_due(world: World, site: SongSite) -> None:
    world.campaign = {"revisit": {"ask": "when_due", "min": "1h", "max": "30d"}}
    await world.crawl()
    second = await world.crawl()
    assert sorted(site.answers) == [("/sitemap.xml", 304)]
    assert world.titles(second) == {song.title for song in site.songs.values()}
    # A day later, when one page has shown that it changes each hour, and another that it never does:
    world.rows("UPDATE page_history SET checked_at = now() - interval '1 day' RETURNING 1")
    world.rows("UPDATE page_history SET due_at = now() + interval '9 days' WHERE url NOT LIKE '%/song/2' RETURNING 1")
    world.rows("UPDATE page_history SET due_at = now() WHERE url LIKE '%/song/2' RETURNING 1")
    await world.crawl()
    assert sorted(site.answers) == [("/sitemap.xml", 304), ("/song/2", 304)]


async def test_a_list_is_left_where_all_is_known(world: World, site: SongSite) -> None:
    site.songs = {number: Song(f"Песня {number}") for number in range(30)}
    world.source = {"seeds": [f"{site.url}/news"], "follow": ["/song/", "/news"], "options": {"newest_first": "/news"}}
    world.campaign = {"revisit": {"stop_after_known": 7}}
    first = await world.crawl()
    assert len(world.titles(first)) == 30
    for number in (30, 31, 32):
        site.songs[number] = Song(f"Песня {number}")
    second = await world.crawl()
    lists = sorted(path for path, _ in site.answers if path.startswith("/news"))
    assert lists == ["/news", "/news?page=1"], "3 new and 2 known, 5 known: seven known in a row"
    assert second.counters["new"] == 3
    assert world.titles() == {song.title for song in site.songs.values()}
    # Nothing new: the first page is as it was, but five known things are not seven.
    await world.crawl()
    assert [path for path, _ in sorted(site.answers) if path.startswith("/news")] == ["/news", "/news?page=1"]


async def test_max_pages_counts_what_is_read_so_that_each_run_gets_further(world: World, site: SongSite) -> None:
    world.source = {"limits": {"max_pages": 5}}
    runs = []
    for _ in range(3):
        run = await world.crawl()
        runs.append((len(site.paths(200)), run.counters.get("not_modified", 0), len(world.titles(run))))
    assert runs == [(5, 0, 4), (5, 5, 9), (3, 10, 12)]


async def test_a_list_whose_end_nobody_has_seen_is_not_left(world: World, site: SongSite) -> None:
    site.songs = {number: Song(f"Песня {number}") for number in range(30)}
    world.source = {
        "seeds": [f"{site.url}/news"],
        "follow": ["/song/", "/news"],
        "options": {"newest_first": "/news"},
        "limits": {"max_pages": 10},
    }
    world.campaign = {"revisit": {"stop_after_known": 5}}
    await world.crawl()
    assert len(world.titles()) < 30
    world.source["limits"] = {"max_pages": 1000}
    await world.crawl()
    assert world.titles() == {song.title for song in site.songs.values()}


async def test_traps_are_remembered_by_another_attempt_and_by_another_run(world: World, site: SongSite) -> None:
    world.source = {"seeds": [f"{site.url}/trap/0"], "limits": {"max_pages_per_pattern": 60, "max_depth": 500}}
    run_id = world.open()
    stop_after, site_answer = 5, site._page

    activities = CrawlActivities(world.resources)
    killed = asyncio.Event()

    def answer(request: object) -> object:
        if site.requests >= stop_after:
            killed.set()
        return site_answer(request)  # type: ignore[arg-type]

    site._page = answer  # type: ignore[method-assign,assignment]
    attempt = asyncio.create_task(ActivityEnvironment().run(activities.crawl, m.CrawlInput(str(run_id))))
    await killed.wait()
    attempt.cancel()
    await asyncio.wait([attempt])
    (left,) = world.rows("SELECT counters FROM crawl_runs WHERE id = :run", run=run_id)
    before = left["counters"]["pages"]
    assert 0 < before < 60
    (counted,) = world.rows("SELECT pages FROM trap_counters WHERE crawl_run_id = :run", run=run_id)
    assert counted["pages"] == before
    stop_after = 10_000
    run = await world.crawl(run_id)
    assert run.counters["pages"] == 60, "as many as one attempt would have read"
    assert run.counters["failures"] == {"trap": 1}
    second = await world.crawl()
    assert second.counters["pages"] == 60, "a trap does not give up further pages run by run"
