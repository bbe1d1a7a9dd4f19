"""Same song? Candidates from PostgreSQL, compared by name and credits.

Names never join two recordings: `propose` names songs only, and `recordings_with_same_metadata` asks a moderator.
The answer depends on the subject and on what the catalog holds, not on the order in which that came, except that a
bounded number of equally titled songs is looked at.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Select, func, literal, select, text, union_all
from sqlalchemy.orm import Session

from catalog.models import ArtistAlias, Candidate, Song, SongCredit, SongTitle, Version, VersionCredit
from identity import song_thresholds as th
from identity.evidence import Part, Proposal, Question, Verdict
from identity.names import TRADITIONAL, artist_key, neighbouring_keys, title_key
from identity.song_score import SongView, compare, match_title, normal_iswc
from identity.subject import COMPOSER_ROLES, LYRICIST_ROLES, Subject


def propose(session: Session, subject: Subject, *, limit: int = 10) -> list[Proposal]:
    """Songs of which the subject may be a version, best first, at most ``limit``.

    ``same`` needs an equal title and an agreeing credit or identifier, and that no other song fits as well; an equal
    title alone is for ``review``; contradicting composers make it ``weak``.
    """
    if not subject.title_keys and not subject.identifiers.get("iswc"):
        return []
    ids = _block(session, subject)
    proposals = [compare(subject, song) for song in _load(session, subject, ids)]
    proposals = _unique([p for p in proposals if p.probability >= th.MIN_PROBABILITY or p.parts[0].distance == 0])
    order = {Verdict.SAME: 0, Verdict.REVIEW: 1, Verdict.WEAK: 2}
    return sorted(proposals, key=lambda p: (order[p.verdict], -p.probability, str(p.song_id)))[:limit]


def _unique(proposals: list[Proposal]) -> list[Proposal]:
    """Where several songs fit and no identifier decides, a moderator does."""
    same = [p for p in proposals if p.verdict is Verdict.SAME]
    decided = [p for p in same if any(part.name == "iswc" for part in p.parts)]
    if len(same) < 2 or len(decided) == 1:
        losers = {p.song_id for p in same} - {p.song_id for p in decided} if decided else set()
    else:
        losers = {p.song_id for p in same}
    note = f", but {len(same)} songs fit"
    return [
        replace(p, verdict=Verdict.REVIEW, sentence=p.sentence + note) if p.song_id in losers else p for p in proposals
    ]


# -- blocking ----------------------------------------------------------------------------------------------------------


def _block(session: Session, subject: Subject) -> list[uuid.UUID]:
    """Ids of the songs worth comparing, sorted."""
    exact = {*subject.title_keys, *subject.other_keys}
    runs = set(_runs(title_key(subject.raw_title))) - exact
    words = {run for run in runs if " " not in run}
    found: set[uuid.UUID] = set()
    # Apart, so that the many songs of a common word cannot crowd out the one that is meant; but in one statement.
    blocks = [
        (sorted(keys), limit)
        for keys, limit in ((exact, th.EQUAL_LIMIT), (runs - words, th.RUN_LIMIT), (words, th.RUN_LIMIT))
        if keys
    ]
    if blocks:
        titled = [_titled(number, keys, limit) for number, (keys, limit) in enumerate(blocks)]
        rows = session.execute(titled[0] if len(titled) == 1 else union_all(*titled)).all()
        found.update(row[1] for row in rows)
        for number, (keys, limit) in enumerate(blocks):
            if sum(row[0] == number for row in rows) == limit:
                found.update(_sharing_artists(session, subject, keys))
    if subject.title_keys:
        found.update(_near(session, subject.title_keys[0]))
    if iswc := normal_iswc(subject.identifiers.get("iswc")):
        plain = func.upper(func.regexp_replace(Song.identifiers["iswc"].astext, "[^0-9A-Za-z]", "", "g"))
        found.update(
            session.scalars(
                select(Song.id).where(Song.identifiers.has_key("iswc"), plain == iswc, Song.deleted_at.is_(None))
            )
        )
    return sorted(found)


def _titled(number: int, keys: Sequence[str], limit: int) -> Select[Any]:
    """(number, song id) of songs with one of these keys, at most ``limit``, those of the smallest ids."""
    found = (
        select(SongTitle.song_id)
        .join(Song)
        .where(SongTitle.key.in_(keys), Song.deleted_at.is_(None))
        .distinct()
        .order_by(SongTitle.song_id)
        .limit(limit)
        .subquery()
    )
    return select(literal(number), found.c.song_id)


def _runs(key: str) -> list[str]:
    """Runs of words of a noisy title that may be the song's title."""
    words = key.split()[: th.MAX_WORDS]
    runs = (
        " ".join(words[start:end])
        for start in range(len(words))
        for end in range(start + 1, min(len(words), start + th.MAX_RUN) + 1)
    )
    return [run for run in runs if len(run) >= th.MIN_RUN_LETTERS]


