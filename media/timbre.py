"""How a recording sounds, apart from what it plays: the level of sixteen bands, two frames a second.

A re-render plays the same notes at the same time, so that fingerprint and chroma hardly differ; but other instruments,
or a missing voice, put other energy into other bands. What is kept is small and in decibels, so that a filter (an
equaliser, a telephone, a room) is a constant in each band, which comparison takes away.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from media.types import PCM_RATE, Frames

BANDS = 16

_LOWEST_HZ, _HIGHEST_HZ = 100.0, 4800.0
_QUIETEST_DB = 10.0
_STEPS_A_DB = 2


def band_matrix(window: int) -> npt.NDArray[np.float32]:
    """(bins, `BANDS`): times the magnitudes of a Fourier transform of ``window`` samples, the mean of each band.

    The bands are equally wide on a logarithmic scale.
    """
    edges = np.rint(np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, BANDS + 1) * window / PCM_RATE).astype(np.intp)
    matrix = np.zeros((int(edges[-1]), BANDS), dtype=np.float32)
    for band, (start, end) in enumerate(itertools.pairwise(edges)):
        matrix[start:end, band] = 1 / (end - start)
    return matrix


def timbre_frames(levels: npt.NDArray[np.floating], together: int) -> Frames:
    """Frames (time, `BANDS`) of half decibels from the bands' mean magnitudes, ``together`` transforms a frame."""
    count = len(levels) // together
    means = levels[: count * together].reshape(count, together, BANDS).mean(axis=1)
    decibels = 20 * np.log10(means + 1)
    frames: Frames = np.clip(np.rint(_STEPS_A_DB * (decibels - _QUIETEST_DB)), 0, 255).astype(np.uint8)
    return frames
