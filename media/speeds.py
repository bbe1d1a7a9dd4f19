"""A recording's fingerprints as they would be at another speed: a sped-up copy hides its original."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from media.analysis import fingerprint_items
from media.types import PCM_RATE

SPEEDS = tuple(round(1 + step / 200, 3) for step in range(-6, 7) if step)
"""0.97 to 1.03 by 0.005: chromaprint itself bears a quarter of a percent."""

START_S = 10
SECONDS = 70
"""Of what is heard: where the pitch alone was changed, few items survive, and 45 s of them were not enough."""


def start_s(pcm: bytes) -> float:
    """Where in the recording the fingerprints of `undone` begin, in seconds."""
    return min(float(START_S), max(0.0, len(pcm) / (2 * PCM_RATE) - SECONDS))


def undone(pcm: bytes) -> Iterator[tuple[float, npt.NDArray[np.uint32]]]:
    """(speed, items) for each of `SPEEDS`: if the recording plays so many times too fast, those are the items of the
    original, from `start_s` on.

    About 12 ms of CPU each with libchromaprint; without it FFmpeg's muxer takes about 50, most of them to start.

    Args:
        pcm: 11,025 Hz, mono, s16.
    """
    start = 2 * int(start_s(pcm) * PCM_RATE)
    part = pcm[start : start + 2 * SECONDS * PCM_RATE]
    for speed in SPEEDS:
        # Sound that was sped up has too many samples a second: told the lower rate, chromaprint hears the original.
        yield speed, fingerprint_items(part, round(PCM_RATE / speed))
