"""What a file's header says, as the decoder tells it, and what went wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Probe:
    """What FFmpeg's libraries saw before they decoded.

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


def read_probe(told: Mapping[str, Any]) -> Probe:
    """What the decoder's description and the libraries' log say of the input and of its first stream of sound."""
    if not told.get("container"):
        return Probe()
    names = told["container"].split(",")
    # The sound's own; where there is nothing else, that of the whole file stands for it.
    own = told.get("stream_bit_rate")
    alone = told["streams"] == 1
    return Probe(
        container="mp4" if "mp4" in names else names[0],
        codec=told.get("codec", ""),
        sample_rate=told.get("sample_rate", 0),
        channels=told.get("channels", 0),
        bit_rate=own or (told["bit_rate"] if alone else None),
        stream_bit_rate=own,
        header_s=told["header_s"],
        alone=alone,
        estimated="Estimating duration from bitrate" in told["log"],
        guessed="misdetection possible" in told["log"],
    )


def last_words(log: str) -> str:
    """The line of the log that best says what went wrong, at most 200 characters."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error|invalid|failed|not found|cannot|unsupported", line, re.I)]
    chosen = (errors or lines or ["no message"])[-1]
    # Addresses, error numbers and the name under which we hand over a file tell a person nothing.
    return re.sub(r" @ 0x[0-9a-f]+|\[Errno -?\d+\] |: 'fd:'", "", chosen)[:200]
