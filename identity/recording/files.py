"""Local files of the index's segments: what a host's processes search without asking PostgreSQL.

PostgreSQL holds the record; a file is a copy of one active segment, which never changes. It is named after the
segment's key, which no other segment has, whatever was restored from where. It is written under another name and
renamed when it is whole, and believed once its checksum is found right. A file that is missing, damaged or of another
format is fetched anew, and meanwhile PostgreSQL is asked. The processes of a host map the same file, so it is in memory
once; one of them fetches at a time, under a lock that ends with it however it ends. What is removed stays readable for
whoever has mapped it.

A file holds a header, a directory and the postings as the segment's rows have them, one after another. The directory
tells where each of the `Layout`'s buckets begins, with more bits than the rows' buckets have, so that few postings are
read for nothing.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from sqlalchemy import Engine

from identity.recording.delta import ranges
from identity.recording.packing import Ids, Layout, Postings
from identity.recording.terms import Terms, sampling_mask

logger = logging.getLogger(__name__)

DIRECTORY_POSTINGS = 16
"""About so many postings lie between two places of the directory, which is a quarter of a byte a posting then."""

_MAX_DIRECTORY_BITS = 28
_SLICE_BITS = 6
_MAGIC = b"VERSIDX1"
_HEADER = struct.Struct("<8s16sqBBBBIQI4x")
_SUFFIX = ".segment"
_PART = ".part"


class DamagedFileError(RuntimeError):
    """A file is no whole copy of its segment: it is removed, and fetched anew."""

    code = "recording_index_file"


@dataclass(frozen=True, slots=True)
class Described:
    """An active segment as its row describes it. ``key``: tells it from all others there ever were."""

    id: int
    key: uuid.UUID
    layout: Layout
    postings: int


def described(connection: psycopg.Connection[Any]) -> list[Described]:
    """The active segments."""
    rows = connection.execute(
        "SELECT id, key, first_id, offset_bits, bucket_bits, sampling_bits, postings"
        " FROM recording_segments WHERE state = 'active' ORDER BY id"
    )
    return [Described(row[0], row[1], Layout(*row[2:6]), row[6]) for row in rows]


@dataclass(frozen=True, slots=True)
class LocalSegment:
    """A mapped file. ``inode``: tells it from one that took its name later; ``postings``: in the rows' order."""

    inode: int
    layout: Layout
    directory_bits: int
    directory: npt.NDArray[np.uint32]
    postings: npt.NDArray[Any]

    def matching(self, wanted: Terms) -> Ids:
        """Ids of the recordings that have these terms, once for each."""
        wanted = wanted[(wanted & sampling_mask(self.layout.sampling_bits)) == 0]
        places = wanted >> np.uint32(32 - self.directory_bits)
        starts = self.directory[places].astype(np.int64)
        sizes = self.directory[places + np.uint32(1)] - starts
        return self.layout.chosen(wanted, self.postings[ranges(starts, sizes)], sizes)

    def holds(self, rows: Sequence[tuple[int, bytes]], postings: Postings, place: int) -> bool:
        """Whether these rows of the segment, and the ``postings`` that they pack, lie here from this place on."""
        ours = self.postings[place : place + postings.size]
        buckets = (postings >> np.uint64(64 - self.directory_bits)).astype(np.int64)
        places = np.arange(place, place + postings.size)
        led = (self.directory[buckets] <= places) & (places < self.directory[buckets + 1])
        return ours.tobytes() == b"".join(data for _, data in rows) and bool(led.all())


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a round of `SegmentFiles.refresh` did, in segments."""

    held: int
    fetched: int = 0
    removed: int = 0
    damaged: tuple[str, ...] = ()


@dataclass(slots=True)
class SegmentFiles:
    """The files of one database's segments in a folder of their own.

    Attributes:
        folder: is made, for this user only.
        held: what is mapped and found whole, by key; replaced as a whole, so any thread may read it.
        on_step: called with a name before each step that changes the folder.
    """

    folder: Path
    held: Mapping[uuid.UUID, LocalSegment] = field(default_factory=dict)
    on_step: Callable[[str], None] = field(default=lambda _: None)

    def refresh(self, engine: Engine, *, fetch: bool = True) -> Refreshed:
        """Maps the active segments' files; fetches those that are missing or damaged, and removes those of segments
        that are active no more.

        Nothing waits for it: searches use what is held at their time. Where another process of this host fetches, its
        files are mapped by the next round. A disk that is full or fails is told in the log, and PostgreSQL answers.
        """
        with engine.connect() as owner:
            connection = owner.execution_options(isolation_level="REPEATABLE READ").connection.driver_connection
            assert isinstance(connection, psycopg.Connection)
            with connection.transaction():
                wanted = described(connection)
                damaged = self._map(wanted)
                fetched = removed = 0
                try:
                    if fetch and self._unlike(wanted):
                        with self._locked() as ours:
                            if ours:
                                removed = self._remove({each.key for each in wanted}, damaged)
                                for each in wanted:
                                    if each.key not in self.held and not self._path(each.key).exists():
                                        self._fetch(connection, each)
                                        fetched += 1
                                self._map(wanted)
                except OSError:
                    logger.exception("segments of recordings cannot be kept in %s: PostgreSQL is asked", self.folder)
        return Refreshed(len(self.held), fetched, removed, tuple(damaged))

    def whole(self, segments: list[Described]) -> tuple[dict[uuid.UUID, LocalSegment], list[str]]:
        """The files of these segments that are there: those that are found whole, and the names of the others."""
        whole, damaged = {}, []
        for each in segments:
            try:
                whole[each.key] = mapped(self._path(each.key), each)
            except FileNotFoundError:
                continue
            except (DamagedFileError, OSError):
                damaged.append(self.name(each.key))
        return whole, damaged

    def name(self, key: uuid.UUID) -> str:
        """Of a segment's file."""
        return f"{key}{_SUFFIX}"

    def size(self, key: uuid.UUID) -> int | None:
        """Of a segment's file, bytes; None: there is none."""
        try:
            return self._path(key).stat().st_size
        except OSError:
            return None

    def _path(self, key: uuid.UUID) -> Path:
        return self.folder / self.name(key)

    def _unlike(self, wanted: list[Described]) -> bool:
        """Whether the folder holds something else than these."""
        names = {path.name for path in self.folder.glob("*")} - {"lock"}
        return names != {self.name(each.key) for each in wanted} or len(self.held) < len(wanted)

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def _map(self, wanted: list[Described]) -> list[str]:
        """Holds the whole files; returns the names of damaged ones."""
        known = {each.key: self.held[each.key] for each in wanted if self._is_held(each.key)}
        new, damaged = self.whole([each for each in wanted if each.key not in known])
        for name in damaged:
            logger.warning("%s is no whole copy of its segment: it is fetched anew", self.folder / name)
        self.held = {**known, **new}
        return damaged

    def _is_held(self, key: uuid.UUID) -> bool:
        """Whether a segment is held from the file that is there: an operator may have removed it."""
        try:
            return key in self.held and self.held[key].inode == self._path(key).stat().st_ino
        except OSError:
            return False

    def _remove(self, keys: set[uuid.UUID], damaged: list[str]) -> int:
        """Files of other segments, damaged ones, and what a killed process left; the lock is ours."""
        kept = {self.name(key) for key in keys} - set(damaged)
        count = 0
        for path in self.folder.iterdir():
            if path.name not in kept and path.suffix in (_SUFFIX, _PART):
                self.on_step("remove")
                path.unlink(missing_ok=True)
                count += 1
        return count

    def _fetch(self, connection: psycopg.Connection[Any], segment: Described) -> None:
        path = self._path(segment.key)
        partial = path.with_suffix(_PART)
        self.on_step("write")
        try:
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                _write(file, connection, segment, self.on_step)
            self.on_step("rename")
            partial.rename(path)
            self.on_step("renamed")
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def slices(connection: psycopg.Connection[Any], segment_id: int, layout: Layout) -> Iterator[list[tuple[int, bytes]]]:
    """A segment's rows (bucket, bytes) in order, a part of them at once."""
    slice_bits = min(_SLICE_BITS, layout.bucket_bits)
    shift = layout.bucket_bits - slice_bits
    with connection.cursor(binary=True) as cursor:
        for number in range(2**slice_bits):
            yield cursor.execute(
                "SELECT bucket, data FROM recording_postings"
                " WHERE segment_id = %s AND bucket >= %s AND bucket < %s ORDER BY bucket",
                (segment_id, number << shift, (number + 1) << shift),
            ).fetchall()


