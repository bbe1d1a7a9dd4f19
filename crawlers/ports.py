"""What an engine needs from the outside, as protocols; the activities wire the real ones in.

All methods are coroutines: an implementation that talks to PostgreSQL runs in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from adapters.contract import PageRequest, RecordingItem
from crawlers.budget.limits import UNLIMITED, BudgetLimits
from crawlers.errors import FailureClass
from crawlers.history import BodyPlace, KnownPage, PageVisit, RevisitPolicy


@dataclass(frozen=True, slots=True)
class QueuedRequest:
    """A frontier entry. ``request_key``: hex digest of the canonical URL and kind; ``attempts``: earlier tries.

    ``known``: what an earlier run left of this page.
    """

    request_key: str
    request: PageRequest
    depth: int = 0
    attempts: int = 0
    known: KnownPage | None = None


@dataclass(frozen=True, slots=True)
class SnapshotRef:
    """Where a stored response lies: ``object_key`` in the object store, ``offset`` and ``length`` in bytes therein.

    ``body``: where the response lies that this one only repeats; ``date``: the record's ``WARC-Date``.
    """

    object_key: str
    offset: int
    length: int
    digest: str
    body: BodyPlace | None = None
    date: str = ""


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


class NotNow(Exception):
    """No permit now, and waiting for it in place would take too long: the request goes back into its queue.

    Attributes:
        seconds: ask again after so many seconds.
        reason: a stable code: ``penalty``, ``breaker_open``, ``daily_requests``, ``daily_bytes``, ``outside_window``.
        waiting_on: who can unblock it, as `catalog.campaigns.progress.UNBLOCK` names them.
        whole_source: whether all requests of the source wait, not only those to this server group.
    """

    def __init__(
        self, seconds: float, reason: str, waiting_on: str, detail: str = "", *, whole_source: bool = False
    ) -> None:
        super().__init__(f"{reason}: not before {seconds:.1f} s{'; ' if detail else ''}{detail}")
        self.seconds = seconds
        self.reason = reason
        self.waiting_on = waiting_on
        self.detail = detail
        self.whole_source = whole_source


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
        postponed: the budget gave no permit: nothing was sent, no attempt is counted, and ``retry_in_s`` says when the
            request is taken again.
        visit: what is to be remembered of the page; None: nothing, as of a page that failed.
        fruitless: the page's URL pattern, where it has one and the page brought no item.
        trap_reported: the URL pattern that the incident reports as a trap.
        left_list: the rest of the list that this page belongs to is known and was not asked for.
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
    postponed: NotNow | None = None
    visit: PageVisit | None = None
    fruitless: str | None = None
    trap_reported: str | None = None
    left_list: bool = False


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
    """A response to be kept. ``body`` as received after content decoding; ``rendered``: HTML after JavaScript.

    ``repeats``: an earlier response has the same body: only that is kept, and this one refers to it. ``digest``: of the
    body where it is known already (it must be for a 304, which has none).
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    rendered: bool = False
    fetched_at: str = ""
    repeats: BodyPlace | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """On whose behalf a permit is asked for.

    Attributes:
        source: whose limits and breaker apply beside those of the server group; empty: none.
        campaign: who shares fairly with whom; requests of one campaign keep their order.
        weight: share of the group's budget, relative to other campaigns that wait for it.
        priority: higher goes first within the campaign.
        patience_s: a longer wait for anything but one's turn raises NotNow.
        limits: what the campaign wishes; it can only make the budget smaller. Delay and concurrency are of each server
            group, the rest of the source as a whole.
        group_by: what counts as one server: ``host``, ``domain`` (registrable) or ``address``; see
            `crawlers.urls.grouped`.
    """

    source: str = ""
    campaign: str = ""
    weight: float = 1.0
    priority: int = 0
    patience_s: float = 30.0
    limits: BudgetLimits = UNLIMITED
    group_by: str = "host"


@dataclass(frozen=True, slots=True)
class Observed:
    """What came of a permitted request. ``failure`` None: a usable answer; ``retry_after_s``: as the site asked."""

    status: int | None = None
    failure: FailureClass | None = None
    latency_s: float = 0.0
    bytes: int = 0
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Proxy:
    """Through which proxy a permitted request is to go. ``url`` may hold credentials: it is never shown or logged."""

    name: str
    url: str = field(repr=False)


