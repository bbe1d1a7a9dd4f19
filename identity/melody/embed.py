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

DOUBLE_SHARE = 0.4
"""The length of what stretches of twice the length (64 s) say, where that of what the others say is 1."""

PROBES: tuple[float, ...] = tuple(float(each) for each in np.exp(np.linspace(np.log(0.8), np.log(1.25), 11)).round(4))
"""Tempi at which a query is tried, as factors of its own: -20 % to +25 %, 4.6 % apart."""

_AT_ONCE = 4
"""Recordings transformed at once. With eleven, memory that is asked for and given back takes two thirds of the time."""

Vectors = npt.NDArray[np.float32]


def at_tempo(views: Frames, factor: float) -> Vectors:
    """The frames as if played faster by so much, 0..1."""
    return _stretched(_scaled(views), factor)


def _scaled(views: Frames) -> Vectors:
    return views.astype(np.float32) / np.float32(255)


def _stretched(views: Vectors, factor: float) -> Vectors:
    if factor == 1 or len(views) < 2:
        return views
    times = np.arange(int(len(views) / factor)) * factor
    before = np.minimum(times.astype(np.intp), len(views) - 2)
    share = (times - before)[:, None].astype(np.float32)
    stretched: Vectors = views[before] * (1 - share) + views[before + 1] * share
    return stretched


def raw_vectors(played: Sequence[Vectors]) -> Vectors:
    """Of each before the projection: (number, `VIEWS`, 12 * (2 * `TIME_FREQUENCIES` + 1)), each of unit length.

    First what the stretches say, then what stretches of twice the length say beside that: their odd time frequencies.
    Their even ones lie where those of the short ones lie, and with them fewer covers were found.
    """
    parts = [_raw_vectors(played[start : start + _AT_ONCE]) for start in range(0, len(played), _AT_ONCE)]
    return np.concatenate(parts)


def _raw_vectors(played: Sequence[Vectors]) -> Vectors:
    # At an odd frequency a stretch of twice the length is that of its first half less that of its second.
    padded = (_padded(views, 2 * STRETCH) for views in played)
    doubles = [views[:-STRETCH] - views[STRETCH:] for views in padded]
    whole = np.float32(math.hypot(1, DOUBLE_SHARE))
    said = (
        _said([_padded(views, STRETCH) for views in played], tuple(range(TIME_FREQUENCIES + 1))) / whole,
        _said(doubles, tuple(each + 0.5 for each in range(TIME_FREQUENCIES))) * (np.float32(DOUBLE_SHARE) / whole),
    )
    return np.concatenate(said, axis=2)


def _padded(views: Vectors, length: int) -> Vectors:
    """With silence where the recording is too short."""
    return np.pad(views, ((0, length - len(views)), (0, 0))) if len(views) < length else views


def _said(played: Sequence[Vectors], frequencies: tuple[float, ...]) -> Vectors:
    """(recording, view, 12 * frequencies), each of unit length. A recording has at least `STRETCH` frames.

    All stretches are transformed at once, by two products with matrices: of so short transforms, and so few of their
    frequencies, that is cheaper than a fast one.
    """
    counts = [(len(views) - STRETCH) // STRETCH_STEP + 1 for views in played]
    begins = np.cumsum([0, *map(len, played[:-1])])
    places = [begin + STRETCH_STEP * np.arange(count) for begin, count in zip(begins, counts, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(np.concatenate(played), STRETCH, axis=0)
    stretches = windows[np.concatenate(places)]
    # (pitch class, stretch and view, time): so that each product is one.
    stacked = stretches.reshape(-1, VIEWS, 12, STRETCH).transpose(2, 0, 1, 3)
    flat = stacked.reshape(-1, STRETCH)
    over_time = np.empty((2, len(flat), len(frequencies)), dtype=np.float32)
    for part, waves in zip(over_time, _waves(STRETCH, frequencies), strict=True):
        np.matmul(flat, waves, out=part)
    both = _over_pitches() @ over_time.reshape(24, -1)
    both *= both
    power = (both[:12] + both[12:]).reshape(12, sum(counts), VIEWS, len(frequencies))
    if frequencies[0] == 0:
        # The mean loudness says nothing.
        power[0, :, :, 0] = 0
    starts = np.cumsum([0, *counts[:-1]])
    means = np.add.reduceat(power, starts, axis=1) / np.array(counts, dtype=np.float32)[:, None, None]
    # The fourth root: a square root of the magnitude.
    vectors = np.sqrt(np.sqrt(means)).transpose(1, 2, 0, 3).reshape(len(counts), VIEWS, -1)
    unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), np.float32(1e-9))
    return unit


@functools.cache
def _waves(length: int, frequencies: tuple[float, ...]) -> Vectors:
    """(2, length, frequency): times real values, the real and the imaginary part of their Fourier transform."""
    angles = -2 * np.pi / length * np.outer(np.arange(length), frequencies)
    return np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


@functools.cache
def _over_pitches() -> Vectors:
    """(24, 24): the transform over the pitch classes of complex values, real parts before imaginary ones."""
    real, imaginary = _waves(12, tuple(range(12)))
    return np.block([[real, -imaginary], [imaginary, real]])


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
    scaled = _scaled(views)
    return project(raw_vectors([_stretched(scaled, factor) for factor in PROBES]))
