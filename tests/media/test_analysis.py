"""What is read from sound files, and how bad files end."""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import threading
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from media import analysis, decoder, memory
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
    try:
        heard = analyse(path, **limits)  # type: ignore[arg-type]
    except AudioError as error:
        return error.code
    pytest.fail(f"{path.name} of {path.stat().st_size} bytes was heard: {heard.info}")


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


def test_what_is_said_of_one_file_is_not_held_against_the_next(tune: Path, tmp_path: Path) -> None:
    """The libraries' log tells what a header's duration is worth: one decoder hears all of these in turn."""
    guessed = tmp_path / "guessed.aac"
    ffmpeg("-i", tune, "-c:a", "aac", "-f", "adts", guessed)
    half = tmp_path / "half.flac"
    whole = encode(tune, tmp_path / "whole.flac")
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    for _ in range(3):
        assert analyse(guessed).info.duration_s == pytest.approx(SECONDS, abs=0.2)
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


def test_time_runs_out_and_the_next_file_is_served(tune: Path) -> None:
    assert error_of(tune, timeout_s=1e-4) == "decode_timeout"
    assert analyse(tune).fingerprint.size


def test_a_decoder_that_died_idle_is_no_fault_of_the_next_file(tune: Path) -> None:
    analyse(tune)
    assert decoder.DECODERS._idle
    for process in decoder.DECODERS._idle:
        os.kill(process.pid, signal.SIGKILL)
    assert analyse(tune).fingerprint.size


def test_a_decoder_that_is_killed_at_its_work_is_reported(tune: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoders = decoder.Decoders()
    monkeypatch.setattr(decoder, "DECODERS", decoders)
    killers: list[threading.Timer] = []
    take = decoders._take

    def take_and_tell() -> decoder._Process:
        process = take()
        # Stopped first, so that the kill meets it at work however quick it is.
        os.kill(process.pid, signal.SIGSTOP)
        killer = threading.Timer(0.05, os.kill, (process.pid, signal.SIGKILL))
        killer.start()
        killers.append(killer)
        return process

    monkeypatch.setattr(decoders, "_take", take_and_tell)
    with pytest.raises(AudioError, match="killed") as caught:
        analyse(tune)
    assert caught.value.code == "decode_timeout"
    assert len(killers) == 1


def test_cpu_time_is_bounded_a_file(tune: Path) -> None:
    decoders = decoder.Decoders()
    with tune.open("rb") as file:
        limits = []
        for _ in range(2):
            decoders.ask({"task": "count", "seconds": 5, "promised": None}, file, timeout_s=9)
            limits.append(resource.prlimit(decoders._idle[0].pid, resource.RLIMIT_CPU)[0])
        process = decoders._idle[0]
        assert all(10 <= limit < 20 for limit in limits)
        address_space = resource.prlimit(process.pid, resource.RLIMIT_AS)[0]
        assert address_space == decoder.ADDRESS_SPACE_KIB * 1024
        assert resource.prlimit(process.pid, resource.RLIMIT_CORE)[0] == 0
        environment = Path(f"/proc/{process.pid}/environ").read_text().split("\0")
        names = {each.partition("=")[0] for each in environment if each}
        assert names == {"PATH", "LC_ALL", "AV_LOG_FORCE_NOCOLOR", *memory.KEEPING}
    decoders.close()


def test_a_decoder_that_grew_serves_nobody_else(tune: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoders = decoder.Decoders()
    monkeypatch.setattr(decoder, "RETIRED_KIB", 1)
    with tune.open("rb") as file:
        told, _ = decoders.ask({"task": "count", "seconds": 5, "promised": None}, file, timeout_s=20)
    assert told["seconds"] >= 5
    assert not decoders._idle


def test_a_noisy_file_tells_only_so_much(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).bytes(4_000_000)
    path = tmp_path / "noise.mp3"
    path.write_bytes(b"\xff\xfb\x90\x64" + noise)
    with path.open("rb") as file:
        told, _ = decoder.DECODERS.ask(
            {"task": "decode", "samples": 100_000, "chain": [["aformat", "sample_fmts=s16:channel_layouts=mono"]]},
            file,
            timeout_s=30,
            most=200_000,
        )
    assert len(told["log"]) <= 2 * 64 * 1024


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
@pytest.mark.parametrize("kind", ["flac", "mp3", "m4a", "wav", "ogg", "aiff", "opus", "webm", "noise", "quiet"])
def test_library_and_muxer_agree(tune: Path, tmp_path: Path, kind: str) -> None:
    """On the samples that we decode; and with what FFmpeg's own command makes of the whole file."""
    path = tmp_path / f"sound.{kind}"
    if kind == "noise":
        path = write_wav(path, np.random.default_rng(4).normal(size=30 * RATE) * 0.2)
    elif kind == "quiet":
        path = write_wav(path, render(5, 30.0) * 0.01)
    else:
        path = encode(tune, path)
    heard = analyse(path)
    by_muxer = analysis.muxer_items(heard.pcm)
    assert_agree(heard.fingerprint, by_muxer, 0.01)


def assert_agree(one: np.ndarray, other: np.ndarray, bits: float) -> None:
    # One frame more or less at the end; so many bits an item.
    assert one.size > 100
    assert abs(one.size - other.size) <= 1
    count = min(one.size, other.size)
    assert np.bitwise_count(one[:count] ^ other[:count]).mean() <= bits


def test_figures_of_samples() -> None:
    assert loudness_dbfs(np.full(100, 16_384, dtype=np.int16)) == pytest.approx(-6.02, abs=0.01)
    assert loudness_dbfs(np.zeros(100, dtype=np.int16)) == -np.inf
    assert loudness_dbfs(np.zeros(0, dtype=np.int16)) == -np.inf
    assert waveform_peaks(np.array([0, -32_768, 100, 16_384], dtype=np.int16), 2) == [1.0, 0.5]
    assert waveform_peaks(np.zeros(0, dtype=np.int16)) == []
