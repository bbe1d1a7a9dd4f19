"""The quick way of the decoder and the patient one hear the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from media import analysis, decoder
from tests.media.synth import encode, render, write_wav

SECONDS = 24.0

# As the decoder is set up: a process of its own, with the libraries' complaints in its standard error.
_BOTH = """
import hashlib, importlib.util, json, os, sys, tempfile
spec = importlib.util.spec_from_file_location("_decoder", sys.argv[1])
_decoder = importlib.util.module_from_spec(spec)
spec.loader.exec_module(_decoder)
with tempfile.TemporaryFile() as log:
    os.dup2(log.fileno(), 2)
import av, av.logging
av.logging.restore_default_callback()
av.logging.set_level(av.logging.WARNING)
request = json.loads(sys.argv[3])
file = os.open(sys.argv[2], os.O_RDONLY)
quick = _decoder._in_one_graph(av, file, request)
patient = _decoder._packet_by_packet(av, file, request, {})
os.lseek(file, 0, os.SEEK_SET)
answer = _decoder._decode(av, file, request, {})
said = [None if each is None else [len(each), hashlib.sha256(each).hexdigest()] for each in (quick, patient, answer)]
print(json.dumps(said))
"""


def both_ways(path: Path, seconds: float) -> list[list[int | str] | None]:
    """Length and digest of what the quick way yields (None where it gave up), the patient one, and the decoder."""
    request = {"formats": decoder.FORMATS, "chain": analysis._CHAIN, "samples": int(seconds * 11_025)}
    command = [sys.executable, "-I", "-c", _BOTH, str(decoder._SCRIPT), str(path), json.dumps(request)]
    answer: list[list[int | str] | None] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer


@pytest.fixture(scope="module")
def tune(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("tune") / "tune.wav", render(1, SECONDS))


@pytest.mark.parametrize("suffix", [".mp3", ".opus", ".m4a", ".flac", ".wav"])
@pytest.mark.parametrize("seconds", [10.0, 100.0])
def test_whole_files(tune: Path, tmp_path: Path, suffix: str, seconds: float) -> None:
    path = tune if suffix == ".wav" else encode(tune, tmp_path / f"copy{suffix}", "-ac", "2", "-ar", "48000")
    quick, patient, answer = both_ways(path, seconds)
    assert quick == patient == answer
    assert answer is not None
    assert answer[0] == pytest.approx(2 * 11_025 * min(seconds, SECONDS), rel=0.01)


@pytest.mark.parametrize("suffix", [".mp3", ".opus", ".m4a", ".flac"])
@pytest.mark.parametrize("kind", ["noise", "hole", "end"])
def test_damaged_files(tune: Path, tmp_path: Path, suffix: str, kind: str) -> None:
    path = encode(tune, tmp_path / f"copy{suffix}", "-ac", "2", *(["-movflags", "+faststart"] * (suffix == ".m4a")))
    data = bytearray(path.read_bytes())
    start = len(data) // 2
    if kind == "noise":
        data[start : start + 4_000] = np.random.default_rng(5).bytes(4_000)
    elif kind == "hole":
        del data[start : start + 3_001]
    else:
        del data[start:]
    path.write_bytes(data)
    _, patient, answer = both_ways(path, 100.0)
    assert answer == patient
    assert answer is not None
    assert answer[0]


def test_a_broadcast_that_changes_its_form(tune: Path, tmp_path: Path) -> None:
    parts = [
        encode(tune, tmp_path / f"{number}.aac", "-f", "adts", "-ac", channels, "-ar", rate)
        for number, (channels, rate) in enumerate((("1", "22050"), ("2", "44100")))
    ]
    path = tmp_path / "both.aac"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    quick, patient, answer = both_ways(path, 100.0)
    assert answer == patient
    assert answer is not None
    assert answer[0] == pytest.approx(2 * 11_025 * 2 * SECONDS, rel=0.02)
    assert quick in (None, patient)
