"""Recordings a second through ingest with identity on, beside bare ``fpcalc`` on all cores: a thousand of them.

As `ingest_recordings`, in rounds of a quarter, so that the later ones meet a catalog. ``RECORDINGS`` in the environment
asks for fewer. The files are made on the first run (half a second each on two cores) and kept; that is not counted.

What the figure does not show: our synthesiser's pieces are less alike than real music, so that fewer melodies are
compared moment by moment. Of 79 pieces each, asked for among the others, 0.61 of ours reached that comparison and were
compared with 1.2 others; of 79 real tracks (Debian's music, tuning share) 0.92, with 15.1 others, and with 13.1 where
those of the same package are left out. A comparison takes 3 to 4 ms, so real music costs some 40 ms of CPU more.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import _stack
from benchmarks._figures import Figure, at_least
from benchmarks.ingest_recordings import fingerprint_by_muxer, grouped, make_files, take
from media.types import FINGERPRINT_SECONDS

FIGURES = ("ingest_thousand",)
GOAL = 0.7
RECORDINGS = int(os.environ.get("RECORDINGS", "1000"))
ROUNDS = 4
SECONDS = (90, 240)


def fingerprint_by_fpcalc(path: Path) -> None:
    """One ``fpcalc`` as anybody would call it."""
    command = ["fpcalc", "-raw", "-length", str(FINGERPRINT_SECONDS), str(path)]
    # Its status is 3 where a recording is shorter than that, though the fingerprint is whole: the output decides.
    if b"FINGERPRINT=" not in subprocess.run(command, check=False, capture_output=True, timeout=120).stdout:
        raise RuntimeError(f"no fingerprint of {path.name}")


def reference() -> tuple[Callable[[Path], None], str]:
    """What fingerprints one file, and its name: FFmpeg's muxer (the same library) where fpcalc is absent."""
    if shutil.which("fpcalc"):
        return fingerprint_by_fpcalc, "fpcalc"
    return fingerprint_by_muxer, "ffmpeg -f chromaprint (no fpcalc on PATH)"


def figures(stack: _stack.Stack, files: Sequence[Path], rounds: int = ROUNDS) -> list[Figure]:
    """The figure from a running stack."""
    one, name = reference()
    groups = grouped(stack.data_dir / "thousand", files, -(-len(files) // rounds))
    taken = asyncio.run(take(stack, groups, one, name))
    parts = ", ".join(f"{part} {size / 2**20:.0f}" for part, size in sorted(taken.memory.parts.items()))
    return [
        at_least(
            FIGURES[0],
            "recordings/s",
            taken.rates,
            reference_name=f"bare {name} on all cores",
            goal=GOAL,
            detail=(
                f"{len(files)} files (mp3, opus, flac; {SECONDS[0]} to {SECONDS[1]} s), {os.cpu_count()} cores; "
                f"{taken.cpu}; at most {taken.memory.peak / 2**20:.0f} MiB ({parts})"
            ),
        )
    ]


def measure() -> list[Figure]:
    """The figure, from a stack of its own."""
    files = make_files(RECORDINGS, *SECONDS)
    with _stack.running() as stack:
        return figures(stack, files)
