"""Both sites, served by the real program."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from examples.expected import EXPECTED
from examples.music.separation import best_bit_error_rate, fingerprint_file
from examples.sites.library import library_key, prepare
from examples.sites.world import BROKEN, CALENDAR_START, FONOTEKA, OFFERS, PESENNIK, offers_of, paths_of

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = [offer for offer in OFFERS if offer.rendition.key in ("kalinka-berezka-1985", "kalinka-berezka-1991")]
REFUSED = {"not_found": 404, "gone": 410}


class World:
    """The running sites. ``one``, ``two``: clients."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        self.process = subprocess.Popen(
            [sys.executable, "-m", "examples.sites", "--data", str(data), *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.urls: dict[str, Any] = json.loads((data / "sites.json").read_text())
        self.one = httpx.Client(base_url=self.urls["site_one"], trust_env=False)
        self.two = httpx.Client(base_url=self.urls["site_two"], trust_env=False)

    def client(self, source: str) -> httpx.Client:
        return self.one if source == PESENNIK else self.two

    def stop(self) -> tuple[int, str]:
        self.one.close()
        self.two.close()
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose library holds only a few of the recordings."""
    data = tmp_path_factory.mktemp("sites")
    prepare(data, SAMPLE, processes=1).rename(data / f"audio-{library_key()}")
    return data


@pytest.fixture(scope="module")
def world(library: Path) -> Iterator[World]:
    running = World(library)
    yield running
    code, errors = running.stop()
    assert (code, errors) == (0, "")


def linked_data(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/ld\+json">(.*?)</script>', html, re.DOTALL)
    assert found
    result: dict[str, Any] = json.loads(found[1])
    return result


def locations(xml: str) -> list[str]:
    return [urlsplit(url).path for url in re.findall(r"<loc>(.*?)</loc>", xml)]


def test_ready_line_names_the_ports(world: World) -> None:
    assert world.line == f"ready: site_one={world.urls['site_one']} site_two={world.urls['site_two']}\n"


def test_sitemaps_list_every_page(world: World) -> None:
    parts = locations(world.one.get("/sitemap.xml").text)
    listed = [path for part in parts for path in locations(world.one.get(part).text)]
    assert set(paths_of(PESENNIK)) <= set(listed)
    assert set(paths_of(FONOTEKA)) == set(locations(world.two.get("/sitemap.xml").text))
    assert f'href="{CALENDAR_START[PESENNIK]}"' in world.one.get("/").text
    assert world.two.get("/api/list").json()["calendar"] == CALENDAR_START[FONOTEKA]


def test_index_and_song_pages(world: World) -> None:
    index = world.one.get("/").text
    for offer in offers_of(PESENNIK):
        assert f'href="{offer.path}"' in index
    song = world.one.get("/pesni/korobeyniki")
    assert linked_data(song.text)["lyricist"]["name"] == "Николай Алексеевич Некрасов"
    assert world.one.get("/pesni/net-takoy").status_code == 404


def test_recordings_say_what_they_are(world: World) -> None:
    for offer in offers_of(PESENNIK):
        answer = world.one.get(offer.path)
        for _ in range(2):
            if answer.status_code != 200:
                answer = world.one.get(offer.path)
        data = linked_data(answer.text)
        assert data["@type"] == "MusicRecording"
        assert (data["identifier"], data["name"]) == (offer.key, offer.title)
        assert data["byArtist"]["name"] == offer.performer
        assert data["recordingOf"]["name"] == offer.song.title
        assert data["duration"] == f"PT{offer.duration_s:g}S"
        assert len(answer.content) < 300_000


def test_pages_that_fail_at_first(library: Path) -> None:
    running = World(library)
    try:
        for source, paths in EXPECTED.recovered.items():
            answers = [[running.client(source).get(path) for _ in range(4)] for path in paths]
            seen = {tuple(a.status_code for a in four): four[0].headers.get("retry-after") for four in answers}
            assert seen == {(429, 200, 200, 200): "1", (500, 500, 200, 200): None}
    finally:
        running.stop()


@pytest.mark.parametrize("source", [PESENNIK, FONOTEKA])
def test_refused_pages(world: World, source: str) -> None:
    client = world.client(source)
    for path, failure in EXPECTED.failures[source].items():
        match failure:
            case "not_found" | "gone":
                assert client.get(path).status_code == REFUSED[failure]
            case "robots_disallowed":
                robots = client.get("/robots.txt").text
                assert "Disallow: /private/" in robots
                assert "Crawl-delay: 0.05" in robots
                assert path.startswith("/private/")
                assert client.get(path).status_code == 200
            case "redirect_loop":
                with pytest.raises(httpx.TooManyRedirects):
                    client.get(path, follow_redirects=True)
            case "too_large":
                assert received(client, path, 1_000_000) >= 1_000_000
            case "broken_markup":
                raw = client.get(path if source == PESENNIK else "/api" + path).text
                assert "MusicRecording" in raw
                if source == PESENNIK:
                    with pytest.raises(json.JSONDecodeError):
                        linked_data(raw)
                else:
                    with pytest.raises(json.JSONDecodeError):
                        json.loads(json.loads(raw)["raw"])
            case "trap" | "too_deep":
                prefix = path.removesuffix("*")
                page = client.get((prefix if source == PESENNIK else "/api" + prefix) + "2026/12").text
                assert f"{prefix}2027/01" in page
            case _:
                pytest.fail(f"nothing serves {failure}")


def received(client: httpx.Client, path: str, limit: int) -> int:
    """Bytes until the end or the limit."""
    count = 0
    with client.stream("GET", path) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_raw():
            count += len(piece)
            if count >= limit:
                break
    return count


@pytest.mark.parametrize("offer", BROKEN, ids=lambda offer: f"{offer.source}:{offer.key}")
def test_bad_audio(world: World, offer: Any) -> None:
    client = world.client(offer.source)
    page = client.get(offer.path if offer.source == PESENNIK else "/api" + offer.path)
    assert page.status_code == 200
    data = linked_data(page.text) if offer.source == PESENNIK else page.json()["data"]
    url = data["audio"]["contentUrl"]
    match offer.failure:
        case "address_blocked":
            assert urlsplit(url).hostname in ("10.0.0.1", "169.254.169.254")
        case "too_large":
            with client.stream("GET", url) as answer:
                assert int(answer.headers["content-length"]) > 5_000_000
            assert received(client, url, 6_000_000) >= 6_000_000
        case "empty_file":
            answer = client.get(url)
            assert (answer.status_code, answer.content) == (200, b"")
        case "not_audio":
            answer = client.get(url)
            assert answer.headers["content-type"] == "audio/mpeg"
            assert b"<!doctype html>" in answer.content


def test_audio_has_ranges_and_etags(world: World) -> None:
    for offer in SAMPLE:
        client = world.client(offer.source)
        whole = client.get(offer.audio_url)
        assert whole.status_code == 200
        assert whole.headers["content-type"] == offer.encoding.media_type
        assert 50_000 < len(whole.content) < 5_000_000
        part = client.get(offer.audio_url, headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, whole.content[100:200])
        again = client.get(offer.audio_url, headers={"If-None-Match": whole.headers["etag"]})
        assert again.status_code == 304
    assert world.one.get("/audio/..%2f..%2fsites.json").status_code == 404


def test_fonoteka_holds_nothing_without_javascript(world: World) -> None:
    offer = offers_of(FONOTEKA)[0]
    page = world.two.get(offer.path).text
    assert "ld+json" not in page
    assert "alinka" not in page
    data = world.two.get("/api" + offer.path).json()["data"]
    assert (data["identifier"], data["name"]) == (offer.key, offer.title)
    doubtful = next(o for o in OFFERS if o.doubtful)
    assert "byArtist" not in world.two.get("/api" + doubtful.path).json()["data"]


@pytest.mark.browser
def test_fonoteka_in_a_browser(world: World, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on the path")
    offer = offers_of(FONOTEKA)[0]
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=5000", "--dump-dom"]
    url = world.urls["site_two"] + offer.path
    result = subprocess.run([browser, *options, url], capture_output=True, text=True, timeout=60, check=True)
    assert linked_data(result.stdout)["identifier"] == offer.key


def test_log_has_each_request(world: World) -> None:
    before = len(world.one.get("/__log").text.splitlines())
    world.one.get("/robots.txt", headers={"User-Agent": "probe"})
    entries = [json.loads(line) for line in world.one.get("/__log").text.splitlines()]
    assert len(entries) == before + 1
    last = entries[-1]
    assert (last["path"], last["status"], last["user_agent"]) == ("/robots.txt", 200, "probe")
    assert last["t"] <= last["end"] <= time.monotonic()
    assert "__log" not in world.one.get("/").text


def test_taken_port_is_replaced(library: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = World(library, "--port-one", str(port))
        assert not running.urls["site_one"].endswith(f":{port}")
        assert running.one.get("/robots.txt").status_code == 200
        code, errors = running.stop()
    assert code == 0
    assert f"port {port} is taken" in errors


def test_library_is_made_once_and_the_same_again(tmp_path: Path, library: Path) -> None:
    leftover = tmp_path / ".audio-999999999.partial"
    leftover.mkdir()
    mine = tmp_path / f".audio-{os.getppid()}.partial"
    mine.mkdir()
    made = prepare(tmp_path, SAMPLE)
    assert not leftover.exists()
    assert mine.exists(), "another living process is at work there"
    names = {offer.file_name for offer in SAMPLE}
    assert {path.name for path in made.iterdir()} == names
    for name in names:
        assert (made / name).read_bytes() == (library / f"audio-{library_key()}" / name).read_bytes()
    stamp = made.stat().st_mtime_ns
    assert prepare(tmp_path, SAMPLE) == made
    assert made.stat().st_mtime_ns == stamp


def test_copies_keep_their_fingerprint(library: Path) -> None:
    folder = library / f"audio-{library_key()}"
    studio, live = (
        [fingerprint_file(folder / o.file_name) for o in SAMPLE if o.rendition.key == key]
        for key in ("kalinka-berezka-1985", "kalinka-berezka-1991")
    )
    assert len(studio) == 3
    assert len(live) == 2
    assert all(best_bit_error_rate(studio[0], copy) < 0.10 for copy in studio[1:])
    assert best_bit_error_rate(live[0], live[1]) < 0.10
    assert best_bit_error_rate(studio[0], live[0]) > 0.30


def test_ending_while_rendering_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.sites", "--data", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not list(tmp_path.glob(".audio-*.partial/*")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
    assert list(tmp_path.iterdir()) == []
