"""Locks by name in the database, until the end of a transaction."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def lock_once(session: Session, name: str) -> None:
    """Takes the lock of this name, and waits for it; a transaction that has taken it is not asked again.

    A savepoint that is rolled back gives back what was taken in it, so each asks for itself.
    """
    within = session.get_nested_transaction() or session.get_transaction()
    held = session.info.setdefault("locks", {})
    if within is None or held.get(name) is not within:
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext(name))))
        held[name] = session.get_nested_transaction() or session.get_transaction()
