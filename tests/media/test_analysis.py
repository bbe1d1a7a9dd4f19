"""What is read from sound files, and how bad files end."""

from __future__ import annotations

import os
import struct
import subprocess
import threading
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from media import analysis, process
from media.analysis import analyse, loudness_dbfs, waveform_peaks
from media.types import ITEM_SECONDS, AudioError
from tests.media.synth import RATE, encode, ffmpeg, render, write_wav

SECONDS = 24.0


@pytest.fixture(scope="module")
def tune(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("tune") / "tune.wav", render(1, SECONDS))


def bit_error_rate(one: np.ndarray, other: np.ndarray) -> float:
    count = min(one.size, other.size)
    return float(np.bitwise_count(one[:count] ^ other[:count]).mean()) / 32


def error_of(path: Path, **limits: float) -> str:
    with pytest.raises(AudioError) as caught:
        analyse(path, **limits)  # type: ignore[arg-type]
    return caught.value.code


@pytest.mark.parametrize(
    ("suffix", "codec", "container"),
    [(".mp3", "mp3", "mp3"), (".opus", "opus", "ogg"), (".m4a", "aac", "mp4"), (".flac", "flac", "flac")],
)
def test_the_common_formats(tune: Path, tmp_path: Path, suffix: str, codec: str, container: str) -> None:
    original = analyse(tune)
    copy = analyse(encode(tune, tmp_path / f"copy{suffix}", "-ac", "2"))
    assert (copy.info.codec, copy.info.container, copy.info.channels) == (codec, container, 2)
    assert copy.info.duration_s == pytest.approx(SECONDS, abs=0.1)
    assert copy.info.sample_rate == (48_000 if suffix == ".opus" else RATE)
    assert copy.info.bit_rate
    assert copy.info.bit_rate > 20_000
    assert copy.fingerprint.dtype == np.uint32
    assert (SECONDS - 3.5) / ITEM_SECONDS < copy.fingerprint.size < SECONDS / ITEM_SECONDS
    assert bit_error_rate(copy.fingerprint, original.fingerprint) < 0.05
    assert copy.loudness == pytest.approx(original.loudness, abs=4)  # mono to stereo and back: 3 dB
    assert len(copy.waveform) == 400
    assert 0.2 < max(copy.waveform) <= 1


@pytest.mark.parametrize(
    ("container", "options"),
    [
        ("wav", []),
        ("flac", ["-c:a", "flac"]),
        ("mp3", ["-c:a", "libmp3lame"]),
        ("adts", ["-c:a", "aac"]),
        ("webm", ["-c:a", "libopus"]),
        ("mpegts", ["-c:a", "aac", "-output_ts_offset", "30"]),
        ("mp4", ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"]),
    ],
)
def test_what_was_written_without_knowing_its_length(
    tune: Path, tmp_path: Path, container: str, options: list[str]
) -> None:
    path = tmp_path / "streamed"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(tune), *options, "-f", container, "pipe:1"]
    with path.open("wb") as file:
        subprocess.run(command, stdout=file, check=True, timeout=60)
    assert analyse(path).info.duration_s == pytest.approx(SECONDS, abs=0.2)


def test_the_first_two_minutes_stand_for_a_long_recording(tmp_path: Path) -> None:
    quiet = tmp_path / "long.mp3"
    noise = "anoisesrc=d=150:c=pink:r=16000:seed=3"
    ffmpeg("-f", "lavfi", "-i", noise, "-c:a", "libmp3lame", "-b:a", "32k", "-write_xing", "0", quiet)
    features = analyse(quiet)
    # Without a header FFmpeg guesses; the packets were counted instead.
    assert features.info.duration_s == pytest.approx(150, abs=0.3)
    assert 116 < features.fingerprint.size * ITEM_SECONDS < 120


def test_the_video_of_a_song_is_heard(tune: Path, tmp_path: Path) -> None:
    video = tmp_path / "clip.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=s=32x32:r=5", "-i", tune, "-shortest", "-c:a", "libvorbis", video)
    assert analyse(video).info.codec == "vorbis"


