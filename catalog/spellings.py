"""How names are folded for searching: the same for what is stored and for what is asked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from anyascii import anyascii

_NOT_WORD = re.compile(r"[^\w]+")


def fold(text: str) -> str:
    """Compatibility form, lower case, «ё» as «е», without combining accents, words separated by one space.

    The letter «й» keeps its breve: it is a letter of its own, not an accented «и».
    """
    folded = unicodedata.normalize("NFKC", text).lower().replace("ё", "е").replace("й", "\ue000")
    bare = "".join(c for c in unicodedata.normalize("NFD", folded) if not unicodedata.combining(c))
    return _NOT_WORD.sub(" ", unicodedata.normalize("NFC", bare).replace("\ue000", "й")).replace("_", " ").strip()


def latin(text: str) -> str:
    """The folded text in Latin letters: «Катюша» and "Katyusha" become the same."""
    return _NOT_WORD.sub(" ", anyascii(fold(text)).lower()).strip()


def search_text(spellings: Iterable[str]) -> str:
    """What `Song.search_text` holds: every spelling folded, and in Latin letters, each once."""
    seen: dict[str, None] = {}
    for spelling in spellings:
        for form in (fold(spelling), latin(spelling)):
            if form:
                seen.setdefault(form)
    return "\n".join(seen)