def _near(session: Session, key: str) -> Sequence[uuid.UUID]:
    """Songs whose key is similar, by trigrams; their threshold stands until the end of the transaction."""
    session.execute(select(func.set_config("pg_trgm.similarity_threshold", str(th.NEAR_TRIGRAM), True)))
    similarity = func.max(func.similarity(SongTitle.key, key))
    return session.scalars(
        select(SongTitle.song_id)
        .join(Song)
        .where(SongTitle.key.op("%")(key), Song.deleted_at.is_(None))
        .group_by(SongTitle.song_id)
        .order_by(similarity.desc(), func.min(SongTitle.key), SongTitle.song_id)
        .limit(th.NEAR_LIMIT)
    ).all()


def _sharing_artists(session: Session, subject: Subject, keys: Sequence[str]) -> set[uuid.UUID]:
    """Equally titled songs that share a performer or an author with the subject: for titles that hundreds have."""
    artists = _artist_keys(subject)
    if not artists:
        return set()
    titled = (
        select(SongTitle.song_id).join(Song).where(SongTitle.key.in_(keys), Song.deleted_at.is_(None)).scalar_subquery()
    )
    sung = (
        select(Version.song_id)
        .join(VersionCredit, VersionCredit.version_id == Version.id)
        .join(ArtistAlias, ArtistAlias.artist_id == VersionCredit.artist_id)
        .where(ArtistAlias.key.in_(artists), Version.song_id.in_(titled), Version.deleted_at.is_(None))
    )
    written = (
        select(SongCredit.song_id)
        .join(ArtistAlias, ArtistAlias.artist_id == SongCredit.artist_id)
        .where(ArtistAlias.key.in_(artists), SongCredit.song_id.in_(titled))
    )
    found: set[uuid.UUID] = set()
    for query in (sung, written):
        found.update(session.scalars(query.distinct().order_by(text("1")).limit(th.EQUAL_LIMIT)))
    return found


def _artist_keys(subject: Subject) -> list[str]:
    names = (*subject.performers, *subject.composers, *subject.lyricists)
    return sorted({name.key for name in names} - {TRADITIONAL})


# -- loading -----------------------------------------------------------------------------------------------------------


def _load(session: Session, subject: Subject, ids: Collection[uuid.UUID]) -> list[SongView]:
    """The songs with what comparison needs, in a fixed number of queries."""
    if not ids:
        return []
    titles: dict[uuid.UUID, set[tuple[str, str]]] = defaultdict(set)
    for song_id, key, title in session.execute(
        select(SongTitle.song_id, SongTitle.key, SongTitle.title).where(SongTitle.song_id.in_(ids))
    ):
        titles[song_id].add((key, title))
    composers, lyricists = _authors(session, ids)
    performers = _known_performers(session, subject, ids)
    durations: dict[uuid.UUID, float] = {
        song_id: float(median)
        for song_id, median in session.execute(
            select(Version.song_id, func.percentile_cont(0.5).within_group(Version.duration_s))
            .where(Version.song_id.in_(ids), Version.deleted_at.is_(None), Version.duration_s.is_not(None))
            .group_by(Version.song_id)
        )
    }
    songs = [
        SongView(
            song_id=song.id,
            titles=tuple(sorted(titles[song.id] | ({(title_key(song.title), song.title)} - {("", song.title)}))),
            composers=composers.get(song.id, ()),
            lyricists=lyricists.get(song.id, ()),
            performers=performers.get(song.id, ()),
            duration_s=durations.get(song.id),
            language=song.language,
            iswc=song.identifiers.get("iswc"),
        )
        for song in session.execute(
            select(Song.id, Song.title, Song.language, Song.identifiers).where(Song.id.in_(ids)).order_by(Song.id)
        )
    ]
    matched = {song.song_id: match_title(subject, song).key for song in songs}
    counts = _commonness(session, set(matched.values()) - {""})
    return [replace(song, same_title=max(1, counts.get(matched[song.song_id], 1))) for song in songs]


