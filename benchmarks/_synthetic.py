"""Fingerprints by the million, made from the statistics of real ones.

A track is a row of blocks of twelve successive items (1.5 s), each drawn from the real tracks. All items of a block are
changed by one random mask, so that within a block items follow each other as in music, differing in the bits that real
ones differ in, while blocks of the same origin do not resemble each other. Items that occur in two or more of the real
tracks keep their value: so the share of terms that tracks have in common by chance, and how crowded those terms are,
grow with the number of tracks as they do among the real ones. How near that comes: of the pairs of 160 real tracks
0.11 % share one of AcoustID's terms and 0.10 % one of ours, of those of 3,000 synthetic ones 0.04 % and 0.34 %. So the
index is asked for more strangers than it would be, and GIN for fewer.

A query is a track with the errors of a real copy: the differing bits, item by item, between a real track and its
re-encoding, which come in bursts as they do there.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from benchmarks import _debian_music
from identity.recording.align import align
from identity.recording.items import Items

ITEMS = 948
"""Of a track: 120 s."""

BLOCK = 12
COPIED = 16
CODECS = (("mp3", ("-c:a", "libmp3lame", "-b:a", "64k")), ("opus", ("-c:a", "libopus", "-b:a", "32k")))


class Maker:
    """Makes tracks, a thousand at once; the same number always gives the same."""

    def __init__(self, real: Sequence[Items], seed: int = 1) -> None:
        self._pool = np.concatenate(real)
        values, tracks = np.unique(np.concatenate([np.unique(items) for items in real]), return_counts=True)
        shared = values[tracks > 1]
        self._kept = np.isin(self._pool, shared)
        self._seed = seed

    @property
    def kept_share(self) -> float:
        """Share of items that keep their value."""
        return float(self._kept.mean())

    def thousand(self, number: int) -> npt.NDArray[np.uint32]:
        """The tracks of this thousand, one a row."""
        generator = np.random.default_rng((self._seed, number))
        blocks = ITEMS // BLOCK
        starts = generator.integers(0, self._pool.size - BLOCK, (1000, blocks))
        places = (starts[:, :, None] + np.arange(BLOCK)).reshape(1000, blocks * BLOCK)
        masks = np.repeat(generator.integers(0, 2**32, (1000, blocks), dtype=np.uint32), BLOCK, axis=1)
        masks[self._kept[places]] = 0
        return self._pool[places] ^ masks


def copy_errors() -> list[Items]:
    """Differing bits, item by item, between real tracks and their re-encodings."""
    errors = []
    with tempfile.TemporaryDirectory() as folder:
        for path in _debian_music.tracks()[::7][:COPIED]:
            original = _debian_music.fingerprint(path)
            for suffix, options in CODECS:
                copy = _copied(path, suffix, options, Path(folder))
                if original is None or copy is None or (found := align(copy, original)) is None:
                    continue
                start = max(0, -found.offset)
                size = min(copy.size - start, original.size - max(0, found.offset))
                if size >= 480:
                    errors.append(copy[start : start + size] ^ original[start + found.offset :][:size])
    return errors


def _copied(path: Path, suffix: str, options: Sequence[str], folder: Path) -> Items | None:
    copy = folder / f"copy.{suffix}"
    name = f"{path.stem}~{suffix}-{options[-1]}"
    if not (_debian_music.cache() / "fingerprints" / name).exists():
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", "-t", "125", "-i", str(path)]
        subprocess.run([*command, "-vn", *options, str(copy)], check=True)
    return _debian_music.fingerprint(copy, name)


def damaged(items: Items, errors: Sequence[Items], number: int) -> Items:
    """The items with the errors of a real copy, repeated where the copy is shorter."""
    chosen = np.roll(errors[number % len(errors)], 31 * number)
    return items ^ np.resize(chosen, items.size)
