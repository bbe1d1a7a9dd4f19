"""Same song? Candidates from PostgreSQL, compared by name and credits.

Names never join two recordings: `propose` names songs only, and `recordings_with_same_metadata` asks a moderator.
The answer depends on the subject and on what the catalog holds, not on the order in which that came, except that a
bounded number of equally titled songs is looked at.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, func, literal, select, text
from sqlalchemy.orm import Session

from catalog.models import Artist, ArtistAlias, Candidate, Song, SongCredit, SongTitle, Version, VersionCredit
from identity import song_thresholds as th
from identity.evidence import Part, Proposal, Question, Verdict
from identity.names import (
    CYRILLIC,
    TRADITIONAL,
    artist_key,
    fold,
    neighbouring_keys,
    skeleton,
    title_key,
    title_words,
)
from identity.song_score import Context, SongView, compare, normal_iswc, settle_rivals
from identity.subject import COMPOSER_ROLES, LYRICIST_ROLES, Subject
from identity.title_words import probes
from identity.titles import segments_of


def propose(session: Session, subject: Subject, *, limit: int = 10) -> list[Proposal]:
    """Songs of which the subject may be a version, best first, at most ``limit``.

    Of equally likely songs the older one comes first.
    Probabilities are of exclusive answers: one of these songs, or none. ``same`` needs an equal title and an agreeing
    credit or identifier, and that no other song fits as well; an equal title alone is for ``review``; contradicting
    composers make it ``weak``.
    """
    if not subject.title_keys and not subject.identifiers.get("iswc"):
        return []
    blocked = block(session, subject)
    songs = load(session, subject, blocked)
    proposals = settle_rivals([compare(subject, song, blocked.context) for song in songs])
    ordered = sorted(proposals, key=lambda p: (-p.probability, str(p.song_id)))
    kept = _unique([p for place, p in enumerate(ordered) if _is_named(p, place)])
    return sorted(kept, key=lambda p: p.verdict is not Verdict.SAME)[:limit]


def _is_named(proposal: Proposal, place: int) -> bool:
    """Whether a moderator should see it. ``place``: among all, best first."""
    least = th.MIN_PROBABILITY if place >= th.NEAREST_NAMED else th.MIN_NEAREST
    return proposal.probability >= least or proposal.parts[0].distance == 0


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


@dataclass(frozen=True, slots=True)
class Blocked:
    """``song_ids``: worth comparing, sorted; ``artists``: names of artists of the catalog in the title, by key."""

    song_ids: list[uuid.UUID]
    artists: dict[str, str] = field(default_factory=dict)
    context: Context = field(default_factory=Context)


_ARTISTS = -1
# One text for all items, so that it is prepared once. Rows are gathered before they are sorted: a prepared statement is
# planned for unknown keys, and would walk all titles in the order of their songs to save the sorting. The threshold
# stands until the end of the transaction.
_TITLED = text(
    """
    WITH keyed AS MATERIALIZED (
        SELECT w.part, t.song_id FROM (
            SELECT 0 AS part, unnest(CAST(:keys_0 AS text[])) AS key
            UNION ALL SELECT 1, unnest(CAST(:keys_1 AS text[]))
            UNION ALL SELECT 2, unnest(CAST(:keys_2 AS text[]))
        ) w JOIN song_titles t ON t.key = w.key
        UNION ALL
        SELECT 3, t.song_id FROM unnest(CAST(:joined AS text[])) AS j(key)
        JOIN song_titles t ON replace(t.key, ' ', '') = j.key
    ), titled AS MATERIALIZED (
        SELECT DISTINCT k.part, k.song_id FROM keyed k JOIN songs s ON s.id = k.song_id WHERE s.deleted_at IS NULL
    )
    SELECT -2, CAST(NULL AS uuid), NULL, set_config('pg_trgm.similarity_threshold', :threshold, true)
    UNION ALL (SELECT part, song_id, NULL, NULL FROM titled WHERE part = 0 ORDER BY song_id LIMIT :limit_0)
    UNION ALL (SELECT part, song_id, NULL, NULL FROM titled WHERE part = 1 ORDER BY song_id LIMIT :limit_1)
    UNION ALL (SELECT part, song_id, NULL, NULL FROM titled WHERE part = 2 ORDER BY song_id LIMIT :limit_2)
    UNION ALL (SELECT part, song_id, NULL, NULL FROM titled WHERE part = 3 ORDER BY song_id LIMIT :limit_3)
    UNION ALL SELECT -1, artist_id, key, name FROM artist_aliases WHERE key = ANY(CAST(:names AS text[]))
    """
)
_CAPITAL = re.compile(r"(?<=[a-zа-яё])(?=[A-ZА-ЯЁ])")


def block(session: Session, subject: Subject) -> Blocked:
    """The songs worth comparing, by equal keys, runs of words, similar keys and telling words; in two statements."""
    segments = [title_words(part) for part, _ in segments_of(subject.raw_title)]
    # Of a short title only the whole segment is as telling as the parsed title.
    exact = {*subject.title_keys, *subject.other_keys, *map(" ".join, segments)} - {""}
    words = [word for segment in segments for word in segment][: th.MAX_WORDS]
    runs = {*_runs(title_key(subject.raw_title)), *_runs(" ".join(words))} - exact
    single = {run for run in runs if " " not in run} | (_short_ends(segments) - exact)
    spelled = {" ".join(word) for word in single if word.isalpha() and len(word) <= th.SPELLED_LETTERS}
    # Apart, so that the many songs of a common word cannot crowd out the one that is meant; but in one statement.
    blocks = [
        (sorted(exact), th.EQUAL_LIMIT),
        (sorted(runs - single), th.RUN_LIMIT),
        (sorted(single | spelled), th.RUN_LIMIT),
    ]
    rows = session.execute(
        _TITLED,
        {
            "threshold": str(th.NEAR_TRIGRAM),
            "names": _artist_runs(subject, words),
            "joined": _joined(subject.raw_title),
            "limit_3": th.RUN_LIMIT,
            **{f"keys_{number}": keys for number, (keys, _) in enumerate(blocks)},
            **{f"limit_{number}": limit for number, (_, limit) in enumerate(blocks)},
        },
    ).all()
    found = {row[1] for row in rows if row[0] >= 0}
    artists: dict[str, str] = {row[2]: row[3] for row in rows if row[0] == _ARTISTS}
    for number, (keys, limit) in enumerate(blocks):
        if sum(row[0] == number for row in rows) == limit:
            found.update(_sharing_artists(session, subject, artists, keys))
    unnamed = [_without_names(segment, {*artists, *subject.credited}) for segment in segments]
    readings = dict.fromkeys((*subject.title_keys[:1], *map(" ".join, unnamed), *map(" ".join, segments)))
    similar = [key for key in readings if len(key) >= th.NEAR_LETTERS][: th.NEAR_READINGS]
    near, titles = _near(session, subject, words, similar)
    found |= near
    if iswc := normal_iswc(subject.identifiers.get("iswc")):
        plain = func.upper(func.regexp_replace(Song.identifiers["iswc"].astext, "[^0-9A-Za-z]", "", "g"))
        found.update(
            session.scalars(
                select(Song.id).where(Song.identifiers.has_key("iswc"), plain == iswc, Song.deleted_at.is_(None))
            )
        )
    return Blocked(sorted(found), artists, Context(frozenset((*subject.credited, *artists)), titles))


def _runs(key: str) -> list[str]:
    """Runs of words of a noisy title that may be the song's title."""
    words = key.split()[: th.MAX_WORDS]
    runs = (
        " ".join(words[start:end])
        for start in range(len(words))
        for end in range(start + 1, min(len(words), start + th.MAX_RUN) + 1)
    )
    return [run for run in runs if len(run) >= th.MIN_RUN_LETTERS]