def _commonness(session: Session, keys: Iterable[str]) -> dict[str, int]:
    """How many songs have each key."""
    rows = session.execute(
        select(SongTitle.key, func.count(SongTitle.song_id.distinct()))
        .join(Song)
        .where(SongTitle.key.in_(sorted(keys)), Song.deleted_at.is_(None))
        .group_by(SongTitle.key)
    )
    return {key: count for key, count in rows}  # noqa: C416 - rows are not pairs to the type checker


People = dict[uuid.UUID, tuple[frozenset[str], ...]]


def _authors(session: Session, ids: Collection[uuid.UUID]) -> tuple[People, People]:
    """Composers and lyricists of songs: for each credited artist all keys they are known by."""
    spellings: dict[tuple[uuid.UUID, int], set[str]] = defaultdict(set)
    roles: dict[tuple[uuid.UUID, int], str] = {}
    for song_id, position, role, credited_as, key in session.execute(
        select(SongCredit.song_id, SongCredit.position, SongCredit.role, SongCredit.credited_as, ArtistAlias.key)
        .outerjoin(ArtistAlias, ArtistAlias.artist_id == SongCredit.artist_id)
        .where(SongCredit.song_id.in_(ids))
    ):
        place = (song_id, position)
        roles[place] = role
        spellings[place].add(artist_key(credited_as))
        if key:
            spellings[place].add(key)
    found: tuple[dict[uuid.UUID, list[frozenset[str]]], dict[uuid.UUID, list[frozenset[str]]]]
    found = (defaultdict(list), defaultdict(list))
    for place in sorted(roles):
        for people, wanted in zip(found, (COMPOSER_ROLES, LYRICIST_ROLES), strict=True):
            if roles[place] in wanted:
                people[place[0]].append(frozenset(spellings[place]))
    composers, lyricists = ({song_id: tuple(keys) for song_id, keys in people.items()} for people in found)
    return composers, lyricists


def _known_performers(
    session: Session, subject: Subject, ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, tuple[str, ...]]:
    """The subject's performers who have recorded the song, by song, as the subject spells them."""
    names = {name.key: name.name for name in subject.performers if not name.traditional}
    if not names:
        return {}
    found: dict[uuid.UUID, set[str]] = defaultdict(set)
    for song_id, key in session.execute(
        select(Version.song_id, ArtistAlias.key)
        .join(VersionCredit, VersionCredit.version_id == Version.id)
        .join(ArtistAlias, ArtistAlias.artist_id == VersionCredit.artist_id)
        .where(Version.song_id.in_(ids), Version.deleted_at.is_(None), ArtistAlias.key.in_(sorted(names)))
        .distinct()
    ):
        found[song_id].add(names[key])
    return {song_id: tuple(sorted(performers)) for song_id, performers in found.items()}


# -- recordings --------------------------------------------------------------------------------------------------------


def recordings_with_same_metadata(session: Session, subject: Subject) -> list[Proposal]:
    """Versions with a source of the same title, artists and (within a bucket) duration: always for ``review``.

    Nothing for an incomplete subject, whose key is shared by too many.
    """
    if not subject.complete:
        return []
    rows = session.execute(
        select(Version.id, Version.title, Candidate.metadata_key, Candidate.id)
        .join(Version, Version.id == Candidate.version_id)
        .where(Candidate.metadata_key.in_(neighbouring_keys(subject.metadata_key)), Version.deleted_at.is_(None))
        .order_by(Version.id, Candidate.id)
        .limit(th.EQUAL_LIMIT)
    ).all()
    titles: dict[uuid.UUID, str] = {}
    equal: dict[uuid.UUID, bool] = defaultdict(bool)
    candidates: dict[uuid.UUID, list[str]] = defaultdict(list)
    for version_id, title, key, candidate_id in rows:
        titles[version_id] = title
        equal[version_id] |= key == subject.metadata_key
        candidates[version_id].append(str(candidate_id))
    proposals = []
    for version_id, title in titles.items():
        note = "title, artists and duration equal" if equal[version_id] else "title and artists equal, duration near"
        probability = th.SAME_METADATA if equal[version_id] else th.NEAR_METADATA
        proposals.append(
            Proposal(
                question=Question.RECORDING,
                probability=probability,
                verdict=Verdict.REVIEW,
                sentence=f"{note} («{title}»); names alone never join two recordings",
                parts=(Part("metadata", 0.0 if equal[version_id] else 0.2, 1.0, note),),
                version_id=version_id,
                extra={"candidates": candidates[version_id]},
            )
        )
    return sorted(proposals, key=lambda p: (-p.probability, str(p.version_id)))
