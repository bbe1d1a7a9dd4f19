"""The decoder: a process of its own that opens untrusted sound with FFmpeg's libraries and hands out samples.

`media.decoder` starts it by its path, isolated, so it imports nothing of ours. One request at a time on the socket
whose descriptor is its first argument: a JSON object, with the open file as passed descriptor. The answer: four bytes
(the length, big-endian) and a JSON object, then the samples. It ends when the other side is gone.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

_LOG_BYTES = 64 * 1024
"""How much of the head and of the tail of the libraries' log is told, each."""
_LOG_LIMIT = 1 << 20
_PULL_EVERY = 16
_BLOCKS = ["asetnsamples", "n=8192:p=0"]
"""The last filter: fewer, larger blocks."""
_MICROSECONDS = 1e-6
_TAIL_S = 5.0
_ROUNDED_S = 0.1


def _limit(kind: int, value: int, *, for_good: bool = True) -> None:
    """Sets a limit; one that is tighter already, or that the system does not know, is left as it is."""
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value if for_good else hard))


def _open(av: Any, file: int, request: dict[str, Any]) -> Any:
    # Only the open descriptor can be read: a playlist that got past the formats could still not open a file or a URL.
    options = {"fd": str(file), "protocol_whitelist": "fd", "format_whitelist": request["formats"]}
    return av.open("fd:", options=options, metadata_errors="ignore")


def _described(container: Any) -> dict[str, Any]:
    """What the header says."""
    streams = [each for each in container.streams if not each.disposition & each.disposition.attached_pic]
    told: dict[str, Any] = {
        "container": container.format.name,
        "header_s": None if container.duration is None else container.duration * _MICROSECONDS,
        "bit_rate": container.bit_rate or None,
        "streams": len(streams),
    }
    sound = container.streams.audio[0] if container.streams.audio else None
    if sound is not None:
        context = sound.codec_context
        told["codec"] = "unknown" if context is None else context.codec.canonical_name
        if context is not None:
            told |= {"sample_rate": context.sample_rate, "channels": context.channels}
            told["stream_bit_rate"] = context.bit_rate or None
    return told


def _only(container: Any) -> Any:
    """The first stream of sound; the others are skipped where the container can."""
    sound = container.streams.audio[0]
    for stream in container.streams:
        if stream.index != sound.index:
            stream.discard = type(stream.discard).all
    return sound


def _packets(container: Any, sound: Any, told: dict[str, Any], av: Any) -> Iterator[Any]:
    try:
        yield from container.demux(sound)
    except (av.error.FFmpegError, MemoryError) as error:
        told["error"] = str(error)


class _Resampler:
    """A filter graph that is made anew where the stream changes its form, as some broadcasts do."""

    def __init__(self, av: Any, chain: list[list[str]], most: int) -> None:
        self._av, self._chain, self._most = av, chain, 2 * most
        # Source, sink, and their graph, which they do not keep alive themselves.
        self._ends: tuple[Any, Any, Any] | None = None
        self._pushed = 0
        self.samples = bytearray()

    def push(self, frame: Any) -> bool:
        """Whether more is wanted."""
        if self._ends is None:
            self._ends = self._graph(frame)
        try:
            self._ends[0].push(frame)
        except ValueError:  # not the form that the graph was made for
            self.flush()
            self._ends = self._graph(frame)
            self._ends[0].push(frame)
        self._pushed += 1
        if self._pushed % _PULL_EVERY == 0:
            self._pull()
        return len(self.samples) < self._most

    def flush(self) -> None:
        if self._ends is not None:
            self._ends[0].push(None)
            self._pull()
            self._ends = None
        del self.samples[self._most :]

    def _graph(self, frame: Any) -> tuple[Any, Any, Any]:
        graph = self._av.filter.Graph()
        nodes = [
            graph.add_abuffer(
                sample_rate=frame.sample_rate, format=frame.format, layout=frame.layout, time_base=frame.time_base
            )
        ]
        nodes += [graph.add(name, arguments) for name, arguments in self._chain]
        nodes.append(graph.add("abuffersink"))
        graph.link_nodes(*nodes).configure()
        return nodes[0], nodes[-1], graph

    def _pull(self) -> None:
        assert self._ends
        while True:
            try:
                frame = self._ends[1].pull()
            except (self._av.error.BlockingIOError, self._av.error.EOFError):
                return
            self.samples += memoryview(frame.planes[0])[: 2 * frame.samples]


def _decode(av: Any, file: int, request: dict[str, Any], told: dict[str, Any]) -> bytes:
    """Samples of the first stream of sound: mono, s16, at the rate and at most as many as asked for."""
    with _open(av, file, request) as container:
        told |= _described(container)
    if not told.get("codec") or told["codec"] == "unknown":
        return b""
    samples = _in_one_graph(av, file, request)
    return _packet_by_packet(av, file, request, told) if samples is None else samples


