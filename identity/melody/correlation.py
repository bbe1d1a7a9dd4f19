"""Lays two chromas over each other at all places and in all keys at once: in which key they agree, and how clearly.

The method is the cross-correlation of Ellis and Poliner (Identifying cover songs with chroma features and dynamic
programming beat tracking, ICASSP 2007), over time and pitch class by a two-dimensional Fourier transform. Instead of
beats the tempo is given, and what drifts by a little is met by frames of 1.5 s. A place counts by its standard error,
for a short overlap is alike by chance; and the best by how far it stands out from all others of the same two
recordings, for music that repeats itself is alike in many places.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from identity.lags import fast_length, overlap_roots

Floats = npt.NDArray[np.float32]
Spectra = npt.NDArray[np.complex64]

THINNED = 3
"""Frames that are taken together (1.5 s). By 2 and by 4 more strangers stood out as far."""

STILL = 0.7
"""Share of its mean that each pitch class is freed from. All of it takes the key away, none of it leaves a chord that
lies under everything. With 0.5 twice as many strangers stood out as far, with 0.85 and 1 somewhat more."""

LEAST_OVERLAP = 0.4
"""Share of the shorter one that must lie on the other."""

_AT_ONCE = 24
"""Pairs transformed at once: more do not fit the processor's cache."""


def deviations(pairs: Sequence[tuple[Floats, Floats]]) -> Floats:
    """(pairs, 12): how far the best place stands out if ours goes up by so many semitones, in standard deviations of
    all places and all keys of the pair; zero where there is silence, or nothing alike.

    Of pairs (ours, theirs) of views (time, 24), `THINNED` frames or more, at one tempo.
    """
    parts = [_deviations(pairs[start : start + _AT_ONCE]) for start in range(0, len(pairs), _AT_ONCE)]
    return np.concatenate(parts) if parts else np.zeros((0, 12), dtype=np.float32)


def _deviations(pairs: Sequence[tuple[Floats, Floats]]) -> Floats:
    # The same recording is in many pairs: it is transformed once.
    views = {id(each): each for pair in pairs for each in pair}
    place = {key: number for number, key in enumerate(views)}
    frames = np.array([len(each) // THINNED for each in views.values()])
    ours, theirs = (np.array([place[id(pair[side])] for pair in pairs]) for side in (0, 1))
    least = np.maximum(1, LEAST_OVERLAP * np.minimum(frames[ours], frames[theirs])).astype(np.intp)
    # Lags at which fewer than ``least`` lie on each other may fall on others: they are not looked at.
    size = fast_length(int((frames[ours] + frames[theirs] - least).max()))
    spectra = _spectra(_levels(list(views.values()), frames), size)
    product = spectra[ours].conj()
    product *= spectra[theirs]
    sums = np.fft.irfft(np.fft.ifft(product.sum(axis=1), axis=1), size).astype(np.float32, copy=False)
    roots = overlap_roots(frames[ours], frames[theirs], least, size)
    sums *= roots[:, None, :]
    flat = sums.reshape(len(pairs), -1)
    count = 12 * np.count_nonzero(roots, axis=1)
    variance = np.einsum("ij,ij->i", flat, flat) / count - np.square(flat.sum(axis=1) / count)
    spread = np.sqrt(np.maximum(variance, 0))
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)
    found: Floats = (sums.max(axis=2) * scale[:, None]).astype(np.float32, copy=False)
    return found


def _levels(views: Sequence[Floats], frames: npt.NDArray[np.intp]) -> Floats:
    """What moves: (recordings, 2, 12, time), each frame of each view of unit length, silence and what follows zero."""
    most = int(frames.max())
    filled = np.zeros((len(views), most * THINNED, views[0].shape[1]), dtype=np.float32)
    for number, (each, count) in enumerate(zip(views, frames, strict=True)):
        filled[number, : count * THINNED] = each[: count * THINNED]
    thinned = filled[:, ::THINNED].copy()
    for step in range(1, THINNED):
        thinned += filled[:, step::THINNED]
    levels = np.ascontiguousarray(thinned.transpose(0, 2, 1)).reshape(len(views), -1, 12, most)
    sounding = levels.any(axis=2, keepdims=True)
    levels -= levels.mean(axis=2, keepdims=True)
    smooth = 2 * levels
    smooth[..., 1:] += levels[..., :-1]
    smooth[..., :-1] += levels[..., 1:]
    # Smoothing reaches beyond the end.
    smooth *= sounding
    smooth -= smooth.sum(axis=3, keepdims=True) * (np.float32(STILL) / frames.astype(np.float32)[:, None, None, None])
    lengths = np.sqrt(np.einsum("nvpt,nvpt->nvt", smooth, smooth))[:, :, None]
    smooth *= np.divide(1, lengths, out=np.zeros_like(lengths), where=sounding & (lengths > 1e-6))
    return smooth


def _spectra(levels: Floats, size: int) -> Spectra:
    """(recordings, 2, 12, frequencies): over time, filled up with zeros to ``size``, and over pitch classes."""
    # "forward" (the scale says nothing here): else numpy transforms in double precision, at three times the cost.
    over_time = np.fft.rfft(levels, size, norm="forward")
    return np.fft.fft(over_time, axis=2, norm="forward").astype(np.complex64, copy=False)
