"""What an engine needs from the outside, as protocols; the activities wire the real ones in.

All methods are coroutines: an implementation that talks to PostgreSQL runs in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from adapters.contract import PageRequest, RecordingItem
from crawlers.errors import FailureClass


@dataclass(frozen=True, slots=True)
class QueuedRequest:
    """A frontier entry. ``request_key``: hex digest of the canonical URL and kind; ``attempts``: earlier tries."""

    request_key: str
    request: PageRequest
    depth: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class SnapshotRef:
    """Where a stored response lies: ``object_key`` in the object store, ``offset`` and ``length`` in bytes therein."""

    object_key: str
    offset: int
    length: int
    digest: str


@dataclass(frozen=True, slots=True)
class Incident:
    """A failed URL of a run. ``final``: it will not be asked again in this run."""

    request_key: str
    url: str
    failure: FailureClass
    detail: str = ""
    status: int | None = None
    attempts: int = 1
    final: bool = True


@dataclass(slots=True)
class PageOutcome:
    """Everything that one finished request brought; persisted by `CrawlStore.commit` in one transaction with others.

    Attributes:
        queued: the request this answers; it leaves the frontier, unless ``retry_in_s`` is set.
        status: HTTP status, None where there was no answer.
        items: extracted recordings.
        discovered: further requests, with their depth; those known to this run are ignored by the store.
        incident: set when the request failed.
        retry_in_s: ask again after so many seconds.
        snapshot: where the response was stored.
        final_url: after redirects.
    """

    queued: QueuedRequest
    status: int | None = None
    final_url: str = ""
    items: Sequence[RecordingItem] = ()
    discovered: Sequence[QueuedRequest] = ()
    incident: Incident | None = None
    retry_in_s: float | None = None
    snapshot: SnapshotRef | None = None
    bytes_received: int = 0
    latency_s: float = 0.0


class CrawlStore(Protocol):
    """The durable side of one crawl run: frontier, candidates, incidents. Safe to call again after a crash."""

    async def seed(self, requests: Sequence[QueuedRequest]) -> None:
        """Adds the start requests; nothing happens for those already known."""

    async def take(self, limit: int, exclude: Sequence[str]) -> Sequence[QueuedRequest]:
        """Up to ``limit`` due requests, highest priority first, without those in ``exclude`` (keys in flight)."""

    async def next_due_in_s(self) -> float | None:
        """Seconds until the next queued request is due (0.0: now); None when the frontier is empty."""

    async def commit(self, outcomes: Sequence[PageOutcome]) -> None:
        """Persists all outcomes in one transaction."""


class SnapshotStore(Protocol):
    """Where responses are kept as WARC."""

    async def write(self, records: Sequence[SnapshotRecord]) -> Sequence[SnapshotRef]:
        """Stores the records as one WARC object and returns where each lies."""


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A response to be kept. ``body`` as received after content decoding; ``rendered``: HTML after JavaScript."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    rendered: bool = False
    fetched_at: str = ""


class PolitenessBudget(Protocol):
    """The one budget that all engines and workers take from, per server group."""

    async def acquire(self, group: str) -> None:
        """Returns when one request to this group may start. Cancellable."""

    async def penalise(self, group: str, seconds: float) -> None:
        """Nobody asks this group again before so many seconds have passed (Retry-After, a burst of errors)."""

    async def configure(self, group: str, *, delay_s: float) -> None:
        """The group's delay is at least so long from now on (a robots.txt Crawl-delay, a campaign's wish)."""


@dataclass(frozen=True, slots=True)
class CrawlLimits:
    """Bounds of one crawl run; sizes in bytes, times in seconds."""

    max_pages: int = 10_000
    max_depth: int = 8
    max_page_bytes: int = 5_000_000
    max_audio_bytes: int = 200_000_000
    timeout_s: float = 30.0
    max_redirects: int = 8
    max_attempts: int = 4
    max_pages_per_pattern: int = 200
    """Pages of one URL pattern (digits folded) that brought no item, before the pattern counts as a trap."""


@dataclass(frozen=True, slots=True)
class CrawlJob:
    """What one engine is to do. ``allow_private``: ``host:port`` entries that may resolve to private addresses."""

    crawl_run_id: str
    source: str
    adapter: str
    seeds: Sequence[str] = ()
    search: Sequence[str] = ()
    follow: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    limits: CrawlLimits = field(default_factory=CrawlLimits)
    delay_s: float = 1.0
    concurrency: int = 2
    respect_robots: bool = True
    allow_private: Sequence[str] = ()
    user_agent: str = "VersionsBot/0.1"


@dataclass(slots=True)
class CrawlProgress:
    """Counters of this attempt; the engine updates it, the activity heartbeats it."""

    requests: int = 0
    pages: int = 0
    items: int = 0
    bytes: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    retries: int = 0
    last_url: str = ""


class StopSignal(Protocol):
    """Set from outside: the engine finishes what is in flight, commits it, and returns."""

    def is_set(self) -> bool: ...
