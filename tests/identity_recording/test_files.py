"""Local files of segments: what they answer is what PostgreSQL would, and where they fail PostgreSQL does."""

from __future__ import annotations

import fcntl
import itertools
import logging
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from catalog.database import Database
from catalog.models import AudioFingerprint, RecordingPostings, RecordingSegment
from identity.recording.checking import check, status
from identity.recording.files import SegmentFiles
from identity.recording.index import SegmentIndex, search_files
from identity.recording.merging import Merger
from identity.recording.terms import terms
from tests.identity_recording.test_index import (
    SAMPLING,
    assert_all_found,
    assert_good,
    fill,
    found,
    sound,
    store,
    store_one,
)


@pytest.fixture
def files(database: Database, tmp_path: Path) -> SegmentFiles:
    """Used by this process's searches."""
    result = SegmentFiles(tmp_path / "segments")
    search_files(database.engine, result)
    return result


def names(files: SegmentFiles) -> set[str]:
    return {path.name for path in files.folder.iterdir()} - {"lock"}


def keys(database: Database) -> set[str]:
    with database.transaction() as session:
        query = select(RecordingSegment.key).where(RecordingSegment.state == "active")
        return {f"{key}.segment" for key in session.scalars(query)}


def two_segments(database: Database) -> dict[int, int]:
    ids = fill(database, range(30))
    Merger(database.engine).run(collect_at=1)
    ids |= fill(database, range(30, 35))
    Merger(database.engine).run(collect_at=1)
    return ids


def test_files_answer_what_the_rows_would(database: Database, files: SegmentFiles) -> None:
    ids = two_segments(database)
    ids |= fill(database, range(40, 43))
    queries = [sound(seed)[50:] for seed in ids]
    before = [found(database, items) for items in queries]
    done = files.refresh(database.engine)
    assert (done.held, done.fetched, done.removed) == (2, 2, 0)
    assert [found(database, items) for items in queries] == before
    with database.transaction() as session:
        checked = check(session, files=files)
        assert checked.good
        assert checked.files == 2
        told = status(session, files)
        assert {each["file"] for each in told.segments} == names(files) == keys(database)
        assert told.file_bytes > 0
        # The rows are not needed any more.
        session.execute(delete(RecordingPostings))
    assert [found(database, items) for items in queries] == before
    assert files.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in files.folder.iterdir()} == {0o600}
    assert files.refresh(database.engine).fetched == 0


@pytest.mark.parametrize("sampling_bits", [2, 3])
def test_ids_far_apart_in_files(database: Database, files: SegmentFiles, sampling_bits: int) -> None:
    ids = fill(database, range(3))
    with database.transaction() as session:
        session.connection().exec_driver_sql("SELECT setval('audio_fingerprints_id_seq', 4000000000)")
    ids |= fill(database, range(3, 6))
    Merger(database.engine).rebuild(sampling_bits)
    files.refresh(database.engine)
    assert [each.postings.itemsize for each in files.held.values()] == [8]
    for seed, fingerprint_id in ids.items():
        assert found(database, sound(seed), 1) == [(fingerprint_id, terms(sound(seed), sampling_bits).size)]
    with database.transaction() as session:
        assert check(session, files=files).good


def test_what_is_merged_is_found_before_it_is_fetched(database: Database, files: SegmentFiles) -> None:
    ids = two_segments(database)
    files.refresh(database.engine)
    old = names(files)
    ids |= fill(database, range(50, 90))
    Merger(database.engine).run(collect_at=1)
    assert_all_found(database, ids)
    # Another process still has the old files, which are gone from the folder.
    other = SegmentFiles(files.folder, held=dict(files.held))
    done = files.refresh(database.engine)
    assert done.removed == 2
    assert names(files) == keys(database)
    assert not names(files) & old
    assert_all_found(database, ids)
    search_files(database.engine, other)
    assert_all_found(database, ids)
    with database.transaction() as session:
        assert check(session, files=files).good


def test_the_deleted_are_not_read(database: Database, files: SegmentFiles) -> None:
    ids = two_segments(database)
    files.refresh(database.engine)
    with database.transaction() as session:
        session.execute(delete(AudioFingerprint).where(AudioFingerprint.id == ids.pop(3)))
    Merger(database.engine).rebuild()
    files.refresh(database.engine)
    assert found(database, sound(3)) == []
    assert_all_found(database, ids)


