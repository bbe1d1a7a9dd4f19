"""A real folder of real audio files, made by FFmpeg, through the folder adapter."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import imageio_ffmpeg
import pytest

from adapters import table_file
from adapters.contract import Credit, RecordingItem, SourceQuery, get_adapter
from crawlers.errors import FailureClass
from crawlers.files import crawl_files, walk
from crawlers.ports import CrawlJob, CrawlLimits, CrawlProgress
from tests.crawlers.fake_store import MemoryStore

TAGS = {
    "title": "Катюша", "artist": "Хор", "album": "Песни", "date": "1975-05-09", "composer": "Матвей Блантер",
    "genre": "народная", "track": "3/12",
}  # fmt: skip
FORMATS = {"mp3": [], "flac": [], "ogg": ["-c:a", "libvorbis"], "opus": [], "m4a": [], "wav": [], "wma": []}


@pytest.fixture(scope="session")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``song.<ending>`` of one second in each format, tagged."""
    folder = tmp_path_factory.mktemp("audio")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "sine=440:duration=1"]
    for ending, codec in FORMATS.items():
        command += [part for name, value in TAGS.items() for part in ("-metadata", f"{name}={value}")]
        command += [*codec, str(folder / f"song.{ending}")]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def folder_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("song.*"))


async def read(
    *seeds: Path,
    store: MemoryStore | None = None,
    stop: threading.Event | None = None,
    limits: CrawlLimits | None = None,
) -> tuple[bool, dict[str, RecordingItem], CrawlProgress, MemoryStore]:
    store, progress = store or MemoryStore(), CrawlProgress()
    job = CrawlJob("run", "mine", "folder", [str(seed) for seed in seeds], limits=limits or CrawlLimits())
    complete = await crawl_files(
        job, get_adapter("folder"), store=store, progress=progress, stop=stop or threading.Event()
    )
    items = {item.source_key: item for outcome in store.answered.values() for item in outcome.items}
    return complete, items, progress, store


async def test_tags_of_each_format(audio: Path) -> None:
    complete, items, progress, _ = await read(audio)
    assert complete
    assert set(items) == {f"{audio.name}/song.{ending}" for ending in FORMATS}
    for key, item in items.items():
        if key.endswith(".wav"):  # RIFF INFO is not read; the name remains
            assert item.title == "song"
        else:
            assert item.title == "Катюша", key
            assert item.credits == (Credit("Хор"), Credit("Матвей Блантер", "composer")), key
            assert (item.album, item.year, item.genre) == ("Песни", 1975, "народная"), key
        assert item.duration_s == pytest.approx(1.0, abs=0.1), key
        assert item.audio_url == item.url == (audio / key.partition("/")[2]).as_uri()
    assert (progress.pages, progress.items, progress.failures) == (len(FORMATS), len(FORMATS), {})
    assert progress.bytes == folder_size(audio)


async def test_broken_and_nameless_files_are_items_too(tmp_path: Path) -> None:
    for name in ("01 - Дубинушка.mp3", "02._Во_поле.flac", "99 luftballons.ogg", "12.opus", "empty.m4a", "1812.wav"):
        (tmp_path / name).write_bytes(b"" if name.startswith("empty") else b"ID3\x04\x00\x00garbage" + os.urandom(200))
    _, items, progress, _ = await read(tmp_path)
    titles = {key.partition("/")[2]: item.title for key, item in items.items()}
    assert titles == {
        "01 - Дубинушка.mp3": "Дубинушка", "02._Во_поле.flac": "Во поле", "99 luftballons.ogg": "luftballons",
        "12.opus": "12", "empty.m4a": "empty", "1812.wav": "1812",
    }  # fmt: skip
    assert progress.failures == {}


