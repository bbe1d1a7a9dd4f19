"""One decoding pass over a file: what it is, its fingerprint, its waveform, its loudness."""

from __future__ import annotations

import importlib
import math
import os
import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import ffmpeg
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from media import decoder
from media.chroma import chroma
from media.content import content
from media.probe import Probe, last_words
from media.protection import protection
from media.types import FINGERPRINT_SECONDS, PCM_RATE, AudioError, AudioFeatures, AudioInfo

WAVEFORM_PEAKS = 400

MIN_ITEMS = 24
"""Fewer chromaprint items than this (3 s of them, about 5.5 s of sound) identify nothing."""

SILENCE_DBFS = -70.0
"""Below this RMS there is only noise of the converter or the codec."""

_RESAMPLER = {"filter_size": 16, "phase_shift": 8, "exact_rational": 0, "cutoff": 0.8}

_CHAIN = [
    # One channel first: half of the work for the resampler.
    ("aformat", "sample_fmts=s16:channel_layouts=mono"),
    # Chromaprint's own short filter (its audio processor): the same items as from the original, for less.
    ("aresample", ":".join([str(PCM_RATE), *(f"{name}={value}" for name, value in _RESAMPLER.items())])),
]

_MUXER_TIMEOUT_S = 60.0
_STRETCH = 1 << 14

# Without it FFmpeg's muxer does the same, in a process more; pyacoustid binds it where it is installed.
_library: Any = None
with suppress(ImportError):
    _library = importlib.import_module("chromaprint")


def library_present() -> bool:
    """Whether libchromaprint is installed."""
    return _library is not None


def library_items(pcm: bytes, rate: int = PCM_RATE) -> npt.NDArray[np.uint32]:
    """Chromaprint items of PCM (mono, s16; ``rate``: Hz) by libchromaprint. Only where it is installed."""
    printer = _library.Fingerprinter()
    printer.start(rate, 1)
    try:
        printer.feed(pcm)
        items, _ = _library.decode_fingerprint(printer.finish())
    except _library.FingerprintError:
        # Too little sound for a single item.
        items = []
    return np.array([item & 0xFFFFFFFF for item in items], dtype=np.uint32)


