"""How a segment packs its postings: sorted integers in hashed buckets, one row a bucket.

A posting says that a term occurs in a recording. The term's high bits are the number of its bucket, its low bits are 0
(see `identity.recording.terms`), so only the bits between them are written, followed by the recording's distance from
the segment's first: at a million recordings 11 and 20 bits, which is one uint32, sorted, that numpy reads as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from identity.recording.terms import Terms
from identity.thresholds import MAX_POSTINGS_PER_TERM

Ids = npt.NDArray[np.int64]
Postings = npt.NDArray[np.uint64]
"""``term << 32 | offset``, sorted; ``offset``: fingerprint id less the segment's first."""

MAX_SPAN_BITS = 32
"""Ids of one segment lie within 2^32 of each other."""

ROW_POSTINGS = 400
"""So many postings fill a bucket's row with about 1.6 kB: five to a page, and a look-up reads little for nothing."""

MAX_BUCKET_BITS = 26

_LOW = np.uint64(0xFFFFFFFF)
_NARROW: np.dtype[np.unsignedinteger] = np.dtype("<u4")
_WIDE: np.dtype[np.unsignedinteger] = np.dtype("<u8")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a segment's integers are cut.

    Attributes:
        first_id: the lowest fingerprint id that the segment may hold.
        offset_bits: how many bits tell a recording.
        bucket_bits: how many bits of a term tell its bucket.
        sampling_bits: how many low bits of every term are 0.
    """

    first_id: int
    offset_bits: int
    bucket_bits: int
    sampling_bits: int

    @classmethod
    def fitting(cls, first_id: int, last_id: int, postings: int, sampling_bits: int) -> Layout:
        """The layout for about so many postings. Raises ValueError where the ids lie too far apart."""
        span = last_id - first_id
        if not 0 <= span < 2**MAX_SPAN_BITS:
            raise ValueError(f"fingerprints {first_id} to {last_id} do not fit one segment")
        bucket_bits = min(MAX_BUCKET_BITS, max(1, (max(1, postings) // ROW_POSTINGS).bit_length()))
        return cls(first_id, max(1, span.bit_length()), bucket_bits, sampling_bits)

    @property
    def rest_bits(self) -> int:
        """How many bits of a term a posting keeps."""
        return 32 - self.bucket_bits - self.sampling_bits

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Of a written posting: 4 bytes, or 8 where few recordings lie far apart."""
        return _NARROW if self.rest_bits + self.offset_bits <= 32 else _WIDE

    def buckets(self, terms: Terms) -> npt.NDArray[np.int32]:
        """The buckets of terms."""
        return (terms >> np.uint32(32 - self.bucket_bits)).astype(np.int32)

    def _rests(self, terms: Terms) -> npt.NDArray[np.uint64]:
        inner = (terms >> np.uint32(self.sampling_bits)).astype(np.uint64)
        return inner & np.uint64((1 << self.rest_bits) - 1)

    def pack(self, postings: Postings) -> Iterator[tuple[int, bytes]]:
        """(bucket, packed bytes) in order, from sorted postings."""
        terms = (postings >> np.uint64(32)).astype(np.uint32)
        keys = (self._rests(terms) << np.uint64(self.offset_bits)) | (postings & _LOW)
        buckets = self.buckets(terms)
        starts = np.flatnonzero(np.diff(buckets, prepend=-1))
        data = keys.astype(self.dtype).tobytes()
        width = self.dtype.itemsize
        ends = np.append(starts[1:], buckets.size)
        numbers = buckets[starts].tolist()
        for bucket, start, end in zip(numbers, (starts * width).tolist(), (ends * width).tolist(), strict=True):
            yield bucket, data[start:end]

    def unpack(self, rows: Sequence[tuple[int, bytes]]) -> Postings:
        """Inverse of `pack`."""
        keys = np.frombuffer(b"".join(data for _, data in rows), dtype=self.dtype).astype(np.uint64)
        sizes = [len(data) // self.dtype.itemsize for _, data in rows]
        bucket = np.repeat(np.array([bucket for bucket, _ in rows], dtype=np.uint64), sizes)
        rests = (keys >> np.uint64(self.offset_bits)) << np.uint64(self.sampling_bits)
        terms = (bucket << np.uint64(32 - self.bucket_bits)) | rests
        return (terms << np.uint64(32)) | (keys & np.uint64((1 << self.offset_bits) - 1))

    def matching(self, terms: Terms, data: bytes, sizes: npt.NDArray[np.int64]) -> Ids:
        """Ids of the recordings that have these terms, once for each; ``data``: of each term its bucket's bytes, one
        after another; ``sizes``: how many each has."""
        return self.chosen(terms, np.frombuffer(data, dtype=self.dtype), sizes // self.dtype.itemsize)

    def chosen(self, terms: Terms, keys: npt.NDArray[Any], sizes: npt.NDArray[np.int64]) -> Ids:
        """`matching` with integers; ``sizes``: how many of them each term has."""
        # A wanted posting with its offset left out differs in nothing but the offset.
        lowest = self._rests(terms) << np.uint64(self.offset_bits)
        apart = keys ^ lowest.astype(self.dtype).repeat(sizes)
        ids: Ids = apart[apart < self.dtype.type(1 << self.offset_bits)].astype(np.int64)
        ids += self.first_id
        return ids


def postings_of(terms: Terms, offsets: npt.NDArray[np.int64]) -> Postings:
    """Sorted postings from pairs."""
    result = (terms.astype(np.uint64) << np.uint64(32)) | offsets.astype(np.uint64)
    result.sort()
    return result


def capped(postings: Postings, most: int = MAX_POSTINGS_PER_TERM) -> Postings:
    """Sorted postings with at most so many of one term, those of its oldest recordings."""
    if postings.size <= most:
        return postings
    terms = (postings >> np.uint64(32)).astype(np.uint32)
    # Sorted: whoever has the same term so many places before is one too many.
    crowded = np.zeros(postings.size, dtype=bool)
    crowded[most:] = terms[most:] == terms[:-most]
    return postings[~crowded]
