"""The change feed, which is the outbox: events are written in the transaction of the change they tell of."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from catalog.locks import lock_once
from catalog.models import Event

# Held from the first event of a transaction to its end, so that sequence numbers appear in commit order and a
# reader that has seen number n has seen all before it.
_FEED_LOCK = "versions.feed"


def event(kind: str, entity: str, entity_id: uuid.UUID, **payload: Any) -> dict[str, Any]:
    """A row for `record_all`."""
    return {"kind": kind, "entity": entity, "entity_id": entity_id, "payload": payload}


def record_all(session: Session, events: list[dict[str, Any]]) -> None:
    """Adds events in this order. Call it late in the transaction: other writers of events wait until this one ends."""
    lock_once(session, _FEED_LOCK)
    session.execute(insert(Event), events)


def record(session: Session, kind: str, entity: str, entity_id: uuid.UUID, **payload: Any) -> None:
    """Adds one event, as `record_all`, after what is pending in the session."""
    session.flush()
    record_all(session, [event(kind, entity, entity_id, **payload)])
