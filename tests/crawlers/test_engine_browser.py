"""The browser engine on a real site with a real Chromium."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from crawlers import engine
from crawlers.browser import find_chromium, launch_options
from crawlers.errors import FailureClass as F
from tests.crawlers.conftest import Bench
from tests.crawlers.memory import MemoryGuard
from tests.crawlers.reader import RenderedReader
from tests.crawlers.site import Site

chromium = pytest.mark.skipif(find_chromium() is None, reason="no Chromium: PLAYWRIGHT_CHROMIUM_EXECUTABLE or PATH")


@pytest.fixture
def rendered(bench: Bench) -> Iterator[Bench]:
    bench.adapter = RenderedReader()
    yield bench
    left = [p.name() for p in psutil.Process().children(recursive=True) if "chrom" in p.name()]
    assert left == [], "a browser was left running"


@pytest.mark.browser
@chromium
async def test_scripts_run_and_bad_pages_have_their_end(rendered: Bench) -> None:
    async with Site().serve() as private:
        expected = {
            "status/404": F.NOT_FOUND,
            "status/500": F.SERVER_ERROR,
            "empty/410": F.GONE,
            "circle/a": F.REDIRECT_LOOP,
            "audio": F.WRONG_TYPE,
            "download": F.WRONG_TYPE,
            "big": F.TOO_LARGE,
            "broken": F.BROKEN_MARKUP,
            f"out?to={private.url}/song/666": F.ADDRESS_BLOCKED,
            f"out?to={private.url.replace('http:', 'https:')}/": F.ADDRESS_BLOCKED,
            "moved": F.ROBOTS_DISALLOWED,
        }
        links = ["/script", "/dialog", f"/spy?to={private.url}/secret", *(f"/{path}" for path in expected)]
        limits = {"timeout_s": 60.0, "max_attempts": 1, "max_page_bytes": 200_000}
        rendered.site.robots = "User-agent: *\nDisallow: /song/900\n"
        assert await rendered.run(*links, limits=limits, concurrency=4, respect_robots=True)
        assert rendered.store.ends() == expected
        assert set(rendered.store.items) == {"rendered", "dialog", "spy", "1"}
        assert not private.hits, "a private address was reached"
    assert rendered.site.hits["/picture.png"] == 0
    assert rendered.site.agents == {"VersionsBot/0.1"}
    record = rendered.snapshots.of("/script")
    assert record is not None
    assert record.rendered
    assert b"data-item" in record.body
    assert rendered.progress.bytes > 0


@pytest.mark.browser
@chromium
async def test_the_browser_connects_where_the_guard_says(rendered: Bench) -> None:
    port = rendered.site.host.partition(":")[2]
    rendered.guard = MemoryGuard([f"music.test:{port}"], {"music.test": "127.0.0.1"})
    seeds = [f"http://music.test:{port}/script", "http://no.such.host/"]
    assert await rendered.run(seeds=seeds, options={"wait_for": "[data-item]"}, limits={"max_attempts": 1})
    assert set(rendered.store.items) == {"rendered", "1"}
    assert rendered.store.ends() == {"": F.CONNECTION}


@pytest.mark.browser
@chromium
async def test_a_page_is_given_up(rendered: Bench) -> None:
    assert await rendered.run(seeds=[f"{rendered.site.url}/hang"], limits={"timeout_s": 0.5, "max_attempts": 1})
    assert rendered.store.ends() == {"hang": F.TIMEOUT}


async def test_a_program_that_is_no_browser(rendered: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = tmp_path / "chromium"
    wrong.write_text("#!/bin/sh\nexit 3\n")
    wrong.chmod(0o755)
    monkeypatch.setenv("PLAYWRIGHT_CHROMIUM_EXECUTABLE", str(wrong))
    assert await rendered.run()
    (incident,) = rendered.store.incidents
    assert incident.failure is F.BROWSER_MISSING
    assert "does not start" in incident.detail


@pytest.mark.browser
@chromium
async def test_cancel_closes_the_browser(rendered: Bench) -> None:
    task = asyncio.create_task(rendered.run("/hang", "/script"))
    while not rendered.site.hits["/hang"]:
        await asyncio.sleep(0.02)
    task.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.browser
@chromium
async def test_a_browser_that_does_not_close_is_killed(rendered: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from crawlers.scrapy_parts.chromium import ChromiumHandler

    async def never(handler: ChromiumHandler) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(ChromiumHandler, "close", never)
    monkeypatch.setattr(engine, "SHUTDOWN_S", 0.5)
    monkeypatch.setattr(engine, "AFTER_KILL_S", 0.5)
    task = asyncio.create_task(rendered.run("/hang"))
    while not rendered.site.hits["/hang"]:
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_a_browser_it_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    monkeypatch.delenv("PLAYWRIGHT_CHROMIUM_EXECUTABLE", raising=False)
    assert find_chromium() is None
    bench.adapter = RenderedReader()
    assert await bench.run()
    (incident,) = bench.store.incidents
    assert incident.failure is F.BROWSER_MISSING
    assert "playwright install chromium" in incident.detail
    assert not bench.site.hits


def test_where_chromium_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "chromium-1200" / "chrome-linux" / "chrome"
    on_path = tmp_path / "bin" / "google-chrome"
    for program in (own, on_path):
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(on_path.parent))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    monkeypatch.delenv("PLAYWRIGHT_CHROMIUM_EXECUTABLE", raising=False)
    assert find_chromium() == str(own)
    own.unlink()
    assert find_chromium() == str(on_path)
    monkeypatch.setenv("PLAYWRIGHT_CHROMIUM_EXECUTABLE", str(tmp_path / "nothing"))
    assert find_chromium() is None
    arguments = launch_options("x")["args"]
    assert ("--no-sandbox" in arguments) == (os.geteuid() == 0)
