"""Where a song's title stands in a noisy one, and how much of both that explains. Pure.

The words of the song's title are aligned in order with those of the noisy title (Needleman and Wunsch's dynamic
programme, free at both ends of the noisy title), typos and words written together included; words that many titles
have count less. Every number here is a share in 0..1; `identity.song_score` weighs them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import process
from rapidfuzz.distance import OSA

from identity.names import BRACKETS, skeleton, title_words
from identity.title_words import JOINED, MIN_FUZZY_LETTERS, canonical_words, likeness, weight
from identity.titles import NOISE_KEYS, NOISE_PHRASES, segments_of

MAX_TITLE_WORDS = 48
"""Words of a noisy title that are looked at."""
MAX_FORM_WORDS = 20
"""Words of a song's title that are looked at."""
MAX_FORMS = 6
"""Readings of one spelling: whole, without brackets, the brackets, the sides of a slash."""

_MISSING = 0.6
"""What a word of the song's title costs that is not in the noisy one, in its weight."""
_EXTRA = 0.35
"""What a word costs that stands between the title's words, in its weight."""
_LEAST = 0.3
"""Titles that share less by weight, in any order, are not aligned."""
_JOIN = 0.95
"""Likeness of words that agree when they are written together."""
_RUN_WORDS, _RUN_LETTERS = 10, 48
"""Longest run of words that is compared with a whole title, both written without spaces."""
_SLIP = 0.4
"""Likeness of short words that are one letter apart, where they stand between others that agree."""
_FULL_WEIGHT = 6.0
"""A title of this weight (six words that no other title has) is as telling as it gets."""
_SLASH = re.compile(r"\s*/\s*|\s+-\s+|\s*;\s+")
_PART = re.compile(r",?\s+(?:pts?|parts?|no|nos)\.?\s+[\divx]+(?:\s?[-–&/,]\s?[\divx]+)*$", re.IGNORECASE)
_SPELLED = re.compile(r"(?<!\w)(?:\w[-.\s]\s?){3,}\w(?!\w)")
_MEDLEY = re.compile(r"^(?:medley|попурри)\s*:?\s+", re.IGNORECASE)
_BEFORE_NAMES = frozenset(map(skeleton, ("by", "from", "feat", "ft", "featuring", "iz", "ot", "ispolniaet", "album")))
_BEFORE_OTHERS = frozenset(map(skeleton, ("parody", "cover", "version", "aka", "albom", "parodiya", "kaver")))
"""With a word between («parody of …») another song, or another's, is named."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a noisy title. ``segment``: its place between separators, brackets and quotation marks."""

    text: str
    segment: int
    noise: bool
    after_name_word: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """``place``: among those that are not in brackets, counted from 0; -1 for one in brackets."""

    bracketed: bool
    place: int


@dataclass(frozen=True, slots=True)
class NoisyTitle:
    """A raw title, ready for alignment."""

    words: tuple[Word, ...]
    segments: tuple[Segment, ...]
    texts: tuple[str, ...]
    plain: int
    """How many segments are not in brackets."""


@dataclass(frozen=True, slots=True)
class Form:
    """A reading of a song's title. ``dropped``: whether parts of it were left out (brackets, a side of a slash)."""

    words: tuple[str, ...]
    dropped: bool


@dataclass(frozen=True, slots=True)
class Found:
    """How a song's title stands in a noisy title.

    Attributes:
        coverage: share of the song's title that was found, by weight, likeness included.
        exact: all of it, word by word, one after the other.
        whole: nothing of the song's title was left out.
        rest: weight of unexplained words in the segments it was found in, beside its own.
        elsewhere: weight of unexplained words in other segments, as a share that saturates.
        strength: how telling the found words are.
        names: share of the found words that belong to names of performers.
        words_found: how many words were found, as a share that saturates at six.
        bracketed, first, late, after_name_word: where it stands; ``late``: in the third segment or after it.
        starts, ends: nothing but noise and names stands before it, or after it, in its segment.
        reordered: found only in another order of words.
        only_noise: all the found words are words like "live" or a year.
    """

    coverage: float = 0.0
    exact: bool = False
    whole: bool = True
    rest: float = 1.0
    elsewhere: float = 1.0
    strength: float = 0.0
    names: float = 0.0
    words_found: float = 0.0
    bracketed: bool = False
    first: bool = False
    after_name_word: bool = False
    reordered: bool = False
    only_noise: bool = False
    late: bool = False
    starts: bool = False
    ends: bool = False


