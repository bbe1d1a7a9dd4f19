"""Music-like audio from seeds: a tune, an accompaniment and drums, on instruments that differ in their partials."""

from __future__ import annotations

import subprocess
import wave
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

RATE = 22_050
SCALE = (0, 2, 3, 5, 7, 8, 10)
INSTRUMENTS: dict[str, tuple[tuple[float, ...], float]] = {
    # relative strength of the partials, and how fast a note dies away (1/s)
    "flute": ((1, 0.15, 0.05), 0.5),
    "organ": ((1, 0.8, 0.6, 0.5, 0.4, 0.3), 0.0),
    "guitar": ((1, 0.6, 0.45, 0.3, 0.2, 0.12, 0.08), 3.0),
    "clarinet": ((1, 0.03, 0.7, 0.03, 0.45, 0.03, 0.3), 0.8),
}

Samples = npt.NDArray[np.float64]


def note(midi: float, seconds: float, instrument: str) -> Samples:
    partials, decay = INSTRUMENTS[instrument]
    time = np.arange(int(seconds * RATE)) / RATE
    frequency = 440 * 2 ** ((midi - 69) / 12)
    sound = np.zeros(time.size)
    for number, strength in enumerate(partials, start=1):
        if frequency * number < RATE / 2:
            sound += strength * np.sin(2 * np.pi * frequency * number * time)
    envelope = np.minimum(1, time * 80) * np.minimum(1, (seconds - time) * 40) * np.exp(-decay * time)
    return sound * envelope / sum(partials)


def tune(seed: int, seconds: float) -> list[tuple[int, float]]:
    """(scale degree, length in beats) until ``seconds`` at two beats a second are full."""
    generator = np.random.default_rng(seed)
    degree, beats, notes = int(generator.integers(0, 7)), 0.0, []
    while beats < 2 * seconds:
        length = float(generator.choice([0.5, 0.5, 1, 1, 1.5, 2]))
        degree = int(np.clip(degree + generator.integers(-3, 4), -5, 12))
        notes.append((degree, length))
        beats += length
    return notes


def render(seed: int, seconds: float = 32, *, instrument: str = "guitar", tempo: float = 1.0, key: int = 0) -> Samples:
    """A piece, mono, peak 0.6. ``tempo``: factor; ``key``: semitones up."""
    generator = np.random.default_rng(seed + 1_000)
    base = 57 + int(generator.integers(0, 12)) + key
    total = np.zeros(int((seconds / tempo + 4) * RATE))
    place = 0.0
    for degree, beats in tune(seed, seconds):
        length = beats / 2 / tempo
        midi = base + 12 * (degree // 7) + SCALE[degree % 7]
        voices = [(midi, 1.0)]
        if generator.random() < 0.6:
            voices.append((midi - 12 - int(generator.choice([3, 4, 5, 7])), 0.6))
        for pitch, strength in voices:
            sound = strength * note(pitch, length * 1.1, instrument)
            start = int(place * RATE)
            total[start : start + sound.size] += sound[: total.size - start]
        if generator.random() < 0.5:
            start = int(place * RATE)
            drum = 0.5 * generator.normal(size=2_000) * np.exp(-np.arange(2_000) / 400)
            total[start : start + 2_000] += drum[: total.size - start]
        place += length
    total = total[: int(seconds / tempo * RATE)]
    return 0.6 * total / np.abs(total).max()


def write_wav(path: Path, samples: Samples, rate: int = RATE) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60)


def encode(source: Path, target: Path, *options: str, before: Sequence[str] = ()) -> Path:
    """Encodes by the target's suffix. ``before``: options of the input, such as a start time."""
    codecs = {
        ".mp3": ("-c:a", "libmp3lame", "-b:a", "96k"),
        ".opus": ("-c:a", "libopus", "-b:a", "64k"),
        ".m4a": ("-c:a", "aac", "-b:a", "96k"),
        ".flac": ("-c:a", "flac"),
    }
    ffmpeg(*before, "-i", source, "-threads", "1", *codecs.get(target.suffix, ()), *options, target)
    return target
