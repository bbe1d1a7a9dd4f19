"""Aligns two fingerprints: votes find a few offsets, the bit error rate decides among them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from identity.evidence import Alignment
from identity.recording.items import SILENCE, Items
from identity.thresholds import MIN_OVERLAP_REVIEW_S
from media.types import ITEM_SECONDS

PROFILE_SECONDS = 2.0
"""Width of a window of the error profile."""

OFFSETS_VERIFIED = 8
"""How many of the offsets with the most votes are verified (each with its two neighbours)."""

MAX_REPEATS = 32
"""A half item that occurs more often than this in one recording (held notes) does not vote."""

_WINDOW = round(PROFILE_SECONDS / ITEM_SECONDS)
_MIN_ITEMS = math.ceil(MIN_OVERLAP_REVIEW_S / ITEM_SECONDS)


@dataclass(frozen=True, slots=True)
class Aligned:
    """An `Alignment` with its exact ``offset`` in items: item i of the candidate lies on item i + offset."""

    offset: int
    alignment: Alignment


def _votes(candidate: Items, target: Items) -> npt.NDArray[np.int64]:
    """Votes per offset; index 0 is offset ``1 - len(candidate)``. Each equal half (16 bits) of two items is a vote, so
    an item with errors in one half still votes with the other."""
    votes = np.zeros(candidate.size + target.size - 1, dtype=np.int64)
    for shift in (0, 16):
        left = (candidate >> np.uint32(shift)) & np.uint32(0xFFFF)
        right = (target >> np.uint32(shift)) & np.uint32(0xFFFF)
        order = np.argsort(right, kind="stable")
        ordered = right[order]
        first = np.searchsorted(ordered, left, "left")
        repeats = np.searchsorted(ordered, left, "right") - first
        repeats[repeats > MAX_REPEATS] = 0
        sources = np.repeat(np.arange(left.size), repeats)
        within = np.arange(sources.size) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        targets = order[np.repeat(first, repeats) + within]
        votes += np.bincount(targets - sources + left.size - 1, minlength=votes.size)
    return votes


def _overlap(candidate: Items, target: Items, offset: int) -> tuple[Items, Items]:
    """The items that lie on each other, without the places where both are silent."""
    start, end = max(0, -offset), min(candidate.size, target.size - offset)
    if end <= start:
        return candidate[:0], target[:0]
    ours, theirs = candidate[start:end], target[start + offset : end + offset]
    heard = (ours != SILENCE) | (theirs != SILENCE)
    return ours[heard], theirs[heard]


def _distinct_share(items: Items) -> float:
    return float(np.unique(items[items != SILENCE]).size / items.size)


def align_at(candidate: Items, target: Items, offset: int) -> Alignment | None:
    """How the recordings agree at one offset (in items); None where less than 10 s lie on each other."""
    ours, theirs = _overlap(candidate, target, offset)
    if ours.size < _MIN_ITEMS:
        return None
    wrong = np.bitwise_count(ours ^ theirs)
    starts = np.arange(0, ours.size - _WINDOW // 2, _WINDOW)
    widths = np.diff(np.append(starts, ours.size))
    profile = np.add.reduceat(wrong.astype(np.float64), starts) / (32 * widths)
    return Alignment(
        offset_s=round(offset * ITEM_SECONDS, 3),
        overlap_s=round(ours.size * ITEM_SECONDS, 3),
        bit_error_rate=round(float(wrong.mean()) / 32, 4),
        distinct_share=round(min(_distinct_share(ours), _distinct_share(theirs)), 4),
        profile=tuple(round(float(rate), 3) for rate in profile),
    )


def align(candidate: Items, target: Items) -> Aligned | None:
    """The offset at which two recordings agree best; None where no offset has votes and 10 s of overlap.

    Best is the least probable by chance: the distance of the bit error rate from one half in standard errors, which
    sets a long overlap with few errors above a short one with none.
    """
    if candidate.size < _MIN_ITEMS or target.size < _MIN_ITEMS:
        return None
    # Offsets with less than 10 s of overlap get no say: index 0 is offset 1 - len(candidate).
    margin = _MIN_ITEMS - 1
    votes = _votes(candidate, target)[margin:-margin]
    # A trim that is no whole number of items splits its votes between two neighbours.
    smooth = np.convolve(votes, np.ones(3, dtype=np.int64), "same")
    count = min(OFFSETS_VERIFIED, smooth.size)
    peaks = np.argpartition(smooth, -count)[-count:]
    offsets = {int(peak) + step for peak in peaks if smooth[peak] for step in (-1, 0, 1)}
    best: int | None = None
    best_score = -math.inf
    for offset in sorted(place + margin - (candidate.size - 1) for place in offsets):
        ours, theirs = _overlap(candidate, target, offset)
        if ours.size < _MIN_ITEMS:
            continue
        rate = float(np.bitwise_count(ours ^ theirs).mean()) / 32
        score = (0.5 - rate) * math.sqrt(ours.size)
        if score > best_score:
            best, best_score = offset, score
    if best is None:
        return None
    alignment = align_at(candidate, target, best)
    return Aligned(best, alignment) if alignment else None
