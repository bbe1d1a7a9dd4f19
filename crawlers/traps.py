"""Endless pages: URL patterns that go on for ever and never bring an item."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from crawlers.urls import url_pattern

MAX_PATTERNS = 20_000
"""Patterns remembered; the one not seen for longest is forgotten first, so that memory stays bounded."""


class TrapDetector:
    """Counts the pages of each URL pattern (digits folded) that brought no item.

    Args:
        limit: so many fruitless pages of one pattern are permitted.
        wanted: regular expressions of URLs that the operator asked for by name; they are never a trap.
    """

    def __init__(self, limit: int, wanted: Sequence[str] = ()) -> None:
        self._limit = limit
        self._wanted = [re.compile(expression) for expression in wanted]
        self._fruitless: OrderedDict[str, int] = OrderedDict()
        self._reported: set[str] = set()

    def restore(self, counts: Mapping[str, tuple[int, bool]]) -> None:
        """Takes up what an earlier attempt counted: fruitless pages by pattern, and whether that was reported."""
        for pattern, (pages, reported) in counts.items():
            self._fruitless[pattern] = pages
            if reported:
                self._reported.add(pattern)

    def visited(self, url: str, items: int) -> str | None:
        """A page was read and brought so many new items; the pattern for which that counts, None where it does not."""
        if items or (pattern := url_pattern(url)) is None:
            return None
        self._fruitless[pattern] = self._fruitless.pop(pattern, 0) + 1
        if len(self._fruitless) > MAX_PATTERNS:
            forgotten, _ = self._fruitless.popitem(last=False)
            self._reported.discard(forgotten)
        return pattern

    def is_trap(self, url: str) -> bool:
        """Whether the pattern of this URL has used up its fruitless pages."""
        pattern = url_pattern(url)
        if pattern is None or self._fruitless.get(pattern, 0) < self._limit:
            return False
        return not any(expression.search(url) for expression in self._wanted)

    def first_report(self, url: str) -> bool:
        """True once per pattern: the incident is to be recorded now."""
        pattern = url_pattern(url) or url
        if pattern in self._reported:
            return False
        self._reported.add(pattern)
        return True
