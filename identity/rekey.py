"""Keys of titles, artists and metadata computed anew, after a release that folds names better.

A stored key that the code would no longer make still stands for its name, so that songs are found less surely until
this has run, and nothing breaks. It may be repeated, interrupted, and run beside ingestion.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from catalog.database import Database
from catalog.models import ArtistAlias, Candidate, SongTitle
from catalog.publishing import lock_identity
from identity.names import artist_key, title_key
from identity.subject import subject_from_item

BATCH = 500
"""Rows a transaction, during which no candidate is settled."""


@dataclass(slots=True)
class Rekeyed:
    """How many keys changed. ``clashes``: spellings whose new key is another artist's, which keep their old one.

    Two artists of one key are probably one: a person should look.
    """

    titles: int = 0
    artists: int = 0
    candidates: int = 0
    clashes: list[str] = field(default_factory=list)


def rekey(database: Database, progress: Callable[[int, int], None] = lambda done, total: None) -> Rekeyed:
    """Computes all keys anew, a batch of rows a transaction. ``progress``: rows looked at, rows in all."""
    result = Rekeyed()
    steps: Sequence[tuple[Any, Callable[[Session, Sequence[Any], Rekeyed], None]]] = (
        (SongTitle, _titles),
        (ArtistAlias, _artists),
        (Candidate, _candidates),
    )
    with database.transaction() as session:
        total = sum(session.scalar(select(func.count()).select_from(table)) or 0 for table, _ in steps)
    done = 0
    for table, change in steps:
        last: uuid.UUID | None = None
        while True:
            with database.transaction() as session:
                lock_identity(session)
                rows = session.execute(_batch(table, last)).all()
                change(session, rows, result)
            if not rows:
                break
            last = rows[-1][0]
            done += len(rows)
            progress(done, total)
    return result


def _batch(table: Any, after: uuid.UUID | None) -> Select[Any]:
    columns = {
        SongTitle: (SongTitle.id, SongTitle.title, SongTitle.key),
        ArtistAlias: (ArtistAlias.id, ArtistAlias.name, ArtistAlias.key, ArtistAlias.artist_id),
        Candidate: (Candidate.id, Candidate.item, Candidate.metadata_key, Candidate.duration_s),
    }[table]
    query = select(*columns).order_by(table.id).limit(BATCH)
    return query if after is None else query.where(table.id > after)


def _titles(session: Session, rows: Sequence[Any], result: Rekeyed) -> None:
    for row_id, title, key in rows:
        if (new := title_key(title)) and new != key:
            session.execute(update(SongTitle).where(SongTitle.id == row_id).values(key=new))
            result.titles += 1


def _artists(session: Session, rows: Sequence[Any], result: Rekeyed) -> None:
    for row_id, name, key, artist_id in rows:
        new = artist_key(name)
        if not new or new == key:
            continue
        others = select(ArtistAlias.id).where(ArtistAlias.key == new, ArtistAlias.artist_id != artist_id).limit(1)
        if session.scalar(others) is not None:
            result.clashes.append(name)
            continue
        session.execute(update(ArtistAlias).where(ArtistAlias.id == row_id).values(key=new))
        result.artists += 1


def _candidates(session: Session, rows: Sequence[Any], result: Rekeyed) -> None:
    for row_id, item, key, duration_s in rows:
        if key is None:
            continue
        # The measured duration is surer than the page's, as in settlement.
        subject = subject_from_item(item if duration_s is None else {**item, "duration_s": duration_s})
        if subject.metadata_key != key:
            session.execute(update(Candidate).where(Candidate.id == row_id).values(metadata_key=subject.metadata_key))
            result.candidates += 1
