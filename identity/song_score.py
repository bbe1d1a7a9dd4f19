"""How near an item is to a song: pure comparison, without a database."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rapidfuzz import fuzz

from identity import song_thresholds as th
from identity.evidence import Part, Proposal, Question, Verdict
from identity.names import TRADITIONAL, same_name, title_key
from identity.subject import Subject


@dataclass(frozen=True, slots=True)
class SongView:
    """A song of the catalog as comparison sees it.

    Attributes:
        titles: ``(key, title)`` of all its spellings, sorted.
        composers, lyricists: artist keys, all spellings of each credited artist together.
        performers: names of those of the item's performers who have recorded it already.
        duration_s: median of its versions.
        same_title: how many songs of the catalog have the key that matches.
    """

    song_id: uuid.UUID
    titles: tuple[tuple[str, str], ...]
    composers: tuple[frozenset[str], ...] = ()
    lyricists: tuple[frozenset[str], ...] = ()
    performers: tuple[str, ...] = ()
    duration_s: float | None = None
    language: str | None = None
    iswc: str | None = None
    same_title: int = 1


@dataclass(frozen=True, slots=True)
class TitleMatch:
    """``equal``: equal keys, or nothing but the performer's name is left over."""

    similarity: float
    equal: bool
    key: str
    note: str


def compare(subject: Subject, song: SongView) -> Proposal:
    """The proposal that the item is a version of that song, with its parts."""
    title = match_title(subject, song)
    parts = [Part("title", round(min(1.0, (1 - title.similarity) * th.STRETCH), 4), th.TITLE, title.note)]
    parts += filter(None, [_strength(title, song)])
    composers = _credit("composers", [n.key for n in subject.composers], song.composers, th.COMPOSERS)
    lyricists = _credit("lyricists", [n.key for n in subject.lyricists], song.lyricists, th.LYRICISTS)
    performers = _performers(subject, song)
    iswc = _iswc(subject, song)
    parts += filter(None, [composers, lyricists, performers, iswc, _duration(subject, song), _language(subject, song)])
    logit = th.BIAS + sum(part.weight * (1 - 2 * part.distance) for part in parts)
    probability = 1 / (1 + math.exp(-logit))

    credits = [part for part in (composers, lyricists, performers) if part]
    support = any(part.distance == 0 for part in credits)
    contradiction = bool(composers) and composers is not None and composers.distance == 1
    if iswc is not None:
        verdict = Verdict.SAME if iswc.distance == 0 else Verdict.WEAK
    elif title.equal:
        if contradiction:
            verdict = Verdict.REVIEW if performers and performers.distance == 0 else Verdict.WEAK
        else:
            verdict = Verdict.SAME if support and probability >= th.SAME else Verdict.REVIEW
    elif title.similarity >= th.NEAR_SIMILARITY and not contradiction:
        verdict = Verdict.REVIEW
    else:
        verdict = Verdict.WEAK
    if iswc is not None and iswc.distance == 0:
        probability = max(probability, th.SAME)
    if verdict is not Verdict.SAME:
        probability = min(probability, th.SAME - 0.001) if not support else probability
    return Proposal(
        question=Question.SONG,
        probability=round(probability, 4),
        verdict=verdict,
        sentence=_sentence(parts),
        parts=tuple(parts),
        song_id=song.song_id,
    )


def match_title(subject: Subject, song: SongView) -> TitleMatch:
    """The best agreement between any reading of the item's title and any spelling of the song's."""
    best = TitleMatch(0.0, False, "", "titles differ")
    explained = {word for name in subject.performers for word in name.key.split()}
    whole = title_key(subject.raw_title).split()
    for key, spelling in song.titles:
        words = key.split()
        for mine in (*subject.title_keys, *subject.other_keys):
            found = _equal(subject, mine, key, spelling) if mine == key else _unequal(mine, key, spelling)
            best = _better(best, found)
        if not best.equal and len(key) >= th.MIN_RUN_LETTERS and _is_run(words, whole):
            rest = set(whole) - set(words)
            if rest and explained and rest <= explained:
                found = TitleMatch(th.EXPLAINED_SIMILARITY, True, key, "title equal beside the performer's name")
            else:
                similarity = th.RUN_SIMILARITY if len(words) > 1 else _contained(words, whole)
                found = TitleMatch(similarity, False, key, f"«{spelling}» stands in the title")
            best = _better(best, found)
    return best


def _equal(subject: Subject, mine: str, key: str, spelling: str) -> TitleMatch:
    if mine in subject.other_keys:
        return TitleMatch(th.CONTAINED_SIMILARITY, False, key, f"«{spelling}» stands on the artist's side of the dash")
    plain = spelling.casefold().strip() in (subject.title.casefold().strip(), (subject.work_title or "").casefold())
    return TitleMatch(1.0, True, key, "title equal" if plain else "title equal after transliteration and folding")


def _unequal(mine: str, key: str, spelling: str) -> TitleMatch:
    similarity = fuzz.ratio(mine, key) / 100
    note = f"title like «{spelling}» ({similarity:.2f})"
    one, other = sorted((mine.split(), key.split()), key=len)
    if len(" ".join(one)) >= th.MIN_RUN_LETTERS and _is_run(one, other):
        contained = _contained(one, other)
        if contained > similarity:
            return TitleMatch(contained, False, key, f"one title contains the other («{spelling}»)")
    # An edit in a short title makes another word; equality is for `_equal` alone.
    return TitleMatch(min(similarity, 0.99), False, key, note)


