"""Only the beginning of a recording's audio is fetched, and it is enough for the fingerprint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from adapters.cases import FIXTURES
from crawlers.errors import FailureClass, FetchError
from crawlers.guard import AddressGuard
from crawlers.ports import NotNow
from crawlers.yt_dlp_parts.audio import Beginning, fetch_beginning
from crawlers.yt_dlp_parts.network import Guard, Manners
from media.analysis import analyse
from media.types import AudioFeatures
from tests.crawlers.memory import MemoryBudget
from tests.media.synth import encode, ffmpeg, render, write_wav
from tests.replay import Names, Replay

SECONDS = 240
KEY = "3eac3b4561676c17df9132a9a1e62e3e"
URL = f"yt-dlp+https://rutube.ru/video/{KEY}/"
MEDIA = "https://media.example"
SECRET = bytes(range(16))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tune in every form in which these sites serve it."""
    folder = tmp_path_factory.mktemp("media")
    wav = write_wav(folder / "tune.wav", np.tile(render(7, SECONDS / 12), 12))
    encode(wav, folder / "front.m4a", "-c:a", "aac", "-b:a", "96k", "-movflags", "+faststart")
    front, copied = folder / "front.m4a", ("-c:a", "copy")
    ffmpeg("-i", front, *copied, folder / "back.m4a")
    encode(wav, folder / "tune.mp3", "-b:a", "64k")
    encode(wav, folder / "tune.webm", "-c:a", "libopus", "-b:a", "64k", "-compression_level", "0")
    stream = (*copied, "-f", "hls", "-hls_time", "10", "-hls_list_size", "0")
    ffmpeg("-i", front, *stream, "-hls_segment_filename", folder / "ts%03d.ts", folder / "ts.m3u8")
    fragments = ("-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", "init.mp4")
    ffmpeg("-i", front, *stream, *fragments, "-hls_segment_filename", folder / "fm%03d.m4s", folder / "fm.m3u8")
    lines = []
    for number, path in enumerate(sorted(folder.glob("ts*.ts"))):
        encryptor = Cipher(algorithms.AES(SECRET), modes.CBC(number.to_bytes(16, "big"))).encryptor()
        data = path.read_bytes()
        pad = 16 - len(data) % 16
        sealed = encryptor.update(data + bytes([pad]) * pad) + encryptor.finalize()
        (folder / f"aes{number:03}.ts").write_bytes(sealed)
        lines += ["#EXTINF:10.0,", f"aes{number:03}.ts"]
    head = ["#EXTM3U", "#EXT-X-TARGETDURATION:10", '#EXT-X-KEY:METHOD=AES-128,URI="key.bin"']
    (folder / "aes.m3u8").write_text("\n".join([*head, *lines, "#EXT-X-ENDLIST", ""]))
    (folder / "key.bin").write_bytes(SECRET)
    (folder / "master.m3u8").write_text(
        "#EXTM3U\n"
        '#EXT-X-STREAM-INF:BANDWIDTH=900000,CODECS="avc1.42c01f,mp4a.40.2",RESOLUTION=640x360\nlarge.m3u8\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=200000,CODECS="avc1.42c01f,mp4a.40.2",RESOLUTION=256x136\nts.m3u8\n'
    )
    return folder


@dataclass
class Host(httpx.AsyncBaseTransport):
    """RuTube's interfaces and the media's host. ``formats``: what the player is offered."""

    folder: Path
    balancer: Mapping[str, str]
    ranges: bool = True
    seconds: int = SECONDS
    log: list[tuple[str, str, int]] = field(default_factory=list)
    refuse: Callable[[str], httpx.Response | None] = lambda path: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        answer = self.refuse(path) or self.answer(request.headers["host"], path, request.headers.get("range"))
        self.log.append((path, request.headers.get("range", ""), len(answer.content)))
        return answer

    def answer(self, host: str, path: str, wanted: str | None) -> httpx.Response:
        if host == "rutube.ru":
            if "options" in path:
                return httpx.Response(200, json={"video_balancer": dict(self.balancer)})
            return httpx.Response(200, json={"id": KEY, "title": "Мелодия", "duration": self.seconds})
        data = (self.folder / path.lstrip("/")).read_bytes()
        if wanted and self.ranges:
            first, last = map(int, re.findall(r"\d+", wanted))
            part = data[first : last + 1]
            place = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
            return httpx.Response(206, content=part, headers={"content-range": place})
        return httpx.Response(200, content=data)

    def fetched(self, pattern: str) -> int:
        return sum(size for path, _, size in self.log if re.search(pattern, path))


