"""Fingerprints by the million, made from the statistics of real ones.

A track is a row of blocks of twelve successive items (1.5 s). Each comes from about the same moment of a real track
drawn by chance, for beginnings are more alike than the rest, and AcoustID's terms are of the beginning. All items of a
block are changed by one random mask, so that within a block items follow each other as in music, differing in the bits
that real ones differ in, while blocks of the same origin do not resemble each other.

Items that two or more of the real tracks have keep their value, and those of which they have the upper 28 bits (which
is what AcoustID looks at) keep these. An item counts once a track, as a term does, however long a note is held; of n
tracks that have it ``sqrt((n - 1) / n)`` keep it, so that as many pairs of tracks share it as did (a draw by chance
meets itself, a real track does not); recordings that share 30 items and more (remixes) count as one. A factor of 0.8
for both is fitted. How near that comes, of the pairs of 279 real tracks and of 3,000 synthetic ones:

=========================  ===============  ==============
pairs that share           real             synthetic
=========================  ===============  ==============
one of AcoustID's terms    0.119 %          0.105 %
one of ours                0.108 %          0.114 %
AcoustID's terms a pair    0.00155          0.00122
our terms a pair           0.00124          0.00117
=========================  ===============  ==============

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
ASIDE = 30
"""A block comes from at most so many items (4 s) before or after its own place in another track."""

UPPER = np.uint32(0xFFFFFFF0)
"""The bits that AcoustID's terms keep."""

_REMIX = 30
_FITTED = 0.8

COPIED = 16
CODECS = (("mp3", ("-c:a", "libmp3lame", "-b:a", "64k")), ("opus", ("-c:a", "libopus", "-b:a", "32k")))


class Maker:
    """Makes tracks, a thousand at once; the same number always gives the same."""

    def __init__(self, real: Sequence[Items], seed: int = 1) -> None:
        self._pool = np.concatenate(real)
        self._sizes = np.array([items.size for items in real])
        self._starts = np.cumsum(self._sizes) - self._sizes
        origins = np.repeat(_without_remixes(real), self._sizes)
        self._whole = _FITTED * _chances(self._pool, origins)
        self._upper = _FITTED * _chances(self._pool & UPPER, origins)
        self._seed = seed

    @property
    def kept_share(self) -> float:
        """Share of items that keep their value."""
        return float(self._whole.mean())

    def thousand(self, number: int) -> npt.NDArray[np.uint32]:
        """The tracks of this thousand, one a row."""
        generator = np.random.default_rng((self._seed, number))
        blocks = ITEMS // BLOCK
        drawn = generator.integers(0, self._sizes.size, (1000, blocks))
        moments = np.arange(blocks) * BLOCK + generator.integers(-ASIDE, ASIDE + 1, (1000, blocks))
        last = self._sizes[drawn] - BLOCK
        anywhere = generator.integers(0, last + 1)
        moments = np.where(moments > last, anywhere, np.maximum(moments, 0))
        places = ((self._starts[drawn] + moments)[:, :, None] + np.arange(BLOCK)).reshape(1000, blocks * BLOCK)
        masks = np.repeat(generator.integers(0, 2**32, (1000, blocks), dtype=np.uint32), BLOCK, axis=1)
        luck = np.repeat(generator.random((1000, blocks)), BLOCK, axis=1)
        masks[luck < self._upper[places]] &= ~UPPER
        masks[luck < self._whole[places]] = 0
        made: npt.NDArray[np.uint32] = self._pool[places] ^ masks
        return made


def _without_remixes(real: Sequence[Items]) -> npt.NDArray[np.int64]:
    """Of each track the number of the first that it shares `_REMIX` items with: itself, or the one it is made from."""
    distinct = [np.unique(items) for items in real]
    origins = np.arange(len(real))
    for place, items in enumerate(distinct):
        for other in range(place):
            if np.intersect1d(items, distinct[other], assume_unique=True).size >= _REMIX:
                origins[place] = origins[other]
                break
    return origins


def _chances(values: Items, origins: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """How probably an item keeps its value: of each track the first with this value, where others have it too."""
    _, first = np.unique((origins.astype(np.uint64) << np.uint64(32)) | values, return_index=True)
    known, tracks = np.unique(values[first], return_counts=True)
    count = tracks[np.searchsorted(known, values[first])]
    chances = np.zeros(values.size)
    chances[first] = np.sqrt((count - 1) / count)
    return chances


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