@lru_cache(maxsize=1024)
def noisy_title(raw: str) -> NoisyTitle:
    """Takes a raw title into words with their places."""
    words: list[Word] = []
    segments: list[Segment] = []
    plain = 0
    for text, bracketed in segments_of(raw):
        keys = title_words(text)
        if not keys:
            continue
        place = plain if not bracketed else -1
        plain += not bracketed
        number = len(segments)
        segments.append(Segment(bracketed, place))
        before = earlier = ""
        texts = canonical_words(keys)
        phrases = _run_places(texts, NOISE_PHRASES)
        for number_within, word in enumerate(texts):
            year = len(word) == 4 and word.isdigit() and word[:2] in ("19", "20")
            noise = year or word in NOISE_KEYS or number_within in phrases
            after = before in _BEFORE_NAMES or (earlier in _BEFORE_OTHERS and before in ("of", "na"))
            words.append(Word(word, number, noise, after))
            earlier, before = before, word
        if len(words) >= MAX_TITLE_WORDS:
            break
    words = words[:MAX_TITLE_WORDS]
    return NoisyTitle(tuple(words), tuple(segments), tuple(word.text for word in words), plain)


@lru_cache(maxsize=65_536)
def forms(title: str) -> tuple[Form, ...]:
    """The readings of a song's title, the whole first."""
    whole = canonical_words(title_words(title))[:MAX_FORM_WORDS]
    found = {whole: False}
    shorter = [BRACKETS.sub(" ", title), *(outer or inner for outer, inner in BRACKETS.findall(title))]
    shorter += [_PART.sub("", title), _MEDLEY.sub("", title)]
    spelled = len(shorter)
    shorter += [_SPELLED.sub(lambda letters: re.sub(r"\W", "", letters[0]), title)]
    sides = _SLASH.split(title)
    if 1 < len(sides) <= 4:
        shorter += sides
    for place, reading in enumerate(shorter):
        words = canonical_words(title_words(reading))[:MAX_FORM_WORDS]
        # A single word in brackets or beside a slash is no title by itself.
        if words and (len(words) > 1 or place in (0, spelled)) and len(found) < MAX_FORMS:
            found.setdefault(words, True)
    return tuple(Form(words, dropped) for words, dropped in found.items() if words)


def name_places(noisy: NoisyTitle, names: Iterable[Sequence[str]]) -> frozenset[int]:
    """Which words of the title belong to these names (each as canonical words)."""
    return _run_places(noisy.texts, names)


def _run_places(texts: Sequence[str], runs: Iterable[Sequence[str]]) -> frozenset[int]:
    """Which of the words stand in one of these runs of words."""
    places: set[int] = set()
    for run in runs:
        size = len(run)
        for start in range(len(texts) - size + 1) if size else ():
            if tuple(texts[start : start + size]) == tuple(run):
                places.update(range(start, start + size))
    return frozenset(places)


def find(noisy: NoisyTitle, form: Form, names: Collection[int], titles: Mapping[str, int]) -> list[Found]:
    """The ways in which a form stands in the title: where it stands word by word, else the best alignment.

    ``names``: see `name_places`; ``titles``: how many titles have a word.
    """
    weights = [weight(word, titles) for word in form.words]
    size = len(form.words)
    runs = [
        {start + place: place for place in range(size)}
        for start in range(len(noisy.texts) - size + 1)
        if noisy.texts[start : start + size] == form.words
    ]
    if runs:
        return [_describe(noisy, form, weights, run, [1.0] * size, names, titles, exact=True) for run in runs]
    total = sum(weights)
    bag = sum(w * _likest(noisy, word) for w, word in zip(weights, form.words, strict=True)) / total
    used, likenesses = _align(noisy, form, weights, titles) if bag >= _LEAST or _may_join(noisy, form) else ({}, [])
    aligned = sum(w * each for w, each in zip(weights, likenesses, strict=False)) / total
    found = []
    if used:
        found.append(_describe(noisy, form, weights, used, likenesses, names, titles))
    if bag > aligned + 0.05 and bag > 0.6:
        places, each = _bag(noisy, form)
        found.append(_describe(noisy, form, weights, places, each, names, titles, reordered=True))
    places, like = _without_spaces(noisy, form)
    if like > aligned:
        found.append(_describe(noisy, form, weights, places, [like] * size, names, titles))
    return found


