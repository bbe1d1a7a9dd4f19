"""Downloads from real local servers: every way they can go wrong ends in its failure class and leaves no file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from crawlers.budget.shared import penalty_s
from crawlers.download import Downloaded, download, local_path, may_be_audio
from crawlers.errors import FailureClass, FetchError
from crawlers.guard import AddressGuard
from crawlers.politeness import MemoryBudget
from crawlers.ports import Claim, Observed, Permit
from tests.crawlers.servers import Server, answer, serving

BODY = os.urandom(700_000)


class RecordingBudget:
    """Remembers what was asked of it, and waits for nothing."""

    def __init__(self) -> None:
        self.acquired: list[str] = []
        self.observed: list[Observed] = []
        self.penalties: list[tuple[str, float]] = []

    async def acquire(self, group: str, claim: Claim = Claim()) -> Permit:
        self.acquired.append(group)
        return Permit(group, lambda observed: self._seen(group, observed))

    def _seen(self, group: str, observed: Observed | None) -> None:
        assert observed is not None
        self.observed.append(observed)
        if (seconds := penalty_s(observed)) is not None:
            self.penalties.append((group, seconds))


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


async def fetch(server: Server, path: str, folder: Path, **options: Any) -> Downloaded:
    options.setdefault("guard", AddressGuard([server.host]))
    options.setdefault("budget", MemoryBudget())
    options.setdefault("max_bytes", 1_000_000)
    options.setdefault("timeout_s", 5.0)
    return await download(
        path if "://" in path else server.url(path), folder / "audio", user_agent="VersionsBot/test", **options
    )


async def failure(server: Server, path: str, folder: Path, **options: Any) -> FetchError:
    with pytest.raises(FetchError) as error:
        await fetch(server, path, folder, **options)
    assert names(folder) == []
    return error.value


async def test_whole_file(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    budget = RecordingBudget()
    with serving({"/a": answer(200, BODY, content_type="audio/mpeg; x=y")}) as server:
        result = await fetch(
            server, "/a?q=1", tmp_path, budget=budget, headers={"X-Extra": "1"}, on_progress=lambda *s: seen.append(s)
        )
    assert result.path.read_bytes() == BODY
    assert result == Downloaded(
        tmp_path / "audio", len(BODY), hashlib.sha256(BODY).hexdigest(), "audio/mpeg", server.url("/a?q=1")
    )
    assert seen[-1] == (len(BODY), len(BODY))
    assert names(tmp_path) == ["audio"]
    assert budget.acquired == [server.host]
    assert [(each.status, each.failure, each.bytes) for each in budget.observed] == [(200, None, len(BODY))]
    path, headers = server.requests[0]
    assert path == "/a?q=1"
    assert headers["user-agent"] == "VersionsBot/test"
    assert headers["accept-encoding"] == "identity"
    assert headers["x-extra"] == "1"


async def test_connects_to_the_checked_address_under_the_own_name(tmp_path: Path) -> None:
    class Pinned(AddressGuard):
        async def check(self, url: str) -> list[str]:
            return ["127.0.0.1"]

    with serving({"/a": answer(200, b"x")}) as server:
        # No name server knows this name, so a second resolution would fail.
        url = f"http://songs.invalid:{server.port}/a"
        result = await fetch(server, url, tmp_path, guard=Pinned())
    assert result.final_url == url
    assert server.requests[0][1]["host"] == f"songs.invalid:{server.port}"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, FailureClass.NOT_FOUND), (410, FailureClass.GONE), (401, FailureClass.AUTH_REQUIRED),
        (403, FailureClass.FORBIDDEN), (451, FailureClass.GEO_BLOCKED), (500, FailureClass.SERVER_ERROR),
        (503, FailureClass.SERVER_ERROR), (418, FailureClass.FORBIDDEN),
    ],
)  # fmt: skip
async def test_status(status: int, expected: FailureClass, tmp_path: Path) -> None:
    with serving({"/a": answer(status, b"no")}) as server:
        error = await failure(server, "/a", tmp_path)
    assert (error.failure, error.status) == (expected, status)


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_a_penalty(status: int, tmp_path: Path) -> None:
    budget = RecordingBudget()
    with serving({"/a": answer(status, retry_after="7")}) as server:
        error = await failure(server, "/a", tmp_path, budget=budget)
    assert (error.failure, error.retry_after_s) == (FailureClass.RATE_LIMITED, 7.0)
    assert budget.penalties == [(server.host, 7.0)]


@pytest.mark.parametrize(
    ("content_type", "wanted"),
    [
        ("audio/mpeg", True), ("video/mp4", True), ("", True), ("application/octet-stream", True),
        ("application/ogg", True), ("text/html", False), ("application/json", False), ("application/ld+json", False),
        ("image/png", False), ("application/vnd.apple.mpegurl", False),
    ],
)  # fmt: skip
def test_types(content_type: str, wanted: bool) -> None:
    assert may_be_audio(content_type) is wanted


async def test_wrong_type(tmp_path: Path) -> None:
    with serving({"/a": answer(200, b"<html>", content_type="Text/HTML; charset=utf-8")}) as server:
        assert (await failure(server, "/a", tmp_path)).failure is FailureClass.WRONG_TYPE
        assert (await fetch(server, "/a", tmp_path, expect="any")).size == 6


async def test_compressed_answer_is_refused(tmp_path: Path) -> None:
    with serving({"/a": answer(200, b"x", content_encoding="gzip")}) as server:
        assert (await failure(server, "/a", tmp_path)).failure is FailureClass.WRONG_TYPE


async def test_announced_and_real_size(tmp_path: Path) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            pass

    with serving({"/big": answer(200, BODY), "/endless": endless}) as server:
        assert (await failure(server, "/big", tmp_path, max_bytes=1000)).failure is FailureClass.TOO_LARGE
        assert (await failure(server, "/endless", tmp_path)).failure is FailureClass.TOO_LARGE


async def test_fewer_bytes_than_announced(tmp_path: Path) -> None:
    with serving({"/a": answer(200, b"abc", content_length="10")}) as server:
        assert (await failure(server, "/a", tmp_path)).failure is FailureClass.CONNECTION


async def test_redirects_are_checked_budgeted_and_followed(tmp_path: Path) -> None:
    budget = RecordingBudget()
    with serving({"/b": answer(200, b"x")}) as other, serving({"/a": answer(302, location=other.url("/b"))}) as server:
        guard = AddressGuard([server.host, other.host])
        result = await fetch(
            server, "/a", tmp_path, guard=guard, budget=budget, headers={"Authorization": "secret", "X-Kept": "1"}
        )
        assert result.final_url == other.url("/b")
        assert budget.acquired == [server.host, other.host]
        assert server.requests[0][1]["authorization"] == "secret"
        assert "authorization" not in other.requests[0][1]
        assert other.requests[0][1]["x-kept"] == "1"
        result.path.unlink()
        error = await failure(server, "/a", tmp_path)
        assert error.failure is FailureClass.ADDRESS_BLOCKED
        assert len(other.requests) == 1


async def test_servers_are_counted_as_the_campaign_wants(tmp_path: Path) -> None:
    budget = RecordingBudget()
    with serving({"/a": answer(200, b"x")}) as server:
        await fetch(server, "/a", tmp_path, budget=budget, claim=Claim("site", group_by="address"))
    assert budget.acquired == ["address 127.0.0.1"]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://169.254.169.254/", "http://localhost:1/"])
async def test_redirect_to_a_private_place(location: str, tmp_path: Path) -> None:
    with serving({"/a": answer(301, location=location)}) as server:
        assert (await failure(server, "/a", tmp_path)).failure is FailureClass.ADDRESS_BLOCKED


async def test_redirect_loops(tmp_path: Path) -> None:
    def onward(handler: BaseHTTPRequestHandler) -> None:
        answer(302, location=handler.path + "x")(handler)

    routes = {"/a": answer(302, location="/b"), "/b": answer(302, location="/a")}
    routes |= {"/" + "c" + "x" * n: onward for n in range(30)}
    with serving(routes) as server:
        assert (await failure(server, "/a", tmp_path)).failure is FailureClass.REDIRECT_LOOP
        assert (await failure(server, "/c", tmp_path)).failure is FailureClass.REDIRECT_LOOP


async def test_silence_and_slowness(tmp_path: Path) -> None:
    end = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        end.wait(10)

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not end.wait(0.02):
                handler.wfile.write(b"x")
                handler.wfile.flush()
        except OSError:
            pass

    with serving({"/silent": silent, "/trickle": trickle}) as server:
        assert (await failure(server, "/silent", tmp_path, timeout_s=0.3)).failure is FailureClass.TIMEOUT
        error = await failure(server, "/trickle", tmp_path, timeout_s=5, total_timeout_s=0.4)
        assert error.failure is FailureClass.TIMEOUT
        end.set()


async def test_nobody_listens(tmp_path: Path) -> None:
    with serving({}) as server:
        pass
    assert (await failure(server, "/a", tmp_path)).failure is FailureClass.CONNECTION


async def test_cancelling_leaves_nothing(tmp_path: Path) -> None:
    started, end = threading.Event(), threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x" * 300_000)
        handler.wfile.flush()
        started.set()
        end.wait(10)

    with serving({"/a": slow}) as server:
        task = asyncio.create_task(fetch(server, "/a", tmp_path))
        await asyncio.to_thread(started.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        end.set()
    assert names(tmp_path) == []


def test_local_files(tmp_path: Path) -> None:
    file = tmp_path / "ёж и ночь #1.mp3"
    file.write_bytes(b"x")
    assert local_path(file.as_uri()) == file
    os.mkfifo(tmp_path / "pipe")
    cases = {
        tmp_path.as_uri(): FailureClass.WRONG_TYPE,
        (tmp_path / "pipe").as_uri(): FailureClass.WRONG_TYPE,
        (tmp_path / "none").as_uri(): FailureClass.NOT_FOUND,
        "file:///dev/zero": FailureClass.WRONG_TYPE,
        "file://elsewhere/etc/passwd": FailureClass.WRONG_TYPE,
        "http://127.0.0.1/x": FailureClass.WRONG_TYPE,
        "file:///x%00y": FailureClass.WRONG_TYPE,
    }
    for url, expected in cases.items():
        with pytest.raises(FetchError) as error:
            local_path(url)
        assert error.value.failure is expected, url
