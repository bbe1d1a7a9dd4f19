"""Is every committed recording findable? Reads the whole index and compares it with the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from catalog.models import AudioFingerprint, RecordingIndexState, RecordingSegment, RecordingTerms
from identity.recording.files import SegmentFiles, described, slices
from identity.recording.index import driver_connection
from identity.recording.items import items_from_bytes
from identity.recording.terms import sampling_mask, terms, terms_from_bytes
from identity.thresholds import MAX_POSTINGS_PER_TERM

NAMED = 20
"""Of the recordings that are not findable, so many are named."""

_SIZE = text(
    "SELECT pg_total_relation_size('recording_postings') + pg_total_relation_size('recording_terms')"
    " + pg_total_relation_size('recording_segments')"
)


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """``waiting``: recordings that no segment holds yet (readers find them all the same); ``bytes``: of PostgreSQL on
    disk, with indexes and free space; ``file_bytes``: of this host's files of these segments. A segment's ``file``: the
    name of its file, None: this host has none."""

    epoch: int
    sampling: int
    stale: bool
    recordings: int
    waiting: int
    bytes: int
    segments: tuple[dict[str, Any], ...]
    checked_at: datetime | None
    file_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    """``missing``: fingerprints of which the index does not hold every term that it should, by id (the first few of
    ``missing_count``); ``dead``: postings of fingerprints that are recorded no more, which the next merge drops;
    ``files``: of this host that hold what their segments hold; ``unlike``: names of those that do not."""

    recordings: int
    postings: int
    missing_count: int
    missing: tuple[int, ...]
    dead: int
    stale: bool
    files: int = 0
    unlike: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not self.stale and not self.missing_count and not self.unlike


def status(session: Session, files: SegmentFiles | None = None) -> IndexStatus:
    """What the index consists of; ``files``: of this host."""
    state = session.scalars(select(RecordingIndexState)).one()
    segments = session.scalars(
        select(RecordingSegment).where(RecordingSegment.state == "active").order_by(RecordingSegment.id)
    ).all()
    sizes = {each.key: files.size(each.key) if files else None for each in segments}
    return IndexStatus(
        state.epoch,
        2**state.sampling_bits,
        state.stale,
        session.scalar(select(func.count()).select_from(AudioFingerprint)) or 0,
        session.scalar(select(func.count()).select_from(RecordingTerms)) or 0,
        session.scalar(_SIZE) or 0,
        tuple(
            {
                "id": segment.id,
                "recordings": segment.recordings,
                "postings": segment.postings,
                "first_id": segment.first_id,
                "last_id": segment.last_id,
                "buckets": 2**segment.bucket_bits,
                "created_at": segment.created_at,
                "file": files.name(segment.key) if files and sizes[segment.key] else None,
            }
            for segment in segments
        ),
        state.checked_at,
        sum(size or 0 for size in sizes.values()),
    )


def check(
    session: Session, progress: Callable[[int, int], None] | None = None, files: SegmentFiles | None = None
) -> Checked:
    """Compares index and record within one snapshot; the session must be new.

    For each recorded fingerprint the terms that the index should hold are counted, and those that it does hold, with
    what they are: a sum of the terms themselves must agree too. A term that has its most postings already is nobody's.
    Of ``files``, those that are there must hold the same postings as the segments' rows, by a directory that leads to
    them.

    Memory: 40 bytes a recording and a slice of the postings.
    """
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    connection = driver_connection(session)
    state = session.scalars(select(RecordingIndexState)).one()
    segments = described(connection)
    local, unlike = files.whole(segments) if files else ({}, [])
    ids = np.fromiter(session.scalars(select(AudioFingerprint.id).order_by(AudioFingerprint.id)), dtype=np.int64)
    held, held_sum = np.zeros(ids.size, dtype=np.int64), np.zeros(ids.size, dtype=np.uint64)
    postings = dead = 0
    full: list[np.ndarray[Any, np.dtype[np.uint32]]] = []

    def count(found: np.ndarray[Any, np.dtype[np.int64]], of: np.ndarray[Any, np.dtype[np.uint32]]) -> int:
        """Counts postings for their recordings; returns how many belong to none."""
        if not ids.size:
            return found.size
        places = np.minimum(np.searchsorted(ids, found), ids.size - 1)
        known = ids[places] == found
        held[:] += np.bincount(places[known], minlength=ids.size)
        np.add.at(held_sum, places[known], of[known].astype(np.uint64))
        return int(found.size - np.count_nonzero(known))

    with connection.cursor(binary=True) as cursor:
        for segment in segments:
            copy = local.get(segment.key)
            same, place = True, 0
            for rows in slices(connection, segment.id, segment.layout):
                found = segment.layout.unpack(rows)
                if copy is not None:
                    same = same and copy.holds(rows, found, place)
                    place += found.size
                of = (found >> np.uint64(32)).astype(np.uint32)
                some, times = np.unique(of, return_counts=True)
                full.append(some[times >= MAX_POSTINGS_PER_TERM])
                postings += found.size
                dead += count((found & np.uint64(0xFFFFFFFF)).astype(np.int64) + segment.layout.first_id, of)
            if copy is not None and not (same and place == copy.postings.size):
                unlike.append(files.name(segment.key) if files else "")
        for fingerprint_id, data in cursor.execute("SELECT fingerprint_id, terms FROM recording_terms"):
            of = terms_from_bytes(data)
            of = of[(of & sampling_mask(state.sampling_bits)) == 0]
            postings += of.size
            count(np.full(of.size, fingerprint_id), of)
    crowded = np.unique(np.concatenate(full)) if full else np.empty(0, dtype=np.uint32)
    missing = _missing(connection, ids, held, held_sum, crowded, state.sampling_bits, progress)
    return Checked(
        ids.size, postings, len(missing), tuple(missing[:NAMED]), dead, state.stale, len(local), tuple(unlike)
    )


def _missing(
    connection: Any,
    ids: np.ndarray[Any, np.dtype[np.int64]],
    held: np.ndarray[Any, np.dtype[np.int64]],
    held_sum: np.ndarray[Any, np.dtype[np.uint64]],
    crowded: np.ndarray[Any, np.dtype[np.uint32]],
    sampling_bits: int,
    progress: Callable[[int, int], None] | None,
) -> list[int]:
    missing = []
    with connection.cursor(name="recorded", binary=True) as cursor:
        cursor.itersize = 2_000
        rows = cursor.execute("SELECT id, items FROM audio_fingerprints ORDER BY id")
        for place, (fingerprint_id, items) in enumerate(rows):
            wanted = terms(items_from_bytes(items), sampling_bits)
            least = wanted[~np.isin(wanted, crowded)] if crowded.size else wanted
            exact = least.size == wanted.size
            whole = held[place] == wanted.size and held_sum[place] == int(wanted.sum(dtype=np.uint64))
            if not (whole if exact else held[place] >= least.size):
                missing.append(int(fingerprint_id))
            if progress and place % 10_000 == 0:
                progress(place, ids.size)
    return missing