def _without_spaces(noisy: NoisyTitle, form: Form) -> tuple[dict[int, int], float]:
    """The run of words that is the form where both are written without spaces, a slip or two allowed, and its likeness.

    Words part otherwise ("Mellow Tone", "Mellotone"; "D-I-V-O-R-C-E") and short words with a typo are found so.
    """
    whole = "".join(form.words)
    edits = 0 if len(whole) < 6 else 1 if len(whole) < 10 else 2
    runs = _runs_by_length(noisy.texts)
    best: tuple[int, tuple[int, int]] | None = None
    for length in range(len(whole) - edits, len(whole) + edits + 1):
        texts, spans = runs.get(length, ((), ()))
        found = process.extractOne(whole, texts, scorer=OSA.distance, score_cutoff=edits) if texts else None
        # Another number is another title, not a slip.
        if found and _digits(found[0]) == _digits(whole) and (best is None or found[1] < best[0]):
            best = int(found[1]), spans[found[2]]
    if best is None:
        return {}, 0.0
    distance, (start, end) = best
    last = len(form.words) - 1
    return {place: min(place - start, last) for place in range(start, end)}, _JOIN - 1.2 * distance / len(whole)


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


@lru_cache(maxsize=256)
def _runs_by_length(words: tuple[str, ...]) -> dict[int, tuple[list[str], list[tuple[int, int]]]]:
    """All runs of words, written together, with where they stand, by their number of letters."""
    runs: dict[int, tuple[list[str], list[tuple[int, int]]]] = {}
    for start in range(len(words)):
        text = ""
        for end in range(start + 1, min(len(words), start + _RUN_WORDS) + 1):
            text += words[end - 1]
            if len(text) > _RUN_LETTERS:
                break
            texts, spans = runs.setdefault(len(text), ([], []))
            texts.append(text)
            spans.append((start, end))
    return runs


def _likest(noisy: NoisyTitle, word: str) -> float:
    if word in noisy.texts:
        return 1.0
    size = len(word)
    if size < MIN_FUZZY_LETTERS:
        return 0.0
    return max((likeness(word, text) for text in noisy.texts if -2 <= len(text) - size <= 2), default=0.0)


def _may_join(noisy: NoisyTitle, form: Form) -> bool:
    """Whether neighbours of one side, written together, are a word of the other."""
    return any(word in _neighbours(noisy.texts) for word in form.words if len(word) > 4) or any(
        text in _neighbours(form.words) for text in noisy.texts if len(text) > 4
    )


@lru_cache(maxsize=8192)
def _neighbours(words: tuple[str, ...]) -> frozenset[str]:
    """All runs of up to `JOINED` words, written together."""
    return frozenset(
        "".join(words[start : start + count])
        for count in range(2, JOINED + 1)
        for start in range(len(words) - count + 1)
    )


def _align(
    noisy: NoisyTitle, form: Form, weights: Sequence[float], titles: Mapping[str, int]
) -> tuple[dict[int, int], list[float]]:
    """The best alignment in order: (place in the noisy title → place in the form, likeness of each form word)."""
    texts, words = noisy.texts, form.words
    rows, columns = len(words), len(texts)
    extra = [_EXTRA * (0.1 if word.noise else weight(word.text, titles)) for word in noisy.words]
    score = [[0.0] * (columns + 1)]
    step: list[list[tuple[int, int, float]]] = [[(0, 0, 0.0)] * (columns + 1)]
    for i in range(1, rows + 1):
        row, steps = [score[i - 1][0] - _MISSING * weights[i - 1]], [(1, 0, 0.0)]
        for j in range(1, columns + 1):
            value, move = score[i - 1][j] - _MISSING * weights[i - 1], (1, 0, 0.0)
            if i < rows and row[j - 1] - extra[j - 1] > value:
                value, move = row[j - 1] - extra[j - 1], (0, 1, 0.0)
            like = likeness(words[i - 1], texts[j - 1])
            if not like and rows > 2:
                like = _slip(words[i - 1], texts[j - 1])
            if like and score[i - 1][j - 1] + weights[i - 1] * like > value:
                value, move = score[i - 1][j - 1] + weights[i - 1] * like, (1, 1, like)
            for count in range(2, JOINED + 1):
                if j >= count and len(words[i - 1]) > 4 and "".join(texts[j - count : j]) == words[i - 1]:
                    joined = score[i - 1][j - count] + weights[i - 1] * _JOIN
                    if joined > value:
                        value, move = joined, (1, count, _JOIN)
                if i >= count and len(texts[j - 1]) > 4 and "".join(words[i - count : i]) == texts[j - 1]:
                    joined = score[i - count][j - 1] + sum(weights[i - count : i]) * _JOIN
                    if joined > value:
                        value, move = joined, (count, 1, _JOIN)
            row.append(value)
            steps.append(move)
        score.append(row)
        step.append(steps)
    j = max(range(columns + 1), key=lambda place: (score[rows][place], -place))
    i = rows
    used: dict[int, int] = {}
    likenesses = [0.0] * rows
    while i > 0:
        down, left, like = step[i][j]
        if like:
            for place in range(i - down, i):
                likenesses[place] = like
            for place in range(j - left, j):
                used[place] = i - 1
        i, j = i - down, j - left
    return used, likenesses


