"""What is known of a stack between processes: ``DATA/stack.json``, and the lock that only one supervisor holds."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runtime.embedded import process

FORMAT = 1


class StackError(RuntimeError):
    """The stack cannot do what was asked; the message says why and what to do."""

    code = "stack_error"


class StackNotRunningError(StackError):
    """There is no stack to talk to."""

    code = "stack_not_running"


class StackRunningError(StackError):
    """Another supervisor owns the data folder."""

    code = "stack_running"


@dataclass
class PartState:
    """One part as last seen by its supervisor.

    ``state``: waiting, preparing, starting, ready, backoff, failed, stopped; ``since`` and ``started_at``: seconds
    since 1970; ``command``: the arguments, without secrets, by which a left-over process is recognised.
    """

    state: str = "waiting"
    external: bool = False
    pid: int | None = None
    create_time: float | None = None
    port: int | None = None
    url: str | None = None
    started_at: float | None = None
    since: float | None = None
    restarts: int = 0
    error: str | None = None
    command: list[str] = field(default_factory=list)


@dataclass
class StackState:
    """``state``: starting, ready, stopping, stopped. ``ports`` outlive the stack, so that a restart keeps them."""

    state: str = "stopped"
    supervisor_pid: int | None = None
    supervisor_create_time: float | None = None
    started_at: float | None = None
    ports: dict[str, int] = field(default_factory=dict)
    connections: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, PartState] = field(default_factory=dict)

    def supervisor_alive(self) -> bool:
        """True if the supervisor that wrote this lives."""
        return process.find(self.supervisor_pid, self.supervisor_create_time) is not None


def read(data_dir: Path) -> StackState:
    """The state of the data folder; an empty one if there is none or it cannot be read (a power cut)."""
    try:
        document = json.loads((data_dir / "stack.json").read_text())
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            return StackState()
        parts = {name: PartState(**part) for name, part in document.pop("parts", {}).items()}
        return StackState(**document, parts=parts)
    except (OSError, ValueError, TypeError, AttributeError):
        return StackState()


def write(data_dir: Path, state: StackState) -> None:
    """Replaces the state in one step. Connections hold passwords, so only the owner may read the file."""
    fresh = data_dir / "stack.json.new"
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"format": FORMAT, **asdict(state)}, file, indent=1)
    fresh.replace(data_dir / "stack.json")


class Lock:
    """An exclusive lock on the data folder; the system drops it when its holder dies, however it dies."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "stack.lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises StackRunningError, which names the holder, if another process has the lock."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise StackRunningError(
                f"a stack runs on {self.path.parent} already (pid {holder or 'unknown'}): see `versions status`, "
                "end it by `versions down`, or choose another folder by --data-dir"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Drops the lock; safe to repeat."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None
