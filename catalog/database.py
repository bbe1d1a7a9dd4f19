"""Connections: one engine per process, a unit of work per activity or request."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

RESTED_S = 1.0
"""A connection that was not used for so long is asked whether it is still there; to ask each time is a tenth of all
statements."""


def sqlalchemy_url(database_url: str) -> str:
    """The given PostgreSQL URL with psycopg 3 as driver, whatever driver it named."""
    url = make_url(database_url)
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def libpq_url(database_url: str) -> str:
    """The given PostgreSQL URL as libpq and psycopg read it."""
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)


class Database:
    """Owns the connection pool of a process."""

    def __init__(self, database_url: str, *, pool_size: int = 10) -> None:
        self.engine: Engine = create_engine(
            sqlalchemy_url(database_url),
            pool_size=pool_size,
            max_overflow=10,
            connect_args={"connect_timeout": 10, "application_name": "versions"},
        )
        event.listen(self.engine, "checkin", _remember)
        event.listen(self.engine, "checkout", self._ping_if_rested)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits at the end of the block and rolls back on any exception."""
        with self._sessions.begin() as session:
            yield session

    def dispose(self) -> None:
        """Closes all pooled connections."""
        self.engine.dispose()

    def _ping_if_rested(self, connection: Any, entry: ConnectionPoolEntry, _: Any) -> None:
        """SQLAlchemy's own check (`pool_pre_ping`), less often."""
        if time.monotonic() - entry.info.get("used", math.inf) < RESTED_S:
            return
        try:
            self.engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            # The pool makes a new one in its place.
            raise DisconnectionError from error


def _remember(_: Any, entry: ConnectionPoolEntry) -> None:
    entry.info["used"] = time.monotonic()
