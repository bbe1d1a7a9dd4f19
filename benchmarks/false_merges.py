"""How often two different recordings would be taken for one, where they agree best.

Real music: each pair of the tracks of Debian's music packages (Warzone's menu music is there twice, plain and
"enhanced": one recording, and no pair). Rendered covers: the project's own songs (`examples.music`), performed by other
voices in other keys and tempi, minus mixes that are locked to the very samples of their original among them; each is
compared as it is, at the twelve other speeds that are tried on a miss, and at any tempo where items are shared.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import imageio_ffmpeg
import numpy as np

from benchmarks import _debian_music
from benchmarks._figures import Figure, at_most
from examples.music.repertoire import RENDITIONS, Rendition
from examples.music.synth import SAMPLE_RATE, render
from identity.evidence import Alignment, Verdict
from identity.recording.align import align_all
from identity.recording.items import Items
from identity.recording.tempo import align_at_any_tempo
from identity.recording.verifying import verdict_of
from identity.thresholds import WEAK_BIT_ERROR_RATE
from media import speeds
from media.analysis import library_items, library_present
from media.types import PCM_RATE

FIGURES = ("recording_false_merges",)


@dataclass(slots=True)
class _Count:
    """Comparisons of two different recordings, and what was said of them."""

    compared: int = 0
    merged: int = 0
    reviewed: int = 0

    def add(self, alignment: Alignment | None, *, stretched: bool = False) -> None:
        """One comparison; a stretched recording is never merged."""
        self.compared += 1
        verdict = verdict_of(alignment) if alignment else None
        self.merged += verdict is Verdict.SAME and not stretched
        self.reviewed += verdict is Verdict.REVIEW or (verdict is Verdict.SAME and stretched)

    def told(self) -> str:
        """For people."""
        return f"{self.compared:,} comparisons, {self.merged} merged, {self.reviewed} for review"


def _real(tracks: Sequence[Items]) -> _Count:
    result = _Count()
    for place, items in enumerate(tracks):
        for found in align_all(items, tracks[place + 1 :], WEAK_BIT_ERROR_RATE):
            result.add(found.alignment if found else None)
    return result


def _heard(rendition: Rendition) -> list[Items]:
    """The fingerprint of a rendition, and those at other speeds."""
    samples = np.ascontiguousarray(render(rendition)).tobytes()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1"]
    command += ["-i", "pipe:0", "-t", "120", "-ar", str(PCM_RATE), "-f", "s16le", "pipe:1"]
    pcm = subprocess.run(command, input=samples, capture_output=True, check=True).stdout
    return [library_items(pcm), *(items for _, items in speeds.undone(pcm))]


def _rendered() -> _Count:
    result = _Count()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        heard = list(pool.map(_heard, RENDITIONS))
    originals = [each[0] for each in heard]
    for place, variants in enumerate(heard):
        for items in variants:
            others = [other for number, other in enumerate(originals) if number != place]
            for other, found in zip(others, align_all(items, others, WEAK_BIT_ERROR_RATE), strict=True):
                result.add(found.alignment if found else None)
                if np.intersect1d(items, other).size and (drifted := align_at_any_tempo(items, other)):
                    result.add(drifted.alignment, stretched=True)
    return result


def measure() -> list[Figure]:
    """The figure; real music only where it is to be had, covers only with libchromaprint."""
    counts: dict[str, _Count] = {}
    try:
        paths = [path for path in _debian_music.tracks() if path.name != "menu_enhanced.opus"]
        counts["pairs of real tracks"] = _real(_debian_music.fingerprints(paths))
    except _debian_music.NoMusicError as error:
        print(f"false_merges goes without real music: {error}")
    if library_present():
        counts["rendered covers"] = _rendered()
    detail = "; ".join(f"{name}: {count.told()}" for name, count in counts.items())
    wrong = sum(count.merged for count in counts.values())
    compared = sum(count.compared for count in counts.values())
    # The form of a figure has no zero: one is the limit, and each false merge makes it worse.
    return [
        at_most(
            FIGURES[0],
            "(1 + false merges)",
            1.0 + wrong,
            1.0,
            detail=f"{wrong} false merges in {compared:,} comparisons of different recordings; {detail}",
        )
    ]
