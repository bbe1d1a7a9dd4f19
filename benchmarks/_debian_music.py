"""Real music: tracks of Debian's packages, and what is measured on them once, kept in a cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from identity.recording.items import Items, fingerprint_bytes, items_from_bytes
from media.analysis import analyse
from media.types import AudioError

PACKAGES = (
    "supertux-data",
    "wesnoth-1.16-music",
    "hedgewars-data",
    "warzone2100-music",
    "hyperrogue-music",
    "drascula-music",
    "ufoai-music",
)

LEAST_BYTES = 300_000
"""Shorter files are jingles and sounds."""


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
        files = [path for path in sorted(folder.rglob("*")) if path.suffix in {".ogg", ".mp3", ".opus", ".flac"}]
        found += [path for path in files if not path.is_symlink() and path.stat().st_size >= LEAST_BYTES]
    return found


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


def fingerprints(paths: Iterable[Path]) -> list[Items]:
    """Of all usable files of 60 s and more."""
    with ThreadPoolExecutor(2) as pool:
        return [items for items in pool.map(fingerprint, paths) if items is not None and items.size >= 480]