@lru_cache(maxsize=65_536)
def _slip(one: str, other: str) -> float:
    """Likeness of short words that are one letter apart ("man", "men"), which counts only between others that agree."""
    if min(len(one), len(other)) < 3 or one.isdigit() or other.isdigit() or one[0] != other[0]:
        return 0.0
    return _SLIP if OSA.distance(one, other, score_cutoff=1) == 1 else 0.0


def _bag(noisy: NoisyTitle, form: Form) -> tuple[dict[int, int], list[float]]:
    """Each word of the form with its likest word of the title, whatever the order."""
    used: dict[int, int] = {}
    likenesses = []
    for number, word in enumerate(form.words):
        free = [(likeness(word, text), -place) for place, text in enumerate(noisy.texts) if place not in used]
        like, place = max(free, default=(0.0, 0))
        likenesses.append(like)
        if like:
            used[-place] = number
    return used, likenesses


def _describe(
    noisy: NoisyTitle,
    form: Form,
    weights: Sequence[float],
    used: Mapping[int, int],
    likenesses: Sequence[float],
    names: Collection[int],
    titles: Mapping[str, int],
    *,
    exact: bool = False,
    reordered: bool = False,
) -> Found:
    touched = {noisy.words[place].segment for place in used}
    rest = elsewhere = 0.0
    for place, word in enumerate(noisy.words):
        if place in used or word.noise or place in names:
            continue
        if word.segment in touched:
            rest += weight(word.text, titles)
        else:
            elsewhere += weight(word.text, titles)
    found_weight = sum(w * like for w, like in zip(weights, likenesses, strict=True))
    segments = [noisy.segments[number] for number in touched]
    places = sorted(used)
    return Found(
        coverage=found_weight / sum(weights),
        exact=exact,
        whole=not form.dropped,
        rest=rest / (rest + found_weight) if rest else 0.0,
        elsewhere=elsewhere / (elsewhere + 3.0),
        strength=min(1.0, math.log1p(found_weight) / math.log1p(_FULL_WEIGHT)),
        names=sum(place in names for place in places) / max(1, len(places)),
        words_found=min(1.0, math.log1p(sum(like > 0 for like in likenesses)) / math.log1p(6)),
        bracketed=all(segment.bracketed for segment in segments),
        first=noisy.plain > 1 and all(segment.place == 0 for segment in segments),
        after_name_word=bool(places) and noisy.words[places[0]].after_name_word,
        reordered=reordered,
        only_noise=all(noisy.words[place].noise for place in places),
        starts=bool(places) and _free(noisy, places[0] - 1, -1, names),
        ends=bool(places) and _free(noisy, places[-1] + 1, 1, names),
        late=all(segment.place >= 2 for segment in segments),
    )


def _free(noisy: NoisyTitle, place: int, step: int, names: Collection[int]) -> bool:
    """Whether from this place to the end of the segment there is nothing but noise and names."""
    own = noisy.words[place - step].segment
    while 0 <= place < len(noisy.words) and noisy.words[place].segment == own:
        if place not in names and not noisy.words[place].noise:
            return False
        place += step
    return True