def _in_one_graph(av: Any, file: int, request: dict[str, Any]) -> bytes | None:
    """The same within FFmpeg's libraries, by its filter `amovie`: our steps for each packet took a fifth of the time.

    None where anything was complained of before there were enough samples: what could be heard of such a file is found
    packet by packet.
    """
    options = f"fd={file}:protocol_whitelist=fd:format_whitelist={request['formats']}"
    graph = av.filter.Graph()
    most, samples, complained = 2 * request["samples"], bytearray(), -1
    os.lseek(file, 0, os.SEEK_SET)
    try:
        nodes = [graph.add("amovie", filename="fd:", streams="a:0", dec_threads="1", format_opts=options)]
        nodes += [graph.add(name, arguments) for name, arguments in [*request["chain"], _BLOCKS]]
        nodes.append(graph.add("abuffersink"))
        graph.link_nodes(*nodes).configure()
        complained = os.fstat(2).st_size
        while len(samples) < most:
            frame = nodes[-1].pull()
            samples += memoryview(frame.planes[0])[: 2 * frame.samples]
    except av.error.EOFError:
        if os.fstat(2).st_size != complained:
            return None
    except (av.error.FFmpegError, MemoryError, ValueError):
        return None
    del samples[most:]
    return bytes(samples)


def _packet_by_packet(av: Any, file: int, request: dict[str, Any], told: dict[str, Any]) -> bytes:
    """The same for files that are damaged, or that change their form on the way."""
    os.lseek(file, 0, os.SEEK_SET)
    with _open(av, file, request) as container:
        sound = _only(container)
        # Which thread ends when, and how much memory each takes, is not for a hostile file to decide.
        sound.codec_context.thread_count = 1
        resampler = _Resampler(av, [*request["chain"], _BLOCKS], request["samples"])
        for packet in _packets(container, sound, told, av):
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, MemoryError) as error:
                # A damaged packet: what follows may be whole.
                told["error"] = str(error)
                continue
            if not all(resampler.push(frame) for frame in frames):
                break
        resampler.flush()
        return bytes(resampler.samples)


def _reaches(av: Any, file: int, request: dict[str, Any]) -> bool:
    """Whether there is sound until the moment that the header promises, by the packets shortly before it."""
    end = request["promised"]
    try:
        with _open(av, file, request) as container:
            sound = _only(container)
            container.seek(int(max(0.0, end - _TAIL_S) / _MICROSECONDS))
            packets = (packet for packet in container.demux(sound) if packet.size and packet.pts is not None)
            return any(
                (packet.pts + (packet.duration or 0)) * sound.time_base >= end - _ROUNDED_S for packet in packets
            )
    except (av.error.FFmpegError, MemoryError):
        return False


def _count(av: Any, file: int, request: dict[str, Any], told: dict[str, Any]) -> bytes:
    """How many seconds the packets of the first stream of sound last; nothing is decoded.

    Where a length is ``promised`` that can be trusted if there is sound at its end, only the end is read.
    """
    if request["promised"] is not None and _reaches(av, file, request):
        told["seconds"] = request["promised"]
        return b""
    os.lseek(file, 0, os.SEEK_SET)
    with _open(av, file, request) as container:
        sound = _only(container)
        total, first, last = 0, None, None
        most = request["seconds"] / sound.time_base
        silent = False
        for packet in _packets(container, sound, told, av):
            if packet.size:
                silent = silent or not packet.duration
                total += packet.duration or 0
                if packet.pts is not None:
                    first = packet.pts if first is None else min(first, packet.pts)
                    last = max(last or 0, packet.pts + (packet.duration or 0))
                if max(total, (last or 0) - (first or 0)) > most:
                    break
        # Time stamps of the web's files jump, so durations come first; not every container has them.
        length = (last or 0) - (first or 0) if silent else total
        told["seconds"] = float(length * sound.time_base)
        return b""


_TASKS = {"decode": _decode, "count": _count}


def _log() -> str:
    """What the libraries wrote to our standard error since the last time."""
    size = os.lseek(2, 0, os.SEEK_END)
    text = os.pread(2, _LOG_BYTES, 0) + os.pread(2, _LOG_BYTES, max(_LOG_BYTES, size - _LOG_BYTES))
    os.ftruncate(2, 0)
    os.lseek(2, 0, os.SEEK_SET)
    return text.decode("utf-8", "replace")


def _held_kib() -> int:
    """Resident memory; the most of it so far where the system tells only that (macOS, in bytes)."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() // 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _answer(av: Any, file: int, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    told: dict[str, Any] = {"error": ""}
    samples = b""
    os.lseek(file, 0, os.SEEK_SET)
    try:
        samples = _TASKS[request["task"]](av, file, request, told)
    except MemoryError:
        told["error"] = "Cannot allocate memory"
    except Exception as error:  # whatever it is, it is the file's doing, and the other side must hear of it
        told["error"] = str(error) or type(error).__name__
    gc.collect()
    told["log"] = _log()
    told["held_kib"] = _held_kib()
    told["samples"] = len(samples)
    return told, samples


def main() -> None:
    """Answers until the other side closes."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, int(sys.argv[2]) * 1024)
    _limit(resource.RLIMIT_FSIZE, _LOG_LIMIT)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
    import av
    import av.logging

    # Containers and their streams refer to each other: they are collected once a request, not at every so many frames.
    gc.freeze()
    gc.disable()

    # FFmpeg's own log. PyAV's holds back what is said twice in a row and tells it with another file's complaints.
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.WARNING)
    while True:
        data, files, _, _ = socket.recv_fds(channel, 1 << 16, 1)
        if not data or not files:
            return
        request = json.loads(data)
        spent = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(spent.ru_utime + spent.ru_stime) + request["cpu_s"], for_good=False)
        try:
            told, samples = _answer(av, files[0], request)
        finally:
            os.close(files[0])
        head = json.dumps(told).encode()
        channel.sendall(struct.pack(">I", len(head)) + head)
        channel.sendall(samples)


if __name__ == "__main__":
    main()
