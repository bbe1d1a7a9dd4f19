"""The ports of `crawlers.ports` in memory: real implementations, without durability."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import time
from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

from adapters.contract import RecordingItem
from crawlers.errors import FailureClass, FetchError
from crawlers.ports import (
    Claim,
    Incident,
    NotNow,
    Observed,
    PageOutcome,
    Permit,
    QueuedRequest,
    SnapshotRecord,
    SnapshotRef,
)


class MemoryStore:
    """A frontier in a dict; it keeps what it is given, as the database does."""

    def __init__(self) -> None:
        self.queue: dict[str, tuple[QueuedRequest, float]] = {}
        self.known: set[str] = set()
        self.outcomes: list[PageOutcome] = []
        self.incidents: list[Incident] = []
        self.items: dict[str, RecordingItem] = {}
        self.commits: list[int] = []
        self.fail_commits = False
        self.largest_exclude = 0

    async def seed(self, requests: Sequence[QueuedRequest]) -> None:
        self._add(requests)

    def _add(self, requests: Sequence[QueuedRequest]) -> None:
        for queued in requests:
            if queued.request_key not in self.known:
                self.known.add(queued.request_key)
                self.queue[queued.request_key] = (queued, 0.0)

    async def take(self, limit: int, exclude: Sequence[str]) -> Sequence[QueuedRequest]:
        now = time.monotonic()
        skipped = set(exclude)
        self.largest_exclude = max(self.largest_exclude, len(skipped))
        due = [q for key, (q, at) in self.queue.items() if at <= now and key not in skipped]
        due.sort(key=lambda queued: -queued.request.priority)
        return due[:limit]

    async def next_due_in_s(self) -> float | None:
        if not self.queue:
            return None
        return max(0.0, min(at for _, at in self.queue.values()) - time.monotonic())

    async def commit(self, outcomes: Sequence[PageOutcome]) -> None:
        await asyncio.sleep(0.001)
        if self.fail_commits:
            raise ConnectionError("the database is gone")
        self.commits.append(len(outcomes))
        for outcome in outcomes:
            key = outcome.queued.request_key
            queued, _ = self.queue.get(key, (None, 0.0))
            if queued is None or queued.attempts != outcome.queued.attempts:
                continue  # committed before, or never queued
            if outcome.retry_in_s is None:
                del self.queue[key]
            else:
                attempts = outcome.queued.attempts + (outcome.postponed is None)
                again = dataclasses.replace(outcome.queued, attempts=attempts)
                self.queue[key] = (again, time.monotonic() + outcome.retry_in_s)
            self._add(outcome.discovered)
            self.items.update((item.source_key, item) for item in outcome.items)
            if outcome.incident is not None:
                self.incidents.append(outcome.incident)
            self.outcomes.append(outcome)

    def ends(self) -> dict[str, FailureClass]:
        """Path and query of each final failure, with its class."""
        return {i.url.partition("://")[2].partition("/")[2]: i.failure for i in self.incidents if i.final}


class MemorySnapshots:
    def __init__(self) -> None:
        self.objects: list[list[SnapshotRecord]] = []

    async def write(self, records: Sequence[SnapshotRecord]) -> Sequence[SnapshotRef]:
        self.objects.append(list(records))
        name = f"warc/{len(self.objects)}"
        return [SnapshotRef(name, number, len(r.body), "") for number, r in enumerate(records)]

    def of(self, path: str) -> SnapshotRecord | None:
        for records in self.objects:
            for record in records:
                if urlsplit(record.url).path == path:
                    return record
        return None


class MemoryBudget:
    """Counts, and really waits for delays. ``not_now``: groups that get no permit, for so many seconds."""

    def __init__(self) -> None:
        self.acquired: Counter[str] = Counter()
        self.penalties: list[tuple[str, float]] = []
        self.delays: dict[str, float] = {}
        self.not_now: dict[str, float] = {}
        self.claims: set[Claim] = set()
        self.held = 0
        self.observed: list[Observed] = []
        self._next: dict[str, float] = {}

    async def acquire(self, group: str, claim: Claim = Claim()) -> Permit:
        self.claims.add(claim)
        if (seconds := self.not_now.get(group, 0.0) - time.monotonic()) > 0:
            raise NotNow(seconds, "daily_requests", "schedule")
        now = time.monotonic()
        self.delays[group] = max(self.delays.get(group, 0.0), claim.limits.delay_s)
        slot = max(now, self._next.get(group, 0.0))
        self._next[group] = slot + self.delays.get(group, 0.0)
        if slot > now:
            await asyncio.sleep(slot - now)
        self.acquired[group] += 1
        self.held += 1
        return Permit(group, lambda observed: self._released(group, observed))

    def _released(self, group: str, observed: Observed | None) -> None:
        self.held -= 1
        if observed is None:
            return
        self.observed.append(observed)
        if observed.retry_after_s is not None:
            self._penalise(group, observed.retry_after_s)

    def report(self, group: str, claim: Claim, observed: Observed) -> None:
        self.observed.append(observed)
        if observed.retry_after_s is not None:
            self._penalise(group, observed.retry_after_s)

    async def penalise(self, group: str, seconds: float) -> None:
        self._penalise(group, seconds)

    def _penalise(self, group: str, seconds: float) -> None:
        self.penalties.append((group, seconds))
        self._next[group] = max(self._next.get(group, 0.0), time.monotonic() + seconds)

    async def configure(self, group: str, *, delay_s: float, concurrency: int | None = None, wisher: str = "") -> None:
        self.delays[group] = max(self.delays.get(group, 0.0), delay_s)


class MemoryGuard:
    """Judges literal addresses and names given to it; `blocked` hosts are refused.

    A stand-in for `crawlers.guard.AddressGuard` until that is merged; it resolves nothing over the network.
    """

    def __init__(self, allow: Sequence[str], names: dict[str, str] | None = None) -> None:
        self._allow = set(allow)
        self._names = names or {}
        self.checked: Counter[str] = Counter()

    async def check(self, url: str) -> list[str]:
        split = urlsplit(url)
        if split.scheme not in ("http", "https"):
            raise FetchError(FailureClass.ADDRESS_BLOCKED, f"scheme {split.scheme!r}")
        host = split.hostname or ""
        port = split.port or (443 if split.scheme == "https" else 80)
        self.checked[f"{host}:{port}"] += 1
        address = self._names.get(host, host)
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            raise FetchError(FailureClass.CONNECTION, f"{host} does not resolve") from None
        if not parsed.is_global and f"{host}:{port}" not in self._allow:
            raise FetchError(FailureClass.ADDRESS_BLOCKED, f"{host} is {address}")
        return [address]


class Stop:
    def __init__(self) -> None:
        self.now = False

    def is_set(self) -> bool:
        return self.now
