"""What a recording plays, apart from how it sounds: a chroma, centred on its own tuning, two frames a second.

A frame holds how strongly each of the twelve pitch classes sounds. Spectral peaks are taken from short Fourier
transforms (parabolic interpolation: Smith & Serra, PARSHL, 1987), each weighted by how far it rises above the spectrum
around it, so that timbre and equaliser count little; the recording's deviation from 440 Hz is the circular mean of the
peaks' deviations (Gómez, Tonal description of music audio signals, 2006), and the semitones are centred on it.

A second chroma holds the leading voice only: of each transform the one pitch that is best supported by its own
overtones (harmonic summation: Klapuri, Multiple fundamental frequency estimation by summing harmonic amplitudes, ISMIR
2006; its use for the leading voice: Salamon & Gómez, Melody extraction from polyphonic music signals, 2012). It is
often wrong, but it is much of what a bare tune and the same tune above a full accompaniment have in common.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from media.timbre import BANDS, band_matrix, timbre_frames
from media.types import FRAME_SECONDS, PCM_RATE, Chroma, Frames

WINDOW = 4096
"""Samples of one Fourier transform: 0.37 s, bins of 2.7 Hz."""

_STEPS = 4
"""Transforms of a frame."""

_HOP = round(FRAME_SECONDS * PCM_RATE) // _STEPS

_LOWEST_HZ, _HIGHEST_HZ = 98.0, 2200.0
_TUNED_ABOVE_HZ = 220.0
_BIN_HZ = PCM_RATE / WINDOW
_FIRST, _LAST = round(_LOWEST_HZ / _BIN_HZ), round(_HIGHEST_HZ / _BIN_HZ)
_BLOCK = 48
"""Transforms at once: 3 MiB of memory. With 128, memory that is asked for and given back takes half of the time."""

_QUIET = 1e-3
"""Peaks weaker than this share of the frame's strongest are noise (-60 dB)."""

_LOWEST_PITCH, _PITCHES = -27, 56
"""Semitones above 440 Hz that the peaks lie in."""

_LEADING_PITCHES = range(-14, 18)
"""Where a leading voice is looked for: 196 to 1175 Hz."""

_OVERTONES = ((0, 1.0), (12, 0.8), (19, 0.6), (24, 0.5), (28, 0.4))
"""Semitones above a pitch, and how much a peak there speaks for the pitch."""

Floats = npt.NDArray[np.float32]


