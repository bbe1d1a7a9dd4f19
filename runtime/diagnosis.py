"""What `versions doctor` checks: each finding says what was found where, and the remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from catalog import migrate
from crawlers.browser import find_chromium
from runtime.chromium import REMEDY
from runtime.connections import Connections
from runtime.embedded import postgres, s3, state, temporal
from runtime.embedded.inspection import PartReport, inspect
from runtime.logging import redact
from runtime.settings import Settings

FREE_BYTES_NEEDED = 2 * 2**30
FREE_BYTES_LEAST = 500 * 2**20


@dataclass(frozen=True)
class Finding:
    """``level``: ok, warning (it works, less well), error (it does not work)."""

    name: str
    level: str
    detail: str
    remedy: str = ""


def run(settings: Settings) -> list[Finding]:
    """All checks; none of them changes anything."""
    checks: list[Callable[[Settings], Finding]] = [
        _python,
        _data_folder,
        _disk,
        _ffmpeg,
        _chromaprint,
        _chromium,
        lambda _settings: _program("PostgreSQL program", postgres.binary(), "--version"),
        lambda _settings: _program("Temporal program", temporal.binary(), "--version"),
        lambda _settings: _program("rclone program", s3.binary(), "version"),
    ]

    def guarded(check: Callable[[Settings], Finding]) -> Finding:
        try:
            return check(settings)
        except Exception as error:
            return Finding("check", "error", redact(f"{type(error).__name__}: {error}"), "`make install` again")

    with ThreadPoolExecutor(max_workers=4) as pool:
        findings = list(pool.map(guarded, checks))
    return [*findings, *_parts(settings), *_schema(settings)]


def _python(_settings: Settings) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    detail = f"{version} at {sys.executable}"
    if sys.version_info < (3, 11):  # noqa: UP036 - said in words, where the package was forced
        return Finding("Python", "error", detail, "install Python 3.11 or newer")
    return Finding("Python", "ok", detail)


def _existing(path: Path) -> Path:
    return next(folder for folder in [path, *path.parents] if folder.exists())


def _data_folder(settings: Settings) -> Finding:
    path = settings.data_dir
    there = _existing(path)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding("Data folder", "error", f"{path} cannot be written", "choose another by --data-dir")
    return Finding("Data folder", "ok", f"{path}{'' if path.exists() else ' (not there yet)'}")


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(_existing(settings.data_dir)).free
    detail = f"{free / 2**30:.1f} GiB free at {settings.data_dir}"
    if free < FREE_BYTES_LEAST:
        return Finding("Disk", "error", detail, "make room, or choose another folder by --data-dir")
    return Finding("Disk", "ok" if free > FREE_BYTES_NEEDED else "warning", detail)


def _program(name: str, path: Path, argument: str) -> Finding:
    arguments = postgres.as_server_user() if name.startswith("PostgreSQL") else {}
    shown = subprocess.run(
        [str(path), argument],
        capture_output=True,
        text=True,
        timeout=20,
        stdin=subprocess.DEVNULL,
        cwd="/",
        **arguments,
    )
    if shown.returncode:
        return Finding(name, "error", f"{path} does not run: {shown.stderr.strip()}", "`make install` again")
    return Finding(name, "ok", f"{shown.stdout.strip().splitlines()[0]} at {path}")


def _ffmpeg(_settings: Settings) -> Finding:
    import imageio_ffmpeg

    path = imageio_ffmpeg.get_ffmpeg_exe()
    shown = subprocess.run([path, "-hide_banner", "-version"], capture_output=True, text=True, timeout=20)
    words = shown.stdout.split()
    return Finding("FFmpeg", "ok", f"{words[2] if len(words) > 2 else 'unknown version'} at {path}")


def _chromaprint(_settings: Settings) -> Finding:
    import ctypes.util

    if library := ctypes.util.find_library("chromaprint"):
        return Finding("Chromaprint", "ok", f"{library}, used directly")
    import imageio_ffmpeg

    shown = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-muxers"], capture_output=True, text=True, timeout=20
    )
    faster = "for twice the speed install libchromaprint (Debian: libchromaprint1, macOS: brew install chromaprint)"
    if "chromaprint" in shown.stdout:
        return Finding(
            "Chromaprint",
            "ok",
            "libchromaprint is not installed: FFmpeg's muxer does all the same, in processes more",
            faster,
        )
    return Finding("Chromaprint", "error", "neither libchromaprint nor FFmpeg's muxer is there", faster)


def _chromium(_settings: Settings) -> Finding:
    if found := find_chromium():
        return Finding("Chromium", "ok", found)
    return Finding(
        "Chromium",
        "warning",
        "not found: sources that only a browser can read are skipped",
        REMEDY,
    )


def _parts(settings: Settings) -> list[Finding]:
    report = inspect(settings)
    redis = [part for part in report.parts if part.name == "redis"]
    stack = [part for part in report.parts if part.name != "redis"]
    if report.state in ("stopped", "killed") and not any(part.external for part in stack):
        level = "warning" if report.state == "killed" else "ok"
        found = [Finding("Stack", level, f"it is {report.state}", "start it by `versions up`")]
    else:
        found = [_part(settings, part) for part in stack]
    return found + [_part(settings, part) for part in redis]


def _part(settings: Settings, part: PartReport) -> Finding:
    if part.state == "in-process":
        return Finding(
            part.name, "ok", "none is configured (REDIS_URL): each API process counts and remembers for itself"
        )
    where = part.url or (f"port {part.port}" if part.port else f"pid {part.pid}")
    if part.healthy:
        kind = "external" if part.external else "embedded"
        return Finding(part.name, "ok", f"{part.version}, {kind}, at {where}")
    why = f"{part.state}: {part.error or 'it does not answer'}"
    if part.external:
        level = "warning" if part.name == "redis" else "error"  # without it the API goes on
        return Finding(part.name, level, f"{why}, at {where}", "check its address and that it runs")
    log = settings.data_dir / "logs" / f"{part.name}.log"
    return Finding(part.name, "error", why, f"look into {log} (`versions logs {part.name}`), then `versions up`")


def _schema(settings: Settings) -> list[Finding]:
    try:
        where = Connections.load(settings, need=["postgres"])
    except state.StackNotRunningError:
        return []
    try:
        found, newest = migrate.current(where.database_url), migrate.head()
    except Exception as error:
        return [Finding("Schema", "error", redact(str(error)).splitlines()[0], "mend the database first")]
    if found != newest:
        return [Finding("Schema", "error", f"at {found}, the code is at {newest}", "`versions db upgrade`")]
    return [Finding("Schema", "ok", f"at {found}, as the code")]
