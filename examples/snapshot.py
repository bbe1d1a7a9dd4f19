"""What stands in the catalog, in a form that does not depend on ids, times or the order of arrival."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session, aliased

from catalog.models import (
    Candidate,
    CrawlIncident,
    CrawlRun,
    PageSnapshot,
    ReviewCase,
    Song,
    StoredObject,
    Version,
    VersionCredit,
    VersionSource,
)

Partition = frozenset[frozenset[frozenset[str]]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A catalog.

    Attributes:
        partition: songs, as sets of versions, as sets of ``source:source_key``.
        described: of each version (by its smallest source): song's title, version's title, kind, credits, preferred
            source, rounded duration.
        review: candidates with an open case.
        failed: candidates that ended without audio, with the reason.
        unfinished: candidates that are neither final nor in review.
    """

    partition: Partition
    described: dict[str, tuple[str, str, str, str, str, int]]
    review: frozenset[str]
    failed: dict[str, str]
    unfinished: frozenset[str]

    @property
    def songs(self) -> int:
        return len(self.partition)

    @property
    def versions(self) -> int:
        return sum(len(versions) for versions in self.partition)

    @property
    def sources(self) -> int:
        return sum(len(sources) for versions in self.partition for sources in versions)

    @property
    def most_sources(self) -> int:
        return max((len(sources) for versions in self.partition for sources in versions), default=0)

    def differences(self, other: Snapshot) -> list[str]:
        """What is otherwise in ``other``, one sentence each."""
        lines = [f"song lost or changed: {_spell(song)}" for song in self.partition - other.partition]
        lines += [f"song new or changed: {_spell(song)}" for song in other.partition - self.partition]
        for key in sorted(self.described.keys() & other.described.keys()):
            if self.described[key] != other.described[key]:
                lines.append(f"{key}: {self.described[key]} became {other.described[key]}")
        lines += [f"review: {key}" for key in sorted(self.review ^ other.review)]
        for key in sorted(self.failed.keys() | other.failed.keys()):
            if self.failed.get(key) != other.failed.get(key):
                lines.append(f"failure of {key}: {self.failed.get(key)} became {other.failed.get(key)}")
        return lines + [f"unfinished: {key}" for key in sorted(other.unfinished)]


def take(session: Session) -> Snapshot:
    """The catalog as it stands."""
    source_name: ColumnElement[str] = VersionSource.source + ":" + VersionSource.source_key
    songs: dict[object, dict[object, set[str]]] = defaultdict(lambda: defaultdict(set))
    preferred: dict[object, str] = {}
    for song_id, version_id, source, rank in session.execute(
        select(Version.song_id, Version.id, source_name, VersionSource.rank).join(VersionSource)
    ):
        songs[song_id][version_id].add(source)
        if rank == 0:
            preferred[version_id] = source
    credits: dict[object, list[str]] = defaultdict(list)
    for version_id, artist in session.execute(
        select(VersionCredit.version_id, VersionCredit.credited_as).order_by(
            VersionCredit.version_id, VersionCredit.position
        )
    ):
        credits[version_id].append(artist)
    described = {}
    for version, title in session.execute(select(Version, Song.title).join(Song).where(Version.deleted_at.is_(None))):
        sources = songs[version.song_id][version.id]
        described[min(sources, default=str(version.id))] = (
            title,
            version.title,
            version.kind,
            ", ".join(credits[version.id]),
            preferred.get(version.id, ""),
            round(version.duration_s or 0),
        )
    name: ColumnElement[str] = Candidate.source + ":" + Candidate.source_key
    failures = select(name, Candidate.reason).where(Candidate.state.in_(("failed", "unavailable")))
    return Snapshot(
        partition=frozenset(frozenset(frozenset(s) for s in versions.values()) for versions in songs.values()),
        described=described,
        review=frozenset(session.scalars(select(name).join(ReviewCase).where(ReviewCase.state == "open"))),
        failed={row[0]: row[1] for row in session.execute(failures)},
        unfinished=frozenset(
            session.scalars(
                select(name).where(Candidate.state.in_(("discovered", "fetched", "fingerprinted", "matched")))
            )
        ),
    )


def incidents(session: Session) -> set[tuple[str, str, str]]:
    """Source, path and failure class of each page that ended badly in the newest run of its source."""
    later = aliased(CrawlRun)
    rows = session.execute(
        select(CrawlRun.source, CrawlIncident.url, CrawlIncident.failure)
        .join(CrawlRun)
        .where(CrawlIncident.final)
        .where(~exists().where(later.source == CrawlRun.source, later.id > CrawlRun.id))
    )
    return {(source, urlsplit(url).path, failure) for source, url, failure in rows}


def orphans(session: Session, objects: Iterable[tuple[str, int]]) -> list[str]:
    """Objects that nothing refers to, and references to objects that are not there."""
    there = {key for key, _ in objects}
    kept = set(session.scalars(select(StoredObject.key).where(StoredObject.state == "kept")))
    pending = set(session.scalars(select(StoredObject.key).where(StoredObject.state == "pending")))
    used = {
        key
        for column in (VersionSource.audio_object, Candidate.audio_object, PageSnapshot.object_key)
        for key in session.scalars(select(column).distinct())
        if key is not None
    }
    lines = [f"object without a row: {key}" for key in sorted(there - kept - pending)]
    lines += [f"object that nothing refers to: {key}" for key in sorted((there & kept) - used)]
    lines += [f"object is missing: {key}" for key in sorted(used - there)]
    return lines


def _spell(song: frozenset[frozenset[str]]) -> str:
    return " | ".join(sorted(" + ".join(sorted(version)) for version in song))
