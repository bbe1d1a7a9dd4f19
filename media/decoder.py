"""Decodes untrusted sound in processes of their own: bounded time, memory and output.

FFmpeg's libraries run in a decoder process (`media/_decoder.py`) that has an address space limit, an empty environment
and no file but the one it is handed. It serves one request after another: FFmpeg's own command, started for each file,
spent as much on its threads as on decoding. A process that failed, grew or had to be killed serves nobody else.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from media import memory
from media.probe import Probe, read_probe
from media.types import AudioError

ADDRESS_SPACE_KIB = 1 << 20
"""Address space of one decoder, KiB (1 GiB; decoding audio on one thread takes about 200 MiB)."""

RETIRED_KIB = 160 * 1024
"""A decoder that holds so much after its work (40 MiB are usual) is replaced: it would keep it."""

ANSWER_BYTES = 1 << 20
"""More than the description of a file can need: the log in it is shortened."""

FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,ogg,tak,tta,w64,"
    "wav,wv"
)
"""Demuxers that may be used. None of them opens further files: playlists, concat scripts and images are left out."""

_SCRIPT = Path(__file__).with_name("_decoder.py")


@dataclass(frozen=True, slots=True)
class Decoded:
    """``pcm``: mono, s16; ``probe``: what the header says; ``log``: what FFmpeg's libraries complained of."""

    pcm: bytes
    probe: Probe
    log: str


class _Gone(Exception):
    """The decoder ended before it answered."""


class _Process:
    """A decoder and our end of its socket; for one thread at a time."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_SCRIPT), str(theirs.fileno()), str(ADDRESS_SPACE_KIB)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Nothing of ours (FFREPORT, proxies, credentials) reaches it.
                env={"PATH": os.defpath, "LC_ALL": "C", "AV_LOG_FORCE_NOCOLOR": "1", **memory.KEEPING},
                cwd="/",
                start_new_session=True,
            )
        self._socket = ours
        self.pid = self._process.pid
        self.served = 0

    def ask(
        self, request: dict[str, Any], audio: IO[bytes], timeout_s: float, most: int
    ) -> tuple[dict[str, Any], bytes]:
        """The description and at most so many bytes of samples. Raises TimeoutError and `_Gone`."""
        deadline = time.monotonic() + timeout_s
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [audio.fileno()])
            (size,) = struct.unpack(">I", self._read(4, deadline))
            if size > ANSWER_BYTES:
                raise _Gone
            told: dict[str, Any] = json.loads(self._read(size, deadline))
            if not 0 <= told["samples"] <= most:
                raise _Gone
            return told, bytes(self._read(told["samples"], deadline))
        except (ConnectionError, ValueError, KeyError, TypeError) as error:
            raise _Gone from error

    def _read(self, count: int, deadline: float) -> bytearray:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            received = self._socket.recv_into(view)
            if not received:
                raise _Gone
            view = view[received:]
        return data

    def end(self, patience_s: float = 0.0) -> int:
        """Ends it, and returns its status (negative: the signal)."""
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(patience_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def forget(self) -> None:
        """Our copy of it goes (after a fork: it is the parent's)."""
        self._socket.close()
        self._process.returncode = 0


class Decoders:
    """As many processes as are asked at once; those that are idle wait for the next, one per core at most."""

    def __init__(self) -> None:
        self._idle: list[_Process] = []
        self._lock = threading.Lock()

    def ask(
        self, request: dict[str, Any], audio: IO[bytes], *, timeout_s: float, most: int = 0
    ) -> tuple[dict[str, Any], bytes]:
        """What the decoder says of an open file, and at most ``most`` bytes of samples.

        Raises AudioError ``decode_timeout`` and ``decode_failed``.
        """
        cpu_s = max(1, round(timeout_s) + 1)
        request = {**request, "formats": FORMATS, "cpu_s": cpu_s}
        process = self._take()
        try:
            told, samples = process.ask(request, audio, timeout_s, most)
        except _Gone as error:
            status = process.end(patience_s=1.0)
            if process.served:  # perhaps it was not this file's doing
                return self.ask(request, audio, timeout_s=timeout_s, most=most)
            raise _broken(status, cpu_s) from error
        except TimeoutError as error:
            process.end()
            raise AudioError(
                "decode_timeout",
                f"FFmpeg did not finish within {timeout_s:g} s",
                "play the file by hand; raise the time limit if it is sound and long",
            ) from error
        except BaseException:
            process.end()
            raise
        process.served += 1
        if told["held_kib"] > RETIRED_KIB:
            process.end()
        else:
            self._give_back(process)
        return told, samples

    def _take(self) -> _Process:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Process()

    def _give_back(self, process: _Process) -> None:
        with self._lock:
            if len(self._idle) < (os.cpu_count() or 1):
                self._idle.append(process)
                return
        process.end()

    def close(self) -> None:
        """Ends those that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def forget(self) -> None:
        """In a forked child: the processes are its parent's."""
        for process in self._idle:
            process.forget()
        self._idle, self._lock = [], threading.Lock()


def _broken(status: int, cpu_s: int) -> AudioError:
    if status in (-signal.SIGKILL, -signal.SIGXCPU):
        return AudioError(
            "decode_timeout",
            f"FFmpeg was killed: it used more than {cpu_s} s of CPU time, or the machine ran out of memory",
            "look at the file and at the machine's memory",
        )
    return AudioError("decode_failed", f"FFmpeg broke on it (status {status})", "look at the file by hand")


DECODERS = Decoders()
"""Of this process: whoever decodes shares them."""
atexit.register(DECODERS.close)
os.register_at_fork(after_in_child=DECODERS.forget)


def decode(audio: IO[bytes], chain: list[tuple[str, str]], *, samples: int, timeout_s: float) -> Decoded:
    """The first stream of sound of an open file through a chain of FFmpeg's filters (name, arguments) that ends in mono
    s16; at most so many samples.

    Raises AudioError ``decode_timeout`` and ``decode_failed``; a file that is not understood yields what could be read.
    """
    request = {"task": "decode", "chain": chain, "samples": samples}
    told, pcm = DECODERS.ask(request, audio, timeout_s=timeout_s, most=2 * samples)
    return Decoded(pcm, read_probe(told), f"{told['error']}\n{told['log']}")


def count(audio: IO[bytes], max_seconds: float, *, timeout_s: float, promised_s: float | None = None) -> float:
    """Seconds of the first stream of sound by its packets, which are not decoded; stops after ``max_seconds``.

    ``promised_s``: by a header that is right if the packets carry their own place and there is one at that place; then
    only the end of the file is read.
    """
    request = {"task": "count", "seconds": max_seconds, "promised": promised_s}
    told, _ = DECODERS.ask(request, audio, timeout_s=timeout_s)
    return float(told.get("seconds", 0.0))
