"""Tiny real programs as parts, and the command line as its users run it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import psutil
import pytest

from runtime.cli import main
from runtime.embedded import process
from runtime.embedded.parts import Context, NotReadyError, Part
from runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
OUTER = ("DATABASE_URL", "TEMPORAL_ADDRESS", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET", "REDIS_URL")


def wait_for(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Returns when the condition holds; fails with its source position otherwise."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.05)


def versions(data_dir: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command `versions` on this data folder, in this process (each new one spends a second on imports)."""
    environment = {**_inherited(), "VERSIONS_DATA_DIR": str(data_dir), **variables}
    output, errors, root = io.StringIO(), io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    try:
        with (
            mock.patch.dict(os.environ, environment, clear=True),
            mock.patch.object(sys, "argv", ["versions", *arguments]),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            code: object = 0
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
    finally:
        root.handlers, root.level = handlers, level
    assert isinstance(code, int)
    return subprocess.CompletedProcess(["versions", *arguments], code, output.getvalue(), errors.getvalue())


def _inherited() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("VERSIONS_") and k not in OUTER}


def versions_process(data_dir: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command `versions` on this data folder as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "runtime.cli", *arguments],
        env={**_inherited(), "VERSIONS_DATA_DIR": str(data_dir), **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def settings(data_dir: Path, **changes: object) -> Settings:
    """Settings that no variable of the surrounding shell reaches."""
    plain = {"database_url": None, "temporal_address": None, "s3_endpoint": None, "redis_url": None}
    return Settings(**{**plain, "data_dir": data_dir, **changes})  # type: ignore[arg-type]


def web_part(name: str, preferred: int, needs: tuple[str, ...] = ()) -> Part:
    """Python's own web server as a part."""

    def check(context: Context) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{context.ports[name]}/", timeout=2) as answer:
            answer.read()
        if context.pid is not None and not process.listens(context.pid, context.ports[name]):
            raise NotReadyError("another program answers")
        return "http.server"

    return Part(
        name=name,
        needs=needs,
        ports={name: preferred},
        command=lambda context: [
            *(sys.executable, "-m", "http.server", "--bind", "127.0.0.1"),
            *("--directory", str(context.data_dir / "run"), str(context.ports[name])),
        ],
        check=check,
        environment=lambda context: {f"PORT_{need.upper()}": str(context.ports.get(need)) for need in needs},
        stop_grace_s=5,
    )


def script_part(name: str, script: str, **changes: object) -> Part:
    """A Python one-liner as a part that is ready at once."""
    return Part(
        name=name,
        command=lambda _context: [sys.executable, "-c", script],
        check=lambda _context: "script",
        **changes,  # type: ignore[arg-type]
    )


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A fresh data folder."""
    return tmp_path / "data"


def gone(pid: int | None) -> bool:
    """True if no such process lives."""
    try:
        return pid is None or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
