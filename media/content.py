"""Whether it is music at all: speech and held tones are told, as a hint for people; nothing is refused for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from media.types import PCM_RATE, Chroma, Content

ON_A_SCALE = 0.03
"""Concentration of the pitches around the semitones of one tuning below which nobody plays or sings notes. Voices of
espeak-ng lie at 0.002 to 0.015, music of fluidsynth and of our own synthesiser at 0.045 and above (6 and 64 pieces, no
error among them). Drums and noise lie low too, hence the pauses."""

PAUSES = 0.1
"""Share of silent moments from which unpitched sound is speech: 0.14 to 0.20 there."""

ONE_PITCH = 0.97
"""Share of the chroma in one pitch class from which it is a held tone."""

_MOMENT = round(0.02 * PCM_RATE)
_STRETCH = 256


def content(samples: npt.NDArray[np.int16], heard: Chroma) -> Content | None:
    """``speech`` or ``tone`` with what it rests on; None for all else, and where there is too little to say."""
    totals = heard.frames.sum(axis=0, dtype=np.float64)
    if len(heard.frames) < 10 or not totals.any():
        return None
    share = float(totals.max() / totals.sum())
    if share >= ONE_PITCH:
        return Content("tone", f"one pitch holds {share:.0%} of the sound")
    pauses = _pauses(samples)
    if heard.concentration < ON_A_SCALE and pauses >= PAUSES:
        sentence = f"no notes (pitches on a scale: {heard.concentration:.3f}), pauses {pauses:.0%} of the time"
        return Content("speech", sentence)
    return None


def _pauses(samples: npt.NDArray[np.int16]) -> float:
    """Share of moments of 20 ms that are 20 dB or more below the whole."""
    count = samples.size // _MOMENT
    moments = samples[: count * _MOMENT].reshape(count, _MOMENT)
    power = np.empty(count, dtype=np.float32)
    # In stretches that stay in the cache.
    for start in range(0, count, _STRETCH):
        stretch = moments[start : start + _STRETCH].astype(np.float32)
        power[start : start + _STRETCH] = np.einsum("ij,ij->i", stretch, stretch)
    return float(np.mean(power < 0.01 * power.mean())) if count else 0.0
