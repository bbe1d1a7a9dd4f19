"""Answers of other services, kept so that nobody is asked twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog.models import ServiceAnswer

FRESH = timedelta(days=30)
"""An older answer is asked for again."""


def get(session: Session, service: str, key: str) -> dict[str, Any] | None:
    """The answer, None where there is none that is fresh."""
    row = session.get(ServiceAnswer, (service, key))
    return row.answer if row is not None and row.fetched_at > datetime.now(UTC) - FRESH else None


def put(session: Session, service: str, key: str, answer: dict[str, Any]) -> None:
    """Keeps an answer, in place of an older one."""
    session.execute(
        insert(ServiceAnswer)
        .values(service=service, key=key, answer=answer)
        .on_conflict_do_update(index_elements=["service", "key"], set_={"answer": answer, "fetched_at": func.now()})
    )