def _short_ends(segments: Iterable[Sequence[str]]) -> set[str]:
    """What stands first or last in a segment and is too short to be looked for elsewhere: "If", "He", «Мы»."""
    ends = {" ".join(run) for words in segments for size in (1, 2) for run in (words[:size], words[-size:])}
    return {run for run in ends if run and len(run) < th.MIN_RUN_LETTERS}


def _joined(raw: str) -> list[str]:
    """Titles without spaces that may stand in a noisy one: "Speedking", "T.K.O.", "Blue Jean Bop"."""
    found = set()
    for part, _ in segments_of(raw):
        words, spelled = title_words(part)[: th.MAX_WORDS], fold(part).split()[: th.MAX_WORDS]
        for start in range(len(words)):
            for end in range(start + 1, min(len(words), start + th.JOINED_RUN) + 1):
                found.add("".join(words[start:end]))
        for start in range(len(spelled)):
            # Spelled as one word, other romanisation rules hold at the seam.
            for end in range(start + 2, min(len(spelled), start + th.JOINED_WORDS) + 1):
                found.add(skeleton("".join(spelled[start:end])))
            word = spelled[start]
            if th.PARTED_LETTERS <= len(word) <= th.JOINED_LETTERS:
                found.update(skeleton(word[:seam]) + skeleton(word[seam:]) for seam in range(3, len(word) - 2))
    return sorted(key for key in found if th.MIN_JOINED_LETTERS <= len(key) <= th.JOINED_LETTERS)