def test_no_bytes_no_sound(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp3"
    empty.touch()
    assert error_of(empty) == "empty_file"


@pytest.mark.parametrize("name", ["garbage.mp3", "text.mp3", "page.ogg", "picture.mp3"])
def test_what_is_not_audio(tmp_path: Path, name: str) -> None:
    content = {
        "garbage.mp3": np.random.default_rng(5).bytes(200_000),
        "text.mp3": b"All happy families are alike; " * 500,
        "page.ogg": b"<!doctype html><title>404</title>" + b"<p>gone</p>" * 500,
        "picture.mp3": b"\x89PNG\r\n\x1a\n" + bytes(5_000),
    }[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert error_of(path) == "not_audio"


@pytest.mark.parametrize("kind", ["m3u", "hls", "concat", "pls", "dash", "sdp"])
def test_a_playlist_opens_no_other_file(tune: Path, tmp_path: Path, kind: str) -> None:
    content = {
        "m3u": f"#EXTM3U\n{tune}\n",
        "hls": f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:24\n#EXTINF:24,\nfile://{tune}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{tune}'\n",
        "pls": f"[playlist]\nFile1={tune}\nNumberOfEntries=1\n",
        "dash": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        f"<BaseURL>{tune}</BaseURL></Period></MPD>",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    }[kind]
    path = tune.parent / f"list-{kind}.mp3"
    path.write_text(content)
    assert error_of(path) == "not_audio"


def test_ffmpeg_may_read_nothing_but_the_descriptor() -> None:
    command = analysis.decode_command(7)
    assert command[command.index("-protocol_whitelist") + 1] == "fd"
    assert not {"hls", "concat", "dash", "image2", "lavfi"} & set(analysis.FORMATS.split(","))


def test_a_film_without_sound(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=s=32x32:r=5:d=8", film)
    assert error_of(film) == "no_audio_stream"


def test_three_hours_are_too_long(tmp_path: Path) -> None:
    path = tmp_path / "lie.wav"
    rate = 8_000
    size = 3 * 3600 * rate
    header = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt "
    header += struct.pack("<IHHIIHH", 16, 1, 1, rate, rate, 1, 8) + b"data" + struct.pack("<I", size)
    with path.open("wb") as file:
        file.write(header)
        file.write(np.random.default_rng(1).integers(0, 255, 200 * rate, dtype=np.uint8).tobytes())
        file.truncate(len(header) + size)
    assert error_of(path) == "too_long"
    assert error_of(path, max_bytes=1_000_000) == "audio_too_large"


@pytest.mark.parametrize("suffix", [".m4a", ".flac", ".mp3"])
def test_half_a_file_is_truncated(tune: Path, tmp_path: Path, suffix: str) -> None:
    whole = encode(tune, tmp_path / f"whole{suffix}", *(["-movflags", "+faststart"] if suffix == ".m4a" else []))
    half = tmp_path / f"half{suffix}"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert error_of(half) == "truncated"


def test_half_an_mp4_without_its_index(tune: Path, tmp_path: Path) -> None:
    whole = encode(tune, tmp_path / "whole.m4a")
    half = tmp_path / "half.m4a"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert error_of(half) == "truncated"


def test_a_long_flac_that_ends_early(tmp_path: Path) -> None:
    whole = tmp_path / "whole.flac"
    ffmpeg("-f", "lavfi", "-i", "anoisesrc=d=200:c=pink:r=8000:seed=2:a=0.1", whole)
    part = tmp_path / "part.flac"
    part.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    assert analyse(whole).info.duration_s == pytest.approx(200, abs=0.1)
    assert error_of(part) == "truncated"


@pytest.mark.parametrize("lost", [0, 3_000])
def test_a_few_missing_bytes_are_forgiven(tune: Path, tmp_path: Path, lost: int) -> None:
    copy = encode(tune, tmp_path / "copy.mp3")
    copy.write_bytes(copy.read_bytes()[: copy.stat().st_size - lost] + b"trailing rubbish")
    assert analyse(copy).info.duration_s == pytest.approx(SECONDS, abs=0.6)


def test_silence_and_shortness(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    assert error_of(write_wav(tmp_path / "digital.wav", np.zeros(20 * RATE))) == "silent"
    assert error_of(write_wav(tmp_path / "noise.wav", generator.normal(size=20 * RATE) * 1e-4)) == "silent"
    assert error_of(write_wav(tmp_path / "short.wav", render(2, 2.0))) == "too_short"
    assert error_of(write_wav(tmp_path / "none.wav", np.zeros(0))) in {"decode_failed", "not_audio"}


def test_samples_that_are_no_numbers(tmp_path: Path) -> None:
    samples = render(3, 20.0).astype("<f4")
    samples[::7] = np.nan
    samples[1::7] = np.inf
    samples[2::7] = -np.inf
    path = tmp_path / "nan.wav"
    data = samples.tobytes()
    header = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt "
    header += struct.pack("<IHHIIHH", 16, 3, 1, RATE, RATE * 4, 4, 32) + b"data" + struct.pack("<I", len(data))
    path.write_bytes(header + data)
    features = analyse(path)
    assert np.isfinite(features.waveform).all()
    assert features.loudness <= 0


def test_a_named_pipe_does_not_hold_us(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp3")
    assert error_of(tmp_path / "pipe.mp3") == "not_audio"


def test_time_runs_out(tune: Path) -> None:
    with tune.open("rb") as file, pytest.raises(AudioError) as caught:
        # A child of the child must die too, or its end of the pipe would stay open.
        process.run(["/bin/sh", "-c", "sleep 60 & sleep 60"], file, timeout_s=0.3, max_output=10)
    assert caught.value.code == "decode_timeout"


def test_a_killed_process_is_reported(tune: Path) -> None:
    with tune.open("rb") as file, pytest.raises(AudioError, match="killed") as caught:
        process.run(["/bin/sh", "-c", "kill -9 $$"], file, timeout_s=20, max_output=10)
    assert caught.value.code == "decode_timeout"


def test_output_and_log_are_bounded(tune: Path) -> None:
    script = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; echo the end >&2; exit 3"
    with tune.open("rb") as file:
        finished = process.run(["/bin/sh", "-c", script], file, timeout_s=20, max_output=1_000)
    assert (finished.returncode, len(finished.output)) == (3, 1_000)
    assert len(finished.log) == 2 * process.LOG_BYTES
    assert finished.log.endswith("the end\n")


def test_memory_is_bounded(tune: Path) -> None:
    with tune.open("rb") as file:
        finished = process.run(["/bin/sh", "-c", "ulimit -v; ulimit -t; ulimit -c"], file, timeout_s=9, max_output=99)
    assert finished.output.split() == [str(process.ADDRESS_SPACE_KIB).encode(), b"10", b"0"]


def test_nothing_is_left_open(tune: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"bad" * 100)
    analyse(tune)
    before = len(os.listdir("/dev/fd"))
    for path in (tune, tmp_path / "bad"):
        try:
            analyse(path)
        except AudioError:
            continue
    assert len(os.listdir("/dev/fd")) == before


def test_threads_share_the_machine(tune: Path) -> None:
    sizes: list[int] = []
    threads = [threading.Thread(target=lambda: sizes.append(analyse(tune).fingerprint.size)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(sizes) == 3
    assert len(set(sizes)) == 1


@pytest.mark.skipif(analysis._library is None, reason="libchromaprint is not installed (Debian: libchromaprint1)")
@pytest.mark.parametrize("kind", ["wav", "mp3", "opus", "m4a", "noise", "quiet"])
def test_library_and_muxer_agree(tune: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"sound.{kind}"
    if kind == "noise":
        path = write_wav(path, np.random.default_rng(4).normal(size=30 * RATE) * 0.2)
    elif kind == "quiet":
        path = write_wav(path, render(5, 30.0) * 0.01)
    else:
        path = encode(tune, path)
    by_library = analyse(path).fingerprint
    monkeypatch.setattr(analysis, "_library", None)
    by_muxer = analyse(path).fingerprint
    # One frame more or less at the end; at most 0.01 bits an item.
    assert abs(by_library.size - by_muxer.size) <= 1
    count = min(by_library.size, by_muxer.size)
    assert np.bitwise_count(by_library[:count] ^ by_muxer[:count]).mean() <= 0.01


def test_figures_of_samples() -> None:
    assert loudness_dbfs(np.full(100, 16_384, dtype=np.int16)) == pytest.approx(-6.02, abs=0.01)
    assert loudness_dbfs(np.zeros(100, dtype=np.int16)) == -np.inf
    assert loudness_dbfs(np.zeros(0, dtype=np.int16)) == -np.inf
    assert waveform_peaks(np.array([0, -32_768, 100, 16_384], dtype=np.int16), 2) == [1.0, 0.5]
    assert waveform_peaks(np.zeros(0, dtype=np.int16)) == []
