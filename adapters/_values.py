"""Values as sites write them: text with and without markup, durations, dates, years."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import lxml.html
from lxml import etree

_MAX_TITLE = 1000
_MAX_DURATION_S = 7 * 86400.0
_MAX_MARKUP = 200_000
_TAG = re.compile(r"<[a-zA-Z/!]")
_TRACK_NUMBER = re.compile(r"^\d{1,3}(?:\s*[.)_-]\s*|\s+)(?=\D)")
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_DURATION_PART = re.compile(r"(\d+(?:[.,]\d+)?)([DHMS])")
# Years, months and weeks are written by generators that fill in every part; they are always naught.
_ISO_DURATION = re.compile(r"P?(?:0+Y)?(?:0+M(?=.*T))?(?:0+W)?(?:\d+(?:[.,]\d+)?D)?T?(?:\d+(?:[.,]\d+)?[HMS])*")
_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{2}(?:\.\d+)?)")
_YEAR = re.compile(r"(?<!\d)(1[5-9]\d\d|20\d\d)(?!\d)")


def clean_text(value: Any, limit: int = _MAX_TITLE) -> str:
    """Text of a value: entities resolved, blanks folded, at most ``limit`` characters; empty if it has none."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        if isinstance(value, Mapping):
            value = value.get("@value", value.get("name", value.get("text")))
        if isinstance(value, list):
            value = next((inner for inner in value if inner), None)
            if isinstance(value, Mapping):
                return clean_text(value, limit)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return ""
    text = html.unescape(str(value)[: limit * 8])
    text = text.encode("utf-8", "replace").decode().replace("\0", "")
    return " ".join(text.split())[:limit].strip()


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


def seconds(value: Any) -> float | None:
    """Seconds of an ISO 8601 duration, a clock time or a number, also in the misspelt forms sites use; else None."""
    if isinstance(value, Mapping):
        value = value.get("@value") or value.get("name")
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        result = float(value)
    else:
        text = "".join(str(value)[:80].split()).upper()[:40]
        if clock := _CLOCK.fullmatch(text):
            hours, minutes, rest = clock.groups()
            result = int(hours or 0) * 3600 + int(minutes) * 60 + float(rest)
        elif _ISO_DURATION.fullmatch(text) and (parts := _DURATION_PART.findall(text)):
            unit_s = {"D": 86400, "H": 3600, "M": 60, "S": 1}
            result = sum(float(number.replace(",", ".")) * unit_s[unit] for number, unit in parts)
        else:
            try:
                result = float(text)
            except ValueError:
                return None
    return round(result, 3) if 0 < result < _MAX_DURATION_S else None


def year_of(value: Any) -> int | None:
    """The first number that reads as a year from 1500 to 2099."""
    found = _YEAR.search(str(value)[:100]) if value is not None else None
    return int(found.group()) if found else None
