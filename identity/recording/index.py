"""Finds the recordings that share the most terms with a fingerprint.

Most recordings lie in segments: packed, immutable, in PostgreSQL (see `identity.recording.packing`). What was recorded
since the last merge has a row of its own each, which readers keep in memory (`identity.recording.delta`) and catch up
with at each search. A search is one statement, so that buckets, new rows and the epoch are of one snapshot: a merge
(`identity.recording.merging`) either has happened for all of them or for none.

Catching up goes by transactions, not by ids: ids are drawn before their rows are committed, so whoever had seen id 8
could miss 7 for ever. A reader remembers the rows of all transactions below the horizon of its last snapshot, where
none is under way any more, and reads everything from there on again. Its own transaction lies above the horizon, so it
finds its own rows, and they are never remembered before they are committed.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import psycopg
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from identity.recording.delta import Delta
from identity.recording.items import Items
from identity.recording.packing import Layout
from identity.recording.terms import FINEST_SAMPLING_BITS, Terms, sampling_mask, term_bytes, terms

_ATTEMPTS = 20

# The row is written with the terms that the index is set to at this moment.
_ADD = text(
    """
    INSERT INTO recording_terms (fingerprint_id, terms)
    SELECT :fingerprint_id, CASE WHEN sampling_bits <= :finest THEN CAST(:fine AS bytea) ELSE CAST(:coarse AS bytea) END
    FROM recording_index
    ON CONFLICT DO NOTHING
    """
)

_LOAD = """
    SELECT 0 AS kind, epoch AS id, (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint AS transaction,
        NULL::bytea AS data, ARRAY[stale::int::bigint] AS numbers
    FROM recording_index
    UNION ALL
    SELECT 1, id, 0, NULL, ARRAY[first_id, offset_bits, bucket_bits, sampling_bits]
    FROM recording_segments WHERE state = 'active'
    UNION ALL
    SELECT 2, fingerprint_id, transaction, terms, NULL FROM recording_terms
"""

# The buckets come as one value with their sizes: a hundred rows cost more to send and to read than to find.
# OFFSET 0 keeps the planner from reading the whole table for a hundred rows of it.
_SEARCH = """
    SELECT 0 AS kind, epoch AS id, (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint AS transaction,
        found.data, found.sizes
    FROM recording_index
    CROSS JOIN (
        SELECT string_agg(stored.data, ''::bytea ORDER BY wanted.place) AS data,
            array_agg(coalesce(octet_length(stored.data), 0) ORDER BY wanted.place) AS sizes
        FROM unnest(%(segments)s::integer[], %(buckets)s::integer[])
            WITH ORDINALITY AS wanted (segment_id, bucket, place)
        LEFT JOIN LATERAL (
            SELECT data FROM recording_postings AS postings
            WHERE postings.segment_id = wanted.segment_id AND postings.bucket = wanted.bucket
            OFFSET 0
        ) AS stored ON true
    ) AS found
    UNION ALL
    SELECT 2, fingerprint_id, transaction, terms, NULL FROM recording_terms WHERE transaction >= %(horizon)s
"""


class RecordingIndexError(RuntimeError):
    """The index cannot answer."""

    code = "recording_index"


class StaleIndexError(RecordingIndexError):
    """Fingerprints wait to be indexed: an answer would miss them. A running worker is building the index."""

    code = "recording_index_stale"


class RecordingIndex(Protocol):
    """From items to fingerprints that probably sound alike. Callers own the transaction."""

    def add(self, session: Session, fingerprint_id: int, items: Items) -> None:
        """Indexes a stored fingerprint. Once more does nothing."""

    def search(self, session: Session, items: Items, limit: int = 20) -> list[tuple[int, int]]:
        """(fingerprint id, number of shared terms), most shared first, then by id.

        Finds whatever was committed before, and the transaction's own. May name fingerprints that were deleted since:
        the record says which are left.
        """

    def search_terms(self, session: Session, wanted: Terms, limit: int) -> list[tuple[int, int]]:
        """`search` by terms, the finest sampling or a part of it."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a process remembers of the index: immutable, of one snapshot or a later one of the same epoch."""

    epoch: int
    horizon: int
    """All rows of ``delta`` are of transactions below it, and it holds all of those."""
    segments: tuple[tuple[int, Layout], ...]
    delta: Delta


@dataclass(slots=True)
class _Remembered:
    memory: _Memory | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def offer(self, memory: _Memory) -> None:
        """Keeps the newest: threads may finish in another order than their snapshots were taken."""
        with self.lock:
            ours = self.memory
            if ours is None or (ours.epoch, ours.horizon) < (memory.epoch, memory.horizon):
                self.memory = memory


_remembered: weakref.WeakKeyDictionary[Engine, _Remembered] = weakref.WeakKeyDictionary()
_remembered_lock = threading.Lock()


def _memory_of(session: Session) -> _Remembered:
    engine = session.connection().engine
    with _remembered_lock:
        return _remembered.setdefault(engine, _Remembered())


class SegmentIndex:
    """The index in PostgreSQL; what it remembers is shared by all of a process that use the same engine."""

    def add(self, session: Session, fingerprint_id: int, items: Items) -> None:
        """Indexes a stored fingerprint: one row. Once more does nothing."""
        fine = terms(items, FINEST_SAMPLING_BITS)
        coarse = fine[(fine & sampling_mask(FINEST_SAMPLING_BITS + 1)) == 0]
        session.execute(
            _ADD,
            {
                "fingerprint_id": fingerprint_id,
                "finest": FINEST_SAMPLING_BITS,
                "fine": term_bytes(fine),
                "coarse": term_bytes(coarse),
            },
        )

    def search(self, session: Session, items: Items, limit: int = 20) -> list[tuple[int, int]]:
        """See `RecordingIndex.search`. Raises StaleIndexError."""
        return self.search_terms(session, terms(items, FINEST_SAMPLING_BITS), limit)

    def search_terms(self, session: Session, wanted: Terms, limit: int) -> list[tuple[int, int]]:
        """See `RecordingIndex.search_terms`. Raises StaleIndexError."""
        connection = driver_connection(session)
        remembered = _memory_of(session)
        memory = remembered.memory or _load(connection)
        for _ in range(_ATTEMPTS):
            found = _search(connection, memory, wanted)
            if found is not None:
                ids, memory = found
                remembered.offer(memory)
                return _most_shared(ids, limit)
            memory = _load(connection)
            remembered.offer(memory)
        raise RecordingIndexError("the index changed with each attempt to read it; try again")


def driver_connection(session: Session) -> psycopg.Connection[Any]:
    """The session's own connection, within its transaction: it alone can answer in binary."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection


def _load(connection: psycopg.Connection[Any]) -> _Memory:
    """Everything but the segments' contents, in one snapshot."""
    segments, rows = [], []
    epoch = horizon = -1
    with connection.cursor(binary=True) as cursor:
        for kind, number, transaction, data, numbers in cursor.execute(_LOAD):
            if kind == 0:
                epoch, horizon = number, transaction
                if numbers[0]:
                    raise StaleIndexError(
                        "the index of recordings is not built yet: a worker does it, or `versions index rebuild`"
                    )
            elif kind == 1:
                segments.append((number, Layout(*numbers)))
            else:
                rows.append((number, transaction, data))
    if epoch < 0:
        raise RecordingIndexError("the table recording_index has lost its row: restore it, or migrate anew")
    seen = [(number, data) for number, transaction, data in rows if transaction < horizon]
    return _Memory(epoch, horizon, tuple(segments), Delta().with_rows(seen))


def _search(connection: psycopg.Connection[Any], memory: _Memory, wanted: Terms) -> tuple[Any, _Memory] | None:
    """Ids of recordings, once for each shared term, and what is known now; None: ``memory`` is of another epoch."""
    asked = [wanted[(wanted & sampling_mask(layout.sampling_bits)) == 0] for _, layout in memory.segments]
    segments: list[int] = []
    buckets: list[int] = []
    for (segment_id, layout), part in zip(memory.segments, asked, strict=True):
        segments += [segment_id] * part.size
        buckets += layout.buckets(part).tolist()
    parameters = {"horizon": memory.horizon, "segments": _array(segments), "buckets": _array(buckets)}
    with connection.cursor(binary=True) as cursor:
        rows = sorted(cursor.execute(_SEARCH, parameters), key=itemgetter(0))
    if not rows or rows[0][:2] != (0, memory.epoch):
        return None
    (_, _, horizon, data, sizes), *new = rows
    ids, first, place = [memory.delta.matching(wanted)], 0, 0
    for (_, layout), part in zip(memory.segments, asked, strict=True):
        if part.size:
            each = np.array(sizes[first : first + part.size])
            end = place + int(each.sum())
            ids.append(layout.matching(part, (data or b"")[place:end], each))
            first, place = first + part.size, end
    if new:
        ids.append(Delta().with_rows([(number, terms) for _, number, _, terms, _ in new]).matching(wanted))
    if horizon > memory.horizon:
        settled = [(number, terms) for _, number, transaction, terms, _ in new if transaction < horizon]
        memory = _Memory(memory.epoch, horizon, memory.segments, memory.delta.with_rows(settled))
    return np.concatenate(ids), memory


def _array(numbers: Sequence[int]) -> str:
    """PostgreSQL's text form, which is made and read faster than the driver's binary one."""
    return f"{{{','.join(map(str, numbers))}}}"


def _most_shared(ids: Any, limit: int) -> list[tuple[int, int]]:
    found, shared = np.unique(ids, return_counts=True)
    if found.size > limit:
        # Only those that can be among the answers are sorted.
        least = np.partition(shared, shared.size - limit)[shared.size - limit]
        found, shared = found[shared >= least], shared[shared >= least]
    order = np.lexsort((found, -shared))[:limit]
    return list(zip(found[order].tolist(), shared[order].tolist(), strict=True))
