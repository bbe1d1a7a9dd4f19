"""Speech and tones are told from music."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from media.analysis import analyse
from tests.media.synth import INSTRUMENTS, RATE, ffmpeg, render, write_wav

WORDS = (
    "The quick brown fox jumps over the lazy dog while seven old men discuss the weather, the harvest, and the price "
    "of bread. Nobody knew what would happen next. We waited, talked, and read the newspaper from the first page to "
    "the last one, again and again, until the train came. "
)


@pytest.mark.parametrize("instrument", list(INSTRUMENTS))
def test_music_is_not_remarked_on(tmp_path: Path, instrument: str) -> None:
    assert analyse(write_wav(tmp_path / "tune.wav", render(7, 20.0, instrument=instrument))).content is None


def test_noise_is_no_speech(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).normal(size=20 * RATE) * 0.2
    assert analyse(write_wav(tmp_path / "noise.wav", noise)).content is None


def test_a_held_tone(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=1000:d=20", path)
    found = analyse(path).content
    assert found is not None
    assert found.kind == "tone"


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed (Debian: espeak-ng)")
@pytest.mark.parametrize("voice", ["en", "ru+m4", "fr+f3"])
def test_speech(tmp_path: Path, voice: str) -> None:
    path = tmp_path / "speech.wav"
    subprocess.run(["espeak-ng", "-v", voice, "-w", str(path), WORDS], check=True, timeout=60)
    found = analyse(path).content
    assert found is not None
    assert found.kind == "speech"
    assert "no notes" in found.sentence
