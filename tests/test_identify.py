"""What is this? By file, by page, by audio address; on the command line and through the API with a real worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from catalog.database import Database
from catalog.models import Candidate
from catalog.repositories import accounts
from media.store import ObjectStore
from runtime.connections import Connections
from tests.crawlers.servers import Server, answer, serving
from tests.media.synth import RATE, encode, ffmpeg, render, write_wav
from tests.runtime.conftest import settings, versions

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running stack that knows one recording."""
    root = tmp_path_factory.mktemp("identify")
    folder, music = root / "data", root / "music"
    music.mkdir()
    started = versions(folder, "up", "--detach")
    assert started.returncode == 0, started.stderr
    try:
        wav = write_wav(root / "known.wav", render(80, 45))
        encode(wav, music / "known.flac", "-metadata", "title=Утро над рекой", "-metadata", "artist=Хор Примера")
        taken = versions(folder, "ingest", str(music))
        assert taken.returncode == 0, taken.stderr
        yield folder
    finally:
        versions(folder, "down")


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copies")
    encode(write_wav(root / "a.wav", render(80, 45)), root / "copy.mp3", "-map_metadata", "-1", before=("-ss", "5"))
    encode(write_wav(root / "b.wav", render(81, 30)), root / "other.mp3", "-map_metadata", "-1")
    faster = f"asetrate={round(RATE * 1.03)},aresample={RATE}"
    encode(root / "a.wav", root / "faster.mp3", "-map_metadata", "-1", "-af", faster)
    higher = f"asetrate={round(RATE * 2 ** (3 / 12))},aresample={RATE},atempo={2 ** (-3 / 12):.6f}"
    encode(root / "a.wav", root / "higher.mp3", "-map_metadata", "-1", "-af", higher)
    ffmpeg("-f", "lavfi", "-i", "sine=1000:d=20", root / "tone.wav")
    (root / "broken.mp3").write_bytes(b"no audio at all")
    return root


@pytest.fixture
def site(copies: Path) -> Iterator[Server]:
    audio = (copies / "copy.mp3").read_bytes()
    routes: dict[str, Any] = {"/copy.mp3": answer(body=audio, content_type="audio/mpeg"), "/robots.txt": answer(404)}
    with serving(routes) as server:
        recording = {
            "@context": "https://schema.org",
            "@type": "MusicRecording",
            "name": "Утро над рекой (live)",
            "byArtist": {"@type": "MusicGroup", "name": "Другой Хор"},
            "url": server.url("/song"),
            "audio": {"@type": "AudioObject", "contentUrl": server.url("/copy.mp3")},
        }
        page = f'<html><script type="application/ld+json">{json.dumps(recording)}</script></html>'.encode()
        routes["/song"] = answer(body=page, content_type="text/html; charset=utf-8")
        yield server


