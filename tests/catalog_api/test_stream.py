"""Stored audio with byte ranges."""

from __future__ import annotations

import pytest

from catalog.database import Database
from catalog_api.problems import ApiError
from catalog_api.versions.streaming import byte_range, content_type
from tests.catalog_api.conftest import MemoryObjects, Opener, made

AUDIO = bytes(range(256)) * 20


async def test_audio_is_streamed_whole_and_in_parts(open_client: Opener, database: Database) -> None:
    with made(database) as make:
        song = make.song("Катюша")
        version, without, lost = (make.version(song, sources=0) for _ in range(3))
        make.source(version, rank=0)
        make.source(version, rank=1, audio_object="sound", audio={"codec": "opus", "container": "ogg"})
        make.source(without)
        make.source(lost, audio_object="lost")
    url = f"/api/v1/versions/{version.id}/stream"
    async with open_client(object_store=MemoryObjects(sound=AUDIO)) as client:
        whole = await client.get(url)
        assert (whole.status_code, whole.content) == (200, AUDIO)
        assert whole.headers["content-type"] == "audio/ogg"
        assert whole.headers["accept-ranges"] == "bytes"
        assert whole.headers["x-content-type-options"] == "nosniff"
        tag = whole.headers["etag"]
        assert not tag.startswith("W/")
        part = await client.get(url, headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, AUDIO[100:200])
        assert part.headers["content-range"] == f"bytes 100-199/{len(AUDIO)}"
        end = await client.get(url, headers={"Range": "bytes=-50", "If-Range": tag})
        assert (end.status_code, end.content) == (206, AUDIO[-50:])
        changed = await client.get(url, headers={"Range": "bytes=-50", "If-Range": '"other"'})
        assert (changed.status_code, len(changed.content)) == (200, len(AUDIO))
        known = await client.get(url, headers={"If-None-Match": tag})
        assert (known.status_code, known.content) == (304, b"")
        beyond = await client.get(url, headers={"Range": "bytes=99999-"})
        assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")
        assert beyond.headers["content-range"] == f"bytes */{len(AUDIO)}"
        head = await client.head(url)
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(AUDIO)))
        for missing in (without, lost):
            response = await client.get(f"/api/v1/versions/{missing.id}/stream")
            assert (response.status_code, response.json()["code"]) == (404, "no_stored_audio")
    async with open_client() as client:
        assert (await client.get(url)).json()["code"] == "no_stored_audio"

    class Away(MemoryObjects):
        def size(self, key: str) -> int | None:
            raise ConnectionError("secret address")

    async with open_client(object_store=Away()) as client:
        away = await client.get(url)
        assert (away.status_code, away.json()["code"]) == (503, "store_unavailable")
        assert "secret" not in away.text


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=5-", (5, 5)),
        ("bytes=5-99", (5, 5)),
        ("bytes=-3", (7, 3)),
        ("bytes=-99", (0, 10)),
        ("bytes=3-1", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("items=0-1", None),
        ("bytes=" + "9" * 30 + "-", None),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 10) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)])
def test_ranges_outside(header: str, size: int) -> None:
    with pytest.raises(ApiError) as caught:
        byte_range(header, size)
    assert caught.value.code == "range_not_satisfiable"


def test_content_types_never_run_in_a_browser() -> None:
    assert content_type({"codec": "mp3"}) == "audio/mpeg"
    assert content_type({"codec": "aac", "container": "mov,mp4,m4a,3gp,3g2,mj2"}) == "audio/mp4"
    assert content_type({"codec": "pcm_s16le"}) == "audio/wav"
    assert content_type({"codec": "text/html"}) == content_type({}) == "application/octet-stream"
