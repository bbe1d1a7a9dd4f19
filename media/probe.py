"""Reads FFmpeg's log: what the file is, how long its header says it is, what went wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Tags are the file's own words and are printed with a deeper indent, so the anchors keep them out.
_INPUT = re.compile(r"^Input #0, (?P<names>[\w,]+), from ", re.MULTILINE)
_DURATION = re.compile(
    r"^  Duration: (?:(?P<h>\d+):(?P<m>\d\d):(?P<s>\d\d(?:\.\d+)?)|N/A)(?:, start: [-\d.]+)?"
    r"(?:, bitrate: (?:(?P<kbit>\d+) kb/s|N/A))?",
    re.MULTILINE,
)
_AUDIO = re.compile(r"^  Stream #0:\d+[^\n]*?: Audio: (?P<codec>\w+)(?P<rest>[^\n]*)$", re.MULTILINE)
_STREAM = re.compile(r"^  Stream #0:\d+[^\n]*", re.MULTILINE)
_OUT_TIME = re.compile(r"^out_time_us=(\d+)$", re.MULTILINE)

_LAYOUTS = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "quad(side)": 4, "hexagonal": 6, "octagonal": 8}


@dataclass(frozen=True, slots=True)
class Probe:
    """What FFmpeg saw before it decoded.

    Attributes:
        container: first name of FFmpeg's demuxer; "" where the file was not opened.
        header_s: seconds by the header; None where it says nothing.
        alone: the sound has no other stream (a picture on the cover apart), so ``header_s`` is its own.
        estimated: ``header_s`` is only file size by bit rate.
        guessed: the format was recognised by a weak hint only.
    """

    container: str = ""
    codec: str = ""
    sample_rate: int = 0
    channels: int = 0
    bit_rate: int | None = None
    stream_bit_rate: int | None = None
    header_s: float | None = None
    estimated: bool = False
    alone: bool = False
    guessed: bool = False


def channel_count(layout: str) -> int:
    """Channels of FFmpeg's name of a layout: ``stereo``, ``5.1(side)``, ``3 channels``; 0 if unknown."""
    if layout in _LAYOUTS:
        return _LAYOUTS[layout]
    if found := re.match(r"(\d+) channels", layout):
        return int(found[1])
    if found := re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", layout):
        return sum(int(part) for part in found.groups() if part)
    return 0


def read_probe(log: str) -> Probe:
    """What the log says of the input and of its first audio stream."""
    opened = _INPUT.search(log)
    if not opened:
        return Probe()
    names = opened["names"].split(",")
    container = "mp4" if "mp4" in names else names[0]
    header_s = overall = None
    if duration := _DURATION.search(log):
        if duration["h"]:
            header_s = int(duration["h"]) * 3600 + int(duration["m"]) * 60 + float(duration["s"])
        overall = int(duration["kbit"]) * 1000 if duration["kbit"] else None
    codec, rate, channels, own = "", 0, 0, None
    if audio := _AUDIO.search(log):
        codec = audio["codec"]
        if found := re.search(r", (\d+) Hz, ([^,\n]+)", audio["rest"]):
            rate, channels = int(found[1]), channel_count(found[2].strip())
        if found := re.search(r", (\d+) kb/s", audio["rest"]):
            own = int(found[1]) * 1000
    streams = [line for line in _STREAM.findall(log.partition("Stream mapping:")[0]) if "(attached pic)" not in line]
    return Probe(
        container=container,
        codec=codec,
        sample_rate=rate,
        channels=channels,
        bit_rate=own or (overall if len(streams) == 1 else None),
        stream_bit_rate=own,
        header_s=header_s,
        alone=len(streams) == 1,
        estimated="Estimating duration from bitrate" in log,
        guessed="misdetection possible" in log,
    )


def out_seconds(log: str) -> float:
    """Seconds that FFmpeg wrote, by its last progress report; 0 where it made none."""
    times = _OUT_TIME.findall(log)
    return int(times[-1]) / 1e6 if times else 0.0


def last_words(log: str) -> str:
    """The line of the log that best says what went wrong, at most 200 characters."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error|invalid|failed|not found|cannot|unsupported", line, re.I)]
    chosen = (errors or lines or ["no message"])[-1]
    return re.sub(r" @ 0x[0-9a-f]+", "", chosen)[:200]
