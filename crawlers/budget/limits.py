"""How much may be asked: delay, concurrency, requests and bytes a day, and the hours in which it may be asked."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(?:(\d+(?:\.\d+)?)\s*)?(s|sec|second|m|min|minute|h|hour|d|day)")
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WINDOW = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*(24:00|(?:[01]?\d|2[0-3]):[0-5]\d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_SIZE_FACTOR = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_MAX_WAIT = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Windows:
    """Times of day, in minutes from midnight in ``timezone``; a window whose end is not after its start ends on the
    next day."""

    spans: tuple[tuple[int, int], ...]
    timezone: str = "UTC"

    def open_at(self, moment: datetime) -> bool:
        """Whether this moment lies in one of the windows."""
        local = moment.astimezone(_zone(self.timezone))
        minute = local.hour * 60 + local.minute
        return any(
            start <= minute < end if start < end else minute >= start or minute < end for start, end in self.spans
        )

    def text(self) -> str:
        """As an operator writes it."""
        return f"{', '.join(f'{_clock(start)}-{_clock(end)}' for start, end in self.spans)} {self.timezone}"


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """An upper bound in every respect; None: no bound.

    Attributes:
        delay_s: seconds between the starts of two requests.
        concurrency: requests in flight at a time.
        per_day, bytes_per_day: from midnight to midnight in ``timezone``.
        windows: all of them must be open.
    """

    delay_s: float = 0.0
    concurrency: int | None = None
    per_day: int | None = None
    bytes_per_day: int | None = None
    windows: tuple[Windows, ...] = ()
    timezone: str = "UTC"

    def politest(self, other: BudgetLimits) -> BudgetLimits:
        """What satisfies both."""
        return BudgetLimits(
            max(self.delay_s, other.delay_s),
            _least(self.concurrency, other.concurrency),
            _least(self.per_day, other.per_day),
            _least(self.bytes_per_day, other.bytes_per_day),
            self.windows + tuple(each for each in other.windows if each not in self.windows),
            other.timezone if self.timezone == "UTC" else self.timezone,
        )

    def opens_in_s(self, now: float) -> float:
        """Seconds until all windows are open (0.0: they are), at most two days. ``now``: seconds since 1970."""
        if not self.windows:
            return 0.0
        moment = start = datetime.fromtimestamp(now, UTC)
        while moment - start < _MAX_WAIT:
            if all(each.open_at(moment) for each in self.windows):
                return (moment - start).total_seconds()
            moment = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        return _MAX_WAIT.total_seconds()

    def day(self, now: float) -> str:
        """The calendar day that daily budgets are counted for."""
        return datetime.fromtimestamp(now, _zone(self.timezone)).date().isoformat()

    def next_day_in_s(self, now: float) -> float:
        """Seconds until the daily budgets begin anew."""
        local = datetime.fromtimestamp(now, _zone(self.timezone))
        midnight = (local + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return max(midnight.timestamp() - now, 1.0)

    def to_json(self) -> dict[str, Any]:
        """A JSON object without what is not limited."""
        result: dict[str, Any] = {}
        if self.delay_s:
            result["delay_s"] = self.delay_s
        for name in ("concurrency", "per_day", "bytes_per_day"):
            if (value := getattr(self, name)) is not None:
                result[name] = value
        if self.windows:
            result["windows"] = [{"spans": each.spans, "timezone": each.timezone} for each in self.windows]
        if self.timezone != "UTC":
            result["timezone"] = self.timezone
        return result

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BudgetLimits:
        """The inverse of `to_json`."""
        windows = tuple(
            Windows(tuple((int(start), int(end)) for start, end in each["spans"]), each["timezone"])
            for each in data.get("windows", ())
        )
        return cls(
            float(data.get("delay_s", 0.0)),
            data.get("concurrency"),
            data.get("per_day"),
            data.get("bytes_per_day"),
            windows,
            data.get("timezone", "UTC"),
        )

    def of_group(self) -> BudgetLimits:
        """The part of a campaign's wish that is about each server group."""
        return BudgetLimits(self.delay_s, self.concurrency)

    def of_source(self) -> BudgetLimits:
        """The part of a campaign's wish that is about its source as a whole."""
        return replace(self, delay_s=0.0, concurrency=None)


UNLIMITED = BudgetLimits()


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator set: limits by target, ``source:youtube`` or ``host:*.example.org``."""

    targets: Mapping[str, BudgetLimits]

    def scope_of(self, group: str) -> str:
        """The scope that a server group's requests are counted in: its own, or that of the pattern it falls under.

        All hosts under a pattern share one budget; of several patterns the longest counts.
        """
        host = group.rpartition(":")[0] if ":" in group else group
        patterns = [
            target[5:]
            for target in self.targets
            if target.startswith("host:") and (fnmatchcase(host, target[5:]) or target[5:] == group)
        ]
        return f"host:{max(patterns, key=len)}" if patterns else f"group:{group}"

    def limits_of(self, scope: str) -> BudgetLimits:
        """What the operator set for a scope."""
        return self.targets.get(scope, UNLIMITED)


def parse_rate(text: str) -> float:
    """Seconds between two requests of ``30/min``, ``2/s``, ``500/h``, ``1/90s``. Raises ValueError."""
    match = _RATE.fullmatch(text.strip().lower())
    if match is None or float(match[1]) <= 0 or float(match[2] or 1) <= 0:
        raise ValueError(f"rate: {text!r} is not a number of requests per time, such as 30/min, 2/s or 1/90s")
    return float(match[2] or 1) * _UNIT_S[match[3][0]] / float(match[1])


def parse_windows(texts: Iterable[str], timezone: str) -> Windows:
    """``22:00-06:00`` and the like. Raises ValueError."""
    spans = []
    for text in texts:
        match = _WINDOW.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"window: {text!r} is not a span of a day such as 22:00-06:00")
        hour, minute = match[3].split(":")
        span = (int(match[1]) * 60 + int(match[2]), int(hour) * 60 + int(minute))
        if span[0] == span[1]:
            raise ValueError(f"window: {text!r} has no length; 00:00-24:00 is the whole day")
        spans.append(span)
    check_timezone(timezone)
    return Windows(tuple(spans), timezone)


def parse_size(text: str) -> int:
    """Bytes of ``500MB``, ``2G``, ``1500``. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"bytes: {text!r} is not a size such as 500MB or 2GB")
    return int(float(match[1]) * _SIZE_FACTOR[match[2].lower()])


def check_timezone(name: str) -> str:
    """The name itself. Raises ValueError for one that is not in the IANA database."""
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise ValueError(f"timezone: {name!r} is not an IANA name such as Europe/Moscow or UTC") from None
    return name


def rate_text(delay_s: float) -> str:
    """A delay as an operator reads it."""
    if delay_s <= 0:
        return "no limit"
    if delay_s < 1:
        return f"{1 / delay_s:g}/s"
    return f"{60 / delay_s:g}/min" if delay_s <= 60 else f"{3600 / delay_s:.3g}/h"


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _zone(name: str) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo(name)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
