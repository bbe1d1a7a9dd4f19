"""A crawl that leaves no trace: the frontier is in memory, what pages bring is handed on, nothing is kept."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from adapters.contract import RecordingItem
from crawlers.ports import PageOutcome, QueuedRequest, SnapshotRecord, SnapshotRef

PATIENCE_S = 60.0
"""A request whose time comes later is left: nobody waits for a trial until tomorrow."""


class EphemeralStore:
    """A `crawlers.ports.CrawlStore` for looking only.

    Args:
        found: called with the items of each page.

    Attributes:
        answered, bytes: requests that ended, and bytes received for them.
        failures: final failures by class.
        known: requests that were ever queued.
    """

    def __init__(self, found: Callable[[Sequence[RecordingItem]], None]) -> None:
        self._found = found
        self._queue: list[tuple[int, int, str]] = []
        self._waiting: dict[str, tuple[QueuedRequest, float]] = {}
        self._keys: set[str] = set()
        self.answered = 0
        self.bytes = 0
        self.failures: Counter[str] = Counter()

    @property
    def known(self) -> int:
        return len(self._keys)

    @property
    def left(self) -> int:
        """Requests that were not asked."""
        return len(self._waiting)

    async def seed(self, requests: Sequence[QueuedRequest]) -> None:
        """Adds the start requests; nothing happens for those already known."""
        self._add(requests)

    async def take(self, limit: int, exclude: Sequence[str]) -> Sequence[QueuedRequest]:
        """Up to ``limit`` due requests, highest priority first, without those in ``exclude``."""
        now, skipped = time.monotonic(), set(exclude)
        taken: list[QueuedRequest] = []
        passed: list[tuple[int, int, str]] = []
        while self._queue and len(taken) < limit:
            place = heapq.heappop(self._queue)
            if place[2] not in self._waiting:
                continue
            passed.append(place)
            queued, due = self._waiting[place[2]]
            if due <= now and place[2] not in skipped:
                taken.append(queued)
        for place in passed:
            heapq.heappush(self._queue, place)
        return taken

    async def next_due_in_s(self) -> float | None:
        """Seconds until the next queued request is due; None when nothing is left that is worth waiting for."""
        if not self._waiting:
            return None
        wait_s = max(0.0, min(due for _, due in self._waiting.values()) - time.monotonic())
        return wait_s if wait_s <= PATIENCE_S else None

    async def commit(self, outcomes: Sequence[PageOutcome]) -> None:
        """Hands on what the pages brought."""
        for outcome in outcomes:
            key = outcome.queued.request_key
            if key not in self._waiting:
                continue
            if outcome.retry_in_s is not None:
                attempts = outcome.queued.attempts + (outcome.postponed is None)
                again = replace(outcome.queued, attempts=attempts)
                self._waiting[key] = (again, time.monotonic() + outcome.retry_in_s)
                continue
            del self._waiting[key]
            self.answered += 1
            self.bytes += outcome.bytes_received
            if outcome.incident is not None:
                self.failures[outcome.incident.failure.value] += 1
            self._add(outcome.discovered)
            if outcome.items:
                self._found(outcome.items)

    def _add(self, requests: Sequence[QueuedRequest]) -> None:
        for queued in requests:
            if queued.request_key not in self._keys:
                self._keys.add(queued.request_key)
                self._waiting[queued.request_key] = (queued, 0.0)
                heapq.heappush(self._queue, (-queued.request.priority, len(self._keys), queued.request_key))


class NoSnapshots:
    """A `crawlers.ports.SnapshotStore` that keeps nothing."""

    async def write(self, records: Sequence[SnapshotRecord]) -> Sequence[SnapshotRef]:
        """A place for each that nobody will look at."""
        return [SnapshotRef("", 0, 0, "") for _ in records]
