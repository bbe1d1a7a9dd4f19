"""Aligns two fingerprints: votes find a few offsets, the bit error rate decides among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
"""How many of the offsets with the most votes are verified, and the two neighbours of the best."""

MAX_REPEATS = 32
"""A half item that occurs more often than this in one recording (held notes) does not vote."""

_Ints = npt.NDArray[np.int64]

_WINDOW = round(PROFILE_SECONDS / ITEM_SECONDS)
_MIN_ITEMS = math.ceil(MIN_OVERLAP_REVIEW_S / ITEM_SECONDS)


@dataclass(frozen=True, slots=True)
class Aligned:
    """An `Alignment` with its exact ``offset`` in items: item i of the candidate lies on item i + offset."""

    offset: int
    alignment: Alignment


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
    """The offset at which two recordings agree best; None where no offset has votes and 10 s of overlap."""
    return align_all(candidate, [target])[0]


def align_all(candidate: Items, targets: Sequence[Items], worst: float = 1.0) -> list[Aligned | None]:
    """`align` with each of several recordings, in one go; None also where the bit error rate is above ``worst``.

    Best is the least probable by chance: the distance of the bit error rate from one half in standard errors, which
    sets a long overlap with few errors above a short one with none.
    """
    result: list[Aligned | None] = [None] * len(targets)
    places = [place for place, target in enumerate(targets) if target.size >= _MIN_ITEMS]
    if candidate.size < _MIN_ITEMS or not places:
        return result
    chosen = [targets[place] for place in places]
    sizes = np.array([target.size for target in chosen])
    joined = np.concatenate(chosen)
    pairs, offsets = _peaks(_votes(candidate, joined, sizes), candidate.size, sizes)
    # A trim that is no whole number of items splits its votes between two neighbours, so those are looked at too.
    best = _best(_scores(candidate, joined, sizes, pairs, offsets)[0], pairs, offsets)
    near = np.repeat(np.array(list(best), dtype=np.int64), 3)
    steps = np.repeat(np.array(list(best.values()), dtype=np.int64), 3) + np.tile([-1, 0, 1], len(best))
    scores, rates = _scores(candidate, joined, sizes, near, steps)
    best = _best(np.where(rates <= worst, scores, -math.inf), near, steps)
    for pair, offset in best.items():
        alignment = align_at(candidate, chosen[pair], offset)
        result[places[pair]] = Aligned(offset, alignment) if alignment else None
    return result


def _votes(candidate: Items, joined: Items, sizes: _Ints) -> _Ints:
    """Votes of all targets, one after another; of each the first place is offset ``1 - len(candidate)``.

    Each equal half (16 bits) of two items is a vote, so an item with errors in one half still votes with the other.
    """
    spans = sizes + candidate.size - 1
    bases = np.repeat(np.cumsum(spans) - spans - (np.cumsum(sizes) - sizes), sizes)
    positions = np.arange(joined.size) + bases + candidate.size - 1
    votes = np.zeros(int(spans.sum()), dtype=np.int64)
    for shift in (0, 16):
        ours = ((candidate >> np.uint32(shift)) & np.uint32(0xFFFF)).astype(np.int64)
        theirs = ((joined >> np.uint32(shift)) & np.uint32(0xFFFF)).astype(np.int64)
        order = np.argsort(ours, kind="stable")
        repeats = np.bincount(ours, minlength=65536)
        first = np.cumsum(repeats) - repeats
        repeats[repeats > MAX_REPEATS] = 0
        counts = repeats[theirs]
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        sources = order[np.repeat(first[theirs], counts) + within]
        votes += np.bincount(np.repeat(positions, counts) - sources, minlength=votes.size)
    return votes


def _peaks(votes: _Ints, ours: int, sizes: _Ints) -> tuple[_Ints, _Ints]:
    """(pair, offset) of the places with the most votes, at most `OFFSETS_VERIFIED` of each pair."""
    # Offsets with less than 10 s of overlap get no say: the first place is offset 1 - ours.
    margin = _MIN_ITEMS - 1
    pairs: list[_Ints] = []
    offsets: list[_Ints] = []
    start = 0
    for pair, size in enumerate(sizes.tolist()):
        end = start + ours + size - 1
        smooth = votes[start + margin : end - margin].copy()
        smooth[1:] += votes[start + margin : end - margin - 1]
        smooth[:-1] += votes[start + margin + 1 : end - margin]
        # Where one offset stands out, the others need no look.
        peaks = np.flatnonzero(smooth > max(0, int(smooth.max()) // 3))
        if peaks.size > OFFSETS_VERIFIED:
            peaks = peaks[np.argpartition(smooth[peaks], -OFFSETS_VERIFIED)[-OFFSETS_VERIFIED:]]
        pairs.append(np.full(peaks.size, pair))
        offsets.append(peaks + margin - (ours - 1))
        start = end
    return np.concatenate(pairs), np.concatenate(offsets)


def _scores(
    candidate: Items, joined: Items, sizes: _Ints, pairs: _Ints, offsets: _Ints
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How improbable by chance each (pair, offset) is, -inf with less than 10 s of sound on each other; and its
    bit error rate."""
    at = np.arange(candidate.size)[None, :] + offsets[:, None]
    inside = (at >= 0) & (at < sizes[pairs][:, None])
    starts = (np.cumsum(sizes) - sizes)[pairs][:, None]
    theirs = joined[np.where(inside, at + starts, 0)]
    heard = inside & ((theirs != SILENCE) | (candidate != SILENCE)[None, :])
    wrong = np.where(heard, np.bitwise_count(theirs ^ candidate[None, :]), 0).sum(axis=1, dtype=np.int64)
    length = heard.sum(axis=1)
    rates = wrong / (32 * np.maximum(length, 1))
    return np.where(length >= _MIN_ITEMS, (0.5 - rates) * np.sqrt(length), -math.inf), rates


def _best(scores: npt.NDArray[np.float64], pairs: _Ints, offsets: _Ints) -> dict[int, int]:
    """The offset of each pair with the highest score; of equals the lowest."""
    best: dict[int, int] = {}
    for place in np.lexsort((offsets, -scores)).tolist():
        if scores[place] > -math.inf:
            best.setdefault(int(pairs[place]), int(offsets[place]))
    return best
