"""Fits the projection of melody embeddings: ``python -m benchmarks.fit_melody [--songs N] [--cache DIR]``.

The data are our own: songs composed by seed, each performed three times with other instruments, tempi and parts
(`benchmarks._covers`); none of them is among the songs or the distractors of `benchmarks.melody`. The performances of a
song are brought to one tempo, up to the distance of two probes, and what still differs between them is noise: the
projection whitens it (shrunk towards a multiple of unity) and keeps the directions in which songs differ most.
Written to `identity/melody/projection-N.npy`, N being `embed.EMBEDDING_VERSION`.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import _covers
from identity.melody import embed
from media.types import Frames

FIRST_SEED = 100_000
SHRINKAGE = 0.1
JITTER = 0.023
"""Half the distance of two probes, as a logarithm."""

TARGET = Path(embed.__file__).with_name(f"projection-{embed.EMBEDDING_VERSION}.npy")

Floats = npt.NDArray[np.float64]


def fit(songs: dict[str, list[tuple[Frames, float]]], *, shrinkage: float = SHRINKAGE, copies: int = 2) -> Floats:
    """The mean and the axes, a row each. ``songs``: by name the performances, each with its tempo as a factor."""
    dice = np.random.default_rng(1)
    groups: list[Floats] = []
    for performances in songs.values():
        rows = [
            embed.raw_vector(embed.at_tempo(frames, float(np.exp(dice.uniform(-JITTER, JITTER))) / tempo))
            for frames, tempo in performances
            for _ in range(copies)
        ]
        groups.append(np.stack(rows).astype(np.float64))
    everything = np.concatenate(groups)
    within_rows = np.concatenate([group - group.mean(axis=0) for group in groups])
    within = within_rows.T @ within_rows / len(within_rows)
    between = np.cov(np.stack([group.mean(axis=0) for group in groups]).T)
    size = len(within)
    values, vectors = np.linalg.eigh(within + shrinkage * np.trace(within) / size * np.eye(size))
    whitening = vectors / np.sqrt(values)
    _, directions = np.linalg.eigh(whitening.T @ between @ whitening)
    axes = (whitening @ directions[:, ::-1][:, : embed.DIMENSIONS]).T
    # Signs are arbitrary; fixed, so that a second run gives the same file.
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    mean: Floats = everything.mean(axis=0)
    return np.concatenate([mean[None], axes])


def main() -> None:
    """Renders what is not in the cache, fits, writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_melody")
    parser.add_argument("--songs", type=int, default=300)
    parser.add_argument("--cache", type=Path, default=_covers.CACHE)
    arguments = parser.parse_args()
    if problem := _covers.missing():
        raise SystemExit(problem)
    takes = [
        _covers.Take("fit", str(FIRST_SEED + song), number, strength)
        for song in range(arguments.songs)
        for number, strength in enumerate(("strong", "rearranged", "rearranged"))
    ]
    random.Random(0).shuffle(takes)
    songs: dict[str, list[tuple[Frames, float]]] = defaultdict(list)
    for take, frames in sorted(_covers.chromas(takes, arguments.cache).items(), key=lambda entry: entry[0].key):
        songs[take.song].append((frames, take.way().tempo))
    np.save(TARGET, fit(songs).astype(np.float16))
    print(f"{TARGET.name}: {len(songs)} songs, {len(takes)} performances")


if __name__ == "__main__":
    main()