async def fetch(
    host: Host, target: Path, url: str = URL, max_bytes: int = 50_000_000, guard: Guard | None = None
) -> Beginning:
    return await fetch_beginning(
        url,
        target,
        guard=guard or Names(),
        budget=MemoryBudget(),
        manners=Manners(),
        timeout_s=5,
        max_bytes=max_bytes,
        transport=host,
    )


def size_of(folder: Path, name: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(f"{name}*") if path.suffix != ".m3u8")


def same(one: AudioFeatures, other: AudioFeatures) -> bool:
    length = min(len(one.fingerprint), len(other.fingerprint))
    bits = np.unpackbits((one.fingerprint[:length] ^ other.fingerprint[:length]).view(np.uint8))
    return length > 900 and float(bits.mean()) < 0.1  # as identity.recording decides


@pytest.fixture(scope="module")
def original(media: Path) -> AudioFeatures:
    return analyse(media / "tune.wav")


@pytest.mark.parametrize(
    ("balancer", "most"),
    [
        ({"m3u8": f"{MEDIA}/ts.m3u8"}, 0.65),
        ({"m3u8": f"{MEDIA}/fm.m3u8"}, 0.65),
        ({"m3u8": f"{MEDIA}/aes.m3u8"}, 0.65),
        ({"m3u8": f"{MEDIA}/master.m3u8"}, 0.65),
        ({"default": f"{MEDIA}/front.m4a"}, 1.1),
    ],
    ids=lambda value: str(value),
)
async def test_as_much_as_the_fingerprint_needs(
    media: Path, original: AudioFeatures, tmp_path: Path, balancer: Mapping[str, str], most: float
) -> None:
    host = Host(media, balancer)
    got = await fetch(host, tmp_path / "audio")
    assert same(analyse(got.path, beginning_only=True), original)
    assert got.duration_s == SECONDS
    name = next(iter(balancer.values())).rpartition("/")[2].partition(".")[0].replace("master", "ts")
    whole = size_of(media, name)
    assert host.fetched(f"/{name}.*(?:ts|m4s|m4a)$") <= whole * most
    if "m3u8" in balancer:
        assert not got.whole
        assert len([path for path, _, _ in host.log if re.search(r"\d{3}\.", path)]) == 13
        assert not host.fetched("large")


def chosen(host: Host, **values: Any) -> Any:
    """RuTube's formats, with what other sites tell of theirs (bit rate, size)."""
    from crawlers.yt_dlp_parts import audio

    real = audio._chosen_format

    def told(*arguments: Any) -> Mapping[str, Any]:
        return {**real(*arguments), **values}

    return told