def ask(data_dir: Path, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    done = versions(data_dir, "identify", *arguments, "--json")
    return done.returncode, json.loads(done.stdout) if done.stdout else [], done.stderr


def candidates(data_dir: Path) -> int:
    database = Database(Connections.load(settings(data_dir)).database_url)
    try:
        with database.transaction() as session:
            return session.scalar(select(func.count()).select_from(Candidate)) or 0
    finally:
        database.dispose()


def test_a_file(data_dir: Path, copies: Path) -> None:
    status, (found,), _ = ask(data_dir, str(copies / "copy.mp3"))
    best = found["proposals"][0]
    assert (status, best["question"], best["verdict"], best["title"]) == (0, "recording", "same", "Утро над рекой")
    assert best["artists"] == ["Хор Примера"]
    assert best["evidence"]["alignment"]["offset_s"] == pytest.approx(5, abs=0.3)
    status, (found,), _ = ask(data_dir, str(copies / "other.mp3"))
    assert (status, found["proposals"]) == (0, [])
    shown = versions(data_dir, "identify", str(copies / "copy.mp3")).stdout
    assert "Same sound over" in shown
    assert "nothing in the catalog" in versions(data_dir, "identify", str(copies / "other.mp3")).stdout


def test_another_speed_is_tried_and_what_is_no_music_is_said(data_dir: Path, copies: Path) -> None:
    status, (found,), _ = ask(data_dir, str(copies / "faster.mp3"))
    best = found["proposals"][0]
    assert (status, best["question"], best["title"]) == (0, "recording", "Утро над рекой")
    assert best["evidence"]["speed_factor"] == pytest.approx(1.03, abs=0.006)
    assert found["audio"]["content"] is None
    status, (found,), _ = ask(data_dir, str(copies / "tone.wav"))
    assert (status, found["audio"]["content"]["kind"]) == (0, "tone")
    assert "tone, not music: one pitch" in versions(data_dir, "identify", str(copies / "tone.wav")).stdout


def test_a_melody_in_another_key_is_a_possible_version(data_dir: Path, copies: Path) -> None:
    status, (found,), _ = ask(data_dir, str(copies / "higher.mp3"))
    best = found["proposals"][0]
    assert (status, best["question"], best["verdict"], best["title"]) == (0, "song", "review", "Утро над рекой")
    assert best["evidence"]["melody"]["semitones"] == 3
    assert "3 semitones higher" in best["sentence"]


def test_a_page_and_an_audio_address(data_dir: Path, site: Server) -> None:
    status, (found,), errors = ask(data_dir, site.url("/song"), "--allow-private", site.host)
    assert (status, errors) == (0, "")
    questions = [(each["question"], each["verdict"]) for each in found["proposals"]]
    assert questions[0] == ("recording", "same")
    assert "song" in {question for question, _ in questions}, "the title is known too"
    status, (found,), _ = ask(data_dir, site.url("/copy.mp3"), "--allow-private", site.host)
    assert found["proposals"][0]["verdict"] == "same"


def test_what_cannot_be_identified_says_why(data_dir: Path, copies: Path, site: Server) -> None:
    for target, words in (
        (str(copies / "broken.mp3"), "not_audio"),
        (str(copies / "nothing.mp3"), "there is no file"),
        (site.url("/song"), "address_blocked"),
        ("ftp://example.org/x", "no http or https address"),
    ):
        status, found, error = ask(data_dir, target)
        assert (status, found) == (1, [])
        assert words in error
        assert len(error.splitlines()) == 1
    status, _, error = ask(data_dir, site.url("/missing"), "--allow-private", site.host)
    assert "not_found" in error


def test_through_the_api(data_dir: Path, copies: Path, site: Server) -> None:
    where = Connections.load(settings(data_dir))
    database = Database(where.database_url)
    try:
        with database.transaction() as session:
            user = accounts.create_user(session, "Анна", role="contributor")
            token = accounts.create_api_key(session, user, "test")
    finally:
        database.dispose()
    before = candidates(data_dir)
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=where.api_url, timeout=60, headers=headers) as client:
        audio = (copies / "b.wav").read_bytes()
        assert len(audio) > 1_000_000, "more than other requests may have"
        large = client.post("/api/v1/identify", content=audio, headers={"content-type": "audio/wav"})
        assert [each["proposals"] for each in large.json()["items"]] == [[]]
        assert client.post("/api/v1/reviews", content=audio).status_code == 413
        audio = (copies / "copy.mp3").read_bytes()
        named = {"content-type": "audio/mpeg", "x-file-name": "%D0%A3%D1%82%D1%80%D0%BE.mp3"}
        found = client.post("/api/v1/identify", content=audio, headers=named)
        assert found.status_code == 200, found.text
        (item,) = found.json()["items"]
        assert item["item"]["source_key"] == "Утро.mp3"
        assert item["proposals"][0]["verdict"] == "same"
        assert item["audio"]["codec"] == "mp3"
        for send, status, code in (
            ({"json": {"url": site.url("/song")}}, 422, "address_blocked"),
            ({"json": {"uri": "x"}}, 422, "validation_error"),
            ({"content": b"", "headers": named}, 422, "empty_file"),
            ({"content": b"noise", "headers": named}, 422, "not_audio"),
            ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "unsupported_media_type"),
        ):
            refused = client.post("/api/v1/identify", **send)  # type: ignore[arg-type]
            assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
        assert client.post("/api/v1/identify", json={}, headers={"Authorization": "Bearer no"}).status_code == 401
    assert candidates(data_dir) == before, "nothing is kept"
    assert not list(
        ObjectStore(where.s3_endpoint, where.s3_access_key, where.s3_secret_key, where.s3_bucket).keys("identify/")
    )
