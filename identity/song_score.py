"""How near an item is to a song: pure comparison, without a database.

What the names say is weighed by a model that was fitted on labelled pairs (`song_thresholds`); credits, identifiers,
duration and language add to it. Each group of signals is a part; ``weight * (1 - 2 * distance)`` is what it adds to
the log-odds, so that the parts of a proposal add up to its probability.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from identity import song_thresholds as th
from identity.evidence import Part, Proposal, Question, Verdict
from identity.names import CYRILLIC, TRADITIONAL, same_name
from identity.subject import Subject
from identity.title_match import Found, NoisyTitle, find, forms, name_places, noisy_title
from identity.title_words import canonical_key


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
class Context:
    """What the catalog knows of an item's words, beside the songs themselves.

    Attributes:
        names: keys of artists whose names stand in the item's title, its credited performers and its channel.
        titles: how many titles have a word of the item's title, where that is known.
    """

    names: frozenset[str] = frozenset()
    titles: Mapping[str, int] = field(default_factory=dict)


_NOTHING_KNOWN = Context()


@dataclass(frozen=True, slots=True)
class TitleMatch:
    """``equal``: nothing of either title is left over but noise and the performers' names.

    ``near``: one title is part of the other or a typo away. ``signals``: what the fitted model weighs, in 0..1.
    """

    key: str = ""
    equal: bool = False
    near: bool = False
    note: str = "titles differ"
    signals: Mapping[str, float] = field(default_factory=dict)
    logit: float = -99.0


def compare(subject: Subject, song: SongView, context: Context = _NOTHING_KNOWN) -> Proposal:
    """The proposal that the item is a version of that song, with its parts; for rivals see `settle_rivals`."""
    title = match_title(subject, song, context)
    parts = _title_parts(title, song)
    composers = _credit("composers", [n.key for n in subject.composers], song.composers, th.COMPOSERS)
    lyricists = _credit("lyricists", [n.key for n in subject.lyricists], song.lyricists, th.LYRICISTS)
    performers = _performers(subject, song)
    iswc = _iswc(subject, song)
    parts += filter(None, [composers, lyricists, performers, iswc, _duration(subject, song), _language(subject, song)])
    parts += filter(None, [_kind(subject)])

    support = any(part.distance == 0 for part in (composers, lyricists, performers) if part)
    contradiction = composers is not None and composers.distance == 1
    probability = _probability(parts)
    if iswc is not None:
        verdict = Verdict.SAME if iswc.distance == 0 else Verdict.WEAK
    elif title.equal:
        if contradiction:
            verdict = Verdict.REVIEW if performers and performers.distance == 0 else Verdict.WEAK
        else:
            verdict = Verdict.SAME if support and probability >= th.SAME else Verdict.REVIEW
    elif (title.near or probability >= th.REVIEW) and not contradiction:
        verdict = Verdict.REVIEW
    else:
        verdict = Verdict.WEAK
    if iswc is not None and iswc.distance == 0:
        probability = max(probability, th.SAME)
    return Proposal(
        question=Question.SONG,
        probability=round(probability, 4),
        verdict=verdict,
        sentence=_sentence(parts),
        parts=tuple(parts),
        song_id=song.song_id,
    )


def settle_rivals(proposals: Sequence[Proposal]) -> list[Proposal]:
    """The proposals with their probabilities as exclusive answers: one of these songs, or none of them.

    Odds are shared: of two songs that fit equally well none is likelier than one half. Where no credit agrees the
    probability stays below `th.SAME`, as a title alone does not tell which song of that name it is.
    """
    odds = [_odds(p.probability) for p in proposals]
    total = sum(odds)
    settled = []
    for proposal, own in zip(proposals, odds, strict=True):
        others = total - own
        parts, probability = proposal.parts, own / (1 + total)
        if others > th.RIVALS_MENTIONED:
            parts = (*parts, Part("rivals", 1.0, round(math.log1p(others), 4), _rivals(own, others)))
        if any(part.name == "iswc" and part.distance == 0 for part in parts):
            probability = max(probability, th.SAME)
        verdict = proposal.verdict
        if verdict is Verdict.SAME and probability < th.SAME:
            verdict = Verdict.REVIEW
        settled.append(
            replace(
                proposal, parts=parts, probability=round(probability, 4), verdict=verdict, sentence=_sentence(parts)
            )
        )
    return settled


_FAR_LESS = "other songs fit far less"


def _rivals(own: float, others: float) -> str:
    if others > 3 * own:
        return "another song fits better"
    return "other songs fit as well" if others > own / 10 else _FAR_LESS


def _odds(probability: float) -> float:
    probability = min(probability, 1 - 1e-9)
    return probability / (1 - probability)


def _probability(parts: Iterable[Part]) -> float:
    logit = _BIAS + sum(part.weight * (1 - 2 * part.distance) for part in parts)
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))


# -- titles ------------------------------------------------------------------------------------------------------------


def match_title(subject: Subject, song: SongView, context: Context = _NOTHING_KNOWN) -> TitleMatch:
    """The best agreement between any reading of the item's title and any spelling of the song's."""
    best = TitleMatch()
    noisy = noisy_title(subject.raw_title)
    places = _places(noisy, context.names)
    work = noisy_title(subject.work_title) if subject.work_title else None
    readings = {canonical_key(key) for key in subject.title_keys}
    for key, spelling in song.titles:
        equal = canonical_key(key) in readings
        for form in forms(spelling):
            found = [(each, noisy, False) for each in find(noisy, form, places, context.titles)]
            if work is not None:
                found += [(each, work, True) for each in find(work, form, frozenset(), context.titles)]
            for each, where, from_work in found:
                match = _weigh(each, key, spelling, equal and each.whole, subject, from_work)
                if where is noisy and each.exact and each.whole and not each.rest and not each.elsewhere:
                    match = replace(match, equal=True)
                best = _better(best, match)
        if equal and not best.equal:
            # Equal only in a reading of its own (a bracket alone, a work's title): as good as word by word.
            best = _better(best, _weigh(_EQUAL, key, spelling, True, subject, True))
        if not best.equal and not best.near and _is_near(subject, key):
            best = replace(best, near=True, key=best.key or key)
    return best


_EQUAL = Found(coverage=1.0, exact=True, rest=0.0, elsewhere=0.0, strength=0.5, starts=True, ends=True)


def _places(noisy: NoisyTitle, names: Collection[str]) -> frozenset[int]:
    """The words of known names; a name of one word only where it is all that a segment says."""
    several = [canonical_key(name) for name in sorted(names)]
    places = set(name_places(noisy, [name for name in several if len(name) > 1]))
    single = {name[0] for name in several if len(name) == 1}
    for number in range(len(noisy.segments)):
        words = [(place, word) for place, word in enumerate(noisy.words) if word.segment == number]
        telling = [(place, word) for place, word in words if not word.noise]
        if len(telling) == 1 and telling[0][1].text in single:
            places.add(telling[0][0])
    return frozenset(places)


def _weigh(found: Found, key: str, spelling: str, equal: bool, subject: Subject, from_work: bool) -> TitleMatch:
    signals = signals_of(found)
    logit = sum(th.WEIGHTS[name] * value for name, value in signals.items())
    if equal:
        plain = spelling.casefold().strip() in (subject.title.casefold().strip(), (subject.work_title or "").casefold())
        how = (
            "" if plain else " after transliteration" if _scripts_differ(spelling, subject) else " in another spelling"
        )
        note = f"title equal{how}: «{spelling}»"
    elif found.exact and found.whole:
        note = f"«{spelling}» stands in the title"
    elif found.exact:
        note = f"a part of «{spelling}» stands in the title"
    elif found.reordered:
        note = f"the words of «{spelling}» stand in the title in another order"
    else:
        note = f"title like «{spelling}» ({found.coverage:.2f})"
    near = found.coverage >= th.NEAR_COVERAGE and found.rest <= th.NEAR_REST
    return TitleMatch(key, equal, near, note, signals, logit)


def _scripts_differ(spelling: str, subject: Subject) -> bool:
    """Whether the item's title is in other letters than the song's."""
    mine = f"{subject.title} {subject.work_title or ''}"
    return bool(CYRILLIC.search(spelling)) != bool(CYRILLIC.search(mine))


def signals_of(found: Found) -> dict[str, float]:
    """What the fitted model weighs: see `song_thresholds.WEIGHTS`."""
    return {
        "coverage": found.coverage,
        "exact": float(found.exact),
        "whole": float(found.whole),
        "reordered": float(found.reordered),
        "rest": found.rest,
        "segment": float(found.exact and found.whole and not found.rest),
        "elsewhere": found.elsewhere,
        "strength": found.strength * found.coverage,
        "words": found.words_found * found.coverage,
        "names": found.names,
        "names_aside": found.names if found.elsewhere else 0.0,
        "bracketed": float(found.bracketed),
        "first": float(found.first),
        "after_name_word": float(found.after_name_word),
        "only_noise": float(found.only_noise),
        "starts": float(found.starts),
        "ends": float(found.ends),
        "late": float(found.late),
    }


def _is_near(subject: Subject, key: str) -> bool:
    """Whether one title is part of the other, and not a small part: «Калинка» and «Калинка-малинка»."""
    for mine in subject.title_keys:
        one, other = sorted((mine.split(), key.split()), key=len)
        if len(" ".join(one)) >= th.MIN_RUN_LETTERS and _is_run(one, other):
            share = len(" ".join(one)) / max(1, len(" ".join(other)))
            if len(one) > 1 or share >= th.NEAR_SHARE:
                return True
    return False


def _better(one: TitleMatch, other: TitleMatch) -> TitleMatch:
    """The likelier of two readings; that another is equal or near still holds for the song."""
    best = max(one, other, key=lambda match: (match.logit, match.equal, match.key))
    return replace(best, equal=one.equal or other.equal, near=one.near or other.near)


def _is_run(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether the words stand one after the other in the longer sequence."""
    size = len(part)
    return 0 < size < len(whole) and any(list(whole[i : i + size]) == list(part) for i in range(len(whole) - size + 1))


