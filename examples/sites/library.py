"""Renders and encodes the sample recordings once, on all cores, into a folder named by what they depend on."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from examples.music import repertoire, songs, synth
from examples.music.repertoire import RENDITIONS_BY_KEY
from examples.sites import world
from examples.sites.world import OFFERS, Encoding, Offer

_MODIFIED = 1_577_836_800
"""Modification time of every file (2020-01-01), so that ETags do not depend on when it was made."""


def library_key(offers: Sequence[Offer] = OFFERS) -> str:
    """Changes whenever scores, synthesiser, repertoire, offers or the encoder change."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update("".join(offer.file_name for offer in offers).encode())
    for module in (songs, repertoire, synth, world):
        digest.update(Path(str(module.__file__)).read_bytes())
    digest.update(Path(__file__).read_bytes())
    digest.update(str(imageio_ffmpeg.get_ffmpeg_version()).encode())
    digest.update(np.__version__.encode())
    return digest.hexdigest()


def prepare(data: Path, offers: Sequence[Offer] = OFFERS, processes: int | None = None) -> Path:
    """The folder with every `Offer.file_name`; made if need be.

    Work happens in a folder of its own that is renamed at the end, so that a killed run leaves nothing half-done
    behind, and two at once do not disturb each other. Raises CalledProcessError when FFmpeg fails.
    """
    target = data / f"audio-{library_key(offers)}"
    if target.is_dir():
        return target
    data.mkdir(parents=True, exist_ok=True)
    _sweep(data)
    partial = data / f".audio-{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    wanted: dict[str, list[tuple[str, Encoding]]] = defaultdict(list)
    for offer in offers:
        wanted[offer.rendition.key].append((offer.file_name, offer.encoding))
    context = multiprocessing.get_context("spawn")
    workers = processes or os.cpu_count() or 1
    try:
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
            futures = [pool.submit(_make, key, files, partial) for key, files in wanted.items()]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        try:
            partial.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _sweep(data: Path) -> None:
    """Removes what killed runs left behind."""
    for folder in data.glob(".audio-*.partial"):
        pid = folder.name.removeprefix(".audio-").removesuffix(".partial")
        if not pid.isdigit() or not _alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start_worker() -> None:
    """A pool's worker leaves Ctrl-C to its parent, and ends with it: by itself it would not notice a killed parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _make(key: str, files: Iterable[tuple[str, Encoding]], folder: Path) -> None:
    samples = synth.render(RENDITIONS_BY_KEY[key])
    for name, encoding in files:
        encode(samples, encoding, folder / name)


def encode(samples: npt.NDArray[np.int16], encoding: Encoding, path: Path) -> None:
    """Writes one file; the same samples give the same bytes. Raises CalledProcessError."""
    first = round(encoding.trim_start * synth.SAMPLE_RATE)
    last = len(samples) - round(encoding.trim_end * synth.SAMPLE_RATE)
    options = {
        "flac": ["-c:a", "flac", "-compression_level", "3"],
        "mp3": ["-c:a", "libmp3lame", "-compression_level", "7"],
        "opus": ["-c:a", "libopus", "-ar", "24000", "-compression_level", "4"],
        "aac": ["-c:a", "aac", "-movflags", "+faststart"],
    }[encoding.codec]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-threads", "1"]
    command += ["-f", "s16le", "-ar", str(synth.SAMPLE_RATE), "-ac", "1", "-i", "pipe:0", "-map_metadata", "-1"]
    if encoding.gain_db:
        command += ["-af", f"volume={encoding.gain_db}dB,alimiter=limit=0.95:level=false"]
    command += [*options, *(["-b:a", f"{encoding.bit_rate}k"] if encoding.bit_rate else [])]
    command += ["-fflags", "+bitexact", "-flags:a", "+bitexact", str(path)]
    subprocess.run(command, input=samples[first:last].tobytes(), check=True, capture_output=True)
    os.utime(path, (_MODIFIED, _MODIFIED))
