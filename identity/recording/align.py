"""Aligns two fingerprints: votes find a few offsets, the bit error rate decides among them.

One recording is aligned with many in one go: every step is a few numpy calls over all of them together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from identity.evidence import Alignment
from identity.recording.items import SILENCE, Items
from identity.thresholds import CHANCE_BIT_ERROR_RATE, MIN_OVERLAP_REVIEW_S
from media.types import ITEM_SECONDS

PROFILE_SECONDS = 2.0
"""Width of a window of the error profile."""

OFFSETS_VERIFIED = 8
"""How many of the offsets with the most votes are verified, and the two neighbours of the best."""

MAX_REPEATS = 32
"""A half item that occurs more often than this in one recording (held notes) does not vote."""

SAMPLED_ITEMS = 128
"""So many items, spread over the recording, tell that an offset is hopeless; the others are compared whole."""

SAMPLED_SLACK = 0.6
"""How far a sample's bit error rate may lie above the limit, times the root of its size: four standard errors, an
item's own rate scattering by 0.15."""

_HALVES = 2**17
"""Different values of `_halves`."""

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]

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
    silent = ours == SILENCE
    if np.count_nonzero(silent):
        heard = ~(silent & (theirs == SILENCE))
        return ours[heard], theirs[heard]
    return ours, theirs


def _distinct(items: Items) -> int:
    """How many different items, silence left out."""
    ordered = items.copy()
    ordered.sort()
    heard = ordered != SILENCE
    heard[1:] &= ordered[1:] != ordered[:-1]
    return int(np.count_nonzero(heard))


