"""A crawl whose source gives nothing for long leaves its place, and goes on when the operator changes his mind."""

from __future__ import annotations

import uuid

from temporalio.testing import ActivityEnvironment

from activities import messages as m
from activities.crawls import MAX_REST_S, CrawlActivities
from catalog.repositories.politeness import PolitenessRepository
from tests.incremental.conftest import World
from tests.incremental.site import SongSite


async def crawl(world: World, run_id: uuid.UUID) -> m.CrawlResult:
    return await ActivityEnvironment().run(CrawlActivities(world.resources).crawl, m.CrawlInput(str(run_id)))


async def test_a_used_up_day_frees_the_worker_and_a_higher_limit_wakes_the_run(world: World, site: SongSite) -> None:
    limits = PolitenessRepository(world.database)
    limits.set_limits("source:site", {"per_day": 4})
    run_id = world.open()
    result = await crawl(world, run_id)
    assert (result.complete, result.rest_s) == (False, MAX_REST_S)
    assert result.pages == site.requests == 4
    waiting = "SELECT wait_reason, count(*) AS n FROM frontier_requests WHERE state = 'queued' GROUP BY 1"
    (row,) = world.rows(waiting)
    assert row["wait_reason"] == "daily_requests"
    again = await crawl(world, run_id)
    assert (again.rest_s, site.requests) == (MAX_REST_S, 4), "nothing is asked of the site meanwhile"

    limits.set_limits("source:site", {})
    assert limits.wake("another") == 0
    assert limits.wake("site") == row["n"]
    await world.crawl(run_id)
    assert world.titles() == {song.title for song in site.songs.values()}
