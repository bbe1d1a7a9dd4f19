"""The index of recordings, beside GIN over ``int[]`` with AcoustID's terms and beside arrays in memory, in one run.

``SIZE`` (environment) is the number of recordings, 100,000 by default; the figures of the README are of 1,000,000. The
recordings are synthetic (see `benchmarks._synthetic`). A look-up is what identity does (see
`identity.recording.verifying`): of the index's twenty best those that stand out are read from PostgreSQL and aligned
with the query, and where none of those is the same recording the others too, unless many share a single term. Ours
searches the files of this host, as a worker does. All three contestants are asked the same queries on one PostgreSQL
with the embedded settings, and verified alike: ten queries to one, the same ten to the next, in rotating order. Asked
one by one in turns each also pays for what the others threw out of the processor's caches; that is told in the details.
Recordings that are not there are asked for beside; their cost is in the details too.

``index_lookup`` is from the mean, as many look-ups after another take; ``index_lookup_p50`` the median of one.

Look-ups are compared by the time that they use a core (this process, its server process, and the server's workers that
read pages for it, as the kernel counts it): on an idle machine that is their latency, on a busy one the clock tells of
the others. The clock is in the details.
"""

from __future__ import annotations

import os
import statistics
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks import _debian_music, _stack
from benchmarks._figures import Figure, at_least, at_most, cheaper
from benchmarks._synthetic import Maker, copy_errors, damaged
from catalog.database import Database
from identity.recording.files import SegmentFiles
from identity.recording.index import Choose, Hits, SegmentIndex, driver_connection, search_files
from identity.recording.items import SILENCE, Items, fingerprint_bytes, items_from_bytes
from identity.recording.merging import Merger
from identity.recording.packing import postings_of
from identity.recording.reading import WANTED, Source
from identity.recording.terms import terms
from identity.recording.verifying import FEW_SINGLES, Ask, Compared, look_up, verified
from identity.thresholds import SAME_BIT_ERROR_RATE, TERM_SAMPLING_BITS, VERIFIED_CANDIDATES
from media.types import ITEM_SECONDS

FIGURES = (
    "index_lookup",
    "index_lookup_p50",
    "index_lookup_p95",
    "index_recall",
    "index_bytes",
    "index_insert",
    "index_growth",
)
SIZE = int(os.environ.get("SIZE", "100000"))
HITS = FEW_SINGLES + VERIFIED_CANDIDATES
"""Of the others' search; so many that chance is told from what is worth a look, as ours does."""

BLOCK = 10
"""So many queries one contestant is asked before the next."""

QUERIES = int(os.environ.get("QUERIES", "100"))


@dataclass(frozen=True, slots=True)
class _Stored:
    """A recording of the benchmark."""

    fingerprint_id: int
    items: Items


Asking = Callable[[Session, Items], Compared[_Stored]]


@dataclass(slots=True)
class _Asked:
    """What one contestant did: seconds of each look-up, by the cores and by the clock, and how many queries found their
    recording, by kind."""

    seconds: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)

    def ms(self, percent: float) -> float:
        """A percentile in ms."""
        return float(np.percentile(self.seconds, percent)) * 1000

    @property
    def mean_ms(self) -> float:
        """By the cores."""
        return statistics.mean(self.seconds) * 1000

    def told(self) -> str:
        """Median and 95th percentile, by the cores and by the clock, and the mean."""
        clock = [float(np.percentile(self.clock, percent)) * 1000 for percent in (50, 95)]
        return f"{self.ms(50):.2f} / {self.ms(95):.2f} (mean {self.mean_ms:.2f}, clock {clock[0]:.1f} / {clock[1]:.1f})"


def _seconds(count: float) -> int:
    return round(count / ITEM_SECONDS)


KINDS: dict[str, Callable[[Items], Items]] = {
    "copy": lambda items: items,
    "start trimmed by 15 s": lambda items: items[_seconds(15) :],
    "middle 30 s": lambda items: items[_seconds(45) : _seconds(75)],
    "clip of 15 s": lambda items: items[_seconds(60) : _seconds(75)],
}


def acoustid_terms(items: Items) -> list[int]:
    """AcoustID's: up to 120 distinct upper 28 bits from item 80 on, silence dropped, as signed integers."""
    heard = items[80:] if items.size > 80 else items
    upper = (heard[heard != SILENCE] & np.uint32(0xFFFFFFF0)).view(np.int32)
    _, first = np.unique(upper, return_index=True)
    found: list[int] = upper[np.sort(first)[:120]].tolist()
    return found


