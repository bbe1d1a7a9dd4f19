"""A point in space for a melody: covers lie near each other, in whatever key and at nearly whatever tempo.

The magnitude of the 2-D Fourier transform of a stretch of chroma does not change when the chroma is rotated (another
key) or shifted (another start): Ellis and Bertin-Mahieux, Large-scale cover song recognition using the 2D Fourier
transform magnitude (ISMIR 2012). Averaged over stretches, compressed and projected to few dimensions it can be looked
up in an index: Humphrey, Nieto, Bello, Data driven and discriminative projections for large-scale cover song
identification (ISMIR 2013). As there, the projection is a linear discriminant: it was fitted on songs made and
performed for the purpose (`benchmarks.fit_melody`), so that what instruments and left-out parts change counts little.

Both views of a chroma (`Chroma.views`) are embedded, each by a projection of its own, and lie beside each other in one
vector: its cosine is the mean of theirs, weighted by `WEIGHTS`. The whole band finds what is played alike, the leading
voice finds a bare tune.

Tempo is not beats but probes: a query is embedded at eleven tempi.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from importlib import resources

import numpy as np
import numpy.typing as npt

from media.types import Frames

EMBEDDING_VERSION = 3
"""Of all that makes an embedding: raise it, with the projection, and stored ones are made again (`service.refresh`)."""

VIEWS = 2
WEIGHTS = (0.4, 0.6)
"""Of the whole band and of the leading voice."""

DIMENSIONS = 384
"""Of both together."""

STRETCH = 64
"""Frames that are transformed at once (32 s)."""

STRETCH_STEP = 16
TIME_FREQUENCIES = 16
"""Only changes slower than one in two seconds: faster ones belong to the arrangement."""

PROBES: tuple[float, ...] = tuple(float(each) for each in np.exp(np.linspace(np.log(0.8), np.log(1.25), 11)).round(4))
"""Tempi at which a query is tried, as factors of its own: -20 % to +25 %, 4.6 % apart."""

_AT_ONCE = 3
"""Recordings transformed at once. With eleven, memory that is asked for and given back takes two thirds of the time."""

Vectors = npt.NDArray[np.float32]


def at_tempo(views: Frames, factor: float) -> Vectors:
    """The frames as if played faster by so much, 0..1."""
    scaled = views.astype(np.float32) / np.float32(255)
    if factor == 1 or len(views) < 2:
        return np.asarray(scaled, dtype=np.float32)
    times = np.arange(int(len(views) / factor)) * factor
    before = np.minimum(times.astype(np.intp), len(views) - 2)
    share = (times - before)[:, None].astype(np.float32)
    stretched: Vectors = scaled[before] * (1 - share) + scaled[before + 1] * share
    return stretched


def raw_vectors(played: Sequence[Vectors]) -> Vectors:
    """Of each before the projection: (number, `VIEWS`, 12 * (`TIME_FREQUENCIES` + 1)), each of unit length."""
    parts = [_raw_vectors(played[start : start + _AT_ONCE]) for start in range(0, len(played), _AT_ONCE)]
    return np.concatenate(parts)


def _raw_vectors(played: Sequence[Vectors]) -> Vectors:
    """All stretches are transformed at once, by two products with matrices: of so short transforms, and so few of their
    frequencies, that is cheaper than a fast one."""
    stretches: list[Vectors] = []
    starts: list[int] = []
    for views in played:
        if len(views) < STRETCH:
            views = np.pad(views, ((0, STRETCH - len(views)), (0, 0)))
        starts.append(sum(map(len, stretches)))
        stretches.append(np.lib.stride_tricks.sliding_window_view(views, STRETCH, axis=0)[::STRETCH_STEP])
    number = sum(map(len, stretches))
    # (pitch class, stretch and view, time): so that each product is one.
    stacked = np.concatenate(stretches).reshape(number, VIEWS, 12, STRETCH).transpose(2, 0, 1, 3)
    over_time = stacked.reshape(-1, STRETCH) @ _fourier(STRETCH, TIME_FREQUENCIES + 1)
    both = _fourier(12, 12).T @ over_time.reshape(12, -1)
    # (cosine and sine over pitch classes, pitch frequency, stretch, view, cosine and sine over time, time frequency)
    cosine, sine = both.reshape(2, 12, number, VIEWS, 2, TIME_FREQUENCIES + 1)
    power = (cosine[:, :, :, 0] - sine[:, :, :, 1]) ** 2 + (cosine[:, :, :, 1] + sine[:, :, :, 0]) ** 2
    # The mean loudness says nothing.
    power[0, :, :, 0] = 0
    counts = np.array([len(each) for each in stretches], dtype=np.float32)
    means = np.add.reduceat(power, starts, axis=1) / counts[:, None, None]
    # The fourth root: a square root of the magnitude.
    vectors = np.sqrt(np.sqrt(means)).transpose(1, 2, 0, 3).reshape(len(played), VIEWS, -1)
    unit: Vectors = (vectors / np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), 1e-9)).astype(np.float32)
    return unit


@functools.cache
def _fourier(length: int, frequencies: int) -> Vectors:
    """(length, 2 * frequencies): times real values, their cosine terms and beside them their sine terms."""
    angles = -2 * np.pi / length * np.outer(np.arange(length), np.arange(frequencies))
    return np.hstack([np.cos(angles), np.sin(angles)]).astype(np.float32)


@functools.cache
def _projection() -> Vectors:
    with (resources.files("identity.melody") / f"projection-{EMBEDDING_VERSION}.npy").open("rb") as file:
        stored: Vectors = np.load(file, allow_pickle=False).astype(np.float32)
    return stored


def project(vectors: Vectors) -> Vectors:
    """The embeddings of raw vectors (number, `VIEWS`, …): `DIMENSIONS` numbers of unit length each."""
    projection = _projection()
    parts = []
    for view in range(VIEWS):
        # The first row is the mean.
        projected = (vectors[:, view] - projection[view, 0]) @ projection[view, 1:].T
        length = np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-9)
        parts.append(projected / length * np.float32(math.sqrt(WEIGHTS[view])))
    return np.concatenate(parts, axis=1)


def embed(views: Frames) -> Vectors:
    """The embedding of a chroma as it was played."""
    embedded: Vectors = project(raw_vectors([at_tempo(views, 1.0)]))[0]
    return embedded


def probes(views: Frames) -> Vectors:
    """Its embeddings at the tempi of `PROBES`: (11, `DIMENSIONS`)."""
    return project(raw_vectors([at_tempo(views, factor) for factor in PROBES]))
