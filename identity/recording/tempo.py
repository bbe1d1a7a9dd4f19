"""Aligns a recording with a copy of another tempo: the offset drifts, and a line is sought instead of a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from identity.evidence import Alignment
from identity.recording.align import align, align_at
from identity.recording.items import Items
from identity.thresholds import MIN_OVERLAP_REVIEW_S, REVIEW_BIT_ERROR_RATE
from media.types import ITEM_SECONDS

TEMPI = tuple(round(1 + step / 200, 3) for step in range(-12, 13) if step)
"""0.94 to 1.06 by 0.005: within `_WINDOW` items the drift between two of them is under one item."""

_WINDOW = 192
_LEAST = round(MIN_OVERLAP_REVIEW_S / ITEM_SECONDS)
_FINE = tuple(step / 2000 for step in range(-6, 7))


@dataclass(frozen=True, slots=True)
class Drifted:
    """``tempo``: the candidate plays so many times as fast as the target; ``items``: the candidate at the target's
    tempo, ``offset`` in items, as in `identity.recording.align.Aligned`."""

    tempo: float
    items: Items
    offset: int
    alignment: Alignment


def at_tempo(items: Items, tempo: float) -> Items:
    """The items as they would be, had the recording been played ``tempo`` times slower: the nearest ones in time."""
    count = int(items.size * tempo)
    return items[np.minimum(np.rint(np.arange(count) / tempo).astype(np.int64), items.size - 1)]


def align_at_any_tempo(candidate: Items, target: Items) -> Drifted | None:
    """The tempo and offset at which two recordings agree best; None where no tempo brings them near enough for review.

    A window from the middle is tried at each of `TEMPI`; the best is refined over the whole. About 4 ms.
    """
    start = max(0, (candidate.size - _WINDOW) // 2)
    window = candidate[start : start + _WINDOW]
    if window.size < _LEAST:
        return None
    tried = [(tempo, align(at_tempo(window, tempo), target)) for tempo in TEMPI]
    rough = [(found.alignment.bit_error_rate, tempo, found.offset) for tempo, found in tried if found]
    if not rough or min(rough)[0] > REVIEW_BIT_ERROR_RATE:
        return None
    _, tempo, offset = min(rough)
    best: Drifted | None = None
    for fine in _FINE:
        items = at_tempo(candidate, tempo + fine)
        # The middle of the window stays where it was found.
        middle = start + window.size / 2
        there = offset + window.size / 2 * tempo
        for step in (-1, 0, 1):
            shift = round(there - middle * (tempo + fine)) + step
            alignment = align_at(items, target, shift)
            if alignment and (best is None or alignment.bit_error_rate < best.alignment.bit_error_rate):
                best = Drifted(round(tempo + fine, 4), items, shift, alignment)
    return best
