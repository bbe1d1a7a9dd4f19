"""Runs FFmpeg on untrusted input: one open file, bounded time, memory and output."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from media.types import AudioError

ADDRESS_SPACE_KIB = 1 << 20
"""Address space of one FFmpeg process, KiB (1 GiB; decoding audio on one thread takes about 200 MiB)."""

LOG_BYTES = 64 * 1024
"""How much of the head and of the tail of FFmpeg's log is kept, each."""

# The limits are set by a shell that then becomes FFmpeg: Python's preexec_fn is unsafe beside threads. A limit that
# the system does not know (address space on macOS) or that is tighter already is left as it is.
_LIMITED = 'ulimit -c 0; ulimit -t "$1" 2>/dev/null; ulimit -v "$2" 2>/dev/null; shift 2; exec "$@"'


@dataclass(frozen=True, slots=True)
class Finished:
    """What a process left. ``side``: what it wrote to the extra pipe; ``log``: its standard error, shortened."""

    returncode: int
    output: bytes
    side: bytes
    log: str


class _Sink:
    """Keeps the first bytes of a stream, and its last ones in so far as ``tail`` asks for them."""

    def __init__(self, head: int, tail: int = 0) -> None:
        self._head, self._tail = head, tail
        self._first, self._last = bytearray(), bytearray()

    def write(self, data: bytes) -> None:
        room = max(0, self._head - len(self._first))
        self._first += data[:room]
        if self._tail:
            self._last = (self._last + data[room:])[-self._tail :]

    def value(self) -> bytes:
        return bytes(self._first + self._last)


def side_pipe() -> tuple[int, int]:
    """A pipe for a second output: (read end, write end). `run` closes both."""
    return os.pipe()


def run(
    command: list[str],
    audio: IO[bytes],
    *,
    timeout_s: float,
    max_output: int,
    side: tuple[int, int] | None = None,
) -> Finished:
    """Runs ``command`` with ``audio`` as its standard input and returns what it wrote.

    Output beyond ``max_output`` bytes is dropped. The process and its children are killed at ``timeout_s`` seconds.
    Raises AudioError ``decode_timeout``.
    """
    cpu_s = max(1, round(timeout_s) + 1)
    selector = selectors.DefaultSelector()
    sinks = {"output": _Sink(max_output), "log": _Sink(LOG_BYTES, LOG_BYTES), "side": _Sink(max_output)}
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _LIMITED, "sh", str(cpu_s), str(ADDRESS_SPACE_KIB), *command],
            stdin=audio,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[side[1]] if side else [],
            # Nothing of ours (FFREPORT, proxies, credentials) reaches it.
            env={"PATH": os.defpath, "LC_ALL": "C", "AV_LOG_FORCE_NOCOLOR": "1"},
            cwd=Path("/"),
            start_new_session=True,
        )
    except OSError:
        if side:
            os.close(side[0])
        raise
    finally:
        if side:
            os.close(side[1])
    deadline = time.monotonic() + timeout_s
    assert process.stdout
    assert process.stderr
    streams: dict[int, str] = {process.stdout.fileno(): "output", process.stderr.fileno(): "log"}
    if side:
        streams[side[0]] = "side"
    try:
        for descriptor in streams:
            selector.register(descriptor, selectors.EVENT_READ)
        while streams:
            left = deadline - time.monotonic()
            if left <= 0:
                raise AudioError(
                    "decode_timeout",
                    f"FFmpeg did not finish within {timeout_s:g} s",
                    "play the file by hand; raise the time limit if it is sound and long",
                )
            for key, _ in selector.select(left):
                if data := os.read(key.fd, 1 << 16):
                    sinks[streams[key.fd]].write(data)
                else:
                    selector.unregister(key.fd)
                    del streams[key.fd]
        returncode = process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise AudioError("decode_timeout", f"FFmpeg did not finish within {timeout_s:g} s") from error
    finally:
        selector.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
        process.stderr.close()
        if side:
            os.close(side[0])
    if returncode in (-signal.SIGKILL, -signal.SIGXCPU):
        raise AudioError(
            "decode_timeout",
            f"FFmpeg was killed: it used more than {cpu_s} s of CPU time, or the machine ran out of memory",
            "look at the file and at the machine's memory",
        )
    log = sinks["log"].value().decode("utf-8", "replace")
    return Finished(returncode, sinks["output"].value(), sinks["side"].value(), log)
