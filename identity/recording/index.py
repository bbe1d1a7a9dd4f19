"""Finds the recordings that share the most terms with a fingerprint.

Most recordings lie in segments: packed, immutable, in PostgreSQL (see `identity.recording.packing`), and in files of
this host (`identity.recording.files`). What was recorded since the last merge has a row of its own each, which readers
keep in memory (`identity.recording.delta`) and catch up with at each search. What is remembered is searched first, and
then confirmed by one statement, which tells the epoch and the new rows of one snapshot and reads what was found: the
epoch counts the changes of segments, so a merge (`identity.recording.merging`) either has happened for all of it or for
none. Where it is another, all is done again.

Catching up goes by transactions, not by ids: ids are drawn before their rows are committed, so whoever had seen id 8
could miss 7 for ever. A reader remembers the rows of all transactions below the horizon of its last snapshot, where
none is under way any more, and reads everything from there on again. Its own transaction lies above the horizon, so it
finds its own rows, and they are never remembered before they are committed.
"""

from __future__ import annotations

import threading
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from identity.recording.delta import Delta
from identity.recording.files import LocalSegment, SegmentFiles
from identity.recording.items import Items
from identity.recording.packing import Ids, Layout
from identity.recording.reading import WANTED, Source
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
    SELECT 1, id, 0, uuid_send(key), ARRAY[first_id, offset_bits, bucket_bits, sampling_bits]
    FROM recording_segments WHERE state = 'active'
    UNION ALL
    SELECT 2, fingerprint_id, transaction, terms, NULL FROM recording_terms
