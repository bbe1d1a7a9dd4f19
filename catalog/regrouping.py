"""Sources and versions change their place: cut, moved, merged. What describes them is derived anew each time.

In the caller's transaction, under the identity lock. No rules here: who may do what stands in `moderation.links`.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from catalog import feed
from catalog.models import Candidate, Redirect, Song, Version, VersionSource
from catalog.publishing import derive, new_song

Events = list[dict[str, Any]]


def cut_source(session: Session, candidate: Candidate) -> tuple[Version, Events]:
    """The candidate's source leaves its version and becomes a version of its own of the same song."""
    old = session.get_one(Version, candidate.version_id)
    version = Version(song_id=old.song_id, title=candidate.normalised["title"])
    session.add(version)
    session.flush()
    _move_sources(session, [candidate.id], version.id)
    events = [
        feed.event("version.uploaded", "version", version.id, song_id=str(version.song_id), title=version.title),
        *derive(session, [old.song_id], [old.id, version.id]),
    ]
    return version, events


def move_version(session: Session, version: Version, song: Song | None) -> tuple[Song, Events]:
    """The version, with all its sources, becomes one of another song; None: of a new one."""
    old_song_id = version.song_id
    events: Events = []
    if song is None:
        first = session.scalars(
            select(Candidate)
            .join(VersionSource, VersionSource.candidate_id == Candidate.id)
            .where(VersionSource.version_id == version.id)
            .order_by(VersionSource.rank, VersionSource.id)
            .limit(1)
        ).one()
        song = new_song(session, first)
        session.flush()
        events.append(feed.event("song.created", "song", song.id, title=song.title, slug=song.slug))
    version.song_id = song.id
    events += derive(session, [old_song_id, song.id], [version.id])
    return song, events


def merge_versions(session: Session, loser: Version, winner: Version) -> Events:
    """All sources of one version become sources of the other; its id redirects for ever."""
    sources = session.scalars(select(VersionSource.candidate_id).where(VersionSource.version_id == loser.id)).all()
    _move_sources(session, sources, winner.id)
    events = derive(session, {loser.song_id, winner.song_id}, [loser.id, winner.id])
    redirect(session, "version", loser.id, winner.id)
    return _merged(events, "version", loser.id, winner.id)


def merge_songs(session: Session, loser: Song, winner: Song) -> Events:
    """All versions of one song become versions of the other; its id redirects for ever."""
    moved = session.scalars(
        update(Version)
        .where(Version.song_id == loser.id, Version.deleted_at.is_(None))
        .values(song_id=winner.id)
        .returning(Version.id)
        .execution_options(synchronize_session="fetch")
    ).all()
    events = derive(session, [loser.id, winner.id], moved)
    redirect(session, "song", loser.id, winner.id)
    return _merged(events, "song", loser.id, winner.id)


def redirect(session: Session, entity: str, old_id: uuid.UUID, new_id: uuid.UUID) -> None:
    """From now on the old id leads to the new one."""
    session.merge(Redirect(entity=entity, old_id=old_id, new_id=new_id))
    session.flush()


def _move_sources(session: Session, candidate_ids: Sequence[uuid.UUID], version_id: uuid.UUID) -> None:
    fetch = {"synchronize_session": "fetch"}
    session.execute(
        update(VersionSource)
        .where(VersionSource.candidate_id.in_(candidate_ids))
        .values(version_id=version_id)
        .execution_options(**fetch)
    )
    session.execute(
        update(Candidate)
        .where(Candidate.id.in_(candidate_ids))
        .values(version_id=version_id)
        .execution_options(**fetch)
    )


def _merged(events: Events, entity: str, old_id: uuid.UUID, new_id: uuid.UUID) -> Events:
    """The deletion of what was merged is told as a merge."""
    told = [each for each in events if not (each["entity_id"] == old_id and each["kind"] == f"{entity}.deleted")]
    return [*told, feed.event(f"{entity}.merged", entity, old_id, into=str(new_id))]
