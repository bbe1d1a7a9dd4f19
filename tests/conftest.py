"""One PostgreSQL per test process, one migrated template, and a fresh copy of it for each test that asks."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from catalog.database import Database
from catalog.migrate import upgrade
from runtime.embedded import postgres
from tests.candidates import add, make_run  # noqa: F401 (fixtures)
from tests.ports import free_port
from tests.temporal_server import client, temporal_address  # noqa: F401 (fixtures)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a server with the migrated database ``template_versions``; TEST_DATABASE_URL names an external one."""
    if external := os.environ.get("TEST_DATABASE_URL"):
        yield external
        return
    # Not pytest's own folder: it clears those of earlier sessions, which may still run.
    folder = Path(tempfile.mkdtemp(prefix="versions-test-"))
    data = folder / "data"
    postgres.prepare(data)
    port = free_port()
    with (data.parent / "log").open("wb") as log:
        process = subprocess.Popen(
            # Tests may lose data in a power cut.
            [*postgres.command(data, port), "-cfsync=off", "-csynchronous_commit=off"],
            **postgres.as_server_user(),
            stdout=log,
            stderr=log,
            cwd="/",
        )
    try:
        postgres.wait_ready(data, port, process)
        yield postgres.url(data, port)
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> str:
    """Name of a migrated database that is only ever copied."""
    name = f"template_{os.getpid()}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    upgrade(postgres_url.rpartition("/")[0] + "/" + name)
    return name


@pytest.fixture
def database_url(postgres_url: str, template_database: str) -> Iterator[str]:
    """URL of a fresh, migrated, empty database."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
    yield postgres_url.rpartition("/")[0] + "/" + name
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh database, connected."""
    result = Database(database_url)
    yield result
    result.dispose()
