"""Do two recordings that play the same at the same time also sound the same?

Chromaprint hears harmony and hardly timbre: an instrumental mix, a karaoke or a re-render that keeps the timing of its
original reaches bit error rates at which damaged copies lie as well. What tells them apart is how the energy moves
between the bands of `media.timbre`, each band by itself, from moment to moment: a filter, a codec or a room leaves that
as it is; another instrument, or a voice that is missing, does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from identity.evidence import Alignment, Verdict
from identity.lags import fast_length, overlap_roots
from identity.recording.align import Aligned, align_at
from identity.recording.items import Items
from identity.thresholds import (
    CLEAR_BIT_ERROR_RATE,
    DAMAGED_BIT_ERROR_RATE,
    DAMAGED_TIMBRE,
    MIN_TIMBRE_S,
    REVIEW_BIT_ERROR_RATE,
    SAME_BIT_ERROR_RATE,
    SAME_MIX_LEAST,
    SAME_MIX_TIMBRE,
    SAME_TIMBRE,
)
from media.timbre import BANDS
from media.types import FRAME_SECONDS, ITEM_SECONDS, Frames

_Levels = npt.NDArray[np.float64]
_Singles = npt.NDArray[np.float32]

_FRAME_ITEMS = 5
"""Items before and after the offset of a timbre, which is known to half a second."""

_AROUND = 7
"""Frames before and after, whose mean is taken away: fades and loud passages are like each other everywhere."""

PACES = tuple(round(1 + step / 100, 2) for step in range(-6, 7))
"""0.94 to 1.06, as `identity.recording.tempo.TEMPI`; between two of them a minute drifts by a third of a second."""

_WORTH_MEASURING = 0.4
"""Of a likeness by cross-correlation: what is below is a stranger."""

_TOGETHER = 13
"""Others that are transformed at once: of 25 and more the spectra, sums and shapes leave the cache; 8 is as quick."""

_WORST = 2
"""So many bands may carry nothing (a telephone), before a poor band counts."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike two recordings sound where they lie on each other.

    Attributes:
        balance: correlation of what each band has above the others of the same moment, mean of the bands: 1 the same
            mix, 0 strangers.
        least: correlation of the levels in the third worst band.
    """

    balance: float
    least: float


def timbre_from_bytes(data: bytes) -> Frames:
    """The stored form of `media.types.Chroma.timbre`."""
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, BANDS)


def likeness(ours: Frames, theirs: Frames, offset_s: float, pace: float = 1.0) -> Likeness | None:
    """How alike they sound; None where less than `MIN_TIMBRE_S` lie on each other.

    Args:
        offset_s: our time 0 lies at this time of theirs.
        pace: ours plays so many times as fast.
    """
    if min(len(ours), len(theirs)) < 2:
        return None
    places = np.arange(len(ours), dtype=np.float64)
    at = offset_s / FRAME_SECONDS + pace * places
    # What is read between two frames is smoother than a frame: each side is moved by half of what does not fit.
    rest = (at - np.rint(at)) / 2
    places, at = places - rest, at - rest
    inside = (places >= 0) & (places <= len(ours) - 1) & (at >= 0) & (at <= len(theirs) - 1)
    if np.count_nonzero(inside) * FRAME_SECONDS < MIN_TIMBRE_S:
        return None
    here = _moving(_read(_smooth(ours), places[inside]))
    there = _moving(_read(_smooth(theirs), at[inside]))
    levels = np.sort(_correlations(here, there))
    balance = _correlations(here - here.mean(axis=1, keepdims=True), there - there.mean(axis=1, keepdims=True))
    return Likeness(round(float(balance.mean()), 3), round(float(levels[_WORST]), 3))


def best_offset_s(ours: Frames, theirs: Frames) -> float | None:
    """Where our time 0 lies in theirs if the timbre alone decides, within half a second; None where no `MIN_TIMBRE_S`
    lie on each other. For copies whose fingerprint is too damaged to say."""
    least = round(MIN_TIMBRE_S / FRAME_SECONDS)
    if min(len(ours), len(theirs)) < least:
        return None
    here, there = _shape(ours), _shape(theirs)
    size = 1 << (len(here) + len(there) - 1).bit_length()
    product = np.fft.rfft(there, size, axis=0) * np.conj(np.fft.rfft(here, size, axis=0))
    sums = np.fft.irfft(product, size, axis=0).sum(axis=1)
    lags = np.arange(least - len(here), len(there) - least + 1)
    together = np.minimum(len(here), len(there) - lags) - np.maximum(0, -lags)
    # The likeness in standard errors: a long passage that is somewhat alike is less by chance than a short one.
    return float(lags[np.argmax(sums[lags] / np.sqrt(together))] * FRAME_SECONDS)


def sounding_alike(ours: Frames, others: Sequence[Frames]) -> list[float]:
    """The likeness (`Likeness.balance`) of each of ``others`` with ours at the best of `PACES` and of all offsets; 0
    where no `MIN_TIMBRE_S` lie on each other.

    The pitch does not matter: a shift of half a semitone hardly moves energy from one band to the next.
    About 0.2 ms for each of the others, 0.5 more for those that are alike, and 1 for ours.
    """
    least = round(MIN_TIMBRE_S / FRAME_SECONDS)
    result = [0.0] * len(others)
    usable = [place for place, each in enumerate(others) if len(each) >= least]
    if len(ours) < least or not usable:
        return result
    here = _shape(ours)
    paced = [_read(here, np.arange(int((len(ours) - 1) * pace) + 1) / pace) for pace in PACES]
    # Lags at which fewer than ``least`` lie on each other may fall on others: they are not looked at.
    size = fast_length(max(map(len, paced)) + max(len(others[place]) for place in usable) - least)
    # A product of small matrices for each frequency, (paces, bands) by (bands, others).
    ours_there = np.ascontiguousarray(np.conj(_spectra([levels.T for levels in paced], size)).transpose(2, 0, 1))
    lengths = np.array([len(levels) for levels in paced])
    roots: dict[int, _Singles] = {}
    for start in range(0, len(usable), _TOGETHER):
        some = usable[start : start + _TOGETHER]
        theirs = _spectra(_shapes([others[place] for place in some]), size)
        product = ours_there @ np.ascontiguousarray(theirs.transpose(2, 1, 0))
        # (others, paces, lags), contiguous.
        sums = np.fft.irfft(np.ascontiguousarray(product.transpose(2, 1, 0)), size)
        for place, each in zip(some, sums, strict=True):
            count = len(others[place])
            if count not in roots:
                roots[count] = overlap_roots(lengths, np.array(count), np.array(least), size)
            result[place] = _at_best(ours, others[place], each, roots[count])
    return result


def _at_best(ours: Frames, theirs: Frames, sums: _Singles, roots: _Singles) -> float:
    """The likeness at the best pace and lag; ``sums``: (paces, lags) cross-correlation; ``roots``: `overlap_roots`."""
    # In standard errors, as in `best_offset_s`.
    number, lag = np.unravel_index(int((sums * roots).argmax()), sums.shape)
    # The shapes are of unit variance, so that this is nearly the likeness itself.
    found = max(0.0, float(sums[number, lag] * roots[number, lag] ** 2) / BANDS)
    if found < _WORTH_MEASURING:
        return found
    offset = int(lag) if lag < len(theirs) else int(lag) - sums.shape[1]
    exactly = likeness(ours, theirs, offset * FRAME_SECONDS, PACES[number])
    return exactly.balance if exactly else 0.0


def _spectra(shapes: Sequence[npt.NDArray[np.floating]], size: int) -> npt.NDArray[np.complex64]:
    """(shapes, `BANDS`, frequencies) of shapes (`BANDS`, time), filled up with zeros to ``size``."""
    filled = np.zeros((len(shapes), BANDS, size), dtype=np.float32)
    for place, each in enumerate(shapes):
        filled[place, :, : each.shape[1]] = each
    # "forward" (and its scale taken back): else numpy transforms in double precision, at three times the cost.
    filled *= size
    return np.fft.rfft(filled, norm="forward").astype(np.complex64, copy=False)


def aligned_by_timbre(items: Items, timbre: Frames, others: Items, their_timbre: Frames) -> Aligned | None:
    """Where the fingerprints agree best near the offset of the timbre, unless they do not agree at all."""
    offset_s = best_offset_s(timbre, their_timbre)
    if offset_s is None:
        return None
    middle = round(offset_s / ITEM_SECONDS)
    steps = range(middle - _FRAME_ITEMS, middle + _FRAME_ITEMS + 1)
    tried = [Aligned(step, alignment) for step in steps if (alignment := align_at(items, others, step))]
    best = min(tried, key=lambda each: each.alignment.bit_error_rate, default=None)
    return best if best and best.alignment.bit_error_rate <= DAMAGED_BIT_ERROR_RATE else None


def second_verdict(verdict: Verdict | None, alignment: Alignment, sounds: Likeness | None) -> Verdict | None:
    """What the fingerprints said, in the light of the timbre. Where that is not known, nothing changes."""
    if sounds is None:
        return verdict
    rate = alignment.bit_error_rate
    if verdict is Verdict.SAME and rate > CLEAR_BIT_ERROR_RATE and sounds.balance < SAME_TIMBRE:
        return Verdict.REVIEW
    same_mix = sounds.balance >= SAME_MIX_TIMBRE and sounds.least >= SAME_MIX_LEAST
    if verdict is Verdict.REVIEW and SAME_BIT_ERROR_RATE < rate <= REVIEW_BIT_ERROR_RATE and same_mix:
        return Verdict.SAME
    if verdict in (Verdict.WEAK, None):
        return Verdict.REVIEW if sounds.balance >= DAMAGED_TIMBRE else verdict
    return verdict


def _shape(frames: Frames) -> _Levels:
    """What each band has above the others of the moment, as much in every band."""
    levels = _moving(_smooth(frames))
    levels -= levels.mean(axis=1, keepdims=True)
    result: _Levels = levels / np.maximum(levels.std(axis=0), 1e-9)
    return result


def _shapes(frames: Sequence[Frames]) -> list[_Singles]:
    """`_shape` of each, (`BANDS`, time), to single precision; those of one length at once."""
    result: dict[int, _Singles] = {}
    lengths = [len(each) for each in frames]
    for length in set(lengths):
        places = [place for place, each in enumerate(lengths) if each == length]
        together = np.stack([frames[place].T for place in places])
        result |= zip(places, _shape_all(together.astype(np.float32)), strict=True)
    return [result[place] for place in range(len(frames))]


def _shape_all(frames: _Singles) -> _Singles:
    """`_shape` of (recordings, `BANDS`, time): time last is a third of the work."""
    levels = 2 * frames
    levels[:, :, 1:] += frames[:, :, :-1]
    levels[:, :, :-1] += frames[:, :, 1:]
    levels[:, :, 0] += frames[:, :, 0]
    levels[:, :, -1] += frames[:, :, -1]
    levels -= levels.mean(axis=1, keepdims=True)
    before = np.repeat(levels[:, :, :1], _AROUND + 1, axis=2)
    after = np.repeat(levels[:, :, -1:], _AROUND, axis=2)
    sums = np.cumsum(np.concatenate((before, levels, after), axis=2), axis=2)
    levels -= (sums[:, :, 2 * _AROUND + 1 :] - sums[:, :, : -2 * _AROUND - 1]) * np.float32(1 / (2 * _AROUND + 1))
    deviation = np.maximum(levels.std(axis=2, keepdims=True), np.float32(1e-9))
    levels /= deviation
    return levels


def _read(levels: _Levels, places: npt.NDArray[np.float64]) -> _Levels:
    """Between the frames, where there is none."""
    before = np.floor(places).astype(np.intp)
    share = (places - before)[:, None]
    result: _Levels = levels[before] * (1 - share) + levels[np.minimum(before + 1, len(levels) - 1)] * share
    return result


def _smooth(frames: Frames) -> _Levels:
    padded = np.pad(frames.astype(np.float64), ((1, 1), (0, 0)), mode="edge")
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4


def _moving(levels: _Levels) -> _Levels:
    """Less the mean of the moments around."""
    padded = np.pad(levels, ((_AROUND + 1, _AROUND), (0, 0)), mode="edge")
    sums = np.cumsum(padded, axis=0)
    moved: _Levels = levels - (sums[2 * _AROUND + 1 :] - sums[: -2 * _AROUND - 1]) / (2 * _AROUND + 1)
    return moved


def _correlations(ours: _Levels, theirs: _Levels) -> _Levels:
    """Of each band; 0 where one of them does not move."""
    ours, theirs = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
    scale = np.sqrt(np.square(ours).sum(axis=0) * np.square(theirs).sum(axis=0))
    together: _Levels = (ours * theirs).sum(axis=0)
    result: _Levels = np.divide(together, scale, out=np.zeros_like(scale), where=scale > 1e-9)
    return result
