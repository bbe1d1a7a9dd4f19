"""Names across spellings: folding, skeleton keys, and whether two names may be one person's.

A key answers "is this the usual spelling variant of that?" by equality, so that a database index can ask it. It is
made to compare, never to show. «Калинка» and "Kalinka" have one key; «Хор имени Пятницкого», "Khor imeni
Pyatnitskogo" and "Hor imeni Pjatnickogo" have one key.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from anyascii import anyascii

MAX_NAME_LENGTH = 512
"""Characters of a name that are looked at; what comes after is ignored, so that hostile input costs little."""

TRADITIONAL = "*traditional*"
"""The key of "nobody in particular, the people": it cannot be the key of a name."""

_HACEK = str.maketrans({"š": "sh", "č": "ch", "ž": "zh", "ŝ": "sh"})
_ISO_9 = str.maketrans({"â": "ya", "û": "yu"})
_OF_ISO_9 = re.compile(r"[ščžŝʹ]")
"""French has â and û too, but none of these beside them."""
# Spacing accents and primes that stand for an apostrophe; NFKC would make a space and an accent of the first.
_APOSTROPHES = str.maketrans(dict.fromkeys("´΄ʹʼʽˈ′‵＇", "'"))
_SILENT = re.compile(r"['`\"]")
_NOT_WORD = re.compile(r"[^a-z0-9]+")
CYRILLIC = re.compile(r"[\u0400-\u052f]")
"""A Cyrillic letter."""
_FEATURING = re.compile(
    r"(?<=[^\s(\[])\s*[(\[]?\s*(?<![\w\d])(?:(?<!\d )(?:feat|ft)\b\.?|featuring\b|при участии\b|совместно с\b).*",
    re.IGNORECASE | re.DOTALL,
)
_TRAILING_ARTICLE = re.compile(r"^([^,]{1,400}), (the|an?)$", re.IGNORECASE)
_ROCK_N_ROLL = re.compile(r"(?<=\w)(?:\s?['`’‘]\s?|\s|-)[nн](?!\w)(?:\s?['`’‘]\s?|\s|-)(?=\w)")
BRACKETS = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]")
"""Flat groups in round or square brackets."""
_DISAMBIGUATOR = re.compile(r"\s*[(\[]\s*\d{1,3}\s*[)\]]\s*$")


def _split(words: str) -> list[str]:
    """A readable way to write a word list: words and phrases between bars."""
    return words.split("|")


# Romanisations of Russian differ between BGN/PCGN, ISO 9, scientific, German, French and what people type. Each rule
# maps their variants to one form; the order matters, since later rules see the output of earlier ones. Cyrillic
# arrives here as anyascii spells it (near BGN/PCGN, ё already е). Where English would suffer more than Russian gains,
# a rule is narrowed; the comment says to what.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # дж and ж: "Dzhaz", "Djaz"; French and chat "Jizn". Before other vowels j is read as й, see below.
        (r"dzh|dj", "zh"),
        (r"j(?=i)", "zh"),
        # ч: German and French "Tschaikowsky", "Tchaikovsky".
        (r"ts?ch", "ch"),
        # щ and ш: "Shchedrin", "Schedrin"; German "Schnittke".
        (r"sh?ch", "sh"),
        # х: "Khor", "Hor"; "Xor" only where an English word would hardly begin so.
        (r"kh", "h"),
        (r"^x(?=[aeiouy])", "h"),
        (r"x", "ks"),
        (r"ph", "f"),
        # "Rock" as «Рок»; not inside, where ck is цк in "Pjatnickogo".
        (r"ck(?=s?$)", "k"),
        # ц: "Tsvety", "Tzvety", "Cvety".
        (r"t[sz]", "c"),
        # в: "Wladimir"; émigré endings "Rachmaninoff", "Prokofieff".
        (r"w", "v"),
        (r"(?<=...)(?<=[oe])ff$", "v"),
        # ё as "yo" after a consonant and at the beginning ("Zelyony", "Yolka"); not "you".
        (r"(?<=[bcdfghklmnpqrstvz])[yj]o(?!u)", "e"),
        (r"^yo(?!u)", "e"),
        (r"(?<=[csz]h)[iyj]?o", "e"),
        (r"(?<=[aeou])yo$", "e"),
        # -ие, -ье, -ые in longer words: "dvizhenie", "podmoskovnyye"; "movie" is not "move".
        (r"(?<=.{5})[iyj]+e$", "e"),
        # е as "ye", "je": in longer words only, so that "bye" is not "be"; "years" are not "ears".
        (r"^[yj]e(?!a)(?=..)", "e"),
        (r"(?<=[bcdfghklmnpqrstvz])[yj]e(?=.)", "e"),
        (r"(?<=[bcdfghklmnpqrstvz]{2})[yj]e$|(?<=..[bcdfghklmnpqrstvz])[yj]e$", "e"),
        (r"(?<=[aeou])[iyj]e", "e"),
        # й, ы, я, ю and the endings -ий, -ый: y, j, i in any mixture.
        (r"[yj]", "i"),
        (r"i+", "i"),
        # Double consonants: "Anna Karenina", "Ana Karenina". Vowels stay: "been" is not "ben".
        (r"([bcdfghklmnpqrstvz])\1+", r"\1"),
    )
)
_CONJUNCTIONS = {"and": "i", "und": "i"}
_ABBREVIATIONS = {"im": "imeni"}
_GROUP_WORDS = frozenset({"grupa", "gr"})
_SURNAME_SHAPE = re.compile(r"(?:.{3}(?:[oe]va?|ina?|enko|uk)|.{2}(?:[sc]ki|[sc]kaia|ich))$")


def fold(text: str) -> str:
    """Lower-case Latin letters, digits and single spaces; empty when the text has no letter or digit.

    NFKC, case folding, ё as е, any script transliterated (anyascii), diacritics, apostrophes and soft signs dropped,
    other punctuation a space. Idempotent. Reads the first `MAX_NAME_LENGTH` characters.
    """
    text = unicodedata.normalize("NFKC", text[:MAX_NAME_LENGTH].translate(_APOSTROPHES)).casefold().replace("ё", "е")
    ascii_text = _SILENT.sub("", anyascii(unicodedata.normalize("NFC", text))).lower()
    return _NOT_WORD.sub(" ", ascii_text).strip()


@lru_cache(maxsize=65_536)
def skeleton(word: str) -> str:
    """One folded word with the usual romanisation variants collapsed."""
    for pattern, replacement in _RULES:
        word = pattern.sub(replacement, word)
    return word


def _words(text: str, *, featuring: bool) -> list[str]:
    """Skeletons of the words, with conjunctions unified and a leading or trailing article dropped."""
    iso_9 = bool(_OF_ISO_9.search(text[:MAX_NAME_LENGTH].casefold()))
    text = unicodedata.normalize("NFKC", text[:MAX_NAME_LENGTH].translate(_APOSTROPHES)).casefold().strip()
    if featuring:
        text = _FEATURING.sub("", text)
    text = _TRAILING_ARTICLE.sub(r"\1", text)
    cyrillic = bool(CYRILLIC.search(text))
    text = _ROCK_N_ROLL.sub(" and ", text)
    if iso_9:
        text = text.translate(_ISO_9)
    text = text.replace("&", " and ").replace("+", " and ").translate(_HACEK)
    words = fold(text).split()
    # «А снег идёт» and «Снег идёт» are two songs: only the Latin article goes. Skeletons would not tell it from "Ann".
    if len(words) > 1 and (words[0] == "the" or (words[0] in ("a", "an") and not cyrillic)):
        del words[0]
    return [_CONJUNCTIONS.get(word) or skeleton(word) for word in words]


def _bare(text: str) -> str:
    """The key of a name without letters or digits (the artist "!!!"): itself, without spaces."""
    return "".join(unicodedata.normalize("NFKC", text[:MAX_NAME_LENGTH]).casefold().split())


def title_words(text: str) -> tuple[str, ...]:
    """The words of a title or of a part of it, as `title_key` spells them, guests included."""
    return tuple(_words(text, featuring=False))


def title_key(title: str) -> str:
    """Equal for usual spellings of one title; empty only for blank text.

    The leading English article and a "feat." part do not count; "&", "and" and «и» are one. Words in brackets
    count: see `title_keys`.
    """
    return " ".join(_words(title, featuring=True)) or _bare(title)


def title_keys(title: str) -> tuple[str, ...]:
    """Keys under which a title may be known: whole, without its brackets, and the words in brackets alone.

    "Volare (Nel blu dipinto di blu)" is known under each half. A single word in brackets is no title, and neither is
    what names a version ("Milestone 2 Version").
    """
    title = title[:MAX_NAME_LENGTH]
    readings = [title_key(title)]
    inside = [outer or inner for outer, inner in BRACKETS.findall(title)]
    if inside:
        outside = BRACKETS.sub(" ", title)
        if fold(outside):
            readings.append(title_key(outside))
        readings += [key for key in map(title_key, inside) if len(words := key.split()) > 1 and not _VERSION & {*words}]
    halves = {title_key(half) for half in re.split(r"\s/\s", title)}
    if len(halves) == 1:  # «Калинка / Kalinka», unlike a medley
        readings += halves
    return tuple(dict.fromkeys(key for key in readings if key))


_VERSION_WORDS = ("version", "mix", "remix", "edit", "take", "версия", "редакция", "вариант", "ремикс", "микс", "дубль")
_VERSION = frozenset(map(title_key, _VERSION_WORDS))


def artist_key(name: str) -> str:
    """Equal for usual spellings of one artist's name; `TRADITIONAL` for «народная» and the like.

    Word order: a name of two or three words of which one has the shape of a Russian family name is order-free
    («Шаляпин Фёдор» = "Fyodor Shalyapin"), as lists in Russian put the family name first. Other names keep their order,
    for "George Michael" is not "Michael George". The leading article, "feat." parts, a leading «группа», a
    disambiguating number in brackets and a spelling repeated in brackets («Гуф (Guf)») do not count; «им.» is «имени».
    """
    if is_traditional(name):
        return TRADITIONAL
    name = _DISAMBIGUATOR.sub("", name[:MAX_NAME_LENGTH])
    words = _words(name, featuring=True)
    inside = [part for groups in BRACKETS.findall(name) for part in groups if part]
    if inside and (outside := _words(BRACKETS.sub(" ", name), featuring=True)):
        repeated = [_words(part, featuring=True) for part in inside]
        if all(part == outside for part in repeated):
            words = outside
    words = [_ABBREVIATIONS.get(word, word) for word in words]
    if len(words) > 1 and words[0] in _GROUP_WORDS:
        del words[0]
    if len(words) in (2, 3) and any(_SURNAME_SHAPE.search(word) for word in words):
        words.sort()
    return " ".join(words) or _bare(name)


_PEOPLE = frozenset(map(skeleton, ["narodnaya", "narodnye", "narodnoe", "narodny", "narodnyi", "narodnyy", "narod"]))
_TRADITIONAL_CORE = (
    _PEOPLE
    | frozenset(map(skeleton, ["traditional", "trad", "folk", "folklor", "folklore", "tradicionnaya", "traditsionnoe"]))
) | frozenset(map(skeleton, ["traditsionnaya", "traditsionnye", "folklornaya", "volkslied"]))
_TRADITIONAL_FILLER = frozenset(
    map(
        skeleton,
        _split(
            "russkaya|russkie|russkiy|russkoe|ukrainskaya|belorusskaya|kazachya|kazatskaya|tsyganskaya|"
            "gorodskaya|staraya|starinnaya|pesnya|pesni|romans|muzyka|slova|melodiya|tanets|tune|song|songs|"
            "melody|music|words|lyrics|russian|ukrainian|old|avtor|avtory|i|english|irish|scottish|american|"
            "cossack|gypsy|arranged|arr|rnp"
        ),
    )
)


def is_traditional(name: str) -> bool:
    """Whether a credit names the people and no person: "traditional", "trad.", «народная», «русская народная песня»."""
    words = [skeleton(word) for word in fold(name).split()]
    if words in (["rnp"], ["r", "n", "p"]):
        return True
    return (
        0 < len(words) <= 6
        and any(word in _TRADITIONAL_CORE for word in words)
        and all(word in _TRADITIONAL_CORE or word in _TRADITIONAL_FILLER for word in words)
    )


def mentions_people(text: str) -> bool:
    """Whether a text says «народная»; stricter than `is_traditional`, as "folk" is a genre too."""
    return any(skeleton(word) in _PEOPLE for word in fold(text).split())


def same_name(one: str, other: str) -> bool:
    """Whether two artist keys may be one person's or group's: equal, or one is an abbreviation of the other.

    The words of the shorter must each be found in the longer, whole or as an initial, one of them whole with at
    least four letters: "i larionov" agrees with "ivan larionov", "larionov" too, "ivan" does not agree with
    "ivan larionov", as it has the shape of no family name and may be anybody's.
    """
    if one == other:
        return bool(one)
    if TRADITIONAL in (one, other):
        return False
    shorter, longer = sorted((one.split(), other.split()), key=lambda words: (len(words), words))
    if not shorter or (len(shorter) == 1 and not _SURNAME_SHAPE.search(shorter[0])):
        return False
    left = list(longer)
    whole = 0
    for word in sorted(shorter, key=len, reverse=True):
        if word in left:
            left.remove(word)
            whole = max(whole, len(word))
            continue
        match = next((w for w in left if w[0] == word[0] and 1 in (len(w), len(word))), None)
        if match is None:
            return False
        left.remove(match)
    return whole >= 4


def metadata_key(title: str, artists: Iterable[str], duration_s: float | None) -> str:
    """The Rusongs document's hash of title, artists and duration, as ``<32 hex digits>-<bucket>``.

    The digest covers the title's key and the sorted artists' keys. The bucket is the duration, rounded to whole
    seconds, divided by two; ``x`` when unknown. Durations that differ by up to 2 s lie in equal or neighbouring
    buckets, which `neighbouring_keys` lists, so that two keys are compared by equality only.
    """
    parts = [title_key(title), *sorted({artist_key(artist) for artist in artists} - {""})]
    digest = hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
    bucket = "x" if duration_s is None or not 0 < duration_s < 1e6 else str(round(duration_s) // 2)
    return f"{digest}-{bucket}"


def neighbouring_keys(key: str) -> tuple[str, ...]:
    """The key itself and those whose duration is one bucket shorter or longer; itself only if it has no duration."""
    digest, _, bucket = key.rpartition("-")
    if not bucket.isdecimal():
        return (key,)
    middle = int(bucket)
    return tuple(f"{digest}-{number}" for number in (middle, middle - 1, middle + 1) if number >= 0)


def key_words(keys: Sequence[str]) -> frozenset[str]:
    """All words of some keys."""
    return frozenset(word for key in keys for word in key.split())
