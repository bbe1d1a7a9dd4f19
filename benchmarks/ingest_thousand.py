"""Recordings a second through ingest with identity on, beside bare ``fpcalc`` on all cores: a thousand of them.

As `ingest_recordings`, in rounds of a quarter, so that the later ones meet a catalog. ``RECORDINGS`` in the environment
asks for fewer. The files are made on the first run (half a second each on two cores) and kept; that is not counted.

What the figure does not show: our synthesiser's pieces are less alike than real music, so that fewer melodies are
compared moment by moment. Of the 24 nearest melodies 3.1 correlate enough for it; of a real track's (Debian's music,
tuning share) 9.0. So `ingest_real` takes the same measure with the real tracks, all of them, in a stack of its own
after the first: one catalog for both would have the one's recordings be compared with the other's. Some of its tracks
resemble others and wait for a moderator, in a workflow of their own each; they count like the published ones.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import _debian_music, _stack
from benchmarks._figures import Figure, at_least
from benchmarks.ingest_recordings import PUBLISHED, fingerprint_by_muxer, grouped, make_files, take
from media.types import FINGERPRINT_SECONDS

FIGURES = ("ingest_thousand", "ingest_real")
GOAL = 0.7
RECORDINGS = int(os.environ.get("RECORDINGS", "1000"))
ROUNDS = 4
SETTLED = frozenset({"published", "in_review", "duplicate"})
"""What comes of real music."""

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
    """The figure of made music from a running stack."""
    what = f"mp3, opus, flac; {SECONDS[0]} to {SECONDS[1]} s"
    return [_figure(FIGURES[0], stack, files, rounds, what, GOAL)]


def real_figures(stack: _stack.Stack, files: Sequence[Path], rounds: int = ROUNDS) -> list[Figure]:
    """The figure of real music from a running stack."""
    return [_figure(FIGURES[1], stack, files, rounds, "Debian's music: ogg, opus", None, SETTLED)]


def _figure(
    name: str,
    stack: _stack.Stack,
    files: Sequence[Path],
    rounds: int,
    what: str,
    goal: float | None,
    settled: frozenset[str] = PUBLISHED,
) -> Figure:
    one, tool = reference()
    groups = grouped(stack.data_dir / name.removeprefix("ingest_"), files, -(-len(files) // rounds))
    taken = asyncio.run(take(stack, groups, one, tool, settled))
    parts = ", ".join(f"{part} {size / 2**20:.0f}" for part, size in sorted(taken.memory.parts.items()))
    return at_least(
        name,
        "recordings/s",
        taken.rates,
        reference_name=f"bare {tool} on all cores",
        goal=goal,
        detail=(
            f"{len(files)} files ({what}), {os.cpu_count()} cores; {taken.cpu}; "
            f"at most {taken.memory.peak / 2**20:.0f} MiB ({parts})"
        ),
    )


def real_files() -> list[Path]:
    """The real tracks that are usable, in an order that has nothing to do with their packages; raises NoMusicError."""
    usable = [path for path in _debian_music.tracks() if _debian_music.features(path) is not None]
    return sorted(usable, key=lambda path: hashlib.blake2b(path.name.encode()).digest())


def measure() -> list[Figure]:
    """Both figures, each from a stack of its own; the second only where there is real music."""
    files = make_files(RECORDINGS, *SECONDS)
    with _stack.running() as stack:
        found = figures(stack, files)
    try:
        files = real_files()[:RECORDINGS]
    except _debian_music.NoMusicError as error:
        Console(stderr=True).print(f"{FIGURES[1]} is not measured: {error}", highlight=False)
        return found
    with _stack.running() as stack:
        return found + real_figures(stack, files)