def chroma(samples: npt.NDArray[np.int16]) -> Chroma:
    """The chroma of mono samples at 11,025 Hz; no frames where there is less than a window of them."""
    times, pitches, weights, levels = _peaks(samples)
    count = max(0, (samples.size - WINDOW) // _HOP + 1) // _STEPS
    high = pitches > 12 * math.log2(_TUNED_ABOVE_HZ / 440)
    # The circular mean: 0.49 above and 0.49 below are neighbours.
    angles = np.float32(2 * np.pi) * pitches[high]
    turn = complex(np.dot(weights[high], np.cos(angles)), np.dot(weights[high], np.sin(angles)))
    tuning = math.atan2(turn.imag, turn.real) / (2 * np.pi) if count and abs(turn) else 0.0
    concentration = float(abs(turn) / weights[high].sum()) if abs(turn) else 0.0
    centred = pitches - np.float32(tuning)
    nearest = np.rint(centred)
    # What lies between two semitones (glides, drums) speaks for neither.
    weights = weights * np.cos(np.float32(np.pi) * (centred - nearest)) ** 2
    places = times * _PITCHES + np.clip(nearest.astype(np.intp) - _LOWEST_PITCH, 0, _PITCHES - 1)
    # Without a single peak it counts in whole numbers.
    size = count * _STEPS * _PITCHES
    sums = np.bincount(places, weights, minlength=size)[:size].reshape(-1, _PITCHES).astype(np.float32)
    timbre = timbre_frames(levels, _STEPS)
    return Chroma(_frames(sums), _frames(_leading(sums)), round(tuning, 4), round(concentration, 4), timbre)


def _frames(sums: Floats) -> Frames:
    """Of semitones of transforms, pitch classes of frames."""
    folded = sums.reshape(-1, _STEPS, _PITCHES).sum(axis=1)
    # 440 Hz is an A, nine semitones above C.
    classes = (np.arange(_PITCHES) + _LOWEST_PITCH + 9) % 12
    totals = folded @ (classes[:, None] == np.arange(12)).astype(np.float32)
    strongest = totals.max(axis=1, keepdims=True, initial=0)
    scaled = np.divide(255 * totals, strongest, out=np.zeros_like(totals), where=strongest > 0)
    frames: Frames = np.rint(scaled).astype(np.uint8)
    return frames


def _leading(sums: Floats) -> Floats:
    """One where the pitch of the leading voice is, in each transform."""
    # With its neighbours: a voice holds its pitch longer than a transform is apart from the next.
    held = sums.copy()
    held[1:] += np.float32(0.5) * sums[:-1]
    held[:-1] += np.float32(0.5) * sums[1:]
    support = np.zeros_like(sums)
    for above, weight in _OVERTONES:
        support[:, : _PITCHES - above] += np.float32(weight) * held[:, above:]
    # Without a peak of its own it would be an octave or a fifth below the voice.
    support *= held > 0
    first = _LEADING_PITCHES.start - _LOWEST_PITCH
    within = support[:, first : first + len(_LEADING_PITCHES)]
    best = within.argmax(axis=1)
    rows = np.arange(len(sums))
    leading = np.zeros_like(sums)
    leading[rows, first + best] = within[rows, best] > 0
    return leading


def _peaks(samples: npt.NDArray[np.int16]) -> tuple[npt.NDArray[np.intp], Floats, Floats, Floats]:
    """Of all spectral peaks: number of the transform, pitch in semitones above 440 Hz, weight; and of all transforms:
    the mean magnitude in the bands of the timbre."""
    if samples.size < WINDOW:
        return np.zeros(0, np.intp), *np.zeros((2, 0), np.float32), np.zeros((0, BANDS), np.float32)
    window = (WINDOW * np.hanning(WINDOW)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float32), WINDOW)[::_HOP]
    bins = np.arange(_FIRST, _LAST)
    bands = band_matrix(WINDOW)
    # Half an octave around each bin, and eight bins at least.
    below = np.minimum(np.floor(bins / 2**0.25).astype(np.intp), bins - 8)
    above = np.maximum(np.ceil(bins * 2**0.25).astype(np.intp), bins + 8)
    widths = (above - below).astype(np.float32)
    times, pitches, weights, levels = [], [], [], []
    for start in range(0, len(windows), _BLOCK):
        block = windows[start : start + _BLOCK] * window
        # "forward" (the window makes up for its scale): else numpy transforms in double precision, five times slower.
        heard = np.abs(np.fft.rfft(block, axis=1, norm="forward"))
        levels.append(heard[:, : len(bands)] @ bands)
        magnitude = heard[:, : above[-1] + 2] + np.float32(1e-6)
        part = magnitude[:, _FIRST:_LAST]
        rises = magnitude[:, _FIRST : _LAST + 1] > magnitude[:, _FIRST - 1 : _LAST]
        loud = part > np.maximum(np.float32(_QUIET) * part.max(axis=1, keepdims=True), np.float32(50.0))
        # One index instead of two, into rows that lie behind each other: half the time.
        when, where = np.divmod(np.flatnonzero((rises[:, :-1] > rises[:, 1:]) & loud), part.shape[1])
        row = when * magnitude.shape[1]
        flat, totals = magnitude.ravel(), np.cumsum(magnitude, axis=1).ravel()
        around = (totals.take(row + above[where]) - totals.take(row + below[where])) / widths.take(where)
        at = row + where + _FIRST
        height = flat.take(at)
        low, peak, high = np.log(flat.take(at - 1)), np.log(height), np.log(flat.take(at + 1))
        shift = np.float32(0.5) * (low - high) / np.minimum(low - 2 * peak + high, np.float32(-1e-6))
        hertz = (bins[where].astype(np.float32) + np.clip(shift, -0.5, 0.5)) * np.float32(_BIN_HZ)
        times.append(when + start)
        pitches.append(np.float32(12 / math.log(2)) * np.log(hertz / np.float32(440)))
        weights.append(np.log1p(height / around))
    return np.concatenate(times), np.concatenate(pitches), np.concatenate(weights), np.concatenate(levels)
