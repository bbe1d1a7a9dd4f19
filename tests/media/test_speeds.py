"""A recording's fingerprints at other speeds, with and without libchromaprint."""

from __future__ import annotations

import numpy as np
import pytest

from media import analysis, speeds
from media.types import PCM_RATE
from tests.media.synth import RATE, render


@pytest.mark.skipif(not analysis.library_present(), reason="libchromaprint is not installed (Debian: libchromaprint1)")
def test_library_and_muxer_hear_the_same_at_every_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = render(3, 30.0)[:: RATE // PCM_RATE]
    pcm = np.rint(samples / np.abs(samples).max() * 20000).astype("<i2").tobytes()
    by_library = dict(speeds.undone(pcm))
    monkeypatch.setattr(analysis, "_library", None)
    by_muxer = dict(speeds.undone(pcm))
    assert tuple(by_library) == tuple(by_muxer) == speeds.SPEEDS
    for speed, items in by_library.items():
        others = by_muxer[speed]
        count = min(items.size, others.size)
        assert count > 100
        assert abs(items.size - others.size) <= 1
        wrong = np.bitwise_count(items[:count] ^ others[:count]).sum() / (32 * count)
        assert wrong < 0.01, speed
    first, last = by_library[speeds.SPEEDS[0]], by_library[speeds.SPEEDS[-1]]
    assert last.size > first.size, "what was sped up is longer when that is undone"
