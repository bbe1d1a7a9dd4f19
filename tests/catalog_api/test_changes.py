"""The change feed."""

from __future__ import annotations

import asyncio

import httpx

from catalog.database import Database
from catalog_api.changes.schemas import ChangePage
from tests.catalog_api.conftest import made


async def test_the_feed_is_followed_to_its_end(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        one, two = make.song("Одна"), make.song("Другая")
        make.version(two)
        make.merge(one, two)

    seen, since, more = [], 0, True
    while more:
        response = await client.get(f"/api/v1/changes?since={since}&limit=3")
        page = ChangePage.model_validate_json(response.content)
        seen += page.items
        since, more = page.next, page.more
        assert ("next" in response.links) == more
    assert [change.kind for change in seen] == ["song.created", "song.created", "version.uploaded", "song.merged"]
    assert [change.seq for change in seen] == sorted(change.seq for change in seen)
    assert [change.tombstone for change in seen] == [False, False, False, True]
    assert (seen[-1].entity_id, seen[-1].survivor_id) == (one.id, two.id)

    end = ChangePage.model_validate_json((await client.get(f"/api/v1/changes?since={since}")).content)
    assert (end.items, end.next, end.more) == ([], since, False)


async def test_a_position_ahead_of_the_feed_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/v1/changes?since=5")
    assert (response.status_code, response.json()["code"]) == (400, "bad_cursor")
    for bad in ("-1", "x", str(2**63)):
        response = await client.get(f"/api/v1/changes?since={bad}")
        assert (response.status_code, response.json()["code"]) == (422, "validation_error")


async def test_waiting_ends_with_the_first_event(client: httpx.AsyncClient, database: Database) -> None:
    async def publish() -> None:
        await asyncio.sleep(0.2)
        with made(database) as make:
            make.song("Новая")

    response, _ = await asyncio.gather(client.get("/api/v1/changes?wait_s=20"), publish())
    assert [item["kind"] for item in response.json()["items"]] == ["song.created"]
