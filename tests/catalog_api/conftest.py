"""The real application over a real PostgreSQL, reached without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from catalog.database import Database
from catalog.repositories import accounts
from catalog_api.app import create_app
from tests.factories import Factory

Opener = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class MemoryObjects:
    """An object store in memory."""

    def __init__(self, **objects: bytes) -> None:
        self.objects = objects

    def size(self, key: str) -> int | None:
        return len(self.objects[key]) if key in self.objects else None

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        self.objects[key] = path.read_bytes()

    def stream(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        data = self.objects[key][offset : offset + length]
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]


@pytest.fixture
def open_client(database_url: str) -> Opener:
    """Opens the application with further arguments of `create_app`."""

    @asynccontextmanager
    async def opener(**options: Any) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(database_url=database_url, **options)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield client

    return opener


@pytest.fixture
async def client(open_client: Opener) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application."""
    async with open_client() as client:
        yield client


@contextmanager
def made(database: Database) -> Iterator[Factory]:
    """A factory whose rows are committed at the end of the block."""
    with database.transaction() as session:
        yield Factory(session)


def key_of(database: Database, role: str) -> dict[str, str]:
    """The Authorization header of a new user with this role."""
    with database.transaction() as session:
        user = accounts.create_user(session, f"the {role}", role=role)
        return {"Authorization": f"Bearer {accounts.create_api_key(session, user, 'test')}"}
