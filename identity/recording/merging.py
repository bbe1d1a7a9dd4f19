"""Writes segments: collects the rows that no segment holds, merges small segments into larger ones, builds all anew.

One merger works at a time, under an advisory lock of its own connection, so that the lock ends with the merger however
it ends. A segment is written in state ``building``, which nobody reads, in transactions of its own. Then a single one
makes it active, retires what it replaces, deletes the collected rows, and counts the epoch on; a reader's snapshot lies
before or after it. What a killed merger left behind, half-built or retired, is swept by the next.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from sqlalchemy import Engine

from identity.recording.index import RecordingIndexError
from identity.recording.items import items_from_bytes
from identity.recording.packing import MAX_SPAN_BITS, Ids, Layout, Postings, capped, postings_of
from identity.recording.terms import FINEST_SAMPLING_BITS, Terms, sampling_mask, terms, terms_from_bytes

logger = logging.getLogger(__name__)

COLLECT_AT = 4_096
"""So many rows are collected into a segment; below, readers keep them in memory (about 1.4 kB each)."""

COLLECT_MOST = 65_536
"""At most so many rows at once, for the memory's sake."""

GROWTH = 3
"""A segment is at least so many times as large as all younger ones together: a million recordings lie in at most five,
and each recording is written anew about a dozen times on the way there."""

BUILD_MOST = 2**18
"""Recordings that are sorted in memory at once when all is built anew: 0.5 GB; 1 kB each lies in temporary files."""

SLICE_POSTINGS = 2_000_000
"""A merge holds about so many postings in memory."""

_LOCK = "versions.recording_index"
_SPAN = 2**MAX_SPAN_BITS
_COUNTED_SPAN = 2**27

Progress = Callable[[int, int], None]
"""Called with (recordings done, recordings in all)."""


class MergerBusyError(RecordingIndexError):
    """Another process merges or builds the index at this moment."""

    code = "recording_index_busy"


@dataclass(frozen=True, slots=True)
class _Segment:
    id: int
    layout: Layout
    last_id: int
    recordings: int
    postings: int


@dataclass(slots=True)
class Merged:
    """What a round did. ``segment``: the new one's id, None: there was nothing to do."""

    segment: int | None = None
    recordings: int = 0
    collected: int = 0
    replaced: tuple[int, ...] = ()


