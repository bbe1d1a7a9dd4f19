"""The compressed form against FFmpeg's own, and against libchromaprint where it is installed."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from media.analysis import analyse
from media.compressed import compress
from tests.media.synth import render, write_wav


def test_it_is_what_ffmpeg_prints(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "music.wav", render(7, 30))
    outputs = {}
    for form in ("raw", "base64"):
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "chromaprint"]
        outputs[form] = subprocess.run([*command, "-fp_format", form, "-"], capture_output=True, check=True).stdout
    items = np.frombuffer(outputs["raw"], dtype="<u4")
    assert items.size > 200
    assert compress(items) == outputs["base64"].decode().strip()
    assert len(compress(analyse(path).fingerprint)) > 500


@pytest.mark.parametrize("items", [[], [0], [0xFFFFFFFF], [1 << 31, 0, 1 << 31, 5]])
def test_edges_against_the_library(items: list[int]) -> None:
    if importlib.util.find_spec("chromaprint") is None:
        pytest.skip("pyacoustid's chromaprint module is not there")
    try:
        chromaprint = importlib.import_module("chromaprint")
    except ImportError:
        pytest.skip("libchromaprint is not installed")
    text = compress(np.array(items, dtype=np.uint32))
    decoded, algorithm = chromaprint.decode_fingerprint(text.encode())
    assert (algorithm, [item & 0xFFFFFFFF for item in decoded]) == (1, items)
