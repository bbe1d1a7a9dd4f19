"""What a recording plays, apart from how it sounds: a chroma, centred on its own tuning, two frames a second.

A frame holds how strongly each of the twelve pitch classes sounds. Spectral peaks are taken from short Fourier
transforms (parabolic interpolation: Smith & Serra, PARSHL, 1987), each weighted by how far it rises above the spectrum
around it, so that timbre and equaliser count little; the recording's deviation from 440 Hz is the circular mean of the
peaks' deviations (Gómez, Tonal description of music audio signals, 2006), and the semitones are centred on it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from media.timbre import BANDS, band_matrix, timbre_frames
from media.types import FRAME_SECONDS, PCM_RATE, Chroma

WINDOW = 4096
"""Samples of one Fourier transform: 0.37 s, bins of 2.7 Hz."""

_STEPS = 4
"""Transforms of a frame."""

_HOP = round(FRAME_SECONDS * PCM_RATE) // _STEPS

_LOWEST_HZ, _HIGHEST_HZ = 98.0, 2200.0
_TUNED_ABOVE_HZ = 220.0
_BIN_HZ = PCM_RATE / WINDOW
_FIRST, _LAST = round(_LOWEST_HZ / _BIN_HZ), round(_HIGHEST_HZ / _BIN_HZ)
_BLOCK = 128
"""Transforms at once: about 8 MiB of memory."""

_QUIET = 1e-3
"""Peaks weaker than this share of the frame's strongest are noise (-60 dB)."""


def chroma(samples: npt.NDArray[np.int16]) -> Chroma:
    """The chroma of mono samples at 11,025 Hz; no frames where there is less than a window of them."""
    times, pitches, weights, levels = _peaks(samples)
    count = max(0, (samples.size - WINDOW) // _HOP + 1) // _STEPS
    high = pitches > 12 * math.log2(_TUNED_ABOVE_HZ / 440)
    # The circular mean: 0.49 above and 0.49 below are neighbours.
    turn = np.sum(weights[high] * np.exp(2j * np.pi * pitches[high]))
    tuning = float(np.angle(turn) / (2 * np.pi)) if count and abs(turn) else 0.0
    concentration = float(abs(turn) / weights[high].sum()) if abs(turn) else 0.0
    centred = pitches - tuning
    nearest = np.rint(centred)
    # What lies between two semitones (glides, drums) speaks for neither.
    weights = weights * np.cos(np.pi * (centred - nearest)) ** 2
    # 440 Hz is an A, nine semitones above C.
    classes = (nearest.astype(np.intp) + 9) % 12
    places = (times // _STEPS) * 12 + classes
    # Without a single peak it counts in whole numbers.
    sums = np.bincount(places, weights, minlength=12 * count)[: 12 * count].reshape(count, 12).astype(np.float64)
    strongest = sums.max(axis=1, keepdims=True, initial=0)
    scaled = np.divide(255 * sums, strongest, out=np.zeros_like(sums), where=strongest > 0)
    frames = np.rint(scaled).astype(np.uint8)
    return Chroma(frames, round(tuning, 4), round(concentration, 4), timbre_frames(levels, _STEPS))


def _peaks(
    samples: npt.NDArray[np.int16],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Of all spectral peaks: number of the transform, pitch in semitones above 440 Hz, weight; and of all transforms:
    the mean magnitude in the bands of the timbre."""
    if samples.size < WINDOW:
        return np.zeros(0, np.intp), np.zeros(0), np.zeros(0), np.zeros((0, BANDS), np.float32)
    window = (WINDOW * np.hanning(WINDOW)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::_HOP]
    bins = np.arange(_FIRST, _LAST)
    bands = band_matrix(WINDOW)
    # Half an octave around each bin, and eight bins at least.
    below = np.minimum(np.floor(bins / 2**0.25).astype(np.intp), bins - 8)
    above = np.maximum(np.ceil(bins * 2**0.25).astype(np.intp), bins + 8)
    times, pitches, weights, levels = [], [], [], []
    for start in range(0, len(windows), _BLOCK):
        block = windows[start : start + _BLOCK].astype(np.float32) * window
        # "forward" (the window makes up for its scale): else numpy transforms in double precision, five times slower.
        heard = np.abs(np.fft.rfft(block, axis=1, norm="forward"))
        levels.append(heard[:, : len(bands)] @ bands)
        magnitude = heard[:, : above[-1] + 2] + np.float32(1e-6)
        part = magnitude[:, _FIRST:_LAST]
        left, right = magnitude[:, _FIRST - 1 : _LAST - 1], magnitude[:, _FIRST + 1 : _LAST + 1]
        loud = part > np.maximum(_QUIET * part.max(axis=1, keepdims=True), 50.0)
        when, where = np.nonzero((part > left) & (part >= right) & loud)
        totals = np.cumsum(magnitude, axis=1)
        around = (totals[:, above] - totals[:, below])[when, where] / (above - below)[where]
        low, peak, high = (np.log(side[when, where]) for side in (left, part, right))
        shift = 0.5 * (low - high) / np.minimum(low - 2 * peak + high, -1e-6)
        hertz = (bins[where] + np.clip(shift, -0.5, 0.5)) * _BIN_HZ
        times.append(when + start)
        pitches.append(12 * np.log2(hertz / 440))
        weights.append(np.log1p(part[when, where] / around))
    return np.concatenate(times), np.concatenate(pitches), np.concatenate(weights), np.concatenate(levels)
