"""A lock of a transaction is asked for once, and is there until its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from catalog.database import Database
from catalog.locks import lock_once


@pytest.fixture
def asked(database: Database) -> list[str]:
    """The statements that asked for a lock."""
    statements: list[str] = []

    def remember(*arguments: Any) -> None:
        if "pg_advisory_xact_lock" in arguments[2]:
            statements.append(arguments[2])

    event.listen(database.engine, "before_cursor_execute", remember)
    return statements


def _is_free(database: Database, name: str) -> bool:
    with database.transaction() as other:
        return bool(other.scalar(select(func.pg_try_advisory_xact_lock(func.hashtext(name)))))


def test_it_is_asked_for_once_a_transaction(database: Database, asked: list[str]) -> None:
    with database.transaction() as session:
        for name in ("one", "one", "two", "one"):
            lock_once(session, name)
        assert len(asked) == 2
        assert not _is_free(database, "one")
        assert not _is_free(database, "two")
    assert _is_free(database, "one")


@pytest.mark.parametrize("end", [Session.commit, Session.rollback])
def test_the_next_transaction_of_a_session_asks_again(
    database: Database, asked: list[str], end: Callable[[Session], None]
) -> None:
    with Session(database.engine) as session:
        lock_once(session, "one")
        end(session)
        assert _is_free(database, "one")
        lock_once(session, "one")
        assert not _is_free(database, "one")
    assert len(asked) == 2


def test_a_savepoint_that_was_rolled_back_gave_it_back(database: Database) -> None:
    with database.transaction() as session:
        savepoint = session.begin_nested()
        lock_once(session, "one")
        savepoint.rollback()
        assert _is_free(database, "one")
        lock_once(session, "one")
        assert not _is_free(database, "one")
