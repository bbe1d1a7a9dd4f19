"""Text of the web for items: markup taken off, dates as ISO 8601."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import lxml.html
from lxml import etree

from adapters._structured import clean_text

_MAX_MARKUP = 200_000
_TAG = re.compile(r"<[a-zA-Z/!]")
_TRACK_NUMBER = re.compile(r"^\d{1,3}(?:\s*[.)_-]\s*|\s+)(?=\D)")
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


def markup_text(value: Any, limit: int = 5000) -> str:
    """The text of a value that may hold HTML: one line, at most ``limit`` characters; empty where there is none."""
    if isinstance(value, list):
        value = " ".join(str(inner) for inner in value if isinstance(inner, str))
    if not isinstance(value, str):
        return clean_text(value, limit)
    text = value[:_MAX_MARKUP].replace("\0", "")
    if _TAG.search(text):
        try:
            root = lxml.html.fragment_fromstring(text, create_parent="div")
            etree.strip_elements(root, "script", "style", etree.Comment, with_tail=False)
            text = " ".join(str(part) for part in root.itertext())
        except (etree.ParserError, etree.XMLSyntaxError, ValueError, AssertionError):
            text = re.sub(r"<[^>]*>", " ", text)
    return clean_text(text, limit)


def title_of_stem(stem: str) -> str:
    """What a file is called, without its ending, as a title: no underscores, no track number before it."""
    if " " not in stem:
        stem = stem.replace("_", " ")
    stem = " ".join(stem.split())
    return _TRACK_NUMBER.sub("", stem) or stem


def iso_moment(value: Any) -> str | None:
    """ISO 8601 of a date or time as sites write it (ISO 8601, RFC 2822): a day as it stands, a time in UTC; else None.

    A year or a month alone is not enough of a date.
    """
    if isinstance(value, list):
        value = next((inner for inner in value if inner), None)
    if isinstance(value, Mapping):
        value = value.get("@value")
    if not isinstance(value, str):
        return None
    text = value.strip()[:60]
    if (day := _DATE.fullmatch(text)) is not None:
        if day[3] is None:
            return None
        try:
            return datetime(int(day[1]), int(day[2]), int(day[3]), tzinfo=UTC).date().isoformat()
        except ValueError:
            return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    try:
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (OverflowError, ValueError):
        return None
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
