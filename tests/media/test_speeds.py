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
    by_library = {each.speed: each.items for each in speeds.undone(pcm)}
    monkeypatch.setattr(analysis, "_library", None)
    by_muxer = {each.speed: each.items for each in speeds.undone(pcm)}
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


def test_items_begin_where_those_of_the_original_do() -> None:
    pcm = np.random.default_rng(7).integers(-9000, 9000, 90 * PCM_RATE, dtype=np.int16).tobytes()
    for each in speeds.undone(pcm):
        items = each.start_s * each.speed * PCM_RATE / 1365
        assert items == pytest.approx(round(items), abs=0.001)
        assert 9.8 < each.start_s <= speeds.START_S
    later = speeds.undone_at(pcm, 0.97, 0.5)
    assert (later.start_s - speeds.undone_at(pcm, 0.97).start_s) * 0.97 == pytest.approx(
        0.5 * 1365 / PCM_RATE, abs=1e-3
    )
    assert speeds.undone_at(pcm[: 30 * 2 * PCM_RATE], 1.03).start_s == 0
