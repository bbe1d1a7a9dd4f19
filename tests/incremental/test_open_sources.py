"""Runs of open sources as the worker makes them: the real activity, PostgreSQL, an S3 server."""

from __future__ import annotations

import shutil
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from adapters import table_file
from adapters.contract import reload_own_adapters
from runtime.source_tools.scaffold import create
from tests.crawlers.servers import answer, serving
from tests.incremental.conftest import World


async def test_a_table_in_parts_and_once_more(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "ROWS_AT_ONCE", 20)
    table = tmp_path / "songs.csv"
    lines = [f"{n},{'' if n == 50 else f'Песня {n}'},Хор" for n in range(70)]
    table.write_text("\n".join(["id,title,artist", *lines]) + "\n")
    world.source = {"adapter": "table_file", "seeds": [str(table)]}
    run = await world.crawl()
    assert world.titles() == {f"Песня {n}" for n in range(70) if n != 50}
    assert (run.counters["items"], run.counters["new"], run.counters["failures"]) == (69, 69, {"broken_markup": 1})
    (incident,) = world.rows("SELECT detail, url FROM crawl_incidents")
    assert incident["detail"] == "1 bad rows: line 52: no title"
    assert incident["url"].startswith(table.as_uri() + "#byte=")
    lines[50], lines[3] = "50,Песня 50,Хор", "3,Песня 3 (live),Хор"
    table.write_text("\n".join(["id,title,artist", *lines]) + "\n")
    again = await world.crawl()
    assert (again.counters["new"], again.counters["changed"], again.counters["unchanged"]) == (1, 1, 68)


async def test_a_feed_and_once_more(world: World) -> None:
    def entry(number: int) -> str:
        enclosure = f"<enclosure url='/{number}.mp3' type='audio/mpeg'/>"
        return f"<item><title>Song {number}</title><guid>g{number}</guid>{enclosure}</item>"

    entries = [entry(number) for number in range(3)]

    def feed(handler: BaseHTTPRequestHandler) -> None:
        body = f"<rss version='2.0'><channel><title>T</title>{''.join(entries)}</channel></rss>"
        answer(200, body.encode(), content_type="application/rss+xml")(handler)

    with serving({"/feed.xml": feed}) as server:
        world.campaign = {"allow_private": [server.url("")]}
        world.source = {"adapter": "feed", "seeds": [server.url("/feed.xml")]}
        first = await world.crawl()
        entries.insert(
            0, "<item><title>Song 9</title><guid>g9</guid><enclosure url='/9.mp3' type='audio/mpeg'/></item>"
        )
        second = await world.crawl()
    assert (first.counters["new"], second.counters["new"]) == (3, 1)
    assert world.titles() == {"Song 0", "Song 1", "Song 2", "Song 9"}


async def test_an_adapter_of_ones_own_is_crawled(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    monkeypatch.setenv("VERSIONS_ADAPTERS", str(own))
    create("my_site", "http://my.example", None)
    reload_own_adapters()
    page = "<html><body><h1>Калинка</h1><audio src='/1.mp3'></audio><a href='/songs/2'>2</a></body></html>"
    second = page.replace("Калинка", "Катюша")
    html = "text/html; charset=utf-8"
    routes = {
        "/songs/1": answer(200, page.encode(), content_type=html),
        "/songs/2": answer(200, second.encode(), content_type=html),
    }
    try:
        with serving(routes) as server:
            world.campaign = {"allow_private": [server.url("")]}
            world.source = {"adapter": "my_site", "seeds": [server.url("/songs/1")]}
            run = await world.crawl()
        assert world.titles(run) == {"Калинка", "Катюша"}
    finally:
        shutil.rmtree(own)
        monkeypatch.delenv("VERSIONS_ADAPTERS")
        reload_own_adapters()
