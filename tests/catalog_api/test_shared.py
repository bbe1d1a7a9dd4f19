"""One set of tests over both forms of what API processes share; Redis is the real server, where there is one."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalog.database import Database
from catalog_api.ratelimit import RateLimit
from catalog_api.shared import InProcess, InRedis, Shared
from runtime.embedded import redis
from tests.catalog_api.conftest import Opener, made
from tests.conftest import free_port

Maker = Callable[[RateLimit], Shared]


class RedisServer:
    """A Redis on a free port that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder))
        self._process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        for _ in range(200):
            try:
                redis.check(self.url)
                return
            except Exception:
                assert self._process.poll() is None
        raise AssertionError("Redis does not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server program (Debian: apt-get install redis-server)")
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["in-process", "redis"])
def make(request: pytest.FixtureRequest) -> Maker:
    if request.param == "in-process":
        return InProcess
    server: RedisServer = request.getfixturevalue("redis_server")
    return lambda limit: InRedis(server.url, limit)


async def test_a_bucket_empties_and_fills_again(make: Maker) -> None:
    shared = make(RateLimit(3, 600))
    verdicts = [await shared.take("a") for _ in range(4)]
    assert [each.allowed for each in verdicts] == [True, True, True, False]
    assert [each.remaining for each in verdicts] == [2, 1, 0, 0]
    assert 190 < verdicts[3].retry_s <= 200
    assert 590 < verdicts[3].reset_s <= 600
    assert (await shared.take("b")).allowed
    await shared.close()
    fast = make(RateLimit(1, 0.2))
    assert (await fast.take("a")).allowed
    await asyncio.sleep(0.3)
    assert (await fast.take("a")).allowed
    await fast.close()


async def test_values_are_remembered_for_a_while(make: Maker) -> None:
    shared = make(RateLimit())
    assert await shared.get("катюша") is None
    await shared.put("катюша", b"\x00{}", 60)
    await shared.put("катюша", b"\x00{1}", 60)
    await shared.put("brief", b"x", 0.05)
    assert (await shared.get("катюша"), await shared.get("Катюша")) == (b"\x00{1}", None)
    await asyncio.sleep(0.1)
    assert await shared.get("brief") is None
    await shared.close()


async def test_in_process_is_bounded() -> None:
    shared = InProcess(RateLimit(), max_bytes=100)
    for number in range(5):
        await shared.put(str(number), bytes(30), 60)
        await shared.get("0")
    assert [await shared.get(str(number)) is not None for number in range(5)] == [True, False, False, True, True]
    await shared.put("huge", bytes(101), 60)
    assert await shared.get("huge") is None


async def test_processes_share_a_redis(redis_server: RedisServer) -> None:
    one, other = (InRedis(redis_server.url, RateLimit(2, 600)) for _ in range(2))
    await one.put("key", b"value", 60)
    assert await other.get("key") == b"value"
    assert [(await each.take("a")).allowed for each in (one, other, one)] == [True, True, False]
    await one.close()
    await other.close()


async def test_requests_go_on_while_redis_is_away(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog_api.shared._PAUSE_S", 0.0)
    caplog.set_level(logging.WARNING, "catalog_api.shared")
    shared = InRedis(redis_server.url, RateLimit(2, 600))
    assert (await shared.take("a")).allowed
    redis_server.stop()
    assert [(await shared.take("a")).allowed for _ in range(3)] == [True, True, False]
    await shared.put("key", b"value", 60)
    assert await shared.get("key") is None
    assert [record.getMessage()[:13] for record in caplog.records] == ["Redis is away"]
    redis_server.start()
    await shared.put("key", b"value", 60)
    assert await shared.get("key") == b"value"
    assert [record.getMessage() for record in caplog.records][1:] == ["Redis is back"]
    await shared.close()


async def test_a_server_that_never_answers_costs_a_moment(open_client: Opener) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://:secret@127.0.0.1:{silent.getsockname()[1]}/0"
        async with open_client(redis_url=url, rate_limit=RateLimit(2, 60)) as client:
            statuses = [(await client.get("/api/v1/search?q=a")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


@pytest.mark.parametrize("where", ["in-process", "redis"])
async def test_a_search_is_remembered_until_the_catalog_changes(
    request: pytest.FixtureRequest, open_client: Opener, database: Database, where: str
) -> None:
    from sqlalchemy import text

    url = request.getfixturevalue("redis_server").url if where == "redis" else ""
    async with open_client(redis_url=url) as client:

        async def found() -> int:
            return len((await client.get("/api/v1/search?q=катюша")).json()["songs"])

        assert await found() == 0
        with made(database) as make:
            make.song("Катюша")
        assert await found() == 1
        with database.transaction() as session:
            session.execute(text("UPDATE songs SET deleted_at = now()"))
        assert await found() == 1  # nobody said that something changed
        with database.transaction() as session:
            session.execute(
                text("INSERT INTO events (kind, entity, entity_id) VALUES ('song.deleted', 'song', uuidv7())")
            )
        assert await found() == 0
