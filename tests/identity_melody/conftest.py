"""Pieces of the synthesiser, as ingest hears them."""

from __future__ import annotations

import numpy as np
import pytest

from media.chroma import chroma
from media.types import Chroma
from tests.media import synth

PIECES = 6
SECONDS = 56.0


def heard(seed: int, **how: object) -> Chroma:
    sound = synth.render(seed, SECONDS, **how)[::2]  # type: ignore[arg-type]
    return chroma((sound * 32_767).astype(np.int16))


@pytest.fixture(scope="session")
def pieces() -> list[Chroma]:
    names = list(synth.INSTRUMENTS)
    return [heard(seed, instrument=names[seed % len(names)]) for seed in range(PIECES)]


@pytest.fixture(scope="session")
def cover() -> Chroma:
    """Piece 0 (a flute) three semitones higher, an eighth faster, on an organ."""
    return heard(0, key=3, tempo=1.125, instrument="organ")
