"""The contract of the change feed."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from catalog_api.deps import Query
from catalog_api.schemas import SONG_ID, WHEN, example

_EXAMPLE: dict[str, Any] = {
    "seq": 41,
    "kind": "song.merged",
    "entity": "song",
    "entity_id": "01990f3a-5b44-7d20-a1b2-c3d4e5f60718",
    "tombstone": True,
    "survivor_id": SONG_ID,
    "payload": {},
    "at": WHEN,
}


class Change(BaseModel):
    """One event. ``tombstone``: the entity is no more; ``survivor_id``: what a merge made of it."""

    model_config = example(_EXAMPLE)

    seq: int
    kind: str
    entity: str
    entity_id: UUID
    tombstone: bool
    survivor_id: UUID | None
    payload: dict[str, Any]
    at: datetime


class ChangePage(BaseModel):
    """Events in commit order. Ask again with ``since`` = ``next``; ``more``: there are further ones now."""

    model_config = example({"items": [_EXAMPLE], "next": 41, "more": False})

    items: list[Change]
    next: int
    more: bool


class ChangesQuery(Query):
    """From where on."""

    since: int = Field(default=0, ge=0, le=2**62, description="`next` of the answer before; 0: from the beginning.")
    limit: int = Field(default=100, ge=1, le=100)
    wait_s: float = Field(default=0, ge=0, le=25, description="Wait up to so many seconds for the first event.")