def _artist_runs(subject: Subject, words: Sequence[str]) -> list[str]:
    """Keys under which artists may be known whose names stand in the title or in the channel's name."""
    found = set()
    channel = title_words(_CAPITAL.sub(" ", subject.channel))[: th.MAX_WORDS]
    for each in (words, channel):
        for start in range(len(each)):
            for end in range(start + 1, min(len(each), start + th.ARTIST_WORDS) + 1):
                found.add(artist_key(" ".join(each[start:end])))
    return sorted(found - {TRADITIONAL, ""})


def _without_names(words: Sequence[str], names: Collection[str]) -> list[str]:
    """What a segment says beside the names of known artists; all of it where it says nothing else."""
    kept = list(words)
    for name in sorted(names, key=lambda each: (-len(each), each)):
        run = name.split()
        if len(run) > 1:
            for start in range(len(kept) - len(run), -1, -1):
                if kept[start : start + len(run)] == run:
                    del kept[start : start + len(run)]
    return kept or list(words)


_WORDS = text(
    """
    WITH hits AS MATERIALIZED (
        SELECT w.word, h.id, h.song_id, h.words FROM unnest(CAST(:words AS text[])) AS w(word) CROSS JOIN LATERAL (
            SELECT t.id, t.song_id, t.words FROM song_titles t WHERE t.words @> ARRAY[w.word] LIMIT :titles
        ) h
    ), counted AS (
        SELECT word, count(*) AS titles FROM hits GROUP BY word
    ), scored AS (
        SELECT h.song_id, sum(1 / (1 + ln(c.titles))) * (
            SELECT count(*) FROM unnest(h.words) AS said(word) WHERE said.word = ANY(CAST(:said AS text[]))
        ) / cardinality(h.words) AS told
        FROM hits h JOIN counted c USING (word) GROUP BY h.id, h.song_id, h.words
    ), best AS (
        SELECT song_id FROM scored GROUP BY song_id ORDER BY max(told) DESC, song_id LIMIT :songs
    ), near AS (
        SELECT n.song_id FROM unnest(CAST(:keys AS text[])) AS k(key) CROSS JOIN LATERAL (
            SELECT t.song_id FROM song_titles t WHERE t.key % k.key
            GROUP BY t.song_id ORDER BY max(similarity(t.key, k.key)) DESC, min(t.key), t.song_id LIMIT :near
        ) n
    )
    SELECT NULL, word, titles FROM counted
    UNION ALL SELECT s.id, NULL, NULL FROM songs s
    WHERE s.deleted_at IS NULL AND s.id IN (SELECT song_id FROM best UNION SELECT song_id FROM near)
    """
)


def _near(
    session: Session, subject: Subject, words: Sequence[str], keys: Sequence[str]
) -> tuple[set[uuid.UUID], dict[str, int]]:
    """Songs that share telling words or whose key is similar, and how many titles have each of the words."""
    looked_up = dict(probes(words, th.WORD_PROBES))
    rows = session.execute(
        _WORDS,
        {
            "words": list(looked_up),
            "said": sorted({*looked_up, *words}),
            "titles": th.WORD_TITLES,
            "songs": th.WORD_LIMIT,
            "keys": list(keys),
            "near": th.NEAR_LIMIT,
        },
    ).all()
    titles: Counter[str] = Counter()
    for _, word, count in rows:
        if word is not None:
            titles[looked_up[word]] += count
    return {row[0] for row in rows if row[0] is not None}, titles


