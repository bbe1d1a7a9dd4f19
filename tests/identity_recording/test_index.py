"""The index of recordings: what is committed is found, once, whatever merges, dies or runs beside it."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from catalog.database import Database
from catalog.models import (
    AudioFingerprint,
    Candidate,
    RecordingIndexState,
    RecordingPostings,
    RecordingSegment,
    RecordingTerms,
)
from identity.recording import merging
from identity.recording.checking import check, status
from identity.recording.index import SegmentIndex, StaleIndexError
from identity.recording.items import Items, fingerprint_bytes
from identity.recording.merging import Merger, MergerBusyError
from identity.recording.packing import Layout, capped, postings_of
from identity.recording.terms import terms
from identity.thresholds import TERM_SAMPLING_BITS

SECONDS = 40
SAMPLING = TERM_SAMPLING_BITS
_names = itertools.count()


def sound(seed: int) -> Items:
    return np.random.default_rng(seed).integers(0, 2**32, int(SECONDS / 0.12383), dtype=np.uint32)


def store(session: Session, items: Items, *, indexed: bool = True) -> int:
    candidate = Candidate(
        source="test", source_key=f"{os.getpid()}-{next(_names)}", url="https://x.test/", item_digest=""
    )
    session.add(candidate)
    session.flush()
    row = AudioFingerprint(candidate_id=candidate.id, duration_s=SECONDS, items=fingerprint_bytes(items))
    session.add(row)
    session.flush()
    if indexed:
        SegmentIndex().add(session, row.id, items)
    return row.id


def fill(database: Database, seeds: range) -> dict[int, int]:
    """Fingerprint ids by seed."""
    with database.transaction() as session:
        return {seed: store(session, sound(seed)) for seed in seeds}


def found(database: Database, items: Items, limit: int = 20) -> list[tuple[int, int]]:
    with database.transaction() as session:
        return SegmentIndex().search(session, items, limit)


def assert_all_found(database: Database, ids: dict[int, int]) -> None:
    """Each is found by itself, with each of its terms counted once."""
    for seed, fingerprint_id in ids.items():
        assert found(database, sound(seed), 1) == [(fingerprint_id, terms(sound(seed), SAMPLING).size)], seed


def assert_good(database: Database) -> None:
    with database.transaction() as session:
        checked = check(session)
    assert checked.good, checked
    assert not checked.dead


# -- packing --------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), min_size=1, max_size=300),
    span_bits=st.integers(1, 32),
    bucket_bits=st.integers(1, 26),
    sampling_bits=st.integers(2, 3),
    first_id=st.integers(0, 2**60),
)
def test_what_is_packed_comes_out(
    pairs: list[tuple[int, int]], span_bits: int, bucket_bits: int, sampling_bits: int, first_id: int
) -> None:
    found_terms = np.array([term >> sampling_bits << sampling_bits for term, _ in pairs], dtype=np.uint32)
    offsets = np.array([offset % 2**span_bits for _, offset in pairs])
    postings = np.unique(postings_of(found_terms, offsets))
    layout = Layout(first_id, span_bits, bucket_bits, sampling_bits)
    rows = list(layout.pack(postings))
    assert np.array_equal(layout.unpack(rows), postings)
    assert [bucket for bucket, _ in rows] == sorted({bucket for bucket, _ in rows})
    by_bucket = dict(rows)
    wanted = np.unique(found_terms[::2])
    data = [by_bucket.get(bucket, b"") for bucket in layout.buckets(wanted).tolist()]
    ids = layout.matching(wanted, b"".join(data), np.array([len(each) for each in data]))
    chosen = np.isin((postings >> np.uint64(32)).astype(np.uint32), wanted)
    expected = (postings[chosen] & np.uint64(2**32 - 1)).astype(np.int64) + first_id
    assert sorted(ids.tolist()) == sorted(expected.tolist())


def test_a_layout_fits_what_it_holds() -> None:
    million = Layout.fitting(1, 1_000_000, 113_000_000, 3)
    assert million.dtype.itemsize == 4
    assert 2**17 <= 2**million.bucket_bits <= 2**19
    assert Layout.fitting(1, 2**32, 1_000, 3).dtype.itemsize == 8
    with pytest.raises(ValueError, match="do not fit one segment"):
        Layout.fitting(1, 2**32 + 1, 1_000, 3)


def test_a_term_of_everybody_is_cut_off() -> None:
    common, rare = np.full(5, 8, dtype=np.uint32), np.array([16, 16], dtype=np.uint32)
    postings = postings_of(np.concatenate([common, rare]), np.array([4, 3, 2, 1, 0, 7, 6]))
    kept = capped(postings, 3)
    assert [(int(each) >> 32, int(each) & 0xFFFFFFFF) for each in kept] == [(8, 0), (8, 1), (8, 2), (16, 6), (16, 7)]


# -- finding --------------------------------------------------------------------------------------------


def test_found_from_the_moment_of_commit(database: Database) -> None:
    index, items = SegmentIndex(), sound(1)
    assert found(database, items) == []
    with database.transaction() as session:
        one = store(session, items)
        whole = terms(items, SAMPLING).size
        assert index.search(session, items) == [(one, whole)]  # by its own transaction
        assert found(database, items) == []  # not by another
        index.add(session, one, items)
        assert index.search(session, items) == [(one, whole)]
    assert found(database, items) == [(one, whole)]
    ids = fill(database, range(2, 6))
    assert_all_found(database, {1: one, **ids})
    assert found(database, items[100:], 1) == [(one, terms(items[100:], SAMPLING).size)]


def test_what_was_rolled_back_is_not_remembered(database: Database) -> None:
    fill(database, range(1, 3))
    with database.transaction() as session:
        store(session, sound(3))
        assert SegmentIndex().search(session, sound(3))
        session.rollback()
    fill(database, range(4, 6))
    assert found(database, sound(3)) == []


def test_a_late_commit_with_an_early_id_is_found(database: Database) -> None:
    with database.transaction() as slow:
        early = store(slow, sound(1))
        late = fill(database, range(2, 8))
        assert min(late.values()) > early
        assert_all_found(database, late)
    assert_all_found(database, {1: early, **late})
    assert found(database, sound(1), 1)[0][0] == early


def test_collected_merged_and_found(database: Database) -> None:
    merger = Merger(database.engine)
    assert merger.run().segment is None
    ids: dict[int, int] = {}
    sizes = []
    for start in range(0, 60, 10):
        ids |= fill(database, range(start, start + 10))
        assert_all_found(database, {seed: ids[seed] for seed in list(ids)[::7]})
        assert merger.run(collect_at=1).collected == 10
        with database.transaction() as session:
            sizes.append(sorted(session.scalars(select(RecordingSegment.recordings))))
            assert session.scalar(select(func.count()).select_from(RecordingTerms)) == 0
    assert sizes == [[10], [20], [30], [10, 30], [50], [10, 50]]
    ids |= fill(database, range(100, 103))
    assert_all_found(database, ids)
    assert_good(database)


def test_a_rebuild_writes_one_segment_and_nothing_else(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "BUILD_MOST", 7)
    monkeypatch.setattr(merging, "SLICE_POSTINGS", 300)
    ids = fill(database, range(30))
    merger = Merger(database.engine)
    assert merger.rebuild().recordings == 30
    with database.transaction() as session:
        assert [each["recordings"] for each in status(session).segments] == [30]
    assert merger.settle() == []
    assert_all_found(database, ids)
    assert_good(database)


def test_ids_far_apart(database: Database) -> None:
    ids = fill(database, range(3))
    with database.transaction() as session:
        session.execute(text("SELECT setval('audio_fingerprints_id_seq', 4000000000)"))
    ids |= fill(database, range(3, 6))
    with database.transaction() as session:
        session.execute(text("SELECT setval('audio_fingerprints_id_seq', 90000000000)"))
    ids |= fill(database, range(6, 9))
    merger = Merger(database.engine)
    assert [merger.run(collect_at=1).collected for _ in range(2)] == [6, 3]
    assert merger.settle() == []
    assert_all_found(database, ids)
    assert_good(database)
    merger.rebuild()
    assert_all_found(database, ids)


def test_the_deleted_go_with_the_next_merge(database: Database) -> None:
    ids = fill(database, range(10))
    merger = Merger(database.engine)
    merger.run(collect_at=1)
    with database.transaction() as session:
        session.execute(delete(AudioFingerprint).where(AudioFingerprint.id.in_([ids.pop(3), ids.pop(8)])))
    with database.transaction() as session:
        assert check(session).dead == terms(sound(3), SAMPLING).size + terms(sound(8), SAMPLING).size
    ids |= fill(database, range(20, 25))
    merger.run(collect_at=1)
    assert found(database, sound(3)) == []
    assert_all_found(database, ids)
    assert_good(database)


def test_another_sampling(database: Database) -> None:
    ids = fill(database, range(12))
    merger = Merger(database.engine)
    merger.run(collect_at=1)
    merger.rebuild(sampling_bits=2)
    ids |= fill(database, range(20, 24))
    for seed in (1, 22):
        assert found(database, sound(seed), 1) == [(ids[seed], terms(sound(seed), 2).size)]
    merger.run(collect_at=1)
    assert_good(database)
    merger.rebuild(sampling_bits=3)
    assert_all_found(database, ids)
    assert_good(database)
    with pytest.raises(ValueError, match="one term in 4 or 8"):
        merger.rebuild(sampling_bits=5)


# -- check and rebuild ----------------------------------------------------------------------------------


def test_a_stale_index_does_not_answer(database: Database) -> None:
    with database.transaction() as session:
        ids = {seed: store(session, sound(seed), indexed=False) for seed in range(4)}
        session.execute(update(RecordingIndexState).values(stale=True))
    with pytest.raises(StaleIndexError):
        found(database, sound(1))
    with database.transaction() as session:
        assert not check(session).good
    assert Merger(database.engine).run().recordings == 4
    assert_all_found(database, ids)
    assert_good(database)


@pytest.mark.parametrize("harm", ["bucket", "segment", "row", "epoch"])
def test_check_finds_what_is_lost_and_rebuild_mends_it(database: Database, harm: str) -> None:
    ids = fill(database, range(20))
    merger = Merger(database.engine)
    merger.run(collect_at=1)
    late = store_one(database, 50)
    assert_good(database)
    lost = {late} if harm == "row" else set(ids.values())
    with database.transaction() as session:
        if harm == "bucket":
            session.execute(update(RecordingPostings).values(data=func.overlay(RecordingPostings.data, b"\x77", 1)))
        elif harm == "segment":
            session.execute(update(RecordingSegment).values(state="retired"))
        elif harm == "row":
            session.execute(delete(RecordingTerms))
        else:
            session.execute(update(RecordingSegment).values(first_id=RecordingSegment.first_id + 1))
    with database.transaction() as session:
        checked = check(session)
    assert not checked.good
    assert set(checked.missing) <= lost
    merger.rebuild()
    assert_all_found(database, {**ids, 50: late})
    assert_good(database)


def store_one(database: Database, seed: int) -> int:
    with database.transaction() as session:
        return store(session, sound(seed))


# -- crashes and concurrency ----------------------------------------------------------------------------


def _killed_at(url: str, step: int, work: str) -> None:
    """In a process of its own: dies before the step of this number."""
    numbers = itertools.count()

    def hook(_: str) -> None:
        if next(numbers) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    database = Database(url)
    merger = Merger(database.engine, on_step=hook)
    if work == "rebuild":
        merger.rebuild()
    else:
        merger.run(collect_at=1)


@pytest.mark.parametrize("work", ["merge", "rebuild"])
def test_a_merger_may_die_before_any_step(database: Database, database_url: str, work: str) -> None:
    ids = fill(database, range(12))
    Merger(database.engine).run(collect_at=1)
    ids |= fill(database, range(12, 24))
    steps: list[str] = []
    context = multiprocessing.get_context("fork")
    for step in itertools.count():
        process = context.Process(target=_killed_at, args=(database_url, step, work))
        process.start()
        # A reader looks while the merger works and dies.
        while process.is_alive():
            seed = len(steps) % 24
            assert found(database, sound(seed), 1) == [(ids[seed], terms(sound(seed), SAMPLING).size)]
        process.join()
        steps.append("done" if process.exitcode == 0 else "killed")
        assert process.exitcode in (0, -signal.SIGKILL)
        assert_all_found(database, {seed: ids[seed] for seed in (0, 11, 12, 23)})
        assert_good(database)
        if process.exitcode == 0:
            break
        if step > 8:  # past the switch there would be nothing left to merge
            ids |= {100 + step: store_one(database, 100 + step)}
    assert len(steps) > 8
    Merger(database.engine).run(collect_at=1)
    with database.transaction() as session:
        states = set(session.scalars(select(RecordingSegment.state)))
        held = set(session.scalars(select(RecordingPostings.segment_id)))
        assert states == {"active"}
        assert held == set(session.scalars(select(RecordingSegment.id)))
    assert_all_found(database, ids)


def test_one_merger_at_a_time(database: Database) -> None:
    fill(database, range(3))
    busy: list[type[BaseException] | None] = []

    def other(_: str) -> None:
        try:
            Merger(database.engine).run(collect_at=1)
        except MergerBusyError as error:
            busy.append(type(error))

    Merger(database.engine, on_step=other).run(collect_at=1)
    assert busy
    assert set(busy) == {MergerBusyError}
    assert_good(database)


def _write_and_search(url: str, start: int, count: int) -> list[tuple[int, int]]:
    """A worker process: records, and finds at once what it recorded."""
    database = Database(url)
    result = []
    for seed in range(start, start + count):
        fingerprint_id = store_one(database, seed)
        expected = [(fingerprint_id, terms(sound(seed), SAMPLING).size)]
        if found(database, sound(seed), 1) != expected:
            raise AssertionError(f"{seed} was not found right after its commit")
        result.append((seed, fingerprint_id))
    database.dispose()
    return result


def test_workers_write_and_search_while_others_merge(database: Database, database_url: str) -> None:
    over = threading.Event()
    problems: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not over.is_set():
                    work()
            except BaseException as error:
                problems.append(error)

        return run

    def merge() -> None:
        Merger(database.engine).run(collect_at=5)

    known = fill(database, range(1_000, 1_010))

    def read() -> None:
        assert_all_found(database, known)

    threads = [threading.Thread(target=guarded(work)) for work in (merge, read, read)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for thread in threads:
            thread.start()
        asked = [pool.apply_async(_write_and_search, (database_url, 100 * number, 25)) for number in (1, 2)]
        ids = dict(itertools.chain.from_iterable(each.get(timeout=120) for each in asked))
    over.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert_all_found(database, ids | known)
    assert_good(database)


# -- what a look-up reads -------------------------------------------------------------------------------


def test_items_lie_in_their_row_and_timbre_does_not(database: Database) -> None:
    """Two minutes of each, which do not compress."""
    noise = np.random.default_rng(1)
    with database.transaction() as session:
        place = store(session, noise.integers(0, 2**32, 970, dtype=np.uint32))
        session.execute(
            update(AudioFingerprint).where(AudioFingerprint.id == place).values(timbre=noise.bytes(240 * 16))
        )
        away = session.execute(
            text(
                "SELECT pg_column_toast_chunk_id(items) IS NOT NULL, pg_column_toast_chunk_id(timbre) IS NOT NULL"
                " FROM audio_fingerprints WHERE id = :place"
            ),
            {"place": place},
        ).one()
    assert tuple(away) == (False, True)


def test_a_connection_is_asked_again_after_an_error_and_after_it_was_lost(database: Database) -> None:
    ids = fill(database, range(3))
    with Session(database.engine) as session:
        SegmentIndex().search(session, sound(0))
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT 1 / 0"))
    assert_all_found(database, ids)
    with Session(database.engine) as session:
        SegmentIndex().search(session, sound(0))
        session.connection().invalidate()
        session.rollback()
        assert SegmentIndex().search(session, sound(1), 1)[0][0] == ids[1]
    assert_all_found(database, ids)
