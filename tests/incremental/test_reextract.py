"""A newer adapter over stored pages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import pytest
from typer.testing import CliRunner

from activities import messages as m
from activities.ingest import IngestActivities
from adapters.contract import ExtractionError, Page, PageRequest, RecordingItem, SourceQuery
from adapters.website import Website
from catalog.database import Database
from runtime.cli import _context, build_app
from runtime.cli import reextract as command
from runtime.reextract import NoSnapshotsError, Reextracted, reextract
from tests.incremental.conftest import World
from tests.incremental.site import Song, SongSite


class Mended(Website):
    """The website adapter, with another view: a genre for all, no song 1, an extra for song 2, a bug on song 3."""

    def parse(self, page: Page, query: SourceQuery) -> Iterable[RecordingItem | PageRequest]:
        from dataclasses import replace

        for found in super().parse(page, query):
            if not isinstance(found, RecordingItem):
                yield found
            elif page.url.endswith("/song/1"):
                continue
            elif page.url.endswith("/song/3"):
                raise ExtractionError("a bug")
            else:
                yield replace(found, genre="folk")
                if page.url.endswith("/song/2"):
                    yield replace(found, source_key="extra", title="Extra")


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.reextract.get_adapter", lambda name: Mended())


async def read_again(world: World, **options: object) -> Reextracted:
    return await asyncio.to_thread(
        lambda: reextract(world.database, world.resources.objects, "site", **options)  # type: ignore[arg-type]
    )


def candidates(world: World) -> list[dict[str, object]]:
    return world.rows("SELECT * FROM candidates ORDER BY source_key")


async def test_the_same_adapter_finds_no_difference_and_repetitions_have_bodies(world: World, site: SongSite) -> None:
    site.validators = ()
    await world.crawl()
    site.songs[5] = Song("Песня 5, иначе")
    await world.crawl()
    site.validators = ("etag",)
    await world.crawl()
    run = await world.crawl()
    before = candidates(world)
    for options in ({}, {"run_id": run.id}):
        result = await read_again(world, **options)
        assert (result.pages, result.failed) == (13, 0)
        found = result.difference
        assert (found.new, found.changed, found.gone, found.told_less, found.unchanged) == (0, 0, 0, 0, 12)
    assert candidates(world) == before


async def test_the_difference_is_shown_before_anything_changes(world: World, site: SongSite, mended: None) -> None:
    await world.crawl()
    before = candidates(world)
    result = await read_again(world)
    assert candidates(world) == before
    found = result.difference
    assert (found.new, found.changed, found.gone, found.unchanged) == (1, 10, 2, 0)
    assert found.new_items == [("extra", "Extra")]
    assert sorted(title for _, title in found.gone_items) == ["Песня 1", "Песня 3"]
    assert found.changed_items[0].fields == {"genre": (None, "folk")}
    assert found.coverage["genre"] == (0, 10)
    assert found.coverage["title"] == (12, 11)
    assert found.changed_fields == {"genre": 10}
    assert [(url.rpartition("/")[2], why) for url, why in result.failures] == [("3", "ExtractionError: a bug")]
    again = await read_again(world)
    assert again.to_json() == result.to_json(), "deterministic"


async def test_apply_takes_it_in_as_a_crawl_would(world: World, site: SongSite, mended: None) -> None:
    run = await world.crawl()
    ingest = IngestActivities(world.resources)
    for row in candidates(world):
        ingest.settle(m.CandidateInput(str(row["id"])))
    result = await read_again(world, apply=True)
    assert result.applied == {"new": 1, "changed": 10, "unchanged": 0}
    rows = {row["source_key"]: row for row in candidates(world)}
    assert rows["/song/4"]["item"]["genre"] == "folk"  # type: ignore[index]
    assert rows["/song/1"]["item"].get("genre") is None, "what is not read any more stays"  # type: ignore[attr-defined]
    assert rows["extra"]["state"] == "discovered"
    assert {row["crawl_run_id"] for row in rows.values()} == {run.id}
    assert (await read_again(world, apply=True)).applied == {"new": 0, "changed": 0, "unchanged": 11}


async def test_what_cannot_be_read_again(world: World, site: SongSite) -> None:
    with pytest.raises(NoSnapshotsError, match="no crawl run"):
        await read_again(world)
    world.open()
    with pytest.raises(NoSnapshotsError, match="being crawled"):
        await read_again(world)


async def test_the_command(world: World, site: SongSite, monkeypatch: pytest.MonkeyPatch, mended: None) -> None:
    run = await world.crawl()
    url = world.database.engine.url.render_as_string(False)
    monkeypatch.setattr(_context, "open_context", lambda: _context.Context(Database(url), None))
    monkeypatch.setattr(command, "open_objects", lambda: world.resources.objects)

    def invoke(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(build_app(), ["reextract", *words], env={"COLUMNS": "200"})
        return done.exit_code, done.output

    status, text = await asyncio.to_thread(invoke, "songs")
    assert status == 0, text
    assert "genre: None → 'folk'" in text
    assert "nothing was changed" in text
    status, text = await asyncio.to_thread(invoke, "site", "--run", str(run.id), "--apply", "--json")
    assert status == 0, text
    assert json.loads(text)[0]["applied"] == {"new": 1, "changed": 10, "unchanged": 0}
    status, text = await asyncio.to_thread(invoke, "nobody")
    assert status == 1
    assert "neither a campaign nor a source" in text