async def test_what_is_passed_over(tmp_path: Path, audio: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    shutil.copy(audio / "song.mp3", secret / "s.mp3")
    music = tmp_path / "music"
    (music / "sub" / ".hidden").mkdir(parents=True)
    for name in ("a.MP3", "sub/b.mp3", ".c.mp3", "sub/.hidden/d.mp3", "notes.txt"):
        shutil.copy(audio / "song.mp3", music / name)
    (music / "link.mp3").symlink_to(secret / "s.mp3")
    (music / "linked").symlink_to(secret)
    (music / "loop").symlink_to(music)
    os.mkfifo(music / "pipe.mp3")
    (music / "folder.mp3").mkdir()
    _, items, _, _ = await read(music)
    assert set(items) == {"music/a.MP3", "music/sub/b.mp3"}


async def test_keys_are_stable_and_tell_seeds_apart(tmp_path: Path, audio: Path) -> None:
    for parent in ("one", "two"):
        (tmp_path / parent / "music").mkdir(parents=True)
        shutil.copy(audio / "song.mp3", tmp_path / parent / "music" / "s.mp3")
    _, items, _, _ = await read(tmp_path / "one" / "music", tmp_path / "two" / "music")
    assert set(items) == {"one/music/s.mp3", "two/music/s.mp3"}
    _, items, _, _ = await read(tmp_path / "one" / "music" / "s.mp3")
    assert set(items) == {"s.mp3"}
    # Decomposed names, as macOS has them, and names that are no UTF-8.
    decomposed = tmp_path / "names" / "и\u0306.mp3"
    decomposed.parent.mkdir()
    shutil.copy(audio / "song.mp3", decomposed)
    shutil.copy(audio / "song.mp3", os.fsencode(tmp_path / "names") + b"/\xff.mp3")
    _, items, progress, _ = await read(tmp_path / "names")
    assert set(items) == {"names/й.mp3", "names/\ufffd.mp3"}
    assert progress.failures == {}


async def test_commits_as_it_goes_stops_and_goes_on(tmp_path: Path) -> None:
    for number in range(70):
        (tmp_path / f"{number:02d}.mp3").write_bytes(b"x")
    stop = threading.Event()

    class Stopping(MemoryStore):
        async def commit(self, outcomes: object) -> None:
            await super().commit(outcomes)  # type: ignore[arg-type]
            stop.set()

    store = Stopping()
    complete, items, _, _ = await read(tmp_path, store=store, stop=stop)
    assert not complete
    assert 0 < len(items) < 70
    stop.clear()
    store.commit = MemoryStore.commit.__get__(store)  # type: ignore[method-assign]
    complete, items, progress, _ = await read(tmp_path, store=store, stop=stop)
    assert complete
    assert len(items) == 70
    assert progress.pages < 70
    assert len(store.commits) >= 3


async def test_a_limit_and_a_file_that_vanished(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.mp3").write_bytes(b"x")
    _, items, _, _ = await read(tmp_path, limits=CrawlLimits(max_pages=3))
    assert len(items) == 3

    class Vanishing(MemoryStore):
        async def take(self, limit: int, exclude: object) -> object:  # type: ignore[override]
            (tmp_path / "4.mp3").unlink(missing_ok=True)
            return await super().take(limit, [])

    _, items, progress, store = await read(tmp_path, store=Vanishing())
    assert len(items) == 4
    assert progress.failures == {"not_found": 1}
    incidents = [outcome.incident for outcome in store.answered.values() if outcome.incident]
    assert [incident.failure for incident in incidents] == [FailureClass.NOT_FOUND]


async def test_a_table_is_read_in_parts_with_its_bad_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "ROWS_AT_ONCE", 10)
    table = tmp_path / "songs.csv"
    table.write_text("id,title\n" + "".join(f"{n},{'' if n == 25 else f'Song {n}'}\n" for n in range(40)))
    progress, stop = CrawlProgress(), threading.Event()

    class Stopping(MemoryStore):
        async def commit(self, outcomes: object) -> None:
            await super().commit(outcomes)  # type: ignore[arg-type]
            stop.set()

    store = Stopping()
    job = CrawlJob("run", "list", "table_file", [str(table)])
    adapter = get_adapter("table_file")
    attempts = 0
    while not await crawl_files(job, adapter, store=store, progress=progress, stop=stop):
        attempts += 1
        stop.clear()
    assert attempts >= 4
    items = [item.source_key for outcome in store.answered.values() for item in outcome.items]
    assert items == [str(n) for n in range(40) if n != 25]
    incidents = [outcome.incident for outcome in store.answered.values() if outcome.incident]
    assert [(each.failure, each.detail) for each in incidents] == [
        (FailureClass.BROKEN_MARKUP, "1 bad rows: line 27: no title")
    ]
    assert progress.bytes == table.stat().st_size
    assert progress.items == 39


@pytest.mark.parametrize("seeds", [[], ["/does/not/exist"], ["x\0y"]])
def test_bad_seeds_are_named(seeds: list[str]) -> None:
    with pytest.raises(ValueError, match="seeds"):
        get_adapter("folder").seeds(SourceQuery("mine", seeds))


def test_a_root_gives_a_file_one_key(tmp_path: Path) -> None:
    (tmp_path / "music" / "album").mkdir(parents=True)
    song = tmp_path / "music" / "album" / "song.mp3"
    song.touch()
    root = {"root": str(tmp_path / "music")}
    keys = []
    for seed in (tmp_path / "music", tmp_path / "music/album", song):
        query = SourceQuery("folder", [str(seed)], options=root)
        keys += [found.request.context["key"] for found in walk(list(get_adapter("folder").seeds(query)))]
    assert keys == ["music/album/song.mp3"] * 3
    with pytest.raises(ValueError, match=r"options\.root"):
        get_adapter("folder").seeds(SourceQuery("folder", [str(tmp_path)], options=root))
