"""How a query is folded before it is compared with what publication wrote into `Song.search_text`."""

from __future__ import annotations

import re
import unicodedata

from anyascii import anyascii

_NOT_WORD = re.compile(r"[\W_]+")
_SILENT = re.compile(r"['’`\"]")


def fold(text: str) -> str:
    """Compatibility form, lower case, «ё» as «е», words of letters and digits separated by one space."""
    return _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).lower().replace("ё", "е")).strip()


def latin(text: str) -> str:
    """The folded text in plain Latin letters: «Катюша» and "Katyusha" become the same."""
    return _NOT_WORD.sub(" ", _SILENT.sub("", anyascii(fold(text))).lower()).strip()
