"""Byte ranges and content types of stored audio."""

from __future__ import annotations

import re
from typing import Any

from catalog_api.problems import ApiError

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")

_BY_CODEC = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "vorbis": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/mp4",
    "alac": "audio/mp4",
}


def content_type(info: dict[str, Any]) -> str:
    """The media type of audio with this codec and container; never one that a browser would run."""
    codec, container = str(info.get("codec", "")), str(info.get("container", ""))
    if "webm" in container or "matroska" in container:
        return "audio/webm"
    if codec == "flac" and "ogg" in container:
        return "audio/ogg"
    if codec == "aac" and container.startswith("aac"):
        return "audio/aac"
    if codec.startswith("pcm_"):
        return "audio/wav"
    return _BY_CODEC.get(codec, "application/octet-stream")


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(offset, length) of a Range header with one range; None: send all (RFC 9110: what is not understood is ignored).

    Raises ApiError 416 where the range lies outside.
    """
    match = _RANGE.match(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        start = size - length
    else:
        start = int(first)
        if last and int(last) < start:
            return None
        length = (min(int(last), size - 1) if last else size - 1) - start + 1
    if start >= size or length <= 0:
        raise ApiError(
            416, "range_not_satisfiable", f"the audio has {size} bytes", headers={"Content-Range": f"bytes */{size}"}
        )
    return start, length
