"""Real music: tracks of Debian's packages, and what is measured on them once, kept in a cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from identity.recording.items import Items, fingerprint_bytes, items_from_bytes
from media import chroma
from media.analysis import analyse
from media.types import AudioError, Frames

PACKAGES = (
    "supertux-data",
    "wesnoth-1.16-music",
    "hedgewars-data",
    "warzone2100-music",
    "hyperrogue-music",
    "drascula-music",
    "ufoai-music",
    "nexuiz-music",
    "warmux-data",
    "marsshooter-data",
    "colobot-common-sounds",
)

LEAST_BYTES = 300_000
"""Shorter files are jingles and sounds."""


TWICE = frozenset({"menu_enhanced.opus", "Olivier_Militon.-.Apnee2.ogg"})
"""Of a recording that is there twice (Warzone's menu plain and "enhanced", WarMUX's Apnée), one file."""

_SUFFIXES = {".ogg", ".mp3", ".opus", ".flac"}

Share = Literal["tuning", "figure"]


@dataclass(frozen=True, slots=True)
class Features:
    """What ingest keeps of a recording's sound. ``items``: its fingerprint; ``frames``: both views of its chroma."""

    items: Items
    frames: Frames
    timbre: Frames


class NoMusicError(RuntimeError):
    """The packages are neither here nor to be had."""


def cache() -> Path:
    """Where packages and measurements are kept: ``VERSIONS_BENCH_CACHE``, or a folder among the temporary files."""
    folder = Path(os.environ.get("VERSIONS_BENCH_CACHE") or Path(tempfile.gettempdir()) / "versions-bench-music")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def tracks(packages: Iterable[str] = PACKAGES) -> list[Path]:
    """The music files of the packages, links apart. Raises NoMusicError."""
    found: list[Path] = []
    for package in packages:
        folder = cache() / "packages" / package
        if not folder.is_dir():
            _fetch(package, folder)
        _unpack(folder)
        files = [path for path in sorted(folder.rglob("*")) if path.suffix in _SUFFIXES]
        found += [path for path in files if not path.is_symlink() and path.stat().st_size >= LEAST_BYTES]
    return found


def share(path: Path) -> Share:
    """Whether thresholds may be tuned on a track (a third of them), or figures be measured. By name, for ever."""
    return "tuning" if zlib.crc32(path.name.encode()) % 3 == 0 else "figure"


def _unpack(folder: Path) -> None:
    """Some games keep their music in a zip file."""
    for archive in sorted(folder.rglob("*.pk3")):
        target = archive.with_suffix(".unpacked")
        if target.is_dir():
            continue
        with tempfile.TemporaryDirectory(dir=archive.parent) as temporary, zipfile.ZipFile(archive) as file:
            music = [name for name in file.namelist() if Path(name).suffix in _SUFFIXES]
            file.extractall(temporary, music)
            shutil.copytree(temporary, target)


def _fetch(package: str, folder: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise NoMusicError(f"{package} is not in {folder.parent}, and there is no apt to fetch it")
    with tempfile.TemporaryDirectory(dir=cache()) as temporary:
        got = subprocess.run(["apt-get", "download", package], cwd=temporary, capture_output=True, text=True)
        archive = next(Path(temporary).glob("*.deb"), None)
        if got.returncode or archive is None:
            raise NoMusicError(f"apt-get download {package}: {(got.stderr.strip().splitlines() or ['failed'])[-1]}")
        unpacked = Path(temporary) / "unpacked"
        subprocess.run(["dpkg", "-x", str(archive), str(unpacked)], check=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        unpacked.rename(folder)


def fingerprint(path: Path, name: str = "") -> Items | None:
    """Of a file, measured once; ``name``: under which it is kept (default: after the path). None: not usable."""
    key = (name or str(path.relative_to(cache() / "packages"))).replace("/", "~")
    kept = cache() / "fingerprints" / key
    if not kept.exists():
        try:
            items = analyse(path).fingerprint
        except AudioError:
            items = np.empty(0, dtype=np.uint32)
        kept.parent.mkdir(exist_ok=True)
        partial = kept.with_name(kept.name + f".{os.getpid()}")
        partial.write_bytes(fingerprint_bytes(items))
        partial.rename(kept)
    return items_from_bytes(kept.read_bytes()) if kept.stat().st_size else None


def features(path: Path) -> Features | None:
    """Of a file, measured once for this state of the code. None: not usable."""
    key = str(path.relative_to(cache() / "packages")).replace("/", "~")
    place = measured_folder() / f"{key}.npz"
    if not place.exists():
        try:
            heard = analyse(path)
            assert heard.chroma is not None
            keep(place, Features(heard.fingerprint, heard.chroma.views, heard.chroma.timbre))
        except AudioError:
            nothing = np.zeros(0, np.uint32)
            keep(place, Features(nothing, np.zeros((0, 24), np.uint8), np.zeros((0, 16), np.uint8)))
    found = kept(place)
    return found if found.items.size else None


def keep(place: Path, found: Features) -> None:
    """Keeps a measurement; whoever finds the file finds a whole one."""
    place.parent.mkdir(exist_ok=True)
    partial = place.with_name(f"{place.name}.{os.getpid()}.npz")
    np.savez(partial, items=found.items, frames=found.frames, timbre=found.timbre)
    partial.rename(place)


def kept(place: Path) -> Features:
    """Inverse of `keep`."""
    with np.load(place) as known:
        return Features(known["items"], known["frames"], known["timbre"])


def measured_folder() -> Path:
    """Where measurements by this state of the code are kept."""
    return cache() / f"features-{_code()}"


def _code() -> str:
    """Changes when what is measured may change."""
    folder = Path(chroma.__file__).parent
    digest = hashlib.blake2b(digest_size=6)
    for name in ("analysis.py", "chroma.py", "timbre.py"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def fingerprints(paths: Iterable[Path]) -> list[Items]:
    """Of all usable files of 60 s and more."""
    with ThreadPoolExecutor(2) as pool:
        return [items for items in pool.map(fingerprint, paths) if items is not None and items.size >= 480]
