"""What is known of a piece of audio, and how audio fails."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

PCM_RATE = 11_025
"""Hz; chromaprint's own rate, at which all sound is analysed."""

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


FRAME_SECONDS = 5512 / PCM_RATE
"""Seconds of a frame of chroma: half a second, in whole samples."""

Frames = npt.NDArray[np.uint8]
"""Of a chroma: (time, 12), C first; of a timbre: (time, 16), lowest band first."""


@dataclass(frozen=True, slots=True)
class Chroma:
    """``frames``: how strongly each pitch class sounds, 0..255, scaled by the frame's strongest; a silent one is zero.

    ``leading``: the same of the leading voice alone, as far as one can tell it. ``tuning``: how far the recording lies
    above 440 Hz, in semitones, -0.5..0.5; the frames are centred on it.
    """

    frames: Frames
    leading: Frames
    tuning: float
    concentration: float = 0.0
    """How closely the pitches keep to that tuning's semitones: 0 (anywhere) to 1."""

    timbre: Frames = field(default_factory=lambda: np.zeros((0, 16), np.uint8), repr=False)
    """Of the same transforms: (time, 16), see `media.timbre`."""

    @property
    def views(self) -> Frames:
        """Both beside each other: (time, 24)."""
        return np.hstack([self.frames, self.leading])


@dataclass(frozen=True, slots=True)
class Content:
    """What it is instead of music. ``kind``: ``speech``, ``tone``; ``sentence``: what says so."""

    kind: str
    sentence: str


@dataclass(frozen=True, slots=True)
class AudioFeatures:
    """All that one decoding pass yields.

    Attributes:
        fingerprint: uint32 array of chromaprint items, about 8 a second.
        waveform: peaks in 0..1, evenly spaced over the decoded part.
        loudness: RMS of the decoded part in dBFS (-inf for digital silence).
        chroma: what is played; None where it was not asked for.
        content: what it seems to be instead of music; None for music, and where nothing can be said.
        pcm: the decoded part itself (11,025 Hz, mono, s16; at most 2.6 MB), for whoever has to listen again.
    """

    info: AudioInfo
    fingerprint: npt.NDArray[np.uint32]
    waveform: list[float]
    loudness: float
    chroma: Chroma | None = None
    content: Content | None = None
    pcm: bytes = field(default=b"", repr=False, compare=False)


AUDIO_REMEDIES = {
    "empty_file": "Nothing to do, unless the link is wrong: the file has no bytes.",
    "not_audio": "Check the link: what it leads to is no audio.",
    "no_audio_stream": "Check the link: there is a picture and no sound.",
    "encrypted": "Nothing to do: DRM. It can be listed without its audio (audio: none).",
    "truncated": "Play it at its source, where it is damaged; it is tried again when the source describes it anew.",
    "too_long": "Raise VERSIONS_MAX_AUDIO_SECONDS if such long audio is wanted.",
    "too_short": "Nothing to do: so little sound identifies nothing.",
    "silent": "Nothing to do: there is nothing to hear.",
    "decode_failed": "Play the file by hand; report it if it is sound.",
    "decode_timeout": "Play the file by hand; the worker may be short of time or memory.",
    "audio_too_large": "Raise limits.max_audio_bytes.",
}
"""What an operator can do, by the code of an `AudioError`."""


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
