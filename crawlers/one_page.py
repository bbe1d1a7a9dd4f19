"""The store of a crawl of one page, in memory: what is asked on somebody's request, and kept nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adapters.contract import PageRequest, RecordingItem
from crawlers.errors import FailureClass
from crawlers.ports import Incident, PageOutcome, QueuedRequest, SnapshotRecord, SnapshotRef
from crawlers.urls import request_key


class OnePage:
    """The frontier, the snapshots and the stop signal (never set) of such a crawl.

    Attributes:
        items: what the adapter found.
        incident: how it failed, if it did.
        record: the answer.
        answered: whether there was a usable one.
    """

    def __init__(self, request: PageRequest) -> None:
        self._waiting: QueuedRequest | None = QueuedRequest(request_key(request.url, request.kind), request)
        self.items: list[RecordingItem] = []
        self.incident: Incident | None = None
        self.record: SnapshotRecord | None = None
        self.answered = False

    def is_set(self) -> bool:
        """Nobody stops it."""
        return False

    async def seed(self, requests: Sequence[QueuedRequest]) -> None:
        """Nothing: the one request is here from the start."""

    async def take(self, limit: int, exclude: Sequence[str]) -> Sequence[QueuedRequest]:
        """The one request, until it is answered."""
        return [] if self._waiting is None or self._waiting.request_key in exclude else [self._waiting]

    async def next_due_in_s(self) -> float | None:
        """0.0 while the request waits."""
        return None if self._waiting is None else 0.0

    async def commit(self, outcomes: Sequence[PageOutcome]) -> None:
        """Takes what came; a retry is made at once, links are not followed, and nobody waits for a closed source."""
        for outcome in outcomes:
            self.incident = outcome.incident
            self.items += outcome.items
            if outcome.postponed is not None:
                queued, why = outcome.queued, str(outcome.postponed)
                self.incident = Incident(queued.request_key, queued.request.url, FailureClass.RATE_LIMITED, why)
                self._waiting = None
            elif outcome.retry_in_s is None:
                self._waiting = None
                self.answered = outcome.incident is None
            else:
                self._waiting = replace(outcome.queued, attempts=outcome.queued.attempts + 1)

    async def write(self, records: Sequence[SnapshotRecord]) -> Sequence[SnapshotRef]:
        """Keeps the answer."""
        self.record = records[-1]
        return [SnapshotRef("", 0, len(record.body), "") for record in records]
