"""Does chromaprint tell all sample recordings apart? ``python -m examples.music.separation [--data DIR]``.

Renders everything, takes the fingerprints with FFmpeg's chromaprint muxer and prints, over all pairs, the bit error
rate at the best alignment (at least `MIN_OVERLAP_S` of overlap, as identity asks). Ends with status 1 when two
recordings that are not a declared pair come nearer than `LIMIT`. With ``--data`` it also looks at the encoded files
there (made if need be): all files of one recording must lie nearer to each other than `SAME`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from examples.music.repertoire import LOCKED_PAIRS, RENDITIONS
from examples.music.synth import SAMPLE_RATE, render

LIMIT = 0.30
SAME = 0.10
MIN_OVERLAP_S = 20.0
ITEM_SECONDS = 0.12383

Fingerprint = npt.NDArray[np.uint32]


def fingerprint(samples: npt.NDArray[np.int16]) -> Fingerprint:
    """Chromaprint items of mono samples at the synthesiser's rate."""
    source = ("-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "pipe:0")
    return _chromaprint(source, np.ascontiguousarray(samples).tobytes())


def fingerprint_file(path: Path) -> Fingerprint:
    """Chromaprint items of an audio file."""
    return _chromaprint(("-i", str(path)), b"")


def _chromaprint(source: tuple[str, ...], data: bytes) -> Fingerprint:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-threads", "1", *source]
    command += ["-ac", "1", "-ar", "11025", "-f", "chromaprint", "-fp_format", "raw", "pipe:1"]
    result = subprocess.run(command, input=data, capture_output=True, check=True)
    return np.frombuffer(result.stdout, dtype="<u4")


def best_bit_error_rate(one: Fingerprint, two: Fingerprint, min_overlap_s: float = MIN_OVERLAP_S) -> float:
    """The least share of differing bits over all offsets with so much overlap; 1.0 where none has."""
    need = int(min_overlap_s / ITEM_SECONDS)
    distance = np.bitwise_count(one[:, None] ^ two[None, :])
    best = 1.0
    for offset in range(need - len(one), len(two) - need + 1):
        diagonal = np.diagonal(distance, offset)
        if len(diagonal) >= need:
            best = min(best, float(diagonal.mean()) / 32)
    return best


def distinct_share(items: Fingerprint) -> float:
    """Share of distinct items: identity wants at least 0.3 of the overlap."""
    return len(np.unique(items)) / len(items)


def main() -> int:
    """Prints the tables; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.music.separation")
    parser.add_argument("--data", type=Path, help="also check the encoded files in this data folder")
    data: Path | None = parser.parse_args().data
    failed = _check_recordings()
    if data is not None:
        failed |= _check_files(data)
    return int(failed)


def _check_files(data: Path) -> bool:
    from examples.sites.library import prepare
    from examples.sites.world import OFFERS

    folder = prepare(data)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        prints = dict(
            zip(
                (offer.key for offer in OFFERS),
                pool.map(lambda offer: fingerprint_file(folder / offer.file_name), OFFERS),
                strict=True,
            )
        )
    rates = {
        (one.key, two.key): best_bit_error_rate(prints[one.key], prints[two.key])
        for one, two in itertools.combinations(OFFERS, 2)
        if one.rendition.key == two.rendition.key
    }
    worst = max(rates, key=lambda pair: rates[pair])
    values = np.array(list(rates.values()))
    print(f"{len(values)} pairs of copies: median {np.median(values):.3f}, most {rates[worst]:.3f} ({' '.join(worst)})")
    return bool(values.max() > SAME)


def _check_recordings() -> bool:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        prints = dict(
            zip((r.key for r in RENDITIONS), pool.map(lambda r: fingerprint(render(r)), RENDITIONS), strict=True)
        )
        pairs = list(itertools.combinations(prints, 2))
        rates = dict(
            zip(pairs, pool.map(lambda p: best_bit_error_rate(prints[p[0]], prints[p[1]]), pairs), strict=True)
        )
    declared = {frozenset(pair) for pair in LOCKED_PAIRS}
    locked = {pair: rate for pair, rate in rates.items() if frozenset(pair) in declared}
    others = {pair: rate for pair, rate in rates.items() if pair not in locked}
    values = np.array(list(others.values()))
    print(f"{len(prints)} recordings, {len(others)} pairs: least {values.min():.3f}, median {np.median(values):.3f}")
    for pair, rate in sorted(others.items(), key=lambda entry: entry[1])[:10]:
        print(f"  {rate:.3f}  {pair[0]}  {pair[1]}")
    print("re-renders on the same timing:")
    for pair, rate in locked.items():
        print(f"  {rate:.3f}  {pair[0]}  {pair[1]}")
    poorest = min(prints, key=lambda key: distinct_share(prints[key]))
    print(f"least share of distinct items: {distinct_share(prints[poorest]):.2f} ({poorest})")
    return bool(values.min() < LIMIT)


if __name__ == "__main__":
    sys.exit(main())