_GROUPS = (
    ("title", ("coverage", "exact", "whole", "reordered")),
    ("unexplained", ("rest", "segment", "elsewhere")),
    ("title_strength", ("strength", "words", "only_noise")),
    ("place", ("names", "names_aside", "starts", "ends", "bracketed", "first", "late", "after_name_word")),
)
_BIAS = th.BIAS + sum(th.WEIGHTS[member] for _, members in _GROUPS for member in members) / 2
"""With every group centred, as `_title_parts` does."""
_USUAL_PLACE = "where titles stand"
_NOTES = {
    "names": "a performer's name",
    "bracketed": "in brackets",
    "first": "before the dash",
    "late": "after the second dash",
    "after_name_word": "after «by», «from» or the like",
}


def _title_parts(title: TitleMatch, song: SongView) -> list[Part]:
    """The fitted signals in groups; what a group adds is centred between the least and the most that it can."""
    parts = []
    for name, members in _GROUPS:
        weights = [th.WEIGHTS[member] for member in members]
        most, least = sum(w for w in weights if w > 0), sum(w for w in weights if w < 0)
        added = sum(th.WEIGHTS[member] * title.signals.get(member, 0.0) for member in members)
        weight = (most - least) / 2
        distance = min(1.0, max(0.0, (most - added) / (most - least))) if weight else 0.5
        parts.append(Part(name, round(distance, 4), round(weight, 4), _note(name, title, song)))
    return parts


