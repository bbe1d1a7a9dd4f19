"""Re-renders that are locked to their original: the same score at the same tempo, another sound, or more, or less.

Whatever is made from the same MIDI by other soundfonts or instruments, with drums added, or without the part that leads
(the karaoke of this world), begins and ends each note at the same sample. Fingerprints of such pairs come as near to
each other as those of a damaged copy.
"""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks import _debian_music
from benchmarks._covers import MIDI, Way, read_score, render_all
from media.analysis import fingerprint_items
from media.chroma import chroma

SECONDS = 100.0

_PIANO = {"melody": 0, "bridge": 0, "piano": 0}
_BAND = {"melody": 52, "bridge": 48, "piano": 24}

WAYS = {
    "piano": Way("fluid", _PIANO, seconds=SECONDS),
    "piano of another soundfont": Way("tim", _PIANO, seconds=SECONDS),
    "piano of a third": Way("musescore", _PIANO, seconds=SECONDS),
    "flute, strings, guitar": Way("fluid", {"melody": 73, "bridge": 48, "piano": 24}, seconds=SECONDS),
    "saxophone for the tune": Way("fluid", {"melody": 65, "bridge": 0, "piano": 0}, seconds=SECONDS),
    "without the tune": Way("fluid", {"bridge": 0, "piano": 0}, seconds=SECONDS),
    "with drums": Way("fluid", _PIANO, drums=True, seconds=SECONDS),
    "band": Way("fluid", _BAND, drums=True, seconds=SECONDS),
    "band without the voice": Way("fluid", {"bridge": 48, "piano": 24}, drums=True, seconds=SECONDS),
    "band of another soundfont": Way("tim", _BAND, drums=True, seconds=SECONDS),
    "band with other instruments": Way("fluid", {"melody": 53, "bridge": 49, "piano": 25}, drums=True, seconds=SECONDS),
}


def songs(share: Literal["tuning", "figure"]) -> list[str]:
    """The folders of the MIDI files of a share: half of them each, by name, for ever."""
    found = sorted(path.name for path in MIDI.iterdir() if path.is_dir()) if MIDI.is_dir() else []
    return [song for song in found if (zlib.crc32(song.encode()) % 2 == 0) == (share == "tuning")]


def pairs(
    share: Literal["tuning", "figure"],
) -> Iterator[tuple[_debian_music.Features, _debian_music.Features]]:
    """Any two re-renders of each song, played once and kept with the measurements of real music."""
    chosen = songs(share)
    fonts = sorted({way.soundfont for way in WAYS.values()})
    work = [(chosen[at : at + 6], font) for at in range(0, len(chosen), 6) for font in fonts]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_play, work))
    for song in chosen:
        yield from itertools.combinations([_debian_music.kept(_place(song, way)) for way in WAYS], 2)


def _place(song: str, way: str) -> Path:
    return _debian_music.measured_folder() / f"render~{song}~{way}.npz"


def _play(work: tuple[Sequence[str], str]) -> None:
    chosen, font = work
    todo = [
        (song, name)
        for song in chosen
        for name, way in WAYS.items()
        if way.soundfont == font and not _place(song, name).exists()
    ]
    if not todo:
        return
    sounds = render_all([(read_score(MIDI / song / f"{song}.mid"), WAYS[name]) for song, name in todo])
    for (song, name), samples in zip(todo, sounds, strict=True):
        heard = chroma(samples)
        items = fingerprint_items(np.ascontiguousarray(samples).tobytes())
        _debian_music.keep(_place(song, name), _debian_music.Features(items, heard.views, heard.timbre))
