"""Song reads a second through the whole application, beside an empty FastAPI route in the same process and run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI

from benchmarks import _stack
from benchmarks._figures import Figure, at_least
from catalog.database import Database
from catalog_api.app import create_app
from catalog_api.ratelimit import RateLimit
from tests.factories import Factory

FIGURES = ("api_song_reads", "api_song_list")
SECONDS = 4.0
ROUNDS = 3
IN_FLIGHT = 8

App = Callable[..., Awaitable[None]]


async def _ask(app: App, path: str, headers: list[tuple[bytes, bytes]]) -> int:
    """One request, without a socket: what is compared is the application, not an HTTP parser."""
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
    await app(scope, receive, send)
    return status


async def _rate(app: App, paths: list[str], seconds: float) -> float:
    done = 0
    started = time.perf_counter()
    end = started + seconds

    async def client(number: int) -> None:
        nonlocal done
        turn = number
        while time.perf_counter() < end:
            status = await _ask(app, paths[turn % len(paths)], [])
            if status != 200:
                raise RuntimeError(f"{paths[turn % len(paths)]} answered {status}")
            done += 1
            turn += IN_FLIGHT

    await asyncio.gather(*(client(number) for number in range(IN_FLIGHT)))
    return done / (time.perf_counter() - started)


async def _measure(database_url: str, seconds: float, rounds: int) -> list[Figure]:
    database = Database(database_url)
    with database.transaction() as session:
        make = Factory(session)
        singers = [make.artist(f"Artist {number}") for number in range(5)]
        ids = []
        for number in range(100):
            song = make.song(f"Song {number}", composers=singers[:1])
            for place in range(3):
                make.version(song, performers=singers[place : place + 2], sources=2)
            ids.append(song.id)
    database.dispose()

    empty = FastAPI()

    @empty.get("/")
    async def nothing() -> dict[str, str]:
        return {"status": "ok"}

    app = create_app(database_url=database_url, rate_limit=RateLimit(10**9, 60))
    reads, lists = [], []
    async with app.router.lifespan_context(app):
        for _ in range(rounds):
            reference = await _rate(empty, ["/"], seconds)
            reads.append((await _rate(app, [f"/api/v1/songs/{song_id}" for song_id in ids], seconds), reference))
            lists.append((await _rate(app, ["/api/v1/songs"], seconds), reference))
    about = f"{IN_FLIGHT} in flight, {seconds:g} s a round, without a socket"
    return [
        at_least(
            name,
            "requests/s",
            taken,
            reference_name="empty FastAPI route",
            goal=None,
            detail=f"{about}; {what}",
        )
        for name, taken, what in (
            (FIGURES[0], reads, "a song has three versions of two sources"),
            (FIGURES[1], lists, "a page of 50 songs"),
        )
    ]


def figures(database_url: str, seconds: float = SECONDS, rounds: int = 1) -> list[Figure]:
    """The figures, from an empty, migrated database."""
    return asyncio.run(_measure(database_url, seconds, rounds))


def measure() -> list[Figure]:
    """The figures, from a database of its own."""
    with _stack.running("postgres") as stack:
        return figures(stack.connections.database_url, SECONDS, ROUNDS)
