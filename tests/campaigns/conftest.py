"""One database for all tests that need no commit: each works in a transaction that is rolled back."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy.orm import Session

from catalog.database import Database


@pytest.fixture(scope="module")
def module_database(postgres_url: str, template_database: str) -> Iterator[Database]:
    """A migrated database for a module's tests."""
    name = f"campaigns_{os.getpid()}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
    database = Database(postgres_url.rpartition("/")[0] + "/" + name)
    yield database
    database.dispose()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def session(module_database: Database) -> Iterator[Session]:
    """A session that is rolled back."""
    with module_database.engine.connect() as connection, Session(connection, expire_on_commit=False) as session:
        yield session
        session.rollback()
