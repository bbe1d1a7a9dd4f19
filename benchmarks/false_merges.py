"""How often two different recordings would be taken for one, where they agree best.

Real music: each pair of the tracks of Debian's music packages (what is there twice is left out). Sample-locked
re-renders: any two performances of one MIDI file at one tempo, by other soundfonts and instruments, with drums, without
the part that leads (`benchmarks._rerenders`; the half of the songs on which nothing was tuned). Rendered covers: the
project's own songs (`examples.music`), performed by other voices in other keys and tempi, minus mixes that are locked
to the very samples of their original among them; each is compared as it is, at the twelve other speeds that are tried
on a miss, and at any tempo where items are shared.

Every pair is judged as identity does, alignment and timbre together, as if the index and the melody had proposed it.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from benchmarks import _covers, _debian_music, _rerenders
from benchmarks._debian_music import Features
from benchmarks._figures import Figure, at_most
from examples.music.repertoire import RENDITIONS, Rendition
from examples.music.synth import SAMPLE_RATE, render
from identity.evidence import Alignment, Verdict
from identity.melody.embed import embed
from identity.melody.thresholds import ALTERED_LIKENESS
from identity.recording.align import Aligned, align_all
from identity.recording.items import Items
from identity.recording.tempo import align_at_any_tempo
from identity.recording.timbre import Likeness, aligned_by_timbre, likeness, second_verdict
from identity.recording.verifying import verdict_of
from identity.thresholds import (
    CLEAR_BIT_ERROR_RATE,
    DAMAGED_BIT_ERROR_RATE,
    DAMAGED_TIMBRE,
    MIN_DISTINCT_SHARE,
    WEAK_BIT_ERROR_RATE,
)
from media import speeds
from media.analysis import library_items, library_present
from media.types import PCM_RATE

FIGURES = ("recording_false_merges",)

_LEAST = 480
"""Items of a track: 60 s."""


@dataclass(slots=True)
class _Count:
    """Comparisons of two different recordings, and what was said of them."""

    compared: int = 0
    merged: int = 0
    reviewed: int = 0
    without_timbre: int = 0
    """Merges by alignment alone."""

    def add(self, alignment: Alignment | None, sounds: Likeness | None = None, *, stretched: bool = False) -> None:
        """One comparison; a stretched recording is never merged."""
        self.compared += 1
        verdict = second_verdict(verdict_of(alignment), alignment, sounds) if alignment else None
        self.merged += verdict is Verdict.SAME and not stretched
        self.reviewed += verdict is Verdict.REVIEW or (verdict is Verdict.SAME and stretched)
        self.without_timbre += alignment is not None and verdict_of(alignment) is Verdict.SAME and not stretched

    def told(self) -> str:
        """For people."""
        return (
            f"{self.compared:,} comparisons, {self.merged} merged, {self.reviewed} for review ({self.without_timbre} "
            "would be merged without timbre)"
        )


def _real(tracks: Sequence[Features]) -> _Count:
    result = _Count()
    melodies = np.array([_melody(track) for track in tracks])
    for place, ours in enumerate(tracks):
        others = tracks[place + 1 :]
        found = align_all(ours.items, [other.items for other in others], DAMAGED_BIT_ERROR_RATE)
        near = melodies[place + 1 :] @ melodies[place] >= ALTERED_LIKENESS
        for other, aligned, is_near in zip(others, found, near.tolist(), strict=True):
            _judge(result, ours, other, aligned, near=is_near)
    return result


def _locked() -> _Count:
    result = _Count()
    for ours, other in _rerenders.pairs("figure"):
        aligned = align_all(ours.items, [other.items], DAMAGED_BIT_ERROR_RATE)[0]
        _judge(result, ours, other, aligned, near=bool(_melody(ours) @ _melody(other) >= ALTERED_LIKENESS))
    return result


def _melody(track: Features) -> npt.NDArray[np.float64]:
    found = np.asarray(embed(track.frames), dtype=np.float64)
    return found / max(float(np.linalg.norm(found)), 1e-9)


def _judge(count: _Count, ours: Features, other: Features, aligned: Aligned | None, *, near: bool) -> None:
    """``near``: their melodies are; only then identity looks on where terms do not find it."""
    sounds = _sounding(ours, other, aligned)
    if (aligned is None or aligned.alignment.bit_error_rate > WEAK_BIT_ERROR_RATE) and not _agree(aligned, sounds):
        aligned = aligned_by_timbre(ours.items, ours.timbre, other.items, other.timbre) if near else None
        sounds = _sounding(ours, other, aligned)
        if not _agree(aligned, sounds):
            aligned = None
    count.add(aligned.alignment if aligned else None, sounds)


def _sounding(ours: Features, other: Features, aligned: Aligned | None) -> Likeness | None:
    if aligned is None or aligned.alignment.bit_error_rate <= CLEAR_BIT_ERROR_RATE:
        return None
    return likeness(ours.timbre, other.timbre, aligned.alignment.offset_s)


def _agree(aligned: Aligned | None, sounds: Likeness | None) -> bool:
    return (
        aligned is not None
        and aligned.alignment.distinct_share >= MIN_DISTINCT_SHARE
        and sounds is not None
        and sounds.balance >= DAMAGED_TIMBRE
    )


def _heard(rendition: Rendition) -> list[Items]:
    """The fingerprint of a rendition, and those at other speeds."""
    samples = np.ascontiguousarray(render(rendition)).tobytes()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1"]
    command += ["-i", "pipe:0", "-t", "120", "-ar", str(PCM_RATE), "-f", "s16le", "pipe:1"]
    pcm = subprocess.run(command, input=samples, capture_output=True, check=True).stdout
    return [library_items(pcm), *(each.items for each in speeds.undone(pcm))]


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
        paths = [path for path in _debian_music.tracks() if path.name not in _debian_music.TWICE]
        with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
            heard = [found for found in pool.map(_debian_music.features, paths) if found is not None]
        counts["pairs of different real recordings"] = _real([each for each in heard if each.items.size >= _LEAST])
    except _debian_music.NoMusicError as error:
        print(f"false_merges goes without real music: {error}")
    if lacking := _covers.missing() or (None if _rerenders.songs("figure") else f"no MIDI files in {_covers.MIDI}"):
        print(f"false_merges goes without re-renders: {lacking}")
    else:
        counts["sample-locked re-renders"] = _locked()
    if library_present():
        counts["rendered covers"] = _rendered()
    detail = "; ".join(f"{name}: {count.told()}" for name, count in counts.items())
    wrong = sum(count.merged for count in counts.values())
    # The form of a figure has no zero: one is the limit, and each false merge makes it worse.
    return [at_most(FIGURES[0], "(1 + false merges)", 1.0 + wrong, 1.0, detail=f"{wrong} false merges; {detail}")]
