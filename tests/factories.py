"""Inserts songs, versions, sources, artists and review cases by the models, as publication would leave them."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from catalog import feed
from catalog.models import (
    Artist,
    ArtistAlias,
    Candidate,
    MatchProposal,
    Redirect,
    ReviewCase,
    Song,
    SongCredit,
    SongTitle,
    Version,
    VersionCredit,
    VersionSource,
)
from catalog.slugs import free_slug
from catalog.spellings import latin


@dataclass
class Factory:
    """Makes rows in one session; every call flushes, nothing commits."""

    session: Session
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def artist(self, name: str, *, aliases: Sequence[str] = (), **values: Any) -> Artist:
        """An artist with its spellings."""
        artist = Artist(name=name, slug=free_slug(self.session, Artist.slug, name), **values)
        artist.aliases = [ArtistAlias(name=spelling, key=latin(spelling)) for spelling in (name, *aliases)]
        self.session.add(artist)
        self.session.flush()
        return artist

    def song(self, title: str, *, titles: Sequence[str] = (), composers: Sequence[Artist] = (), **values: Any) -> Song:
        """A song with spellings, credits and search text, and its event."""
        song = Song(title=title, slug=free_slug(self.session, Song.slug, title), **values)
        self.session.add(song)
        self.session.flush()
        for spelling in (title, *titles):
            self.session.add(SongTitle(song_id=song.id, title=spelling, key=latin(spelling)))
        for position, artist in enumerate(composers):
            self.session.add(
                SongCredit(
                    song_id=song.id, position=position, artist_id=artist.id, role="composer", credited_as=artist.name
                )
            )
        words = [title, *titles, *(artist.name for artist in composers)]
        song.search_text = " ".join(form for word in words for form in (word, latin(word)))
        feed.record(self.session, "song.created", "song", song.id, title=title)
        self.session.flush()
        return song

    def candidate(self, *, source: str = "archive", title: str = "Item", **values: Any) -> Candidate:
        """A candidate of its own source key."""
        key = f"item-{next(self._numbers)}-{uuid.uuid4().hex[:8]}"
        url = values.pop("url", f"https://{source}.example/{key}")
        item = values.pop("item", {"source_key": key, "title": title, "url": url})
        candidate = Candidate(source=source, source_key=key, url=url, item=item, item_digest=key, **values)
        self.session.add(candidate)
        self.session.flush()
        return candidate

    def version(
        self,
        song: Song,
        *,
        performers: Sequence[Artist] = (),
        title: str | None = None,
        sources: int = 1,
        **values: Any,
    ) -> Version:
        """A version of a song with performers and so many sources."""
        version = Version(song_id=song.id, title=title or song.title, **values)
        self.session.add(version)
        self.session.flush()
        for position, artist in enumerate(performers):
            self.session.add(
                VersionCredit(
                    version_id=version.id,
                    position=position,
                    artist_id=artist.id,
                    role="performer",
                    credited_as=artist.name,
                    join_phrase="",
                )
            )
            song.search_text += f" {artist.name} {latin(artist.name)}"
        song.row_version = (song.row_version or 0) + 1
        for rank in range(sources):
            self.source(version, rank=rank)
        feed.record(self.session, "version.uploaded", "version", version.id, song_id=str(song.id))
        self.session.flush()
        return version

    def source(self, version: Version, *, rank: int = 0, source: str = "archive", **values: Any) -> VersionSource:
        """A place where the version can be found."""
        candidate = self.candidate(
            source=source, title=version.title, state="published", reason="new_song", version_id=version.id
        )
        values = {
            "url": candidate.url,
            "title": version.title,
            "duration_s": version.duration_s,
            "audio": {"codec": "mp3", "sample_rate": 44100, "channels": 2},
            **values,
        }
        row = VersionSource(
            version_id=version.id,
            candidate_id=candidate.id,
            source=source,
            source_key=candidate.source_key,
            rank=rank,
            **values,
        )
        self.session.add(row)
        self.session.flush()
        return row

    def merge(self, loser: Song | Version | Artist, winner: Song | Version | Artist) -> None:
        """The traces that a merge leaves: the loser is gone, its id redirects, the feed says so."""
        entity = type(loser).__name__.lower()
        loser.deleted_at = loser.deleted_at or loser.created_at
        self.session.add(Redirect(entity=entity, old_id=loser.id, new_id=winner.id))
        feed.record(self.session, f"{entity}.merged", entity, loser.id, into=str(winner.id))
        self.session.flush()

    def case(
        self, *, target: Version | None = None, song: Song | None = None, source: str = "archive", **values: Any
    ) -> ReviewCase:
        """An open review case; with ``target`` a similar recording of it, with ``song`` possibly a version of it."""
        candidate = self.candidate(source=source, title="Doubtful", state="in_review", reason="review")
        suggestion: dict[str, Any] = {"action": "new_song"}
        if target is not None:
            suggestion = {"action": "attach", "version_id": str(target.id)}
        elif song is not None:
            suggestion = {"action": "new_version", "song_id": str(song.id)}
        if target is not None or song is not None:
            self.session.add(
                MatchProposal(
                    candidate_id=candidate.id,
                    question="recording" if target is not None else "song",
                    version_id=target.id if target is not None else None,
                    song_id=song.id if song is not None and target is None else None,
                    probability=0.7,
                    verdict="review",
                    sentence="It is alike.",
                    evidence={"parts": [{"name": "title", "distance": 0.1, "weight": 1.0, "note": "alike"}]},
                )
            )
        case = ReviewCase(
            candidate_id=candidate.id, **{"reason": "similar_recording", "suggestion": suggestion, **values}
        )
        self.session.add(case)
        self.session.flush()
        return case
