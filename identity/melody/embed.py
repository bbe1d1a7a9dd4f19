"""A point in space for a melody: covers lie near each other, in whatever key and at nearly whatever tempo.

The magnitude of the 2-D Fourier transform of a stretch of chroma does not change when the chroma is rotated (another
key) or shifted (another start): Ellis and Bertin-Mahieux, Large-scale cover song recognition using the 2D Fourier
transform magnitude (ISMIR 2012). Averaged over stretches, compressed and projected to few dimensions it can be looked
up in an index: Humphrey, Nieto, Bello, Data driven and discriminative projections for large-scale cover song
identification (ISMIR 2013). As there, the projection is a linear discriminant: it was fitted on songs composed and
performed for the purpose (`benchmarks.fit_melody`), so that what instruments and left-out parts change counts little.

Tempo is not beats but probes: a query is embedded at eleven tempi.
"""

from __future__ import annotations

import functools
from importlib import resources

import numpy as np
import numpy.typing as npt

from media.types import Frames

EMBEDDING_VERSION = 1
"""Of all that makes an embedding: raise it, with the projection, and stored ones are made again (`service.refresh`)."""

DIMENSIONS = 96

STRETCH = 64
"""Frames that are transformed at once (32 s)."""

STRETCH_STEP = 16
TIME_FREQUENCIES = 16
"""Only changes slower than one in two seconds: faster ones belong to the arrangement."""

PROBES: tuple[float, ...] = tuple(float(each) for each in np.exp(np.linspace(np.log(0.8), np.log(1.25), 11)).round(4))
"""Tempi at which a query is tried, as factors of its own: -20 % to +25 %, 4.6 % apart."""

Vectors = npt.NDArray[np.float32]


def at_tempo(frames: Frames, factor: float) -> Vectors:
    """The frames as if played faster by so much, 0..1."""
    scaled = frames.astype(np.float32) / np.float32(255)
    if factor == 1 or len(frames) < 2:
        return np.asarray(scaled, dtype=np.float32)
    times = np.arange(int(len(frames) / factor)) * factor
    before = np.minimum(times.astype(np.intp), len(frames) - 2)
    share = (times - before)[:, None].astype(np.float32)
    stretched: Vectors = scaled[before] * (1 - share) + scaled[before + 1] * share
    return stretched


def raw_vector(frames: Vectors) -> Vectors:
    """Before the projection: (7 * (2 * `TIME_FREQUENCIES` + 1),), of unit length."""
    if len(frames) < STRETCH:
        frames = np.pad(frames, ((0, STRETCH - len(frames)), (0, 0)))
    stretches = np.lib.stride_tricks.sliding_window_view(frames, STRETCH, axis=0)[::STRETCH_STEP]
    stretches = stretches - stretches.mean(axis=(1, 2), keepdims=True)
    both = np.fft.fft(np.fft.rfft(stretches, axis=1), axis=2)
    slow = np.concatenate([both[:, :, : TIME_FREQUENCIES + 1], both[:, :, -TIME_FREQUENCIES:]], axis=2)
    power = np.mean(np.abs(slow) ** 2, axis=0).ravel()
    # The fourth root: a square root of the magnitude.
    vector = power**0.25
    norm = np.linalg.norm(vector)
    unit: Vectors = (vector / norm if norm else vector).astype(np.float32)
    return unit


@functools.cache
def _projection() -> tuple[Vectors, Vectors]:
    with (resources.files("identity.melody") / f"projection-{EMBEDDING_VERSION}.npy").open("rb") as file:
        stored: Vectors = np.load(file, allow_pickle=False).astype(np.float32)
    # The first row is the mean.
    return stored[0], stored[1:]


def project(vector: Vectors) -> Vectors:
    """The embedding of a raw vector (or of several, one a row): `DIMENSIONS` numbers of unit length."""
    mean, axes = _projection()
    projected = (vector - mean) @ axes.T
    unit: Vectors = projected / np.maximum(np.linalg.norm(projected, axis=-1, keepdims=True), 1e-9)
    return unit


def embed(frames: Frames) -> Vectors:
    """The embedding of a chroma as it was played."""
    return project(raw_vector(at_tempo(frames, 1.0)))


def probes(frames: Frames) -> Vectors:
    """Its embeddings at the tempi of `PROBES`: (11, `DIMENSIONS`)."""
    return project(np.stack([raw_vector(at_tempo(frames, factor)) for factor in PROBES]))
