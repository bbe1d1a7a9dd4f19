"""Fits the projections of melody embeddings: ``python -m benchmarks.fit_melody [--songs N] [--cache DIR]``.

The data are our own: songs made of the bars of `benchmarks.melody`'s tuning songs in another order and keys, and songs
composed by seed, each performed three times with other instruments, tempi and parts (`benchmarks._covers`); none of
them is among the songs or the distractors that `benchmarks.melody` asks. The performances of a song are brought to one
tempo, up to the distance of two probes, and what still differs between them is noise: a projection whitens it (shrunk
towards a multiple of unity) and keeps the directions in which songs differ most. The whole band and the leading voice
have one each. Written to `identity/melody/projection-N.npy`, N being `embed.EMBEDDING_VERSION`.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import _covers, melody
from identity.melody import embed
from media.types import Frames

VARIED_FROM, COMPOSED_FROM = 10_000, 100_000
"""Seeds; distractors have lower ones."""

SHRINKAGE = 0.4
FLATTENING = 0.25
"""By which power of an axis' variance it is made smaller. With 0 the few axes in which songs differ most outweigh all
others; 0.5 would make all alike."""

SONGS = 520
JITTER = 0.023
"""Half the distance of two probes, as a logarithm."""

TARGET = Path(embed.__file__).with_name(f"projection-{embed.EMBEDDING_VERSION}.npy")

Floats = npt.NDArray[np.float64]


def raw_groups(songs: dict[str, list[tuple[Frames, float]]], copies: int = 2) -> list[Floats]:
    """Raw vectors (performance, view, …) by song. ``songs``: the performances, each with its tempo as a factor."""
    dice = np.random.default_rng(1)
    return [
        embed.raw_vectors(
            [
                embed.at_tempo(views, float(np.exp(dice.uniform(-JITTER, JITTER))) / tempo)
                for views, tempo in performances
                for _ in range(copies)
            ]
        ).astype(np.float64)
        for performances in songs.values()
    ]


def fit(groups: Sequence[Floats], dimensions: int, shrinkage: float = SHRINKAGE) -> Floats:
    """The mean and the axes, a row each, from raw vectors of one view by song."""
    within_rows = np.concatenate([group - group.mean(axis=0) for group in groups])
    within = within_rows.T @ within_rows / len(within_rows)
    between = np.cov(np.stack([group.mean(axis=0) for group in groups]).T)
    size = len(within)
    values, vectors = np.linalg.eigh(within + shrinkage * np.trace(within) / size * np.eye(size))
    whitening = vectors / np.sqrt(values)
    ratios, directions = np.linalg.eigh(whitening.T @ between @ whitening)
    axes = (whitening @ directions[:, ::-1][:, :dimensions]).T
    axes *= ((1 + np.maximum(ratios[::-1][:dimensions], 0)) ** -FLATTENING)[:, None]
    # Signs are arbitrary; fixed, so that a second run gives the same file.
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    mean: Floats = np.concatenate(groups).mean(axis=0)
    return np.concatenate([mean[None], axes])


def takes(songs: int) -> list[_covers.Take]:
    """Three performances of each: a quarter of the songs are composed, the others vary the tuning songs.

    With half of them composed, bare tunes among the tuning songs were found in 0.94 instead of 0.98.
    """
    tuning = melody.songs("tune")
    composed = songs // 4
    named = [("fit", str(COMPOSED_FROM + number)) for number in range(composed)]
    named += [("var", f"{tuning[n % len(tuning)]}-{VARIED_FROM + n}") for n in range(songs - composed)]
    ways = tuple(enumerate(("strong", "rearranged", "rearranged")))
    found = [_covers.Take(kind, song, number, strength) for kind, song in named for number, strength in ways]
    random.Random(0).shuffle(found)
    return found


def main() -> None:
    """Renders what is not in the cache, fits, writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_melody")
    parser.add_argument("--songs", type=int, default=SONGS)
    parser.add_argument("--cache", type=Path, default=_covers.CACHE)
    arguments = parser.parse_args()
    if problem := _covers.missing():
        raise SystemExit(problem)
    played = takes(arguments.songs)
    songs: dict[str, list[tuple[Frames, float]]] = defaultdict(list)
    for take, views in sorted(_covers.chromas(played, arguments.cache).items(), key=lambda entry: entry[0].key):
        songs[take.song].append((views, take.way().tempo))
    groups = raw_groups(songs)
    fitted = [fit([group[:, view] for group in groups], embed.DIMENSIONS // embed.VIEWS) for view in range(embed.VIEWS)]
    np.save(TARGET, np.stack(fitted).astype(np.float16))
    print(f"{TARGET.name}: {len(songs)} songs, {len(played)} performances")


if __name__ == "__main__":
    main()
