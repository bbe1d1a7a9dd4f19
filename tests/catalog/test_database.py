"""Connections of the pool."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from catalog import database as module
from catalog.database import Database, libpq_url


def _pid(database: Database) -> int:
    with database.transaction() as session:
        return int(session.scalar(text("SELECT pg_backend_pid()")) or 0)


def _end(database: Database, pid: int) -> None:
    url = libpq_url(database.engine.url.render_as_string(hide_password=False))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_a_connection_that_was_lost_while_it_rested_is_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESTED_S", 0.0)
    pid = _pid(database)
    assert _pid(database) == pid, "the pool gives the same again"
    _end(database, pid)
    assert _pid(database) not in (0, pid)


def test_one_that_was_just_used_is_not_asked(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTED_S", 3600.0)
    pid = _pid(database)
    _end(database, pid)
    with pytest.raises(OperationalError):
        _pid(database)
    assert _pid(database) not in (0, pid), "but it is not given again"
