"""Labelled songs and video titles of the shared data: a catalog to load, questions to ask, the split by song."""

from __future__ import annotations

import csv
import random
import re
import uuid
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from catalog.models import Artist, ArtistAlias, Song, SongTitle, Version, VersionCredit
from identity.names import artist_key, title_key
from identity.title_words import canonical_key

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_WITH = re.compile(r"\s+(?:with|feat\.?|featuring|(?:and|&|et|und) (?:his|her|the|son|seine?))\s+.*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Video:
    """A video of a song, as its page describes it."""

    song_title: str
    performer: str
    title: str
    channel: str

    @property
    def item(self) -> dict[str, object]:
        """As a source would deliver it: the title, and whose channel it is."""
        return {"title": self.title, "credits": [{"name": self.channel, "role": "channel"}]}


@dataclass(frozen=True, slots=True)
class Pair:
    """Whether another video is one of the same song."""

    song_title: str
    title: str
    channel: str
    same: bool


@dataclass(slots=True)
class Labelled:
    """Both files. ``songs``: titles and recordings (title, performer) by song; ``pair_titles``: of songs in no list."""

    videos: list[Video]
    pairs: list[Pair]
    songs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def titles(self) -> list[str]:
        """All distinct titles of both files."""
        return sorted(
            {title for rows in self.songs.values() for title, _ in rows} | {v.song_title for v in self.videos}
        )


def half(song_title: str) -> str:
    """Which share a song belongs to: ``tune`` or ``report``."""
    return "tune" if zlib.crc32(title_key(song_title).encode()) % 2 else "report"


def read(folder: Path) -> Labelled:
    """Reads both files. Raises FileNotFoundError where they are absent."""
    rows = [{k: (v or "").replace("\\,", ",") for k, v in row.items()} for row in _rows(folder / "video_pairs.csv")]
    videos = {Video(r["song_title"], r["performer"], r["video_title"], r["channel"]) for r in rows}
    pairs = [Pair(r["song_title"], r["other_video_title"], r["other_channel"], r["same_song"] == "1") for r in rows]
    songs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in _rows(folder / "song_versions.csv"):
        songs[row["song_id"]].append((row["title"], row["performer"]))
    ordered = sorted(videos, key=lambda v: (v.song_title, v.performer, v.title, v.channel))
    return Labelled(ordered, pairs, dict(songs))


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def performers(credit: str) -> list[str]:
    """A credit as one name, and who stands first in it."""
    return list(dict.fromkeys([credit, _WITH.sub("", credit)]))


@dataclass(frozen=True, slots=True)
class Loaded:
    """``by_key``: songs that bear a title with this key; ``by_recording``: song of a listed (title key, performer)."""

    by_key: dict[str, set[uuid.UUID]]
    by_recording: dict[tuple[str, str], set[uuid.UUID]]


def load(session: Session, data: Labelled, *, with_own: bool) -> Loaded:
    """Puts all songs into an empty catalog.

    A song of the lists has its titles and its performers; a title that only the pairs have is a song without any.
    ``with_own``: whether the very recordings that the videos show are in the catalog too. Ids are the same each time,
    as they decide between songs that nothing else tells apart.
    """
    numbers = random.Random(len(data.songs))
    own = {(title_key(video.song_title), video.performer.casefold()) for video in data.videos}
    songs: list[dict[str, object]] = []
    titles: list[dict[str, object]] = []
    artists: dict[str, uuid.UUID] = {}
    artist_rows: list[dict[str, object]] = []
    aliases: list[dict[str, object]] = []
    versions: list[dict[str, object]] = []
    credits: list[dict[str, object]] = []
    by_key: dict[str, set[uuid.UUID]] = defaultdict(set)
    by_recording: dict[tuple[str, str], set[uuid.UUID]] = defaultdict(set)

    def new_id() -> uuid.UUID:
        return uuid.UUID(int=numbers.getrandbits(128), version=4)

    def song(spellings: Iterable[str]) -> uuid.UUID:
        song_id = new_id()
        names = list(dict.fromkeys(spellings))
        songs.append({"id": song_id, "slug": str(song_id), "title": names[0]})
        for name in names:
            titles.append({"song_id": song_id, "title": name, "key": title_key(name)})
            by_key[title_key(name)].add(song_id)
        return song_id

    def artist(name: str) -> uuid.UUID | None:
        key = artist_key(name)
        if key and key not in artists:
            artists[key] = new_id()
            artist_rows.append({"id": artists[key], "slug": str(artists[key]), "name": name})
            aliases.append({"artist_id": artists[key], "name": name, "key": key})
        return artists.get(key)

    for rows in data.songs.values():
        song_id = song(title for title, _ in rows)
        for title, credit in rows:
            recording = (title_key(title), credit.casefold())
            by_recording[recording].add(song_id)
            if recording in own and not with_own:
                continue
            version_id = new_id()
            versions.append({"id": version_id, "song_id": song_id, "title": title})
            ids = dict.fromkeys(found for name in performers(credit) if (found := artist(name)))
            for position, artist_id in enumerate(ids):
                credits.append(
                    {
                        "version_id": version_id,
                        "position": position,
                        "artist_id": artist_id,
                        "role": "performer",
                        "credited_as": credit,
                    }
                )
    by_title: dict[tuple[str, ...], set[uuid.UUID]] = defaultdict(set)
    for key, known in by_key.items():
        by_title[canonical_key(key)] |= known
    for title in sorted({video.song_title for video in data.videos}):
        if title_key(title) not in by_key and (same := by_title.get(canonical_key(title_key(title)))):
            by_key[title_key(title)] |= same  # "Lovin' You" beside "Loving You": one song, as any listing has it
        elif title_key(title) not in by_key:
            by_title[canonical_key(title_key(title))].add(song([title]))
    for key in by_key:
        by_key[key] |= by_title[canonical_key(key)]
    for table, values in (
        (Song, songs),
        (SongTitle, titles),
        (Artist, artist_rows),
        (ArtistAlias, aliases),
        (Version, versions),
        (VersionCredit, credits),
    ):
        session.execute(insert(table), values)
    session.flush()
    session.execute(text("ANALYZE songs, song_titles, artist_aliases, versions, version_credits"))
    return Loaded(dict(by_key), dict(by_recording))
