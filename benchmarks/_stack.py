"""The embedded stack in a folder that is thrown away, and what its processes use."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from runtime.connections import Connections
from runtime.embedded.process import memory_bytes
from runtime.embedded.state import StackError
from runtime.embedded.supervisor import Supervisor
from runtime.settings import Settings

SAMPLE_S = 0.5


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack: where its parts are, and the supervisor that owns them."""

    connections: Connections
    supervisor: Supervisor
    data_dir: Path

    def pids(self) -> list[int]:
        """The parts' own processes."""
        return [part.pid for part in self.supervisor.snapshot().values() if part.pid]

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds (user and system) by part so far, finished children included."""
        parts = self.supervisor.snapshot()
        return {name: _cpu_s(part.pid) for name, part in parts.items() if part.pid}


@contextlib.contextmanager
def running(*parts: str) -> Iterator[Stack]:
    """Starts these parts (default: all), whatever the environment says; ends and removes them after."""
    with tempfile.TemporaryDirectory(prefix="versions-bench-", ignore_cleanup_errors=True) as folder:
        # PostgreSQL may run as another user than root.
        Path(folder).chmod(0o755)
        data_dir = Path(folder) / "data"
        settings = Settings(
            data_dir=data_dir, database_url=None, temporal_address=None, s3_endpoint=None, redis_url=None
        )
        supervisor = Supervisor(settings, only=list(parts) or None)
        try:
            connections = supervisor.start()
        except StackError:  # a busy machine may take longer than a part is given; what is made already helps
            supervisor = Supervisor(settings, only=list(parts) or None)
            connections = supervisor.start()
        try:
            yield Stack(connections, supervisor, data_dir)
        finally:
            supervisor.stop()


def _cpu_s(pid: int) -> float:
    total = 0.0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for each in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += sum(each.cpu_times()[:4])
    return total


def cpu_of(pid: int, name: str = "reference") -> dict[str, float]:
    """CPU seconds of a process that is not of the stack, in the form of `Stack.cpu_s`."""
    return {name: _cpu_s(pid)}


def cpu_difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """CPU seconds by part between two readings."""
    return {name: after[name] - before.get(name, 0.0) for name in after}


def per_item(used: Sequence[dict[str, float]], items: int) -> str:
    """CPU milliseconds an item by part, over all rounds, for a figure's detail."""
    names = sorted({name for each in used for name in each})
    shares = {name: sum(each.get(name, 0.0) for each in used) * 1000 / items for name in names}
    return f"{sum(shares.values()):.0f} ms ({', '.join(f'{name} {ms:.0f}' for name, ms in shares.items())})"


class PeakMemory(threading.Thread):
    """Adds up the resident memory of the stack's processes, shared pages once; remembers the most, in bytes."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(name="peak memory", daemon=True)
        self._stack = stack
        self._over = threading.Event()
        self.peak = 0
        self.parts: dict[str, int] = {}

    def run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            parts = self._stack.supervisor.snapshot()
            sizes = {name: memory_bytes(part.pid) for name, part in parts.items() if part.pid}
            if sum(sizes.values()) > self.peak:
                self.peak, self.parts = sum(sizes.values()), sizes

    def stop(self) -> None:
        """Ends the watch."""
        self._over.set()
        self.join()
