"""`versions ingest` on the real stack: copies found, nothing twice, and bad files that each end with their reason."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from catalog.database import Database
from catalog.models import Candidate, Event, Song, Version, VersionCredit, VersionSource
from runtime.connections import Connections
from tests.media.synth import encode, ffmpeg, render, write_wav
from tests.runtime.conftest import settings, versions

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]

TITLES = ("Утро над рекой", "Evening Light", "Three Roads")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with a running stack, without the API."""
    folder = tmp_path_factory.mktemp("ingest") / "data"
    started = versions(folder, "up", "--detach", "--only", "postgres,temporal,s3,worker")
    assert started.returncode == 0, started.stderr
    try:
        yield folder
    finally:
        versions(folder, "down")


@pytest.fixture(scope="module")
def database(data_dir: Path) -> Iterator[Database]:
    result = Database(Connections.load(settings(data_dir)).database_url)
    yield result
    result.dispose()


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of one name: tagged originals, and copies of them without tags."""
    root = tmp_path_factory.mktemp("music")
    for folder in ("mine/music/album", "theirs/music"):
        (root / folder).mkdir(parents=True)
    originals = []
    for seed, title in enumerate(TITLES, start=40):
        wav = write_wav(root / f"{seed}.wav", render(seed, 40))
        tags = ("-metadata", f"title={title}", "-metadata", "artist=The Sound Makers")
        originals.append(encode(wav, root / "mine/music/album" / f"{seed}.flac", *tags))
        wav.unlink()
    theirs = root / "theirs/music"
    encode(originals[0], theirs / "8c1f20.mp3", "-map_metadata", "-1")
    encode(originals[1], theirs / "e77a4b.m4a", "-map_metadata", "-1", before=("-ss", "8"))
    encode(originals[2], theirs / "20d9c5.opus", "-map_metadata", "-1", "-af", "volume=6dB,alimiter")
    return root


def ingest(data_dir: Path, *arguments: str | Path) -> dict[str, Any]:
    """The report of a finished `versions ingest`."""
    done = versions(data_dir, "ingest", *map(str, arguments), "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def newest_event(database: Database) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.coalesce(func.max(Event.seq), 0))) or 0


def test_copies_join_their_version_and_take_its_name(
    data_dir: Path, database: Database, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The copies come first: what they are called must not stay.
    first = ingest(data_dir, music / "theirs/music")
    assert (first["tracks"], first["new_versions"], first["copies"], first["errors"]) == (3, 3, [], [])
    second = ingest(data_dir, music / "mine/music")
    assert (second["tracks"], second["new_versions"], second["review"]) == (3, 0, [])
    assert {copy["source_key"] for copy in second["copies"]} == {f"music/album/{n}.flac" for n in (40, 41, 42)}
    with database.transaction() as session:
        told = session.execute(
            select(Song.title, Version.title, VersionCredit.credited_as, Version.duration_s)
            .join(Version, Version.song_id == Song.id)
            .join(VersionCredit, VersionCredit.version_id == Version.id)
        ).all()
        counts = session.scalars(select(func.count()).select_from(VersionSource).group_by(VersionSource.version_id))
        assert sorted(counts) == [2, 2, 2]
        assert len(set(session.scalars(select(VersionSource.source).distinct()))) == 2
    assert {row[:3] for row in told} == {
        ("Утро над рекой", "Утро над рекой", "The Sound Makers"),
        ("Evening Light", "Evening Light", "The Sound Makers"),
        ("Three Roads", "Three Roads", "The Sound Makers"),
    }
    assert all(abs(row.duration_s - 40) < 0.2 for row in told)

    before = newest_event(database)
    monkeypatch.chdir(music / "mine")
    for again in ("music", "./music/", "../mine/music/album/..", "music/album", "music/album/41.flac"):
        report = ingest(data_dir, again)
        assert (report["new_versions"], report["copies"]) == (0, [])
        assert report["known"] == report["tracks"] == (1 if "flac" in again else 3)
        if not again.startswith("music/album"):
            assert report["campaign"] == second["campaign"]
    assert newest_event(database) == before
    table = versions(data_dir, "ingest", "music")
    assert "3 (3 known already)" in table.stdout


def test_bad_files_end_with_their_reason_and_the_others_go_on(
    data_dir: Path, database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "zero.mp3").touch()
    (folder / "garbage.mp3").write_bytes(random.Random(1).randbytes(200_000))
    (folder / "words.mp3").write_text("This is no music. " * 2000)
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=2", folder / "silent film.mp4")
    minute = tmp_path / "minute.mp3"
    options = ("-ar", "8000", "-b:a", "8k", "-write_xing", "0", "-id3v2_version", "0")
    ffmpeg("-f", "lavfi", "-i", "sine=frequency=220:duration=60", *options, minute)
    (folder / "three hours.mp3").write_bytes(minute.read_bytes() * 180)
    ffmpeg("-f", "lavfi", "-i", "sine=frequency=440:duration=2", folder / "jingle.wav")
    encode(write_wav(tmp_path / "sound.wav", render(50, 40)), folder / "sound.flac")
    (folder / "notes.txt").write_text("not looked at")
    report = ingest(data_dir, folder)
    assert {problem["source_key"]: problem["reason"] for problem in report["errors"]} == {
        "bad/zero.mp3": "empty_file",
        "bad/garbage.mp3": "not_audio",
        "bad/words.mp3": "not_audio",
        "bad/silent film.mp4": "no_audio_stream",
        "bad/three hours.mp3": "too_long",
        "bad/jingle.wav": "too_short",
    }
    assert report["errors_by_reason"]["not_audio"] == 2
    assert (report["tracks"], report["new_versions"]) == (7, 1)
    with database.transaction() as session:
        bad = session.scalars(select(Candidate).where(Candidate.state == "failed")).all()
        assert len(bad) == 6
        assert all(candidate.detail and candidate.waiting_on is None for candidate in bad)
    assert versions(data_dir, "status").returncode == 0
    # They are not tried again, and nothing is published again.
    before = newest_event(database)
    assert ingest(data_dir, folder)["known"] == 7
    assert newest_event(database) == before


def test_review_and_names(data_dir: Path, tmp_path: Path) -> None:
    sound = tmp_path / "Lonely Piece.wav"
    write_wav(sound, render(60, 30))
    report = ingest(data_dir, sound, "--name", "Моя музыка", "--review")
    assert report["campaign"] == "ingest-moya-muzyka"
    assert [problem["reason"] for problem in report["review"]] == ["policy"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["/nowhere/at/all"], 2, "/nowhere/at/all does not exist"),
        (["{empty}"], 2, "no audio files"),
        (["/dev/null"], 2, "neither a folder nor a file"),
        (["{music}", "--name", " "], 2, "--name: empty"),
        (["{music}", "--up", "--no-wait"], 2, "use `versions up`"),
        (["{music}"], 1, "the stack is not running: `versions up`"),
    ],
)
def test_clear_errors(tmp_path: Path, music: Path, arguments: list[str], status: int, said: str) -> None:
    (tmp_path / "empty").mkdir()
    filled = [each.format(empty=tmp_path / "empty", music=music) for each in arguments]
    done = versions(tmp_path / "data", "ingest", *filled)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