def muxer_items(pcm: bytes, rate: int = PCM_RATE) -> npt.NDArray[np.uint32]:
    """The same by FFmpeg's chromaprint muxer."""
    stream = ffmpeg.input("pipe:0", format="s16le", ar=rate, ac=1)
    if rate != PCM_RATE:
        # The muxer's own resampler is another, and takes ten times as long.
        stream = stream.filter("aresample", PCM_RATE, **_RESAMPLER)
    stream = stream.output("pipe:1", format="chromaprint", fp_format="raw").global_args("-v", "error")
    command = stream.compile(cmd=imageio_ffmpeg.get_ffmpeg_exe())
    done = subprocess.run(command, input=pcm, capture_output=True, check=False, timeout=_MUXER_TIMEOUT_S)
    return np.frombuffer(done.stdout[: len(done.stdout) // 4 * 4], dtype="<u4").astype(np.uint32)


def fingerprint_items(pcm: bytes, rate: int = PCM_RATE) -> npt.NDArray[np.uint32]:
    """Chromaprint items of PCM (mono, s16; ``rate``: Hz), by libchromaprint where it is installed."""
    return library_items(pcm, rate) if library_present() else muxer_items(pcm, rate)


def waveform_peaks(samples: npt.NDArray[np.int16], count: int = WAVEFORM_PEAKS) -> list[float]:
    """Highest absolute sample (0..1) of each of ``count`` equal stretches, fewer where there are fewer samples."""
    count = min(count, samples.size)
    if not count:
        return []
    starts = np.linspace(0, samples.size, count, endpoint=False).astype(np.intp)
    # Not np.abs: the lowest sample has no positive counterpart in 16 bits.
    highest = np.maximum.reduceat(samples, starts).astype(np.int32)
    lowest = np.minimum.reduceat(samples, starts).astype(np.int32)
    return [round(float(peak), 3) for peak in np.maximum(highest, -lowest) / 32768]


def loudness_dbfs(samples: npt.NDArray[np.int16]) -> float:
    """RMS in dB below full scale; -inf for digital silence."""
    if not samples.size:
        return -math.inf
    # In stretches that stay in the cache: a copy of all of it would be five megabytes.
    parts = (samples[start : start + _STRETCH].astype(np.float32) for start in range(0, samples.size, _STRETCH))
    power = sum(float(np.dot(part, part)) for part in parts) / samples.size
    return 10 * math.log10(power / 32768**2) if power else -math.inf


def _open(path: Path, max_bytes: int | None) -> tuple[IO[bytes], int]:
    # Without O_NONBLOCK a named pipe would hold us for ever.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    status = os.fstat(file.fileno())
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = AudioError("not_audio", "not a regular file", "give a file")
    elif not status.st_size:
        problem = AudioError("empty_file", "the file has no bytes", "fetch it again")
    elif max_bytes is not None and status.st_size > max_bytes:
        problem = AudioError(
            "audio_too_large", f"{status.st_size} bytes, at most {max_bytes} are allowed", "raise the source's limit"
        )
    if problem:
        file.close()
        raise problem
    os.set_blocking(file.fileno(), True)
    return file, status.st_size


def _refuse_unopened(log: str) -> None:
    if "moov atom not found" in log:
        raise AudioError("truncated", "the file ends before its index (moov atom not found)", "fetch it again")
    if "Cannot allocate memory" in log:
        raise AudioError("decode_failed", "FFmpeg ran out of memory on the header", "look at the file by hand")
    raise AudioError("not_audio", f"FFmpeg does not recognise it: {last_words(log)}", "see whether it is audio")


def _whole_duration(
    probe: Probe, decoded_s: float, size: int, max_seconds: float, count: Callable[[], float]
) -> tuple[float, bool]:
    """Seconds of the whole recording, and whether sound that the header promises is missing."""
    header_s = probe.header_s
    if header_s is not None and header_s > max_seconds:
        return header_s, False
    if decoded_s < FINGERPRINT_SECONDS - 1:
        real_s, exact = decoded_s, True
    else:
        promised = (probe.stream_bit_rate or 0) / 8 * (header_s or 0)
        # Ogg's duration is read at its end and its bit rates are only nominal.
        short = probe.container != "ogg" and size < 0.9 * promised
        doubtful = header_s is None or probe.estimated or short or (probe.alone and probe.codec == "flac")
        real_s, exact = (count(), True) if doubtful else (header_s or decoded_s, False)
        real_s = max(real_s, decoded_s)
    if header_s is None or probe.estimated or (exact and not probe.alone):
        return real_s, False
    missing_s = header_s - real_s
    # Encoders' padding and rounding move the end by a fraction of a second; a twentieth is no rounding.
    truncated = exact and missing_s > max(3.0, 0.05 * header_s)
    return (header_s if abs(missing_s) < 1 else real_s), truncated


def analyse(
    path: Path,
    *,
    max_seconds: float = 7200,
    max_bytes: int | None = None,
    timeout_s: float = 120,
    beginning_only: bool = False,
) -> AudioFeatures:
    """Decodes the first 120 s of the first audio stream of an untrusted file, in a child process with limits.

    Args:
        max_seconds: longer recordings are refused.
        max_bytes: larger files are refused; None: any size.
        timeout_s: seconds of wall-clock time (and of CPU time) that the decoder may take.
        beginning_only: the file is the beginning of a recording, on purpose: its end is not missed, and the duration is
            what its header says, or else what could be decoded.

    Raises:
        AudioError: see its codes.
        OSError: the path cannot be opened.
    """
    file, size = _open(path, max_bytes)
    with file:
        if locked := protection(file.fileno(), size):
            raise AudioError("encrypted", f"the sound is locked by DRM: {locked}", "none: index it without its audio")
        decoded = decoder.decode(file, _CHAIN, samples=FINGERPRINT_SECONDS * PCM_RATE, timeout_s=timeout_s)
        probe = decoded.probe
        if not probe.container:
            _refuse_unopened(decoded.log)
        samples = np.frombuffer(decoded.pcm, dtype="<i2")
        decoded_s = samples.size / PCM_RATE
        if probe.guessed and decoded_s < 3:
            raise AudioError("not_audio", f"hardly resembles {probe.container}", "see whether it is audio")
        if not probe.codec:
            raise AudioError("no_audio_stream", f"{probe.container} without a sound track", "none: it is silent")

        def count() -> float:
            # FLAC's frames tell their own place: its header's length is right if there is one at the end.
            promised_s = probe.header_s if probe.container == "flac" else None
            return decoder.count(file, max_seconds + 10, timeout_s=timeout_s, promised_s=promised_s)

        if beginning_only:
            duration_s, truncated = max(decoded_s, probe.header_s or 0.0), False
        else:
            duration_s, truncated = _whole_duration(probe, decoded_s, size, max_seconds, count)
    if duration_s > max_seconds:
        raise AudioError(
            "too_long", f"{duration_s:.0f} s, at most {max_seconds:g} s are allowed", "raise the source's limit"
        )
    if truncated:
        raise AudioError(
            "truncated", f"the header promises {probe.header_s:.0f} s, there are {duration_s:.0f} s", "fetch it again"
        )
    if not samples.size:
        raise AudioError("decode_failed", f"no sound could be decoded: {last_words(decoded.log)}", "play it by hand")
    items = fingerprint_items(decoded.pcm)
    loudness = loudness_dbfs(samples)
    if items.size < MIN_ITEMS:
        raise AudioError("too_short", f"{duration_s:.1f} s of sound identify nothing", "none: it cannot be compared")
    if loudness < SILENCE_DBFS:
        raise AudioError("silent", f"loudness {loudness:.0f} dBFS", "none: there is nothing to hear")
    info = AudioInfo(
        duration_s=round(duration_s, 3),
        codec=probe.codec,
        sample_rate=probe.sample_rate,
        channels=probe.channels,
        bit_rate=probe.bit_rate,
        container=probe.container,
    )
    heard = chroma(samples)
    return AudioFeatures(
        info=info,
        fingerprint=items,
        waveform=waveform_peaks(samples),
        loudness=loudness,
        chroma=heard,
        content=content(samples, heard),
        pcm=decoded.pcm,
    )