def align_at(candidate: Items, target: Items, offset: int) -> Alignment | None:
    """How the recordings agree at one offset (in items); None where less than 10 s lie on each other."""
    ours, theirs = _overlap(candidate, target, offset)
    size = ours.size
    if size < _MIN_ITEMS:
        return None
    # Of each window, whole numbers below 2^53: exact as floats.
    starts = np.arange(0, size - _WINDOW // 2, _WINDOW)
    wrong = np.add.reduceat(np.bitwise_count(ours ^ theirs), starts, dtype=np.float64)
    profile = wrong / (32 * _WINDOW)
    profile[-1] = wrong[-1] / (32 * (size - int(starts[-1])))
    return Alignment(
        offset_s=round(offset * ITEM_SECONDS, 3),
        overlap_s=round(size * ITEM_SECONDS, 3),
        bit_error_rate=round(sum(wrong.tolist()) / size / 32, 4),
        distinct_share=round(min(_distinct(ours), _distinct(theirs)) / size, 4),
        profile=tuple(profile.round(3).tolist()),
    )


def align(candidate: Items, target: Items) -> Aligned | None:
    """The offset at which two recordings agree best; None where no offset has votes and 10 s of overlap."""
    return align_all(candidate, [target])[0]


def align_alike(candidate: Items, target: Items) -> Aligned | None:
    """`align` of recordings that share whole items: three times as fast. None where they share none, or where 10 s do
    not lie on each other at the offset that most of those vote for."""
    if min(candidate.size, target.size) < _MIN_ITEMS:
        return None
    order = candidate.argsort()
    ours = candidate[order]
    # Beyond the last is the last, which is another item then.
    places = ours[:-1].searchsorted(target)
    (shared,) = ((ours[places] == target) & (target != SILENCE)).nonzero()
    if not shared.size:
        return None
    votes = np.bincount(shared - order[places[shared]] + candidate.size, minlength=candidate.size + target.size + 1)
    most = int(votes.argmax())
    # A trim that is no whole number of items splits its votes between two neighbours.
    near = [place for place in (most - 1, most, most + 1) if 2 * votes[place] >= votes[most]]
    offsets = [place - candidate.size for place in near]
    offset = offsets[0] if len(offsets) == 1 else max(offsets, key=lambda each: _score(candidate, target, each))
    alignment = align_at(candidate, target, offset)
    return Aligned(offset, alignment) if alignment else None


def _score(candidate: Items, target: Items, offset: int) -> float:
    """How improbable by chance an offset is."""
    ours, theirs = _overlap(candidate, target, offset)
    if ours.size < _MIN_ITEMS:
        return -math.inf
    wrong = int(np.bitwise_count(ours ^ theirs).sum(dtype=np.int64))
    return (0.5 - wrong / (32 * ours.size)) * math.sqrt(ours.size)


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
    pairs, offsets = _hopeful(candidate, joined, sizes, pairs, offsets, worst)
    # A trim that is no whole number of items splits its votes between two neighbours, so those are looked at too.
    best = _best(_scores(candidate, joined, sizes, pairs, offsets)[0], pairs, offsets)
    near = np.repeat(np.array(list(best), dtype=np.int64), 3)
    steps = np.repeat(np.array(list(best.values()), dtype=np.int64), 3) + np.tile([-1, 0, 1], len(best))
    scores, rates, _ = _scores(candidate, joined, sizes, near, steps)
    best = _best(np.where(rates <= worst, scores, -math.inf), near, steps)
    for pair, offset in best.items():
        alignment = align_at(candidate, chosen[pair], offset)
        result[places[pair]] = Aligned(offset, alignment) if alignment else None
    return result


def _votes(candidate: Items, joined: Items, sizes: _Ints) -> _Ints:
    """Votes of all targets, one after another; of each the first place is offset ``1 - len(candidate)``.

    Each equal half (16 bits) of two items is a vote, so an item with errors in one half still votes with the other.
    """
    # Sorted by value, and so grouped, with the place of each in the low bits.
    keys = (_halves(candidate) << 32) + np.tile(np.arange(candidate.size), 2)
    keys.sort()
    halves, sources = keys >> 32, keys & 0xFFFFFFFF
    first = np.flatnonzero(halves[1:] != halves[:-1])
    first = np.concatenate([[0], first + 1])
    repeats = np.diff(first, append=halves.size)
    usual = repeats <= MAX_REPEATS
    first, repeats = first[usual], repeats[usual]
    # Of each half that occurs here, its number counted from 1.
    numbers = np.zeros(_HALVES, dtype=np.int32)
    numbers[halves[first]] = np.arange(1, first.size + 1)
    met = numbers[_halves(joined)]
    positions = np.flatnonzero(met)
    met = met[positions] - 1
    positions %= joined.size
    ends = np.cumsum(sizes)
    # A target has this many more places than items.
    more = candidate.size - 1
    positions += (np.searchsorted(ends, positions, "right") + 1) * more
    counts = repeats[met]
    within = np.arange(int(counts.sum())) + np.repeat(first[met] - (np.cumsum(counts) - counts), counts)
    return np.bincount(np.repeat(positions, counts) - sources[within], minlength=int(ends[-1]) + sizes.size * more)


def _halves(items: Items) -> _Ints:
    """The low halves of all items, then the high ones, told apart by another bit."""
    wide = items.astype(np.int64)
    return np.concatenate([wide & 0xFFFF, (wide >> 16) | 0x10000])


def _peaks(votes: _Ints, ours: int, sizes: _Ints) -> tuple[_Ints, _Ints]:
    """(pair, offset) of the places with the most votes, at most `OFFSETS_VERIFIED` of each pair."""
    spans = sizes + (ours - 1)
    starts = np.cumsum(spans) - spans
    weights = 2 * votes
    weights[1:] += votes[:-1]
    weights[:-1] += votes[1:]
    # Offsets with less than 10 s of overlap get no say: the first place is offset 1 - ours.
    margin = np.arange(_MIN_ITEMS - 1)
    weights[(starts[:, None] + margin).ravel()] = 0
    weights[((starts + spans - 1)[:, None] - margin).ravel()] = 0
    # Where one offset stands out, the others need no look.
    places = np.flatnonzero(weights > np.repeat(np.maximum.reduceat(weights, starts) // 2, spans))
    pairs = np.searchsorted(starts, places, "right") - 1
    order = np.lexsort((-weights[places], pairs))
    places, pairs = places[order], pairs[order]
    rank = np.arange(pairs.size) - np.searchsorted(pairs, pairs)
    places, pairs = places[rank < OFFSETS_VERIFIED], pairs[rank < OFFSETS_VERIFIED]
    return pairs, places - starts[pairs] - (ours - 1)


def _hopeful(
    candidate: Items, joined: Items, sizes: _Ints, pairs: _Ints, offsets: _Ints, worst: float
) -> tuple[_Ints, _Ints]:
    """Those whose bit error rate over a sample does not tell that it is above ``worst``."""
    step = candidate.size // SAMPLED_ITEMS
    if step < 2 or worst >= CHANCE_BIT_ERROR_RATE:
        return pairs, offsets
    _, rates, lengths = _scores(candidate, joined, sizes, pairs, offsets, step)
    kept = rates <= worst + SAMPLED_SLACK / np.sqrt(np.maximum(lengths, 1))
    return pairs[kept], offsets[kept]


def _scores(
    candidate: Items, joined: Items, sizes: _Ints, pairs: _Ints, offsets: _Ints, step: int = 1
) -> tuple[_Floats, _Floats, _Ints]:
    """How improbable by chance each (pair, offset) is, -inf with less than 10 s of sound on each other; its bit error
    rate; and how many items were compared, one in ``step``."""
    ours = candidate[::step]
    at = np.arange(0, candidate.size, step) + offsets[:, None]
    inside = (at >= 0) & (at < sizes[pairs][:, None])
    theirs = joined[np.where(inside, at + (np.cumsum(sizes) - sizes)[pairs][:, None], 0)]
    heard = inside & ((theirs != SILENCE) | (ours != SILENCE))
    wrong = (np.bitwise_count(theirs ^ ours) * heard).sum(axis=1, dtype=np.int64)
    lengths = np.count_nonzero(heard, axis=1)
    rates = wrong / (32 * np.maximum(lengths, 1))
    return np.where(lengths * step >= _MIN_ITEMS, (0.5 - rates) * np.sqrt(lengths), -math.inf), rates, lengths


def _best(scores: _Floats, pairs: _Ints, offsets: _Ints) -> dict[int, int]:
    """The offset of each pair with the highest score; of equals the lowest."""
    best: dict[int, int] = {}
    for place in np.lexsort((offsets, -scores)).tolist():
        if scores[place] > -math.inf:
            best.setdefault(int(pairs[place]), int(offsets[place]))
    return best