@pytest.mark.parametrize("harm", ["lost", "cut", "longer", "empty", "a bit", "directory", "header", "another's"])
def test_a_damaged_file_is_not_believed(database: Database, files: SegmentFiles, harm: str) -> None:
    ids = two_segments(database)
    files.refresh(database.engine)
    path = max(files.folder.glob("*.segment"), key=lambda each: each.stat().st_size)
    other = next(each for each in files.folder.glob("*.segment") if each != path)
    data = bytearray(path.read_bytes())
    if harm == "lost":
        path.unlink()
    else:
        place = {"a bit": len(data) // 2 * 2 - 9, "directory": 100, "header": 30}.get(harm, 0)
        data[place] ^= 1
        changed: dict[str, bytes | bytearray] = {
            "cut": data[:-4],
            "longer": data + b"\0\0\0\0",
            "empty": b"",
            "another's": other.read_bytes(),
        }
        # A file is never written to: whoever has it mapped keeps the old one.
        path.unlink()
        path.write_bytes(changed.get(harm, data))
    with database.transaction() as session:
        checked = check(session, files=files)
        assert checked.unlike == (() if harm == "lost" else (path.name,))
        assert checked.good == (harm == "lost")
        assert not checked.missing
    # Who had the old one mapped looks again as well.
    old = SegmentFiles(files.folder, held=dict(files.held))
    old.refresh(database.engine, fetch=False)
    assert len(old.held) == 1
    fresh = SegmentFiles(files.folder)
    search_files(database.engine, fresh)
    unfetched = fresh.refresh(database.engine, fetch=False)
    assert (unfetched.held, unfetched.damaged) == (1, () if harm == "lost" else (path.name,))
    assert_all_found(database, ids)
    mended = fresh.refresh(database.engine)
    assert (mended.held, mended.fetched) == (2, 1)
    assert_all_found(database, ids)
    with database.transaction() as session:
        assert check(session, files=fresh).good


def test_check_finds_a_file_that_tells_something_else_than_its_rows(database: Database, files: SegmentFiles) -> None:
    two_segments(database)
    files.refresh(database.engine)
    with database.transaction() as session:
        row = session.scalars(select(RecordingPostings).limit(1)).one()
        row.data = bytes([row.data[0] ^ 1]) + row.data[1:]
        (key,) = session.scalars(select(RecordingSegment.key).where(RecordingSegment.id == row.segment_id))
    with database.transaction() as session:
        checked = check(session, files=files)
    assert checked.unlike == (files.name(key),)
    assert checked.missing


def test_without_room_postgresql_answers(
    database: Database, files: SegmentFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ids = two_segments(database)
    full = SegmentFiles(Path("/dev/full") / "segments")
    search_files(database.engine, full)
    with caplog.at_level(logging.ERROR):
        assert full.refresh(database.engine).held == 0
    assert "PostgreSQL is asked" in caplog.text
    assert_all_found(database, ids)

    def no_room(step: str) -> None:
        if step == "directory":
            raise OSError(28, "No space left on device")

    files.on_step = no_room
    assert files.refresh(database.engine).held == 0
    assert names(files) == set()
    assert_all_found(database, ids)


def test_one_of_a_host_fetches(database: Database, files: SegmentFiles) -> None:
    ids = two_segments(database)
    files.folder.mkdir(mode=0o700)
    with (files.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert files.refresh(database.engine).held == 0
        assert_all_found(database, ids)
    assert files.refresh(database.engine).fetched == 2
    assert SegmentFiles(files.folder).refresh(database.engine).held == 2


def _killed_at(url: str, folder: Path, step: int) -> None:
    """In a process of its own: dies before the step of this number."""
    numbers = itertools.count()

    def hook(_: str) -> None:
        if next(numbers) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    SegmentFiles(folder, on_step=hook).refresh(Database(url).engine)


def test_a_fetch_may_die_before_any_step(database: Database, database_url: str, tmp_path: Path) -> None:
    ids = two_segments(database)
    context = multiprocessing.get_context("fork")
    killed = 0
    for step in itertools.count():
        folder = tmp_path / str(step)
        folder.mkdir()
        (folder / "old.segment").touch()
        process = context.Process(target=_killed_at, args=(database_url, folder, step))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        killed += process.exitcode != 0
        files = SegmentFiles(folder)
        search_files(database.engine, files)
        files.refresh(database.engine, fetch=False)
        assert_all_found(database, ids)
        assert files.refresh(database.engine).held == 2
        assert names(files) == keys(database)
        assert_all_found(database, ids)
        if process.exitcode == 0:
            break
    assert killed == 9  # remove; write, directory, rename, renamed of each


def _works(url: str, folder: Path, start: int, count: int) -> dict[int, int]:
    """A worker process: refreshes, records, and finds at once what it recorded."""
    database = Database(url)
    files = SegmentFiles(folder)
    search_files(database.engine, files)
    result = {}
    for seed in range(start, start + count):
        files.refresh(database.engine)
        result[seed] = store_one(database, seed)
        for each in (seed, start):
            expected = [(result[each], terms(sound(each), SAMPLING).size)]
            if found(database, sound(each), 1) != expected:
                raise AssertionError(f"{each} was not found")
    database.dispose()
    return result


def test_workers_fetch_write_and_search_while_one_merges(
    database: Database, database_url: str, files: SegmentFiles
) -> None:
    over = threading.Event()
    problems: list[BaseException] = []
    known = two_segments(database)

    def merge() -> None:
        try:
            while not over.is_set():
                Merger(database.engine).run(collect_at=3)
                files.refresh(database.engine)
                assert_all_found(database, dict(list(known.items())[::9]))
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=merge)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        thread.start()
        asked = [pool.apply_async(_works, (database_url, files.folder, 1_000 * number, 20)) for number in (1, 2)]
        for each in asked:
            known = {**known, **each.get(timeout=120)}
    over.set()
    thread.join()
    assert problems == []
    files.refresh(database.engine)
    assert names(files) == keys(database)
    assert_all_found(database, known)
    with database.transaction() as session:
        assert check(session, files=files).good
    assert_good(database)


def test_its_own_rows_are_found_beside_files(database: Database, files: SegmentFiles) -> None:
    two_segments(database)
    files.refresh(database.engine)
    with database.transaction() as session:
        own = store(session, sound(5)[:200])
        assert own in dict(SegmentIndex().search(session, sound(5)))
        session.rollback()
    assert own not in dict(found(database, sound(5)))
