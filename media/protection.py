"""Sees whether sound is locked (DRM), by the container's own words, before anything is decoded.

FFmpeg decodes an encrypted track to noise or fails with a message that tells nothing, so the boxes of MP4 (ISO/IEC
14496-12; common encryption: ISO/IEC 23001-7) and the elements of Matroska and WebM (RFC 9559) are read here. Reading is
bounded: sizes are never believed, and nothing is read but headers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

_MOST_BOXES = 4096
_DEEPEST = 8
"""moov, trak, mdia, minf, stbl are five; a file may nest what it likes."""


_SYSTEMS = {
    "edef8ba979d64acea3c827dcd51d21ed": "Widevine",
    "9a04f07998404286ab92e65be0885f95": "PlayReady",
    "94ce86fb07ff4f43adb893d2fa968ca2": "FairPlay",
    "1077efecc0b24d02ace33c1e52e2fb4b": "common encryption",
}
_LOCKED_SOUND = {b"enca": "encrypted sound (enca)", b"drms": "FairPlay sound (drms)", b"aavd": "Audible sound (aavd)"}
_NESTED = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}
_MP4_STARTS = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"sidx"}

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT, _TRACKS, _TRACK, _ENCODINGS, _ENCODING = 0x18538067, 0x1654AE6B, 0xAE, 0x6D80, 0x6240
_TRACK_TYPE, _ENCRYPTION, _SOUND = 0x83, 0x5035, 2
_CLUSTER = 0x1F43B675


def protection(file: int, size: int) -> str | None:
    """What locks the sound of an open file of so many bytes, in words; None where nothing does.

    ``file``: a descriptor, whose position is left alone.
    """
    head = os.pread(file, 12, 0)
    if head[4:8] in _MP4_STARTS:
        return _mp4(file, size)
    return _matroska(file, size) if head[:4] == _EBML else None


def _boxes(file: int, start: int, end: int, left: list[int], depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """(type, start and end of the content) of the boxes in a stretch and, after each, of those nested in it."""
    while start + 8 <= end and left[0] > 0:
        left[0] -= 1
        header = os.pread(file, 16, start)
        if len(header) < 8:
            return
        length, kind, content = int.from_bytes(header[:4], "big"), header[4:8], start + 8
        if length == 1:
            length, content = int.from_bytes(header[8:16], "big"), start + 16
        until = end if length == 0 else min(end, start + length)
        if until < content:
            return
        yield kind, content, until
        if kind in _NESTED and depth < _DEEPEST:
            yield from _boxes(file, content, until, left, depth + 1)
        start = until


def _mp4(file: int, size: int) -> str | None:
    systems: list[str] = []
    locked = ""
    is_sound = False
    for kind, start, end in _boxes(file, 0, size, [_MOST_BOXES]):
        data = os.pread(file, min(end - start, 64), start) if kind in (b"hdlr", b"stsd", b"pssh") else b""
        if kind == b"trak":
            is_sound = False
        elif kind == b"hdlr":
            is_sound = data[8:12] == b"soun"
        elif kind == b"stsd":
            locked = locked or _LOCKED_SOUND.get(data[12:16], "")
        elif kind == b"senc" and is_sound:
            # Some writers leave the plain name in the sample description.
            locked = locked or "encrypted samples (senc)"
        elif kind == b"pssh":
            systems.append(_SYSTEMS.get(data[4:20].hex(), "an unknown system"))
    if not locked:
        return None
    return f"{locked}, {', '.join(dict.fromkeys(systems))}" if systems else locked


def _number(data: bytes, marked: bool) -> tuple[int, int]:
    """An EBML number (ids keep their length mark) and how many bytes it takes; (-1, 0) where there is none."""
    if not data or not data[0]:
        return -1, 0
    length = 9 - data[0].bit_length()
    if len(data) < length:
        return -1, 0
    value = int.from_bytes(data[:length], "big")
    if marked:
        return value, length
    value &= (1 << 7 * length) - 1
    # All ones: of unknown size.
    return (-1 if value == (1 << 7 * length) - 1 else value), length


def _elements(file: int, start: int, end: int, left: list[int]) -> Iterator[tuple[int, int, int]]:
    """(id, start and end of the content) of the elements in a stretch."""
    while start < end and left[0] > 0:
        left[0] -= 1
        header = os.pread(file, 12, start)
        kind, taken = _number(header, True)
        length, more = _number(header[taken:], False)
        if not taken or not more:
            return
        content = start + taken + more
        until = end if length < 0 else min(end, content + length)
        yield kind, content, until
        start = until


def _matroska(file: int, size: int) -> str | None:
    left = [_MOST_BOXES]
    for kind, start, end in _elements(file, 0, size, left):
        if kind != _SEGMENT:
            continue
        for part, part_start, part_end in _elements(file, start, end, left):
            if part == _CLUSTER:  # the sound begins: the tracks were described before it
                return None
            if part != _TRACKS:
                continue
            for track, track_start, track_end in _elements(file, part_start, part_end, left):
                if track == _TRACK and _locked_track(file, track_start, track_end, left):
                    return "encrypted sound (ContentEncryption)"
    return None


def _locked_track(file: int, start: int, end: int, left: list[int]) -> bool:
    sound = locked = False
    for kind, content, until in _elements(file, start, end, left):
        if kind == _TRACK_TYPE:
            sound = os.pread(file, 1, content) == bytes([_SOUND])
        elif kind == _ENCODINGS:
            for encoding, inner, inner_end in _elements(file, content, until, left):
                found = encoding == _ENCODING and any(
                    part == _ENCRYPTION for part, _, _ in _elements(file, inner, inner_end, left)
                )
                locked = locked or found
    return sound and locked