def _sharing_artists(session: Session, subject: Subject, named: Collection[str], keys: Sequence[str]) -> set[uuid.UUID]:
    """Equally titled songs that share a performer or an author with the subject: for titles that hundreds have."""
    artists = sorted({*_artist_keys(subject), *named})
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


def load(session: Session, subject: Subject, blocked: Blocked) -> list[SongView]:
    """The songs with what comparison needs, in a fixed number of statements."""
    ids = blocked.song_ids
    if not ids:
        return []
    composers, lyricists = _authors(session, ids)
    performers = _known_performers(session, subject, blocked)
    spellings = (
        select(func.json_agg(func.json_build_array(SongTitle.key, SongTitle.title)))
        .where(SongTitle.song_id == Song.id)
        .scalar_subquery()
    )
    duration = (
        select(func.percentile_cont(0.5).within_group(Version.duration_s))
        .where(Version.song_id == Song.id, Version.deleted_at.is_(None), Version.duration_s.is_not(None))
        .scalar_subquery()
    )
    rows = session.execute(
        select(Song.id, Song.title, Song.language, Song.identifiers["iswc"].astext, spellings, duration)
        .where(_among(Song.id, ids))
        .order_by(Song.id)
    )
    songs = []
    for song_id, title, language, iswc, titles, seconds in rows:
        known = {(key, spelling) for key, spelling in titles or ()} | ({(title_key(title), title)} - {("", title)})
        songs.append(
            SongView(
                song_id=song_id,
                titles=tuple(sorted(known)),
                composers=composers.get(song_id, ()),
                lyricists=lyricists.get(song_id, ()),
                performers=performers.get(song_id, ()),
                duration_s=None if seconds is None else float(seconds),
                language=language,
                iswc=iswc,
            )
        )
    counts = Counter(key for song in songs for key in {key for key, _ in song.titles})
    return [
        replace(song, same_title=max((counts[key] for key, _ in song.titles if key in subject.title_keys), default=1))
        for song in songs
    ]


def _among(column: Any, ids: Collection[uuid.UUID]) -> ColumnElement[bool]:
    """That the column is one of these, as one parameter: however many they are, it is the same prepared statement."""
    return cast("ColumnElement[bool]", column == any_(literal(list(ids), ARRAY(Uuid))))


People = dict[uuid.UUID, tuple[frozenset[str], ...]]


def _authors(session: Session, ids: Collection[uuid.UUID]) -> tuple[People, People]:
    """Composers and lyricists of songs: for each credited artist all keys they are known by."""
    spellings: dict[tuple[uuid.UUID, int], set[str]] = defaultdict(set)
    roles: dict[tuple[uuid.UUID, int], str] = {}
    for song_id, position, role, credited_as, key in session.execute(
        select(SongCredit.song_id, SongCredit.position, SongCredit.role, SongCredit.credited_as, ArtistAlias.key)
        .outerjoin(ArtistAlias, ArtistAlias.artist_id == SongCredit.artist_id)
        .where(_among(SongCredit.song_id, ids))
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


def _known_performers(session: Session, subject: Subject, blocked: Blocked) -> dict[uuid.UUID, tuple[str, ...]]:
    """The artists named by the item who have recorded the song, by song, as the item spells its performers.

    The catalog's name follows in brackets where that is an alias or in other letters: «Guf (Гуф)».
    """
    names = blocked.artists | {name.key: name.name for name in subject.performers if not name.traditional}
    if not names:
        return {}
    found: dict[uuid.UUID, set[str]] = defaultdict(set)
    for song_id, key, known_as in session.execute(
        select(Version.song_id, ArtistAlias.key, Artist.name)
        .join(VersionCredit, VersionCredit.version_id == Version.id)
        .join(ArtistAlias, ArtistAlias.artist_id == VersionCredit.artist_id)
        .join(Artist, Artist.id == ArtistAlias.artist_id)
        .where(
            _among(Version.song_id, blocked.song_ids), Version.deleted_at.is_(None), ArtistAlias.key.in_(sorted(names))
        )
        .distinct()
    ):
        usual = artist_key(known_as) == key and bool(CYRILLIC.search(known_as)) == bool(CYRILLIC.search(names[key]))
        found[song_id].add(names[key] if usual else f"{names[key]} ({known_as})")
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