"""

# The buckets come as one value with their sizes: a hundred rows cost more to send and to read than to find.
# OFFSET 0 keeps the planner from reading the whole table for a hundred rows of it.
_BUCKETS = """
    SELECT epoch, found.data, found.sizes
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
"""

_STATE = """
    SELECT 0 AS kind, epoch AS id, (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint AS transaction,
        NULL::bytea AS data
    FROM recording_index
"""

# Of a range without known ends the planner expects few rows, of one with a single end a third of the table: so its plan
# for any horizon costs no more than one for this, and the statement is not planned anew each time.
_NEW = """
    SELECT 1 AS kind, fingerprint_id AS id, transaction, terms AS data
    FROM recording_terms WHERE transaction BETWEEN %(horizon)s::bigint AND 9223372036854775807
"""

Hits = list[tuple[int, int]]
"""(fingerprint id, number of shared terms), most shared first, then by id."""

Search = Callable[[Terms, int], Hits]
"""By terms, the finest sampling or a part of it; at most so many hits. May name fingerprints that were deleted since:
the record says which are left."""

Choose = Callable[[Search], Sequence[int]]
"""Searches, and says what to read, best first. It may be called again with a newer index, and must answer anew then."""

T = TypeVar("T")


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

    def search(self, session: Session, items: Items, limit: int = 20) -> Hits:
        """Finds whatever was committed before, and the transaction's own."""

    def look(self, session: Session, choose: Choose, source: Source[T], most: int) -> list[T]:
        """Searches, and reads the first so many of what is chosen that are targets; finds what `search` finds."""


class _ChangedError(Exception):
    """Segments are others than remembered."""


@dataclass(frozen=True, slots=True)
class _Segment:
    id: int
    key: uuid.UUID
    layout: Layout


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a process remembers of the index: immutable, of one snapshot or a later one of the same epoch."""

    epoch: int
    horizon: int
    """All rows of ``delta`` are of transactions below it, and it holds all of those."""
    segments: tuple[_Segment, ...]
    delta: Delta


@dataclass(slots=True)
class _Remembered:
    memory: _Memory | None = None
    files: SegmentFiles | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def offer(self, memory: _Memory) -> None:
        """Keeps the newest: threads may finish in another order than their snapshots were taken."""
        with self.lock:
            ours = self.memory
            if ours is None or (ours.epoch, ours.horizon) < (memory.epoch, memory.horizon):
                self.memory = memory


_CURSOR = "identity.recording.index.cursor"
"""In a pooled connection's ``info``, which lasts as long as that does."""

_remembered: weakref.WeakKeyDictionary[Engine, _Remembered] = weakref.WeakKeyDictionary()
_remembered_lock = threading.Lock()


def _remembered_of(engine: Engine) -> _Remembered:
    with _remembered_lock:
        return _remembered.setdefault(engine, _Remembered())


def search_files(engine: Engine, files: SegmentFiles) -> None:
    """From now on segments are searched in these files by all of this process that use the engine, as far as they are
    held."""
    _remembered_of(engine).files = files


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

    def search(self, session: Session, items: Items, limit: int = 20) -> Hits:
        """See `RecordingIndex.search`. Raises StaleIndexError."""
        wanted = terms(items, FINEST_SAMPLING_BITS)
        hits: Hits = []

        def choose(search: Search) -> Sequence[int]:
            hits[:] = search(wanted, limit)
            return ()

        self.look(session, choose, _NOTHING, 0)
        return hits

    def look(self, session: Session, choose: Choose, source: Source[T], most: int) -> list[T]:
        """See `RecordingIndex.look`. Raises StaleIndexError.

        What is remembered is searched first; then one statement, of one snapshot, tells whether it still holds, which
        rows are new, and reads what was chosen. Where new rows change what is chosen, that is read by another.
        """
        used = session.connection()
        cursor = _cursor(used)
        connection = cursor.connection
        remembered = _remembered_of(used.engine)
        memory = remembered.memory or _load(connection)
        for _ in range(_ATTEMPTS):
            view = _View(connection, memory, remembered.files.held if remembered.files else {})
            try:
                chosen = choose(view.search)
                found = _ask(cursor, memory, source, chosen, most)
                if found is not None:
                    new, memory, targets = found
                    remembered.offer(memory)
                    if view.has_news(new) and (again := list(choose(view.search))) != list(chosen):
                        targets = source.read(connection, again, most)
                    return targets
            except _ChangedError:
                pass
            memory = _load(connection)
            remembered.offer(memory)
        raise RecordingIndexError("the index changed with each attempt to read it; try again")


_NOTHING: Source[None] = Source("wanted.id, NULL::bytea", (), WANTED, lambda *_: None)


class _View:
    """The index as it is remembered, and what is new since."""

    def __init__(
        self, connection: psycopg.Connection[Any], memory: _Memory, held: Mapping[uuid.UUID, LocalSegment]
    ) -> None:
        self._connection = connection
        self._memory = memory
        self._held = held
        self._new = Delta()
        self._asked: list[tuple[Terms, Ids]] = []

    def search(self, wanted: Terms, limit: int) -> Hits:
        """See `Search`. Raises _ChangedError."""
        old = next((ids for asked, ids in self._asked if asked is wanted), None)
        if old is None:
            old = self._search(wanted)
            self._asked.append((wanted, old))
        return _most_shared(np.concatenate([old, self._new.matching(wanted)]) if self._new.chunks else old, limit)

    def has_news(self, rows: Sequence[tuple[int, bytes]]) -> bool:
        """Adds new rows; whether they change an answer."""
        self._new = Delta().with_rows(rows)
        return bool(rows) and any(self._new.matching(wanted).size for wanted, _ in self._asked)

    def _search(self, wanted: Terms) -> Ids:
        ids, away = [self._memory.delta.matching(wanted)], []
        for segment in self._memory.segments:
            local = self._held.get(segment.key)
            if local is None:
                away.append(segment)
            else:
                ids.append(local.matching(wanted))
        return np.concatenate([*ids, *_away(self._connection, self._memory.epoch, away, wanted)])


def driver_connection(session: Session) -> psycopg.Connection[Any]:
    """The session's own connection, within its transaction: it alone can answer in binary."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection


def _cursor(connection: Connection) -> psycopg.Cursor[Any]:
    """The connection's own for this, which answers in binary: making one costs a third of what asking does."""
    raw = connection.connection
    cursor = raw.info.get(_CURSOR)
    if cursor is None:
        assert isinstance(raw.driver_connection, psycopg.Connection)
        cursor = raw.info[_CURSOR] = raw.driver_connection.cursor(binary=True)
    assert isinstance(cursor, psycopg.Cursor)
    return cursor


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
                segments.append(_Segment(number, uuid.UUID(bytes=data), Layout(*numbers)))
            else:
                rows.append((number, transaction, data))
    if epoch < 0:
        raise RecordingIndexError("the table recording_index has lost its row: restore it, or migrate anew")
    seen = [(number, data) for number, transaction, data in rows if transaction < horizon]
    return _Memory(epoch, horizon, tuple(segments), Delta().with_rows(seen))


def _away(
    connection: psycopg.Connection[Any], epoch: int, segments: Sequence[_Segment], wanted: Terms
) -> Iterator[Ids]:
    """From PostgreSQL the ids of segments that have no file here. Raises _ChangedError."""
    asked = [wanted[(wanted & sampling_mask(each.layout.sampling_bits)) == 0] for each in segments]
    numbers: list[int] = []
    buckets: list[int] = []
    for segment, part in zip(segments, asked, strict=True):
        numbers += [segment.id] * part.size
        buckets += segment.layout.buckets(part).tolist()
    if not numbers:
        return
    with connection.cursor(binary=True) as cursor:
        row = cursor.execute(_BUCKETS, {"segments": _array(numbers), "buckets": _array(buckets)}).fetchone()
    if row is None or row[0] != epoch:
        raise _ChangedError
    _, data, sizes = row
    first = place = 0
    for segment, part in zip(segments, asked, strict=True):
        each = np.array(sizes[first : first + part.size], dtype=np.int64)
        end = place + int(each.sum())
        yield segment.layout.matching(part, (data or b"")[place:end], each)
        first, place = first + part.size, end


def _ask(
    cursor: psycopg.Cursor[Any], memory: _Memory, source: Source[T], chosen: Sequence[int], most: int
) -> tuple[list[tuple[int, bytes]], _Memory, list[T]] | None:
    """What is new to ``memory`` (fingerprint id, term bytes), what is known now, and what was chosen; None: ``memory``
    is of another epoch."""
    parameters = {**source.asking(chosen, most), "horizon": str(memory.horizon)}
    state, new, read = None, [], []
    for row in cursor.execute(source.beside(_STATE, _NEW), parameters).fetchall():
        if row[0] == 2:
            read.append(row)
        elif row[0] == 1:
            new.append(row)
        else:
            state = row
    if state is None or state[1] != memory.epoch:
        return None
    horizon = state[2]
    if horizon > memory.horizon:
        settled = [(row[1], row[3]) for row in new if row[2] < horizon]
        memory = _Memory(memory.epoch, horizon, memory.segments, memory.delta.with_rows(settled))
    return [(row[1], row[3]) for row in new], memory, source.made(read, chosen)


def _array(numbers: Sequence[int]) -> str:
    """PostgreSQL's text form, which is made and read faster than the driver's binary one."""
    return f"{{{','.join(map(str, numbers))}}}"


def _most_shared(ids: Ids, limit: int) -> Hits:
    ids.sort()
    (last,) = (ids[1:] != ids[:-1]).nonzero()
    ends = np.append(last + 1, ids.size) if ids.size else last
    found, shared = ids[ends - 1], ends.copy()
    shared[1:] -= ends[:-1]
    if found.size > limit:
        # Only those that can be among the answers are sorted.
        least = np.partition(shared, shared.size - limit)[shared.size - limit]
        found, shared = found[shared >= least], shared[shared >= least]
    order = np.lexsort((found, -shared))[:limit]
    return list(zip(found[order].tolist(), shared[order].tolist(), strict=True))