class Permit:
    """One request to one server group may start, and holds one of the group's places until it is released.

    Use it as a context manager, or call `release` in a ``finally``: a permit that is not released keeps its place
    until its process ends. Neither blocks nor raises, so that it may be called while a task is being cancelled; from
    another thread than the loop's use ``loop.call_soon_threadsafe(permit.release, observed)``.
    """

    __slots__ = ("_released", "group", "observed", "probe", "proxy")

    def __init__(
        self,
        group: str,
        released: Callable[[Observed | None], None],
        proxy: Proxy | None = None,
        *,
        probe: bool = False,
    ) -> None:
        self.group = group
        self.probe = probe
        """Whether the source's breaker closes or opens by what is observed: look closely."""
        self.proxy = proxy
        self.observed: Observed | None = None
        """What leaving the ``with`` block reports."""
        self._released: Callable[[Observed | None], None] | None = released

    def release(self, observed: Observed | None = None) -> None:
        """Gives the place back and tells what was seen (None: nothing was sent). Further calls do nothing."""
        released, self._released = self._released, None
        if released is not None:
            released(observed)

    def __enter__(self) -> Permit:
        return self

    def __exit__(self, *_: object) -> None:
        self.release(self.observed)


class PolitenessBudget(Protocol):
    """The one budget that all engines and workers of the fleet take from, per server group and per source."""

    async def acquire(self, group: str, claim: Claim = Claim()) -> Permit:
        """Returns when one request to this group may start. Cancellable.

        Raises NotNow when the wait would be longer than ``claim.patience_s``.
        """

    async def penalise(self, group: str, seconds: float) -> None:
        """Nobody asks this group again before so many seconds have passed, for a reason that no answer's `Observed`
        told. Retry-After needs no call: a permit's release reports it."""

    def report(self, group: str, claim: Claim, observed: Observed) -> None:
        """What was understood of an answer only after its permit was released: words that ask for a login or whether
        we are a robot."""

    async def configure(self, group: str, *, delay_s: float, concurrency: int | None = None, wisher: str = "") -> None:
        """The group's delay is at least so long, and its concurrency at most so high, from now on, as ``wisher`` has
        it (a robots.txt Crawl-delay). What a campaign wishes comes with its `Claim`."""


@dataclass(frozen=True, slots=True)
class CrawlLimits:
    """Bounds of one crawl run; sizes in bytes, times in seconds."""

    max_pages: int = 10_000
    """Pages that are read or fail for good. One that is as it was (304, or not asked at all) counts as none: a run
    gets on to what is behind the known pages, so that each run brings so much that is new."""
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
    campaign: str = ""
    weight: float = 1.0
    """Share of a server group's budget, relative to other campaigns that wait for the same group."""
    revisit: RevisitPolicy = field(default_factory=RevisitPolicy)
    budget: BudgetLimits = UNLIMITED
    """Further limits of the source as a whole: requests and bytes a day, time windows."""
    group_by: str = "host"
    """See `Claim.group_by`."""

    def claim(self) -> Claim:
        """On whose behalf the budget is asked, with everything that this job wishes of it."""
        limits = self.budget.politest(BudgetLimits(self.delay_s, self.concurrency))
        return Claim(self.source, self.campaign, self.weight, limits=limits, group_by=self.group_by)


@dataclass(slots=True)
class CrawlProgress:
    """Counters of this attempt; the engine updates it, the activity heartbeats it.

    ``in_flight``: requests sent and not answered yet; ``turn``: requests that wait for robots.txt or for their slot of
    the budget.
    """

    requests: int = 0
    pages: int = 0
    items: int = 0
    bytes: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    retries: int = 0
    unchanged: int = 0
    """Known pages that answered 304, or needed no request."""
    not_modified: int = 0
    """Of ``pages``: those that answered 304."""
    last_url: str = ""
    in_flight: int = 0
    turn: int = 0


class StopSignal(Protocol):
    """Set from outside: the engine finishes what is in flight, commits it, and returns."""

    def is_set(self) -> bool: ...