class _Living:
    """Which fingerprints are still recorded; a segment drops the others when it is merged."""

    def __init__(self, connection: psycopg.Connection[Any], first_id: int, last_id: int) -> None:
        rows = connection.execute(
            "SELECT id FROM audio_fingerprints WHERE id BETWEEN %s AND %s ORDER BY id", (first_id, last_id)
        )
        self._offsets = np.fromiter((row[0] - first_id for row in rows), dtype=np.int64)
        dense = last_id - first_id < max(1_000_000, 64 * self._offsets.size)
        self._map: npt.NDArray[np.bool_] | None = None
        if dense:
            self._map = np.zeros(last_id - first_id + 1, dtype=bool)
            self._map[self._offsets] = True

    def among(self, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of these (fingerprint id less the first) are recorded."""
        if self._map is not None:
            return self._map[offsets]
        places = np.searchsorted(self._offsets, offsets)
        places[places == self._offsets.size] = 0
        return self._offsets[places] == offsets if self._offsets.size else np.zeros(offsets.size, dtype=bool)


@dataclass(slots=True)
class Merger:
    """Merges and builds.

    Attributes:
        engine: of the database; each call takes one connection.
        on_step: called with a name before each statement that writes, and before each commit.
    """

    engine: Engine
    on_step: Callable[[str], None] = field(default=lambda _: None)

    def run(self, *, collect_at: int = COLLECT_AT, most: int = COLLECT_MOST) -> Merged:
        """One round: collects rows if there are many, merges what became too small. Builds all if the index is stale.

        Raises MergerBusyError; psycopg's errors where the database fails.
        """
        with self._locked() as connection:
            self._sweep(connection)
            stale, sampling_bits = _state(connection)
            if stale:
                return self._rebuild(connection, sampling_bits, None)
            count = _scalar(
                connection, "SELECT count(*) FROM (SELECT FROM recording_terms LIMIT %s) AS waiting", (most,)
            )
            if count < max(1, collect_at):
                return self._merge(connection, sampling_bits, [], _to_merge(_segments(connection), []))
            rows = connection.execute(
                "SELECT fingerprint_id, terms FROM recording_terms ORDER BY fingerprint_id LIMIT %s",
                (most,),
                binary=True,
            ).fetchall()
            rows = [row for row in rows if row[0] - rows[0][0] < _SPAN]
            return self._merge(connection, sampling_bits, rows, _to_merge(_segments(connection), rows))

    def settle(self) -> list[Merged]:
        """Rounds until nothing is left to do."""
        done = []
        while (merged := self.run()).segment is not None:
            done.append(merged)
        return done

    def rebuild(self, sampling_bits: int | None = None, progress: Progress | None = None) -> Merged:
        """Builds all segments anew from the recorded fingerprints; readers use the old ones until it is done.

        Raises MergerBusyError.
        """
        if sampling_bits is not None and not FINEST_SAMPLING_BITS <= sampling_bits <= FINEST_SAMPLING_BITS + 1:
            raise ValueError(f"sampling: one term in {2**FINEST_SAMPLING_BITS} or {2 ** (FINEST_SAMPLING_BITS + 1)}")
        with self._locked() as connection:
            self._sweep(connection)
            _, current = _state(connection)
            return self._rebuild(connection, sampling_bits or current, progress)

    # -- a round ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[psycopg.Connection[Any]]:
        with self.engine.connect() as owner:
            connection = owner.connection.driver_connection
            assert isinstance(connection, psycopg.Connection)
            connection.autocommit = True
            try:
                if not _scalar(connection, "SELECT pg_try_advisory_lock(hashtext(%s))", (_LOCK,)):
                    raise MergerBusyError("another process merges the index of recordings at this moment")
                yield connection
                connection.execute("SELECT pg_advisory_unlock_all()")
            finally:
                # The lock is the connection's: it must not go back into the pool with it.
                owner.invalidate()

    def _sweep(self, connection: psycopg.Connection[Any]) -> None:
        """Removes what is not active: retired, or left half-built by a merger that was killed."""
        for (segment_id,) in connection.execute("SELECT id FROM recording_segments WHERE state <> 'active'").fetchall():
            self.on_step("sweep postings")
            connection.execute("DELETE FROM recording_postings WHERE segment_id = %s", (segment_id,))
            self.on_step("sweep segment")
            connection.execute("DELETE FROM recording_segments WHERE id = %s", (segment_id,))

    def _merge(
        self,
        connection: psycopg.Connection[Any],
        sampling_bits: int,
        rows: Sequence[tuple[int, bytes]],
        inputs: Sequence[_Segment],
    ) -> Merged:
        if not rows and not inputs:
            return Merged()
        first_id = min([segment.layout.first_id for segment in inputs] + [row[0] for row in rows[:1]])
        last_id = max([segment.last_id for segment in inputs] + [row[0] for row in rows[-1:]])
        sampling_bits = max([sampling_bits, *(segment.layout.sampling_bits for segment in inputs)])
        collected = _collected(rows, first_id, sampling_bits)
        size = collected.size + sum(segment.postings for segment in inputs)
        layout = Layout.fitting(first_id, last_id, size, sampling_bits)
        living = _Living(connection, first_id, last_id)
        segment_id = self._begin(connection, layout, last_id)
        held = np.zeros(last_id - first_id + 1, dtype=bool) if last_id - first_id < _COUNTED_SPAN else None
        # Slices of the hash's range, no finer than the coarsest input's buckets.
        finest = min([layout.bucket_bits, *(segment.layout.bucket_bits for segment in inputs)])
        slice_bits = min(finest, max(0, (size // SLICE_POSTINGS).bit_length()))
        bounds = np.array([number << (64 - slice_bits) for number in range(2**slice_bits)], dtype=np.uint64)
        places = [*np.searchsorted(collected, bounds).tolist(), collected.size]
        written = 0
        for number in range(2**slice_bits):
            parts = [_slice(connection, segment, number, slice_bits, first_id) for segment in inputs]
            postings = np.concatenate([*parts, collected[places[number] : places[number + 1]]])
            # A coarser sampling keeps part of the terms.
            postings = postings[((postings >> np.uint64(32)) & np.uint64(sampling_mask(sampling_bits))) == 0]
            offsets = (postings & np.uint64(0xFFFFFFFF)).astype(np.int64)
            alive = living.among(offsets)
            if held is not None:
                held[offsets[alive]] = True
            postings = postings[alive]
            postings.sort()
            written += self._write(connection, segment_id, layout, capped(postings))
        recordings = (
            int(np.count_nonzero(held)) if held is not None else sum(each.recordings for each in inputs) + len(rows)
        )
        self._switch(connection, [(segment_id, recordings, written)], inputs, [row[0] for row in rows])
        return Merged(segment_id, recordings, len(rows), tuple(segment.id for segment in inputs))

    def _begin(self, connection: psycopg.Connection[Any], layout: Layout, last_id: int) -> int:
        self.on_step("begin")
        found: int = _scalar(
            connection,
            "INSERT INTO recording_segments (first_id, last_id, offset_bits, bucket_bits, sampling_bits)"
            " VALUES (%s, %s, %s, %s, %s) RETURNING id",
            (layout.first_id, last_id, layout.offset_bits, layout.bucket_bits, layout.sampling_bits),
        )
        return found

    def _write(self, connection: psycopg.Connection[Any], segment_id: int, layout: Layout, postings: Postings) -> int:
        if postings.size:
            self.on_step("write")
            with (
                connection.cursor() as cursor,
                cursor.copy("COPY recording_postings (segment_id, bucket, data) FROM STDIN (FORMAT binary)") as copy,
            ):
                copy.set_types(("int4", "int4", "bytea"))
                for bucket, data in layout.pack(postings):
                    copy.write_row((segment_id, bucket, data))
        return int(postings.size)

    def _switch(
        self,
        connection: psycopg.Connection[Any],
        built: Sequence[tuple[int, int, int]],
        inputs: Sequence[_Segment],
        collected: Sequence[int],
        state: tuple[int, bool] | None = None,
    ) -> None:
        """The one transaction that readers can tell apart from the one before."""
        with connection.transaction():
            self.on_step("lock the epoch")
            connection.execute("SELECT FROM recording_index FOR UPDATE")
            changed = 0
            for segment_id, recordings, postings in built:
                self.on_step("activate")
                changed += connection.execute(
                    "UPDATE recording_segments SET state = 'active', recordings = %s, postings = %s"
                    " WHERE id = %s AND state = 'building'",
                    (recordings, postings, segment_id),
                ).rowcount
            self.on_step("retire")
            changed += connection.execute(
                "UPDATE recording_segments SET state = 'retired' WHERE id = ANY(%s) AND state = 'active'",
                ([each.id for each in inputs],),
            ).rowcount
            if changed != len(built) + len(inputs):
                raise RecordingIndexError("another merger changed the segments meanwhile: nothing was switched")
            self.on_step("forget the rows")
            connection.execute("DELETE FROM recording_terms WHERE fingerprint_id = ANY(%s)", (list(collected),))
            self.on_step("count on")
            connection.execute("UPDATE recording_index SET epoch = epoch + 1")
            if state is not None:
                connection.execute("UPDATE recording_index SET sampling_bits = %s, stale = %s", state)
            self.on_step("commit")
        self.on_step("committed")
        self._sweep(connection)

    # -- all anew --------------------------------------------------------------------------------------------------

    def _rebuild(self, connection: psycopg.Connection[Any], sampling_bits: int, progress: Progress | None) -> Merged:
        inputs = _segments(connection)
        built: list[tuple[int, int, int]] = []
        done = 0
        with connection.transaction():
            # One snapshot tells which rows the new segments replace: who is recorded later keeps a row.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            rows = [row[0] for row in connection.execute("SELECT fingerprint_id FROM recording_terms")]
            total: int = _scalar(connection, "SELECT count(*) FROM audio_fingerprints")
            with tempfile.TemporaryDirectory(prefix="versions-index-") as folder:
                runs: list[_Run] = []
                for ids, each in _recorded(connection, sampling_bits):
                    if runs and int(ids[-1]) - runs[0].first_id >= _SPAN:
                        built.append(self._joined(connection, runs, sampling_bits))
                        runs = []
                    runs.append(_Run.written(Path(folder) / f"{done}.npy", ids, each))
                    done += ids.size
                    if progress:
                        progress(done, total)
                if runs:
                    built.append(self._joined(connection, runs, sampling_bits))
            self.on_step("commit what was built")
        self._switch(connection, built, inputs, rows, (sampling_bits, False))
        return Merged(built[-1][0] if built else None, done, len(rows), tuple(segment.id for segment in inputs))

    def _joined(
        self, connection: psycopg.Connection[Any], runs: Sequence[_Run], sampling_bits: int
    ) -> tuple[int, int, int]:
        """One segment of runs: (its id, recordings, postings). Nothing but the segment is written to the database, so
        a build leaves no room that it does not need."""
        first_id, last_id = runs[0].first_id, runs[-1].last_id
        size = sum(run.postings.size for run in runs)
        layout = Layout.fitting(first_id, last_id, size, sampling_bits)
        segment_id = self._begin(connection, layout, last_id)
        slice_bits = min(layout.bucket_bits, max(0, (size // SLICE_POSTINGS).bit_length()))
        bounds = np.array([number << (64 - slice_bits) for number in range(2**slice_bits)], dtype=np.uint64)
        places = [[*np.searchsorted(run.postings, bounds).tolist(), run.postings.size] for run in runs]
        written = 0
        for number in range(2**slice_bits):
            parts = [
                run.postings[each[number] : each[number + 1]] + np.uint64(run.first_id - first_id)
                for run, each in zip(runs, places, strict=True)
            ]
            postings = np.concatenate(parts)
            postings.sort()
            written += self._write(connection, segment_id, layout, capped(postings))
        for run in runs:
            run.path.unlink()
        return segment_id, sum(run.recordings for run in runs), written


@dataclass(frozen=True, slots=True)
class _Run:
    """Sorted postings in a temporary file, with offsets from ``first_id``."""

    path: Path
    first_id: int
    last_id: int
    recordings: int
    postings: Postings

    @classmethod
    def written(cls, path: Path, ids: Ids, each: Sequence[Terms]) -> _Run:
        first_id = int(ids[0])
        sizes = [part.size for part in each]
        np.save(path, postings_of(np.concatenate(each), np.repeat(ids - first_id, sizes)))
        return cls(path, first_id, int(ids[-1]), ids.size, np.load(path, mmap_mode="r"))


def _scalar(connection: psycopg.Connection[Any], query: Any, parameters: Sequence[Any] = ()) -> Any:
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None


def _state(connection: psycopg.Connection[Any]) -> tuple[bool, int]:
    """(stale, sampling bits)."""
    row = connection.execute("SELECT stale, sampling_bits FROM recording_index").fetchone()
    if row is None:
        raise RecordingIndexError("the table recording_index has lost its row: restore it, or migrate anew")
    return bool(row[0]), int(row[1])


def _segments(connection: psycopg.Connection[Any]) -> list[_Segment]:
    """The active ones, smallest first."""
    rows = connection.execute(
        "SELECT id, first_id, offset_bits, bucket_bits, sampling_bits, last_id, recordings, postings"
        " FROM recording_segments WHERE state = 'active' ORDER BY recordings, id"
    )
    return [_Segment(row[0], Layout(*row[1:5]), *row[5:]) for row in rows]


def _to_merge(segments: Sequence[_Segment], rows: Sequence[tuple[int, bytes]]) -> list[_Segment]:
    """The segments that the rows should join: up to the largest that is small beside all smaller ones together.

    Nothing for one segment alone, and none that would spread the ids too far.
    """
    first_id, last_id, total = (rows[0][0], rows[-1][0], len(rows)) if rows else (2**63, 0, 0)
    chosen = 0
    for place, segment in enumerate(segments, start=1):
        first_id, last_id = min(first_id, segment.layout.first_id), max(last_id, segment.last_id)
        if last_id - first_id >= _SPAN:
            break
        if segment.recordings < GROWTH * total:
            chosen = place
        total += segment.recordings
    return list(segments[:chosen])


def _collected(rows: Sequence[tuple[int, bytes]], first_id: int, sampling_bits: int) -> Postings:
    if not rows:
        return np.empty(0, dtype=np.uint64)
    each = [terms_from_bytes(data) for _, data in rows]
    offsets = np.repeat(np.array([row[0] - first_id for row in rows]), [part.size for part in each])
    found = np.concatenate(each)
    kept = (found & sampling_mask(sampling_bits)) == 0
    return postings_of(found[kept], offsets[kept])


def _slice(
    connection: psycopg.Connection[Any], segment: _Segment, number: int, slice_bits: int, first_id: int
) -> Postings:
    """The postings of a segment in one slice of the hash's range, with offsets from ``first_id``."""
    shift = segment.layout.bucket_bits - slice_bits
    rows = connection.execute(
        "SELECT bucket, data FROM recording_postings"
        " WHERE segment_id = %s AND bucket >= %s AND bucket < %s ORDER BY bucket",
        (segment.id, number << shift, (number + 1) << shift),
        binary=True,
    ).fetchall()
    return segment.layout.unpack(rows) + np.uint64(segment.layout.first_id - first_id)


def _recorded(connection: psycopg.Connection[Any], sampling_bits: int) -> Iterator[tuple[Ids, list[Terms]]]:
    """All recorded fingerprints in parts that fit one segment: sorted ids, and the terms of each."""
    ids: list[int] = []
    each: list[Terms] = []
    with connection.cursor(name="recorded", binary=True) as cursor:
        cursor.itersize = 2_000
        for fingerprint_id, items in cursor.execute("SELECT id, items FROM audio_fingerprints ORDER BY id"):
            if ids and (len(ids) == BUILD_MOST or fingerprint_id - ids[0] >= _SPAN):
                yield np.array(ids, dtype=np.int64), each
                ids, each = [], []
            ids.append(fingerprint_id)
            each.append(terms(items_from_bytes(items), sampling_bits))
    if ids:
        yield np.array(ids, dtype=np.int64), each
