"""The recordings that no segment holds yet, in memory: sorted arrays that grow as a number does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from identity.recording.packing import Ids
from identity.recording.terms import Terms, terms_from_bytes
from identity.thresholds import MAX_POSTINGS_PER_TERM


@dataclass(frozen=True, slots=True)
class _Chunk:
    terms: Terms
    """Sorted; of equal terms the oldest recording first."""
    ids: Ids

    @classmethod
    def sorted(cls, terms: Terms, ids: Ids) -> _Chunk:
        order = np.lexsort((ids, terms))
        return cls(terms[order], ids[order])

    def matching(self, terms: Terms) -> Ids:
        starts = np.searchsorted(self.terms, terms, "left")
        sizes = np.minimum(np.searchsorted(self.terms, terms, "right") - starts, MAX_POSTINGS_PER_TERM)
        return self.ids[ranges(starts, sizes)]


def ranges(starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The numbers ``start … start + size - 1`` of each pair, one after another."""
    ends = sizes.cumsum()
    shifts: npt.NDArray[np.int64] = (starts + sizes - ends).repeat(sizes)
    shifts += np.arange(shifts.size)
    return shifts


@dataclass(frozen=True, slots=True)
class Delta:
    """Immutable: many threads read the same one. A chunk is longer than all after it together, so there are few."""

    chunks: tuple[_Chunk, ...] = ()
    recordings: int = 0

    def with_rows(self, rows: Sequence[tuple[int, bytes]]) -> Delta:
        """This and these (fingerprint id, term bytes), which it must not hold yet."""
        if not rows:
            return self
        each = [terms_from_bytes(data) for _, data in rows]
        ids = np.repeat(np.array([found for found, _ in rows], dtype=np.int64), [terms.size for terms in each])
        new = _Chunk.sorted(np.concatenate(each), ids)
        chunks = list(self.chunks)
        while chunks and chunks[-1].ids.size <= 2 * new.ids.size:
            last = chunks.pop()
            new = _Chunk.sorted(np.concatenate([last.terms, new.terms]), np.concatenate([last.ids, new.ids]))
        return Delta((*chunks, new), self.recordings + len(rows))

    def matching(self, terms: Terms) -> Ids:
        """Ids of the recordings that have these terms, once for each shared term."""
        if not self.chunks:
            return np.empty(0, dtype=np.int64)
        return np.concatenate([chunk.matching(terms) for chunk in self.chunks])
