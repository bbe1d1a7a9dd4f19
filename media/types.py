"""What is known of a piece of audio, and how audio fails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ITEM_SECONDS = 0.12383
"""Seconds between two chromaprint items: 1365 samples at 11,025 Hz (frame 4096, overlap two thirds)."""

FINGERPRINT_SECONDS = 120
"""How much of a recording is fingerprinted, from its start, as AcoustID does."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """``duration_s``: seconds of the whole recording; ``bit_rate``: bit/s, None where unknown."""

    duration_s: float
    codec: str
    sample_rate: int
    channels: int
    bit_rate: int | None = None
    container: str = ""


@dataclass(frozen=True, slots=True)
class AudioFeatures:
    """All that one decoding pass yields.

    Attributes:
        fingerprint: uint32 array of chromaprint items, about 8 a second.
        waveform: peaks in 0..1, evenly spaced over the decoded part.
        loudness: RMS of the decoded part in dBFS (-inf for digital silence).
    """

    info: AudioInfo
    fingerprint: npt.NDArray[np.uint32]
    waveform: list[float]
    loudness: float


class AudioError(Exception):
    """The audio cannot be used. ``code`` is stable and becomes the candidate's reason; ``remedy`` is for the operator.

    Codes: ``empty_file, not_audio, no_audio_stream, encrypted, truncated, too_long, too_short, silent, decode_failed,
    decode_timeout, audio_too_large``.
    """

    def __init__(self, code: str, detail: str, remedy: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.remedy = remedy
