"""Words of titles beyond spelling: "Lovin'" and "Loving", "24" and "twenty-four", "gonna" and "going to" are one.

Works on the skeleton words of title keys (`identity.names`). Keys are stored and must stay as they are; this form is
computed when titles are compared, so that it can be improved without touching the catalog.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from rapidfuzz.distance import OSA

from identity.names import fold, skeleton

MIN_FUZZY_LETTERS = 4
"""Shorter words agree by equality only: "man" and "men", "do" and "go" are other words."""
LONG_WORD_LETTERS = 8
"""From here on two edits are still a typo."""
JOINED = 3
"""Words that may be written as one: "back stabbers", "a-changin'"."""

_SAME = """
love luv | you u ya yu yuh | your yur ur | until till til | because cause coz cos cuz | through thru | night nite
tonight tonite | light lite | them em | about bout | around round | i n | of o | saint st | mister mr | missis mrs
doctor dr | mount mt | number no nr | color colour | gray grey | okay ok | hello hallo | colors colours | right rite
what wot wat | to 2u | for 4u | mama momma mamma | old ol ole | little lil | been bin | get git | yes yeah
part pt | parts pts
"""
_LONGER = """
wanna=want to | gonna=going to | gotta=got to | gimme=give me | lemme=let me | dunno=do not know | whatcha=what you
watcha=what you | im=i am | ive=i have | youre=you are | youve=you have | dont=do not | doesnt=does not
wont=will not | aint=is not | isnt=is not | cant=can not | cannot=can not | didnt=did not | couldnt=could not
wouldnt=would not | shes=she is | hes=he is | its=it is | thats=that is | theres=there is | theyre=they are
whats=what is | wheres=where is | whos=who is | youll=you will | kinda=kind of | outta=out of | alright=all right
lets=let us | yall=you all | shouldve=should have | couldve=could have | id=i would | idve=i would have | oclock=o clock
"""
_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_UNITS += " seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"

_DROPPED_G = re.compile(r"(?<=..)ing(s?)$")
_CANONICAL: dict[str, tuple[str, ...]] = {}


def canonical(word: str) -> tuple[str, ...]:
    """The words that a skeleton word stands for: mostly one."""
    known = _CANONICAL.get(word)
    if known is not None:
        return known
    return (_DROPPED_G.sub(r"in\1", word),) if len(word) >= 5 else (word,)


for _group in _SAME.replace("\n", " | ").split("|"):
    for _word in _group.split():
        _CANONICAL[skeleton(_word)] = (skeleton(_group.split()[0]),)
for _pair in _LONGER.replace("\n", " | ").split("|"):
    if _pair.strip():
        _word, _, _meaning = _pair.strip().partition("=")
        _CANONICAL[skeleton(_word)] = tuple(canonical(skeleton(part))[0] for part in _meaning.split())
for _number, _word in enumerate(_UNITS.split()):
    _CANONICAL[skeleton(_word)] = (str(_number),)
_TENS_OF = {str(20 + 10 * place) for place in range(8)}
for _place, _word in enumerate(_TENS.split()):
    _CANONICAL[skeleton(_word)] = (str(20 + 10 * _place),)


_COMMON = """
the a an i you he she it we they me him us them my your his her its our their of to in on at by for from with
but so is am are was were be do does did have has had will would can could not no if as than that this these those
there here what who when where why how all up down out over just oh ooh yeah hey let get go got
le la les l un une des du de et en je tu il elle on nous vous mon ma mes ton ta que qui ne pas est dans sur pour
el los las y o mi su es por con sin der die das den dem ein eine und ich er sie wir ihr mein dein ist im zu
von mit nicht auf lo gli di da che non per del della os as um uma e eu nao meu minha na
в я ты он она мы вы а но что как с со у к ко от до по за из мой моя моё твой твоя это то так бы же ли
"""
COMMON_WEIGHT = 0.3
"""Of a word that says little of which song it is, beside 1 for one that no other title has."""
_HALVING = 5.0
"""A word's weight falls to one half where so many titles have it that ln(1 + titles) reaches this: about 150."""


def canonical_words(words: Sequence[str]) -> tuple[str, ...]:
    """The canonical form of a key's words; "twenty" and "four" become "24"."""
    found: list[str] = []
    for word in words:
        for part in canonical(word):
            if found and found[-1] in _TENS_OF and len(part) == 1 and part.isdigit() and part != "0":
                found[-1] = str(int(found[-1]) + int(part))
            else:
                found.append(part)
    return tuple(found)


@lru_cache(maxsize=65_536)
def canonical_key(key: str) -> tuple[str, ...]:
    """The canonical words of a key."""
    return canonical_words(key.split())


_COMMON_SPELLINGS = frozenset(skeleton(word) for line in _COMMON.splitlines() for word in fold(line).split())
_COMMON_WORDS = frozenset(
    part for word in " ".join(map(fold, _COMMON.splitlines())).split() for part in canonical(skeleton(word))
)


def weight(word: str, titles: Mapping[str, int]) -> float:
    """How much a canonical word tells, 0..1. ``titles``: how many titles of the catalog have it, where known."""
    if word in _COMMON_WORDS:
        return COMMON_WEIGHT
    return max(COMMON_WEIGHT, 1 / (1 + math.log1p(titles.get(word, 0)) / _HALVING))


@lru_cache(maxsize=262_144)
def likeness(one: str, other: str) -> float:
    """1 for equal words, less for a typo, 0 for other words."""
    if one == other:
        return 1.0
    longer, shorter = max(len(one), len(other)), min(len(one), len(other))
    if shorter < MIN_FUZZY_LETTERS or one.isdigit() or other.isdigit():
        return 0.0
    edits = 2 if shorter >= LONG_WORD_LETTERS else 1
    if longer - shorter > edits:
        return 0.0
    distance = OSA.distance(one, other, score_cutoff=edits)
    return 0.0 if distance > edits else 1 - 1.2 * distance / longer


_VARIANTS: dict[str, set[str]] = {}
for _word, _meaning_words in _CANONICAL.items():
    for _part in _meaning_words:
        _VARIANTS.setdefault(_part, set()).add(_word)


def probes(words: Sequence[str], limit: int) -> list[tuple[str, str]]:
    """What to look up in an index of titles' words: ``(skeleton word, canonical word)``, common words left out.

    ``words``: skeletons of a noisy title. Other spellings of a word, the halves of numbers, and neighbours written
    together are looked up too.
    """
    found: dict[str, str] = {}
    for place, word in enumerate(words):
        for part in canonical(word):
            for variant in (word, part, *sorted(_VARIANTS.get(part, ()))):
                if variant not in _COMMON_SPELLINGS:
                    found.setdefault(variant, part)
            if part.endswith("in") and len(part) >= 4:
                found.setdefault(part + "g", part)
            if part.isdigit() and 20 < int(part[:3]) < 100 and part[-1] != "0":
                for half in (part[0] + "0", part[-1]):
                    for variant in sorted(_VARIANTS.get(half, ())):
                        found.setdefault(variant, half)
        joined = "".join(words[place : place + 2])
        if place + 1 < len(words) and 5 <= len(joined) <= 16:
            found.setdefault(joined, joined)
    return list(found.items())[:limit]
