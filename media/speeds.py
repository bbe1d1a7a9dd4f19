"""A recording's fingerprints as they would be at another speed: a sped-up copy hides its original."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from media.analysis import fingerprint_items
from media.types import PCM_RATE

SPEEDS = tuple(round(1 + step / 200, 3) for step in range(-6, 7) if step)
"""0.97 to 1.03 by 0.005: chromaprint itself bears a quarter of a percent."""

START_S = 10
SECONDS = 70
"""Of what is heard: where the pitch alone was changed, few items survive, and 45 s of them were not enough."""


_ITEM_SAMPLES = 1365
"""Samples from one chromaprint item to the next."""


@dataclass(frozen=True, slots=True)
class Undone:
    """If the recording plays ``speed`` times too fast, ``items`` are those of the original, from ``start_s`` seconds of
    the recording on."""

    speed: float
    items: npt.NDArray[np.uint32]
    start_s: float


def undone(pcm: bytes) -> Iterator[Undone]:
    """At each of `SPEEDS`. See `undone_at`."""
    return (undone_at(pcm, speed) for speed in SPEEDS)


def undone_at(pcm: bytes, speed: float, shift: float = 0.0) -> Undone:
    """The items at one speed.

    They begin a whole number of items after the beginning of the original, and so at the same moments as the original's
    own, if the recording begins where that does: halfway between them twice as many bits differ. ``shift``, in items,
    is for recordings that begin elsewhere.

    About 12 ms of CPU with libchromaprint; without it FFmpeg's muxer takes about 50, most of them to start.

    Args:
        pcm: 11,025 Hz, mono, s16.
    """
    earliest_s = min(float(START_S), max(0.0, len(pcm) / (2 * PCM_RATE) - SECONDS))
    # Of the original, and of the recording.
    item = int(earliest_s * PCM_RATE * speed / _ITEM_SAMPLES) + shift
    start = round(item * _ITEM_SAMPLES / speed)
    part = pcm[2 * start : 2 * (start + SECONDS * PCM_RATE)]
    # Sound that was sped up has too many samples a second: told the lower rate, chromaprint hears the original.
    return Undone(speed, fingerprint_items(part, round(PCM_RATE / speed)), start / PCM_RATE)