def _contained(part: Sequence[str], whole: Sequence[str]) -> float:
    """Similarity of a title that is part of another: the more of it, the better; one of many words says little."""
    share = len(" ".join(part)) / max(1, len(" ".join(whole)))
    return th.CONTAINED_SIMILARITY if len(part) > 1 or share >= 0.4 else 0.6 + share / 2


def _better(one: TitleMatch, other: TitleMatch) -> TitleMatch:
    def order(match: TitleMatch) -> tuple[bool, float, str]:
        return (match.equal, match.similarity, match.key)

    return max(one, other, key=order)


def _is_run(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether the words stand one after the other in the longer sequence."""
    size = len(part)
    return 0 < size < len(whole) and any(list(whole[i : i + size]) == list(part) for i in range(len(whole) - size + 1))


def _strength(title: TitleMatch, song: SongView) -> Part | None:
    if not title.key:
        return None
    words = title.key.split()
    common = min(1.0, (song.same_title - 1) / (th.COMMON_SONGS - 1))
    if len(words) == 1:
        base, note = (0.7, "one short word") if len(title.key) <= th.SHORT_TITLE else (0.5, "one word")
    else:
        base, note = max(0.0, 0.5 - 0.15 * (len(words) - 1)), f"{len(words)} words"
    if song.same_title > 1:
        note += f", {song.same_title} songs have this title"
    return Part("title_strength", round(max(base, common), 4), th.STRENGTH, note)


def _credit(name: str, mine: Sequence[str], theirs: Sequence[frozenset[str]], weight: float) -> Part | None:
    """Agreement of credits; None where a side has none."""
    if not mine or not theirs:
        return None
    my_people = TRADITIONAL in mine
    their_people = any(TRADITIONAL in keys for keys in theirs)
    agreeing = sorted(key for key in mine if any(same_name(key, other) for keys in theirs for other in keys))
    agreeing = [key for key in agreeing if key != TRADITIONAL]
    if agreeing:
        return Part(name, 0.0, weight, f"{name} agree")
    if my_people and their_people:
        return Part(name, 0.0, th.TRADITIONAL, "both traditional")
    if my_people or their_people:
        return Part(name, th.ARRANGED, weight, f"one is traditional, the other names {name}")
    return Part(name, 1.0, weight, f"other {name}")


def _performers(subject: Subject, song: SongView) -> Part | None:
    if song.performers:
        return Part("performers", 0.0, th.PERFORMERS, f"already recorded by {', '.join(song.performers)}")
    if not subject.performers:
        return None
    authors = [key for keys in (*song.composers, *song.lyricists) for key in keys if key != TRADITIONAL]
    if any(same_name(name.key, author) for name in subject.performers for author in authors):
        return Part("performers", 0.0, th.OWN_SONG, "performed by its author")
    return Part("performers", 0.5, th.PERFORMERS, "other performers")


def normal_iswc(value: str | None) -> str | None:
    """``T`` and ten digits, or None: "T-034.524.680-1" and "T0345246801" are one."""
    plain = re.sub(r"[^0-9A-Z]", "", (value or "")[:40].upper())
    return plain if re.fullmatch(r"T\d{10}", plain) else None


def _iswc(subject: Subject, song: SongView) -> Part | None:
    mine, theirs = normal_iswc(subject.identifiers.get("iswc")), normal_iswc(song.iswc)
    if not mine or not theirs:
        return None
    if mine == theirs:
        return Part("iswc", 0.0, th.ISWC, "ISWC equal")
    return Part("iswc", 1.0, th.ISWC, "ISWC differs")


def _duration(subject: Subject, song: SongView) -> Part | None:
    if not subject.duration_s or not song.duration_s:
        return None
    short, long = sorted((subject.duration_s, song.duration_s))
    ratio = short / long
    # Versions of a song differ in length; only extremes say anything. 0.8 and up: 0.3; a quarter and below: 1.
    steps = [(0.0, 1.0), (0.25, 1.0), (0.6, 0.5), (0.8, 0.3), (1.0, 0.3)]
    distance = next(
        y0 + (y1 - y0) * (ratio - x0) / (x1 - x0) for (x0, y0), (x1, y1) in pairwise(steps) if x0 <= ratio <= x1
    )
    return Part("duration", round(distance, 4), th.DURATION, f"length ratio {ratio:.2f}")


def _language(subject: Subject, song: SongView) -> Part | None:
    if not subject.language or not song.language:
        return None
    same = subject.language[:2] == song.language.lower()[:2]
    return Part("language", 0.3 if same else 0.9, th.LANGUAGE, "same language" if same else "other language")


def _sentence(parts: Sequence[Part]) -> str:
    """The notes of the parts that matter, most telling kinds first."""
    telling = [part.note for part in parts if part.name in ("title", "composers", "lyricists", "performers", "iswc")]
    telling += [part.note for part in parts if part.name == "title_strength" and part.distance > 0.5]
    telling += [part.note for part in parts if part.name in ("duration", "language") and part.distance > 0.6]
    return ", ".join(dict.fromkeys(telling))