@pytest.mark.parametrize("name", ["front.m4a", "tune.mp3", "tune.webm"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
async def test_a_file_by_range(
    media: Path, original: AudioFeatures, tmp_path: Path, name: str, ranges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(media, {"default": f"{MEDIA}/{name}"}, ranges)
    size = (media / name).stat().st_size
    monkeypatch.setattr("crawlers.yt_dlp_parts.audio._chosen_format", chosen(host, filesize=size))
    monkeypatch.setattr("crawlers.yt_dlp_parts.audio.HEADER_BYTES", 64 * 1024)
    got = await fetch(host, tmp_path / "audio")
    wanted = int(size * 130 / SECONDS * 1.25) + 64 * 1024
    assert got.size == wanted < size
    assert not got.whole
    assert same(analyse(got.path, beginning_only=True), original)
    assert [sent for path, sent, _ in host.log if path == f"/{name}"] == [f"bytes=0-{wanted - 1}"]
    if ranges:
        assert host.fetched(name) == wanted


async def test_a_file_by_its_bit_rate(media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(media, {"default": f"{MEDIA}/tune.mp3"})
    monkeypatch.setattr("crawlers.yt_dlp_parts.audio._chosen_format", chosen(host, tbr=64))
    got = await fetch(host, tmp_path / "audio")
    assert got.size == int(64_000 / 8 * 130 * 1.25) + 512 * 1024


async def test_an_index_at_the_end_needs_the_whole_file(
    media: Path, original: AudioFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(media, {"default": f"{MEDIA}/back.m4a"})
    size = (media / "back.m4a").stat().st_size
    monkeypatch.setattr("crawlers.yt_dlp_parts.audio._chosen_format", chosen(host, filesize=size))
    got = await fetch(host, tmp_path / "audio")
    assert (got.size, got.whole) == (size, True)
    assert same(analyse(got.path), original)
    with pytest.raises(FetchError) as caught:
        await fetch(host, tmp_path / "other", max_bytes=size - 1)
    assert caught.value.failure is FailureClass.TOO_LARGE


async def test_a_short_file_is_whole(media: Path, tmp_path: Path) -> None:
    host = Host(media, {"default": f"{MEDIA}/tune.mp3"})
    got = await fetch(host, tmp_path / "audio")
    assert got.whole
    assert got.size == (media / "tune.mp3").stat().st_size


async def begin(url: str, replay: Replay, target: Path) -> Beginning:
    got = await fetch_beginning(
        url, target, guard=Names(), budget=MemoryBudget(), manners=Manners(), timeout_s=5, max_bytes=10**8,
        transport=replay,
    )  # fmt: skip
    assert replay.missing == []
    return got


def recorded(name: str) -> list[Any]:
    return list(json.loads((FIXTURES / name / "exchanges.json").read_text()))


async def test_of_youtube_s_formats_the_smallest_that_is_good_enough(tmp_path: Path) -> None:
    there = "https://rr1.googlevideo.example/videoplayback"
    common = {"audioSampleRate": "44100", "audioChannels": 2, "approxDurationMs": "600000", "quality": "tiny"}
    offered = {140: (129_000, "mp4a.40.2"), 249: (50_000, "opus"), 251: (130_000, "opus"), 600: (35_000, "opus")}
    formats = [
        {
            "itag": itag,
            "url": f"{there}?itag={itag}",
            "mimeType": f'audio/{"webm" if codec == "opus" else "mp4"}; codecs="{codec}"',
            "bitrate": rate,
            "contentLength": str(rate * 75),
            **common,
        }
        for itag, (rate, codec) in offered.items()
    ]
    answer = {
        "playabilityStatus": {"status": "OK"},
        "videoDetails": {"videoId": "kAtYuShA001", "title": "x", "lengthSeconds": "600"},
        "streamingData": {"adaptiveFormats": formats},
    }
    exchanges = [
        *recorded("youtube/video"),
        {"url": "https://www.youtube.com/youtubei/v1/player", "method": "POST", "json": answer},
        {"url": there, "query": {"itag": "249"}, "text": "x" * 3_750_000},
    ]
    replay = Replay(exchanges)
    got = await begin("yt-dlp+https://www.youtube.com/watch?v=kAtYuShA001", replay, tmp_path / "audio")
    assert got.duration_s == 600
    assert got.size == int(3_750_000 * 130 / 600 * 1.25) + 512 * 1024
    assert replay.requests[-1].headers["range"] == f"bytes=0-{got.size - 1}"


async def test_one_of_several_recordings_of_a_page(tmp_path: Path) -> None:
    stream = "https://psv4.vkuseraudio.example/1119"
    exchanges = [
        *recorded("vk/post_with_music"),
        {"url": f"{stream}/index.m3u8", "text": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.ts\n#EXT-X-ENDLIST\n"},
        {"url": f"{stream}/a.ts", "text": "the second"},
    ]
    page = "yt-dlp+https://vk.com/wall-7752_35"
    got = await begin(f"{page}#audio1352_1119", Replay(exchanges), tmp_path / "audio")
    assert got.path.read_text() == "the second"
    assert got.duration_s == 222
    for entry in ("", "#audio1352_9"):
        with pytest.raises(FetchError) as caught:
            await begin(f"{page}{entry}", Replay(exchanges), tmp_path / "none")
        assert caught.value.failure is FailureClass.NOT_FOUND


@pytest.mark.parametrize(
    ("status", "failure"),
    [(403, FailureClass.FORBIDDEN), (404, FailureClass.NOT_FOUND), (429, FailureClass.RATE_LIMITED)],
)
async def test_media_that_is_refused(media: Path, tmp_path: Path, status: int, failure: FailureClass) -> None:
    host = Host(media, {"m3u8": f"{MEDIA}/ts.m3u8"})
    host.refuse = lambda path: httpx.Response(status) if path.endswith("005.ts") else None
    with pytest.raises(FetchError) as caught:
        await fetch(host, tmp_path / "audio")
    assert (caught.value.failure, caught.value.status) == (failure, status)


async def test_a_recording_that_is_refused(media: Path, tmp_path: Path) -> None:
    host = Host(media, {})
    host.refuse = lambda path: httpx.Response(403, json={"detail": "Видео скрыто автором"})
    with pytest.raises(FetchError) as caught:
        await fetch(host, tmp_path / "audio")
    assert caught.value.failure is FailureClass.PRIVATE


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("", FailureClass.ADAPTER_BROKEN),
        ("{HEAD}", FailureClass.BROKEN_MARKUP),
        ('{HEAD}#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"\n#EXTINF:10,\nts000.ts\n', FailureClass.WRONG_TYPE),
        ("{HEAD}#EXTINF:10,\nfile:///etc/passwd\n", FailureClass.ADDRESS_BLOCKED),
        ("{HEAD}#EXTINF:10,\nhttp://127.0.0.1:5432/\n", FailureClass.ADDRESS_BLOCKED),
        ("{HEAD}#EXT-X-BYTERANGE:x@y\n#EXTINF:10,\nts000.ts\n", FailureClass.BROKEN_MARKUP),
    ],
    ids=["empty", "no segments", "protected", "a local file", "a private address", "no place"],
)
async def test_streams_that_make_no_sense(tmp_path: Path, text: str, failure: FailureClass) -> None:
    (tmp_path / "odd.m3u8").write_text(text.replace("{HEAD}", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n"))
    (tmp_path / "ts000.ts").write_bytes(b"x")

    class Mixed(AddressGuard):
        async def check(self, url: str) -> list[str]:
            known = url.startswith((MEDIA, "https://rutube.ru/"))
            return ["93.184.216.34"] if known else await super().check(url)

    with pytest.raises(FetchError) as caught:
        await fetch(Host(tmp_path, {"m3u8": f"{MEDIA}/odd.m3u8"}), tmp_path / "audio", guard=Mixed())
    assert caught.value.failure is failure


async def test_no_permit(media: Path, tmp_path: Path) -> None:
    class Closed(MemoryBudget):
        async def acquire(self, group: str, *args: Any) -> Any:
            raise NotNow(60, "breaker_open", "operator")

    with pytest.raises(NotNow):
        await fetch_beginning(
            URL, tmp_path / "audio", guard=Names(), budget=Closed(), manners=Manners(), timeout_s=5,
            max_bytes=10**6, transport=Host(media, {}),
        )  # fmt: skip


async def test_other_addresses_are_refused(media: Path, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as caught:
        await fetch(Host(media, {}), tmp_path / "audio", "yt-dlp+https://example.org/x")
    assert caught.value.failure is FailureClass.WRONG_TYPE