def _load(connection: psycopg.Connection[Any], maker: Maker, first: int, end: int) -> None:
    """Recordings ``first`` to ``end`` with ids counted from 1, and AcoustID's terms of them beside."""
    columns = ("int8", "uuid", "float8", "bytea")
    for start in range(first, end, 1000):
        tracks = maker.thousand(start // 1000)
        with connection.cursor() as cursor:
            with cursor.copy(
                "COPY audio_fingerprints (id, candidate_id, duration_s, items) FROM STDIN (FORMAT binary)"
            ) as copy:
                copy.set_types(columns)
                for place, items in enumerate(tracks, start=start + 1):
                    copy.write_row((place, uuid.UUID(int=place), 120.0, fingerprint_bytes(items)))
            with cursor.copy("COPY acoustid (id, terms) FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(("int8", "int4[]"))
                for place, items in enumerate(tracks, start=start + 1):
                    copy.write_row((place, acoustid_terms(items)))
        connection.commit()


_STORED = Source(
    "stored.id, stored.items",
    (),
    f"{WANTED} JOIN audio_fingerprints AS stored USING (id)",
    lambda found, data: _Stored(found, items_from_bytes(data)),
)
"""As identity reads them, without the candidates, of which there are none."""


def _ours(session: Session, items: Items) -> Compared[_Stored]:
    return look_up(session, SegmentIndex(), items, _STORED)


def _asking(session: Session, search: Callable[[], Hits]) -> Ask[_Stored]:
    """Reads by a statement of its own what another search found."""

    def ask(choose: Choose, most: int) -> list[_Stored]:
        return _STORED.read(driver_connection(session), choose(lambda *_: search()), most)

    return ask


def _gin(session: Session, items: Items) -> Compared[_Stored]:
    def search() -> Hits:
        with driver_connection(session).cursor(binary=True) as cursor:
            return cursor.execute(
                "WITH asked (terms) AS (VALUES (%s::int[]))"
                " SELECT id, icount(stored.terms & asked.terms) AS shared FROM acoustid AS stored, asked"
                " WHERE stored.terms && asked.terms ORDER BY shared DESC, id LIMIT %s",
                (acoustid_terms(items), HITS),
            ).fetchall()

    return verified(items, [(items, HITS)], _asking(session, search))


class _Arrays:
    """All postings of our terms in one sorted array."""

    def __init__(self, maker: Maker, size: int) -> None:
        parts = []
        for start in range(0, size, 1000):
            each = [terms(items, TERM_SAMPLING_BITS) for items in maker.thousand(start // 1000)]
            ids = np.repeat(np.arange(start + 1, start + 1 + len(each)), [part.size for part in each])
            parts.append(postings_of(np.concatenate(each), ids))
        self._postings = np.concatenate(parts)
        del parts
        self._postings.sort()

    @property
    def bytes(self) -> int:
        """Of memory."""
        return self._postings.nbytes

    def ask(self, session: Session, items: Items) -> Compared[_Stored]:
        """A look-up here."""
        return verified(items, [(items, HITS)], _asking(session, lambda: self._search(items)))

    def _search(self, items: Items) -> Hits:
        asked = terms(items, TERM_SAMPLING_BITS).astype(np.uint64) << np.uint64(32)
        starts = np.searchsorted(self._postings, asked)
        ends = np.minimum(np.searchsorted(self._postings, asked + np.uint64(2**32 - 1), "right"), starts + 1000)
        parts = [self._postings[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        ids, shared = np.unique(np.concatenate(parts) & np.uint64(2**32 - 1), return_counts=True)
        order = np.lexsort((ids, -shared))[:HITS]
        return list(zip(ids[order].tolist(), shared[order].tolist(), strict=True))


def _ask(
    database: Database,
    queries: Sequence[tuple[str, int, Items]],
    contestants: dict[str, Asking],
    block: int = BLOCK,
) -> dict[str, _Asked]:
    """Each query to each contestant; so many to one before the next, in rotating order."""
    names = list(contestants)
    result = {name: _Asked(found=dict.fromkeys(KINDS, 0)) for name in contestants}
    with database.transaction() as session:
        server = [Path(f"/proc/{pid}/schedstat") for pid in _server_processes(session)]

        def server_used() -> float:
            """Seconds of the server's processes."""
            return sum(int(each.read_text().split()[0]) for each in server) / 1e9

        for warm in range(2):
            asked = queries[: 20 if not warm else None]
            for number, start in enumerate(range(0, len(asked), block)):
                first = number % len(names)
                for name, (kind, wanted, items) in product(names[first:] + names[:first], asked[start : start + block]):
                    # Reading the server's files takes a tenth of a look-up: it lies outside of what is measured.
                    server_before = server_used()
                    started, before = time.perf_counter(), time.process_time()
                    compared = contestants[name](session, items)
                    own, clock = time.process_time() - before, time.perf_counter() - started
                    if warm:
                        result[name].seconds.append(own + server_used() - server_before)
                        result[name].clock.append(clock)
                        result[name].found[kind] += wanted in _same(compared)
    return result


def _server_processes(session: Session) -> list[int]:
    """Of this session: its own, and the workers that read pages for all."""
    own = session.scalar(text("SELECT pg_backend_pid()")) or 0
    others = psutil.Process(own).parent()
    assert others is not None
    return [own, *(each.pid for each in others.children() if "io worker" in " ".join(each.cmdline()))]


def _same(compared: Compared[_Stored]) -> list[int]:
    """The ids of those that are the same recording."""
    return [
        stored.fingerprint_id
        for stored, aligned in compared
        if aligned and aligned.alignment.bit_error_rate <= SAME_BIT_ERROR_RATE
    ]


def _queries(maker: Maker, errors: Sequence[Items], size: int) -> list[tuple[str, int, Items]]:
    result = []
    generator = np.random.default_rng(7)
    for number, place in enumerate(generator.integers(0, size, QUERIES).tolist()):
        items = maker.thousand(place // 1000)[place % 1000]
        kind = list(KINDS)[number % len(KINDS)]
        result.append((kind, place + 1, KINDS[kind](damaged(items, errors, number))))
    return result


def _strangers(maker: Maker) -> list[tuple[str, int, Items]]:
    """Queries for recordings that are not there."""
    kinds = list(KINDS)
    tracks = maker.thousand(10**6 + 1)[:QUERIES]
    return [(kind, 0, KINDS[kind](items)) for kind, items in zip(kinds * len(tracks), tracks, strict=False)]


def _inserts(database: Database, maker: Maker, count: int = 200) -> list[float]:
    """Seconds that `add` takes within a transaction that stores a fingerprint."""
    seconds = []
    for items in maker.thousand(10**6)[:count]:
        with database.transaction() as session:
            place = session.scalar(
                text(
                    "INSERT INTO audio_fingerprints (candidate_id, duration_s, items)"
                    " VALUES (gen_random_uuid(), 120, :items) RETURNING id"
                ),
                {"items": fingerprint_bytes(items)},
            )
            started = time.perf_counter()
            SegmentIndex().add(session, place or 0, items)
            seconds.append(time.perf_counter() - started)
    return seconds


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _size(connection: psycopg.Connection[Any], relation: str) -> int:
    row = connection.execute("SELECT pg_total_relation_size(%s::regclass)", (relation,)).fetchone()
    assert row is not None
    return int(row[0])


def _rates(found: dict[str, int], asked: Iterable[str]) -> str:
    counts = {kind: sum(each == kind for each in asked) for kind in KINDS}
    asked = list(asked)
    return ", ".join(f"{kind} {found[kind] / max(1, counts[kind]):.2f}" for kind in KINDS)


def _measure(database_url: str, folder: Path, size: int) -> list[Figure]:
    real = _debian_music.fingerprints(_debian_music.tracks())
    maker, errors = Maker(real), copy_errors()
    database = Database(database_url)
    files = SegmentFiles(folder)
    search_files(database.engine, files)
    size = max(10_000, size // 10_000 * 10_000)
    small = size // 10
    with psycopg.connect(database_url) as connection:
        # A million candidates would only cost time: the index knows nothing of them.
        connection.execute(
            "ALTER TABLE audio_fingerprints DROP CONSTRAINT fk_audio_fingerprints_candidate_id_candidates"
        )
        connection.execute("CREATE EXTENSION IF NOT EXISTS intarray")
        connection.execute("CREATE TABLE acoustid (id bigint PRIMARY KEY, terms int[])")
        connection.commit()
        merger = Merger(database.engine)
        _load(connection, maker, 0, small)
        merger.rebuild()
        merger.settle()
        files.refresh(database.engine)
        few = _ask(database, _queries(maker, errors, small), {"ours": _ours})["ours"]
        _load(connection, maker, small, size)
        connection.execute(f"SELECT setval('audio_fingerprints_id_seq', {size})")
        connection.commit()
        build_s = _timed(lambda: (merger.rebuild(), merger.settle()))
        connection.autocommit = True
        fetch_s = _timed(lambda: files.refresh(database.engine))
        file_bytes = sum(path.stat().st_size for path in files.folder.glob("*.segment"))
        loose_bytes = _size(connection, "recording_postings")
        connection.execute("VACUUM (FULL) recording_postings")
        ours_bytes = _size(connection, "recording_postings")
        connection.execute("SET maintenance_work_mem = '1GB'")
        gin_s = _timed(
            lambda: connection.execute("CREATE INDEX acoustid_terms ON acoustid USING gin (terms gin__int_ops)")
        )
        gin_bytes = _size(connection, "acoustid")
        connection.execute("ANALYZE")
    arrays: list[_Arrays] = []
    arrays_s = _timed(lambda: arrays.append(_Arrays(maker, size)))
    queries = _queries(maker, errors, size)
    contestants: dict[str, Asking] = {"ours": _ours, "gin": _gin, "arrays": arrays[0].ask}
    ours, gin, memory = _ask(database, queries, contestants).values()
    misses = _ask(database, _strangers(maker), contestants)
    in_turns = _ask(database, queries, contestants, block=1)
    inserts = _inserts(database, maker)
    own = psutil.Process().memory_info().rss
    database.dispose()

    kinds = [kind for kind, _, _ in queries]
    about = (
        f"{size:,} synthetic recordings after {len(real)} real tracks ({maker.kept_share:.2%} of the items shared), "
        f"{len(queries)} queries with the errors of real copies, PostgreSQL with the embedded settings, "
        f"{os.cpu_count()} cores at a load of {os.getloadavg()[0]:.0f}"
    )
    recalls = [sum(each.found.values()) / len(queries) for each in (ours, gin)]
    return [
        at_least(
            FIGURES[0],
            "look-ups/s",
            [(1000 / ours.mean_ms, 1000 / gin.mean_ms)],
            reference_name="GIN over int[] with AcoustID's terms",
            goal=10.0,
            detail=f"{about}; verification included; p50 / p95 ms: ours {ours.told()}, GIN {gin.told()}, arrays in "
            f"memory {memory.told()}; ratio at p95 {gin.ms(95) / ours.ms(95):.1f}; recordings that are not there: "
            + ", ".join(f"{name} {each.told()}" for name, each in misses.items())
            + f"; built in {build_s:.0f} s, GIN {gin_s:.0f} s (maintenance_work_mem 1 GB), arrays {arrays_s:.0f} s"
            + ("" if size >= 1_000_000 else "; the goal is for 1,000,000 recordings, GIN's cost grows with them"),
        ),
        cheaper(
            FIGURES[1],
            "ms",
            ours.ms(50),
            gin.ms(50),
            reference_name="GIN over int[] with AcoustID's terms",
            goal=10.0,
            detail=f"{about}; with verification, {BLOCK} queries to each at a time; asked again one by one in turns: "
            + ", ".join(f"{name} {each.told()}" for name, each in in_turns.items())
            + ("" if size >= 1_000_000 else "; the goal is for 1,000,000 recordings"),
        ),
        at_most(FIGURES[2], "ms", ours.ms(95), 10.0, detail=f"{about}; with verification: {ours.told()} ms"),
        at_least(
            FIGURES[3],
            "share found",
            [(recalls[0], recalls[1])],
            reference_name="GIN over int[] with AcoustID's terms",
            goal=1.0,
            detail=f"{about}; found and verified: ours {_rates(ours.found, kinds)}; GIN {_rates(gin.found, kinds)}; "
            f"arrays {_rates(memory.found, kinds)}",
        ),
        at_most(
            FIGURES[4],
            "bytes/recording",
            loose_bytes / size,
            700.0,
            detail=f"one segment, its index included, as it was built ({ours_bytes / size:.0f} after VACUUM FULL); "
            f"a host's file {file_bytes / size:.0f}, fetched in {fetch_s:.0f} s; "
            f"GIN with its table {gin_bytes / size:.0f}, arrays in memory "
            f"{arrays[0].bytes / size:.0f}; this process, arrays and real tracks included, holds {own / 2**20:.0f} MiB",
        ),
        at_most(
            FIGURES[5],
            "ms",
            statistics.median(inserts) * 1000,
            3.0,
            detail=f"the index's part of an ingest transaction, {len(inserts)} times; p95 "
            f"{float(np.percentile(inserts, 95)) * 1000:.1f} ms",
        ),
        at_most(
            FIGURES[6],
            "times",
            ours.ms(50) / few.ms(50),
            2.0,
            detail=f"a look-up's median at {size:,} ({ours.ms(50):.2f} ms) to that at {small:,} ({few.ms(50):.2f} ms)",
        ),
    ]


def measure() -> list[Figure]:
    """The figures, from a database of its own; none where there is no real music to learn from."""
    try:
        _debian_music.tracks()
    except _debian_music.NoMusicError as error:
        print(f"index_of_recordings is skipped: {error}")
        return []
    with _stack.running("postgres") as stack:
        return _measure(stack.connections.database_url, stack.data_dir / "segments", SIZE)
