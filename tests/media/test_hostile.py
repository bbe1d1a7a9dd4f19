"""Odd and hostile files: each ends with its own reason or is heard; time and memory stay bounded."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from mutagen.id3 import APIC, ID3

from media.analysis import analyse
from media.decoder import ADDRESS_SPACE_KIB, DECODERS
from media.types import AudioError
from tests.media.synth import RATE, encode, ffmpeg, render, write_wav

ROOT = Path(__file__).resolve().parents[2]
KEY = ("-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8")
WIDEVINE = bytes.fromhex("edef8ba979d64acea3c827dcd51d21ed")


@pytest.fixture(scope="module")
def tune(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("tune") / "tune.wav", render(4, 20.0))


def error_of(path: Path) -> AudioError:
    with pytest.raises(AudioError) as caught:
        analyse(path)
    for process in DECODERS._idle:
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert int(status.partition("VmHWM:")[2].split()[0]) < ADDRESS_SPACE_KIB / 2
    assert caught.value.detail
    return caught.value


def box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def full(kind: bytes, *content: bytes) -> bytes:
    return box(kind, bytes(4), *content)


def element(number: str, *content: bytes) -> bytes:
    data = b"".join(content)
    return bytes.fromhex(number) + (0x10000000 | len(data)).to_bytes(4, "big") + data


@pytest.mark.parametrize(("suffix", "name"), [(".mp3", "song.flac"), (".flac", "song.jpg"), (".m4a", "song.mp3")])
def test_the_extension_may_be_wrong(tune: Path, tmp_path: Path, suffix: str, name: str) -> None:
    assert analyse(encode(tune, tmp_path / f"right{suffix}").rename(tmp_path / name)).info.duration_s > 19


@pytest.mark.parametrize("movflags", ["+faststart", "+frag_keyframe+empty_moov+default_base_moof"])
def test_encrypted_mp4(tune: Path, tmp_path: Path, movflags: str) -> None:
    path = tmp_path / "locked.mp4"
    ffmpeg("-i", tune, "-c:a", "aac", "-encryption_scheme", "cenc-aes-ctr", *KEY, "-movflags", movflags, path)
    error = error_of(path)
    assert error.code == "encrypted"
    assert "DRM" in error.detail


def test_a_widevine_init_segment_names_its_system(tmp_path: Path) -> None:
    entry = full(b"stsd", struct.pack(">I", 1), box(b"enca", bytes(28)))
    track = box(b"trak", box(b"mdia", full(b"hdlr", bytes(4), b"soun"), box(b"minf", box(b"stbl", entry))))
    path = tmp_path / "init.mp4"
    path.write_bytes(
        box(b"ftyp", b"iso6", bytes(4)) + box(b"moov", track, full(b"pssh", WIDEVINE, struct.pack(">I", 0)))
    )
    error = error_of(path)
    assert error.code == "encrypted"
    assert "Widevine" in error.detail


def test_encrypted_webm(tmp_path: Path) -> None:
    locked = element("6d80", element("6240", element("5033", b"\1"), element("5035", element("47e1", b"\5"))))
    track = element("ae", element("d7", b"\1"), element("83", b"\2"), element("86", b"A_OPUS"), locked)
    path = tmp_path / "locked.webm"
    head = element("1a45dfa3", element("4282", b"webm"))
    path.write_bytes(head + element("18538067", element("1654ae6b", track)) + bytes(1_000))
    assert error_of(path).code == "encrypted"


def test_locked_pictures_do_not_lock_the_sound(tune: Path, tmp_path: Path) -> None:
    clear = encode(tune, tmp_path / "clear.m4a", "-movflags", "+faststart")
    # A system's header beside clear tracks: a film whose sound is free.
    data = clear.read_bytes() + full(b"pssh", WIDEVINE, struct.pack(">I", 0))
    (tmp_path / "film.m4a").write_bytes(data)
    assert analyse(tmp_path / "film.m4a").info.codec == "aac"


def test_boxes_within_boxes_without_end(tmp_path: Path) -> None:
    data = b""
    for _ in range(3_000):
        data = box(b"moov", data)
    (tmp_path / "deep.mp4").write_bytes(box(b"ftyp", b"iso6", bytes(4)) + data)
    assert error_of(tmp_path / "deep.mp4").code in {"not_audio", "no_audio_stream", "decode_failed", "truncated"}
    # A box of no size of its own, and one that ends before it begins.
    for number, length in enumerate((0, 1, 7)):
        path = tmp_path / f"odd{number}.mp4"
        path.write_bytes(box(b"ftyp", b"iso6", bytes(4)) + struct.pack(">I4s", length, b"moov") + bytes(64))
        assert error_of(path).code in {"not_audio", "no_audio_stream", "decode_failed", "truncated"}


def test_two_hours_in_a_small_file(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.flac"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono:d=7300", "-c:a", "flac", "-compression_level", "0", bomb)
    assert bomb.stat().st_size < 1_000_000
    assert error_of(bomb).code == "too_long"
    # The same without the length in its header: the packets are counted, not decoded.
    data = bytearray(bomb.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    bomb.write_bytes(data)
    assert error_of(bomb).code == "too_long"


def test_ten_hours_without_a_header(tmp_path: Path) -> None:
    piece = tmp_path / "piece.mp3"
    noise = "anoisesrc=d=60:c=pink:r=8000:a=0.1"
    ffmpeg(
        "-f", "lavfi", "-i", noise, "-c:a", "libmp3lame", "-b:a", "8k", "-write_xing", "0", "-id3v2_version", "0", piece
    )
    long = tmp_path / "long.mp3"
    with long.open("wb") as file:
        for _ in range(600):
            file.write(piece.read_bytes())
    error = error_of(long)
    assert error.code == "too_long"
    assert "7200" in error.detail


@pytest.mark.parametrize("samples", [0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_sample_table_that_lies(tune: Path, tmp_path: Path, samples: int) -> None:
    data = bytearray(encode(tune, tmp_path / "whole.m4a", "-movflags", "+faststart").read_bytes())
    at = data.index(b"stsz") + 8
    data[at : at + 8] = struct.pack(">II", 1, samples)
    (tmp_path / "lie.m4a").write_bytes(data)
    assert error_of(tmp_path / "lie.m4a").code in {"decode_failed", "not_audio", "truncated", "too_short", "too_long"}


def test_a_cover_picture_that_unpacks_to_a_gigabyte(tune: Path, tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    side = 16_000
    rows = zlib.compressobj(1)
    packed = b"".join(rows.compress(bytes(side // 8 + 1)) for _ in range(side)) + rows.flush()
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    png += chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    path = encode(tune, tmp_path / "cover.mp3")
    tags = ID3()
    tags.add(APIC(mime="image/png", type=3, data=png))
    tags.save(path)
    # In a process of its own: this one has had other children, and remembers the largest.
    look = (
        "import pathlib, resource, sys; from media.analysis import analyse; from media.decoder import DECODERS; "
        "codec = analyse(pathlib.Path(sys.argv[1])).info.codec; DECODERS.close(); "
        "print(codec, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", look, str(path)], capture_output=True, text=True, cwd=ROOT, check=True)
    codec, peak_kib = done.stdout.split()
    assert codec == "mp3"
    assert int(peak_kib) < ADDRESS_SPACE_KIB / 2


def _ape(frames: int) -> bytes:
    # A Monkey's Audio header (version 3.99) that promises so many frames and their seek table.
    descriptor = b"MAC " + struct.pack("<HHIIIIIII", 3990, 0, 52, 24, 4 * min(frames, 100), 0, 1_000, 0, 0) + bytes(16)
    header = struct.pack("<HHIIIHHI", 2000, 0, 73_728 * 4, 73_728, frames, 16, 2, 44_100)
    return descriptor + header + bytes(10_000)


def _tta(samples: int) -> bytes:
    header = b"TTA1" + struct.pack("<HHHII", 1, 2, 16, 44_100, samples)
    return header + struct.pack("<I", zlib.crc32(header)) + bytes(10_000)


def _wav(rate: int, channels: int) -> bytes:
    frame = channels * 2 % 65_536
    header = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * frame & 0xFFFFFFFF, frame, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 0xFFFFFFFF)
        + b"WAVEfmt "
        + header
        + b"data"
        + struct.pack("<I", 0x7FFFFFFF)
        + bytes(9_000)
    )


@pytest.mark.parametrize(
    "content",
    [
        lambda: _ape(0x7FFF_FFFF),
        lambda: _ape(5_000_000),
        lambda: _tta(0xFFFF_FFFF),
        lambda: _wav(0xFFFF_FFFF, 2),
        lambda: _wav(1, 65_535),
        lambda: _wav(44_100, 65_535),
    ],
)
def test_headers_that_promise_the_moon(tmp_path: Path, content: Callable[[], bytes]) -> None:
    path = tmp_path / "moon"
    path.write_bytes(content())
    assert error_of(path).code in {"not_audio", "decode_failed", "truncated", "too_long", "too_short", "silent"}


def test_a_telephone_and_a_studio(tune: Path, tmp_path: Path) -> None:
    small, large = tmp_path / "small.wav", tmp_path / "large.flac"
    ffmpeg("-i", tune, "-ar", "8000", "-ac", "1", small)
    ffmpeg("-i", tune, "-ar", "192000", "-af", "pan=5.1|FL=c0|FR=c0|FC=c0|LFE=c0|BL=c0|BR=c0", large)
    for path, rate, channels in ((small, 8_000, 1), (large, 192_000, 6)):
        features = analyse(path)
        assert (features.info.sample_rate, features.info.channels) == (rate, channels)
        assert features.info.duration_s == pytest.approx(20, abs=0.1)
    assert RATE < 192_000