def _directory_bits(segment: Described) -> int:
    least = min(_MAX_DIRECTORY_BITS, 32 - segment.layout.sampling_bits)
    return min(least, max(1, (segment.postings // DIRECTORY_POSTINGS).bit_length()))


def _places(bits: int) -> int:
    """Of a directory: an end for the last, and one more, so that integers of 8 bytes lie where the processor likes."""
    return int(2**bits) + 2


def _write(file: Any, connection: psycopg.Connection[Any], segment: Described, on_step: Callable[[str], None]) -> None:
    bits, layout = _directory_bits(segment), segment.layout
    counts = np.zeros(_places(bits), dtype=np.uint32)
    file.write(bytes(_HEADER.size + counts.nbytes))
    checksum = written = 0
    for rows in slices(connection, segment.id, layout):
        data = b"".join(part for _, part in rows)
        places = (layout.unpack(rows) >> np.uint64(64 - bits)).astype(np.int64)
        if places.size:
            first = int(places[0])
            found = np.bincount(places - first)
            counts[first + 1 : first + 1 + found.size] += found.astype(np.uint32)
        written += places.size
        checksum = zlib.crc32(data, checksum)
        file.write(data)
    if written != segment.postings or written >= 2**32:
        raise OSError(f"segment {segment.id} has {written} postings in its rows, {segment.postings} by its own account")
    on_step("directory")
    directory = np.cumsum(counts, dtype=np.uint32)
    checksum = zlib.crc32(directory.data, checksum)
    file.seek(_HEADER.size)
    file.write(directory)
    file.seek(0)
    file.write(_header(segment, checksum))


def _header(segment: Described, checksum: int) -> bytes:
    layout = segment.layout
    return _HEADER.pack(
        _MAGIC,
        segment.key.bytes,
        layout.first_id,
        layout.offset_bits,
        layout.bucket_bits,
        layout.sampling_bits,
        _directory_bits(segment),
        layout.dtype.itemsize,
        segment.postings,
        checksum,
    )


def mapped(path: Path, segment: Described) -> LocalSegment:
    """A file that is a whole copy of this segment. Raises DamagedFileError, and OSError where there is none."""
    bits, layout = _directory_bits(segment), segment.layout
    ours = _HEADER.size + 4 * _places(bits)
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        if stat.st_size != ours + segment.postings * layout.dtype.itemsize:
            raise DamagedFileError("its size is not that of its segment")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    directory = np.frombuffer(data, dtype="<u4", count=_places(bits), offset=_HEADER.size)
    postings = np.frombuffer(data, dtype=layout.dtype, offset=ours)
    checksum = zlib.crc32(directory.data, zlib.crc32(postings.data))
    if data[: _HEADER.size] != _header(segment, checksum):
        raise DamagedFileError("its header or its checksum is wrong")
    return LocalSegment(stat.st_ino, layout, bits, directory, postings)