def _note(group: str, title: TitleMatch, song: SongView) -> str:
    if group == "title":
        return title.note
    if group == "unexplained":
        rest = title.signals.get("rest", 1.0)
        return f"{rest:.0%} of the words beside it are unexplained" if rest else "nothing beside it is unexplained"
    if group == "title_strength":
        count = len(title.key.split())
        note = "one word" if count == 1 else f"{count} words"
        return f"{note}; {song.same_title} songs have this title" if song.same_title > 1 else note
    told = [_NOTES[name] for name in _NOTES if title.signals.get(name, 0.0) >= 0.5]
    return ", ".join(told) or _USUAL_PLACE


# -- credits and the rest ----------------------------------------------------------------------------------------------


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
    # The side of the dash that was read as the performer may be the title itself.
    titles = {word for key, _ in song.titles for word in key.split()}
    names = [name.name for name in subject.performers if not titles.issuperset(name.key.split())][:2]
    note = f"not yet recorded by {' or '.join(names)}" if names else "the performer is not known"
    return Part("performers", 0.5, th.PERFORMERS, note)


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
    seconds = round(subject.duration_s - song.duration_s)
    note = f"{abs(seconds)} s {'longer' if seconds > 0 else 'shorter'}" if seconds else "as long"
    return Part("duration", round(distance, 4), th.DURATION, note)


_KINDS = {
    "original": "said to be the original",
    "cover": "said to be a cover",
    "acoustic": "an acoustic version",
    "instrumental": "an instrumental",
    "karaoke": "a karaoke track",
}


def _kind(subject: Subject) -> Part | None:
    """What sort of version the item says it is; it tells nothing of which song it is, and the reader all the more."""
    if subject.kind is None:
        return None
    return Part("kind", 0.5, 0.0, _KINDS.get(subject.kind, subject.kind))


def _language(subject: Subject, song: SongView) -> Part | None:
    if not subject.language or not song.language:
        return None
    same = subject.language[:2] == song.language.lower()[:2]
    return Part("language", 0.3 if same else 0.9, th.LANGUAGE, "same language" if same else "other language")


def _sentence(parts: Sequence[Part]) -> str:
    """The notes of the parts that matter, most telling kinds first."""
    place = "".join(f" ({part.note})" for part in parts if part.name == "place" and part.note != _USUAL_PLACE)
    telling = [part.note + place for part in parts if part.name == "title"]
    names = ("composers", "lyricists", "performers", "iswc")
    telling += [part.note for part in parts if part.name in names]
    telling += [part.note for part in parts if part.name == "unexplained" and part.distance > 0.6]
    telling += [part.note for part in parts if part.name == "title_strength" and "songs have" in part.note]
    telling += [part.note for part in parts if part.name == "duration"]
    telling += [part.note for part in parts if part.name == "language" and part.distance > 0.6]
    telling += [part.note for part in parts if part.name == "kind"]
    telling += [part.note for part in parts if part.name == "rivals" and part.note != _FAR_LESS]
    return ", ".join(dict.fromkeys(telling))
