"""The budget as engines see it: one object per process, which asks the ledger in batches for all its engines.

A *lane* is the requests of one source to one server group. A lane holds places and, where starts are metered, start
times; it hands them to its waiters, the campaigns by fair queueing, within a campaign by priority. One task talks to
the ledger for all lanes together, and only while anything waits or is out.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
import os
import socket
import time
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Protocol

from crawlers.budget.breaker import BURST_CLASSES
from crawlers.budget.ledger import HORIZON_S, RENEW_S, Ask, Grant, Ledger
from crawlers.budget.limits import UNLIMITED, BudgetLimits
from crawlers.budget.scope import LEASE_S, Usage
from crawlers.errors import FailureClass
from crawlers.ports import Claim, NotNow, Observed, Permit, Proxy

DEFAULT_PENALTY_S = 30.0
"""For a 429 that names no time, in seconds."""
LATE_S = 0.1
"""A start may be used so much later than it was granted for: in a window of W seconds there are then at most
(W + `LATE_S`) / delay + 1 requests."""
LINGER_S = 0.3
"""Places that nobody uses are kept so long for the next request, unless another process wants them."""
BELIEF_S = 2.0
"""A refusal is believed so long; then the ledger is asked again, for the operator may have changed his mind."""
MAX_LANES = 1000
"""With so many, those that are idle are forgotten."""
BATCH_S = 0.2
"""Starts of short delays are asked for so many seconds ahead."""
SMALL_ANSWER = 256 * 1024
"""Latencies of larger answers say more of their size than of the server's load."""
MAX_WISHES = 10_000

TELL_AT = 4
"""So many failures are reported at once, not with the next question."""

_MAY_OPEN = frozenset((FailureClass.BOT_CHECK, FailureClass.AUTH_REQUIRED))
_URGENT = _MAY_OPEN | {FailureClass.RATE_LIMITED}

_log = logging.getLogger(__name__)


def penalty_s(observed: Observed) -> float | None:
    """How long a server group is to be left alone after this answer, in seconds; None: no need."""
    if observed.retry_after_s is not None:
        return observed.retry_after_s
    return DEFAULT_PENALTY_S if observed.failure is FailureClass.RATE_LIMITED else None


class Proxies(Protocol):
    """Chooses the proxy of each request, and learns how it did."""

    def choose(self, group: str) -> Proxy | None:
        """The proxy to use; None: directly. Raises NotNow when all are in quarantine."""

    def told(self, proxy: Proxy, observed: Observed) -> None:
        """What came of a request through this proxy."""


class SharedBudget:
    """A `crawlers.ports.PolitenessBudget` over a ledger. Belongs to one event loop at a time.

    Args:
        ledger: called in a thread.
        proxies: None: requests go out directly.
        holder: names this process among those of the fleet; unique by default.
    """

    def __init__(self, ledger: Ledger, *, proxies: Proxies | None = None, holder: str | None = None) -> None:
        self._ledger = ledger
        self._proxies = proxies
        self._holder = holder or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lanes: OrderedDict[tuple[str, str], _Lane] = OrderedDict()
        self._wishes: OrderedDict[str, dict[str, BudgetLimits]] = OrderedDict()
        self._pump: asyncio.Task[None] | None = None
        self._wake: asyncio.Event | None = None
        self._numbers = itertools.count()

    async def acquire(self, group: str, claim: Claim = Claim()) -> Permit:
        """Returns when one request to this group may start; holds one of its places until released. Raises NotNow."""
        lane = self._lane(group, claim.source)
        if (wait := lane.closed_for()) is not None and wait.seconds > claim.patience_s:
            raise wait
        waiter = _Waiter(claim, asyncio.get_running_loop().create_future())
        lane.enqueue(waiter, next(self._numbers))
        self._dispatch(lane)
        if not waiter.future.done():
            self._ask_at(lane, lane.next_ask())
        try:
            probe = await waiter.future
        except asyncio.CancelledError:
            if waiter.future.cancelled():
                lane.leave()
            elif waiter.future.exception() is None:
                # Handed out in the very moment in which the caller was cancelled.
                self._released(lane, None, None, waiter.future.result())
            raise
        try:
            proxy = self._proxies.choose(group) if self._proxies is not None else None
        except BaseException:
            self._released(lane, None, None, probe)
            raise
        return Permit(group, lambda observed: self._released(lane, proxy, observed, probe), proxy, probe=probe)

    async def penalise(self, group: str, seconds: float) -> None:
        """Nobody asks this group again before so many seconds have passed."""
        lane = self._lane(group, "")
        lane.usage.penalty_s = max(lane.usage.penalty_s, seconds)
        for each in self._lanes.values():
            if each.group == group:
                each.pause(seconds)
        self._ask_at(lane, 0.0)

    def report(self, group: str, claim: Claim, observed: Observed) -> None:
        """What was understood of an answer only after its permit was released."""
        lane = self._lane(group, claim.source)
        if self._saw(lane, observed):
            self._ask_at(lane, 0.0)

    async def configure(self, group: str, *, delay_s: float, concurrency: int | None = None, wisher: str = "") -> None:
        """The group's delay is at least so long, its concurrency at most so high, as ``wisher`` has it."""
        wishes = self._wishes.setdefault(group, {})
        self._wishes.move_to_end(group)
        if len(self._wishes) > MAX_WISHES:
            self._wishes.popitem(last=False)
        wish = BudgetLimits(max(delay_s, 0.0), concurrency)
        if wishes.get(wisher) == wish:
            return
        wishes[wisher] = wish
        for lane in self._lanes.values():
            if lane.group == group:
                lane.forfeit()

    async def close(self) -> None:
        """Gives everything back; waiters are cancelled."""
        for lane in self._lanes.values():
            lane.cancel()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        asks = [lane.ask(self._wishes.get(lane.group, {})) for lane in self._lanes.values() if lane.leased]
        self._lanes.clear()
        if asks:
            await asyncio.to_thread(self._ledger.exchange, self._holder, asks)

    # --- handing out and taking back

    def _lane(self, group: str, source: str) -> _Lane:
        lane = self._lanes.get((group, source))
        if lane is None:
            if len(self._lanes) >= MAX_LANES:
                for key in [key for key, each in self._lanes.items() if each.idle]:
                    del self._lanes[key]
            lane = self._lanes[group, source] = _Lane(group, source)
        return lane

    def _dispatch(self, lane: _Lane) -> None:
        wake_in = lane.dispatch()
        if wake_in is None:
            return
        loop = asyncio.get_running_loop()
        if lane.timer is not None:
            if lane.timer.when() <= loop.time() + wake_in + 0.001:
                return
            lane.timer.cancel()
        lane.timer = loop.call_later(wake_in, self._timer, lane)

    def _timer(self, lane: _Lane) -> None:
        lane.timer = None
        self._dispatch(lane)
        if lane.waiting:
            self._ask_at(lane, lane.next_ask())

    def _released(self, lane: _Lane, proxy: Proxy | None, observed: Observed | None, probe: bool) -> None:
        lane.in_flight -= 1
        urgent = lane.contended or probe
        if observed is not None:
            if proxy is not None and self._proxies is not None:
                self._proxies.told(proxy, observed)
            urgent = self._saw(lane, observed) or urgent
        if probe:
            lane.probe = (observed.failure if observed else None, observed is not None)
        self._dispatch(lane)
        if urgent:
            self._ask_at(lane, 0.0)
        elif lane.waiting:
            self._ask_at(lane, lane.next_ask())
        else:
            self._ask_at(lane, time.monotonic() + LINGER_S)

    def _saw(self, lane: _Lane, observed: Observed) -> bool:
        """Takes an answer in; whether the ledger should hear of it at once."""
        lane.saw(observed)
        if (seconds := penalty_s(observed)) is not None:
            lane.usage.penalty_s = max(lane.usage.penalty_s, seconds)
            for each in self._lanes.values():
                if each.group == lane.group:
                    each.pause(seconds)
        if observed.failure in _MAY_OPEN:
            # Nothing more goes out to this source before the ledger has heard of it.
            for each in self._lanes.values():
                if each.source == lane.source:
                    each.forfeit()
        return observed.failure in _URGENT or lane.failures >= TELL_AT

    # --- talking to the ledger

    def _ask_at(self, lane: _Lane, moment: float) -> None:
        if moment < lane.ask_at:
            lane.ask_at = moment
            if self._wake is not None:
                self._wake.set()
        if self._pump is None or self._pump.done():
            self._wake = asyncio.Event()
            self._pump = asyncio.get_running_loop().create_task(self._talk(self._wake), name="politeness budget")

    async def _talk(self, wake: asyncio.Event) -> None:
        while True:
            now = time.monotonic()
            due = [lane for lane in self._lanes.values() if lane.ask_at <= now]
            if due:
                await self._exchange(due)
                continue
            # Nothing is due any more: the task ends, so that none is left when the loop does.
            soonest = min((lane.ask_at for lane in self._lanes.values()), default=math.inf)
            if soonest == math.inf:
                self._pump = None
                return
            wake.clear()
            try:
                async with asyncio.timeout(soonest - now):
                    await wake.wait()
            except TimeoutError:
                pass

    async def _exchange(self, lanes: list[_Lane]) -> None:
        asks = [lane.ask(self._wishes.get(lane.group, {})) for lane in lanes]
        try:
            grants = await asyncio.to_thread(self._ledger.exchange, self._holder, asks)
        except Exception as error:
            _log.warning("the politeness budget cannot be asked: %s", error)
            for lane, ask in zip(lanes, asks, strict=True):
                lane.failed(error, ask)
            return
        for lane, grant in zip(lanes, grants, strict=True):
            lane.take(grant)
            self._dispatch(lane)
            lane.ask_at = min(lane.ask_at, lane.next_ask())


@dataclass(slots=True)
class _Waiter:
    claim: Claim
    future: asyncio.Future[bool]
    """Its result: whether the permit is the breaker's probe."""


@dataclass(slots=True)
class _Queue:
    """The waiters of one campaign, and its virtual time in this lane."""

    time: float = 0.0
    weight: float = 1.0
    waiters: list[tuple[int, int, _Waiter]] = field(default_factory=list)
    wish: BudgetLimits = UNLIMITED

    def first(self) -> _Waiter | None:
        while self.waiters and self.waiters[0][2].future.done():
            heapq.heappop(self.waiters)
        return self.waiters[0][2] if self.waiters else None


class _Lane:
    """Requests of one source to one server group; times are monotonic seconds."""

    def __init__(self, group: str, source: str) -> None:
        self.group = group
        self.source = source
        self.in_flight = 0
        self.waiting = 0
        self.contended = False
        self.usage = Usage()
        self.probe: tuple[FailureClass | None, bool] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.ask_at = math.inf
        self.used_at = 0.0
        self.leased = False
        self._queues: dict[str, _Queue] = {}
        self._slots = 0
        self._slots_until = 0.0
        self._metered = True
        self._probing = False
        self._starts: deque[tuple[float, str]] = deque()
        self._delay_s = 0.0
        self._moved: dict[str, int] = {}
        self._batch = 0
        self._used = 0
        self._late = 0
        self._satisfied = True
        self._asked_at = 0.0
        self._asked_starts = 0
        self._asked_demand = 0
        self._again_at = 0.0
        self._paused_until = 0.0
        self._wait: NotNow | None = None
        self._wait_until = self._heard_at = 0.0
        self._peak = 0

    @property
    def idle(self) -> bool:
        return not self.in_flight and not self.waiting and not self.leased

    @property
    def failures(self) -> int:
        """Outcomes that were not reported yet and may open a breaker."""
        return sum(self.usage.outcomes.get(each, 0) for each in BURST_CLASSES)

    # --- waiters

    def enqueue(self, waiter: _Waiter, number: int) -> None:
        claim = waiter.claim
        queue = self._queues.get(claim.campaign)
        if queue is None:
            queue = self._queues[claim.campaign] = _Queue()
        if not queue.waiters:
            busy = [each.time for each in self._queues.values() if each.waiters]
            queue.time = max(queue.time, min(busy, default=queue.time))
        queue.weight, queue.wish = max(claim.weight, 0.001), claim.limits
        heapq.heappush(queue.waiters, (-claim.priority, number, waiter))
        self.waiting += 1
        self.used_at = time.monotonic()
        self._peak = max(self._peak, self.in_flight + self.waiting)

    def leave(self) -> None:
        """A waiter was cancelled; it is taken out of its queue when its turn comes."""
        self.waiting = max(self.waiting - 1, 0)

    def cancel(self) -> None:
        for queue in self._queues.values():
            for _, _, waiter in queue.waiters:
                waiter.future.cancel()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def closed_for(self) -> NotNow | None:
        """Why the lane is closed, as last heard."""
        now = time.monotonic()
        if self._wait is None or now >= min(self._wait_until, self._heard_at + BELIEF_S):
            return None
        known = self._wait
        return NotNow(
            self._wait_until - now, known.reason, known.waiting_on, known.detail, whole_source=known.whole_source
        )

    def pause(self, seconds: float) -> None:
        """A penalty holds at once, before the ledger has heard of it."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)
        self._drop_starts()
        self._slots_until = 0.0

    def forfeit(self) -> None:
        """The limits have changed: what was granted under the old ones is given up."""
        self._drop_starts()
        self._slots_until = 0.0

    def dispatch(self) -> float | None:
        """Hands out what may be handed out now; seconds until the next start, if one is held and somebody waits."""
        while self.waiting:
            now = time.monotonic()
            if self.in_flight >= self._slots or now >= self._slots_until:
                return None
            campaign: str | None = None
            if self._metered:
                while self._starts and self._starts[0][0] < now - LATE_S:
                    _, campaign = self._starts.popleft()
                    self._move(campaign, -1)
                    self.usage.returned += 1
                    self._late += 1
                if not self._starts:
                    return None
                start, campaign = self._starts[0]
                if start > now:
                    return start - now
            waiter = self._next(campaign)
            if waiter is None:
                self.waiting = 0
                return None
            if self._metered:
                self._starts.popleft()
                self._used += 1
            else:
                self.usage.requests += 1
            self.waiting -= 1
            self.in_flight += 1
            self.used_at = now
            probing, self._probing = self._probing, False
            waiter.future.set_result(probing)
        return None

    def _next(self, campaign: str | None) -> _Waiter | None:
        """The next waiter of this campaign; where it has none, of the campaign whose turn it is."""
        queue = self._queues.get(campaign) if campaign is not None else None
        if queue is None or queue.first() is None:
            queue = min(
                (each for each in self._queues.values() if each.first() is not None),
                key=lambda each: each.time,
                default=None,
            )
            if campaign is not None and queue is not None:
                self._move(campaign, -1)
                self._move(next(name for name, each in self._queues.items() if each is queue), 1)
        if queue is None:
            return None
        queue.time += 1 / queue.weight
        return heapq.heappop(queue.waiters)[2]

    def _move(self, campaign: str, count: int) -> None:
        self._moved[campaign] = self._moved.get(campaign, 0) + count

    # --- reports and grants

    def saw(self, observed: Observed) -> None:
        usage = self.usage
        usage.bytes += observed.bytes
        name = str(observed.failure) if observed.failure is not None else "ok"
        usage.outcomes[name] = usage.outcomes.get(name, 0) + 1
        usage.unavailable += observed.status == 503
        if observed.failure is None and observed.latency_s > 0 and observed.bytes <= SMALL_ANSWER:
            usage.latency_sum_s += observed.latency_s
            usage.latencies += 1

    def next_ask(self) -> float:
        """When the ledger is to be asked again, for what is known now."""
        now = time.monotonic()
        if self.usage.penalty_s or self.probe is not None:
            return now
        if self.waiting:
            if now >= self._slots_until:
                return max(self._again_at, self._paused_until)
            if self.in_flight + self.waiting > self._asked_demand and self._slots >= self._asked_demand:
                return now  # more is wanted than was asked for
            if self._metered and self.in_flight < self._slots:
                if self._starts:
                    # Before the last start is used, so that the next ones are here in time.
                    return max(self._starts[max(len(self._starts) // 2 - 1, 0)][0] - HORIZON_S / 4, self._again_at)
                if self._satisfied:
                    return now
            return self._again_at
        if self.in_flight:
            return max(self._again_at, now + RENEW_S / 2)
        if self.leased:
            return max(now, min(self._again_at, self.used_at + LINGER_S))
        return math.inf if not _tells(self.usage) else now

    def ask(self, wishes: dict[str, BudgetLimits]) -> Ask:
        waiting = {}
        campaigns = {}
        every_wish = dict(wishes)
        for name, queue in list(self._queues.items()):
            queue.waiters = [each for each in queue.waiters if not each[2].future.done()]
            heapq.heapify(queue.waiters)
            if queue.waiters:
                waiting[name] = len(queue.waiters)
                campaigns[name] = queue.weight
            if queue.wish != UNLIMITED:
                every_wish[f"campaign {name}"] = queue.wish
            if not queue.waiters and not self.in_flight:
                del self._queues[name]
        self.waiting = sum(waiting.values())
        now = time.monotonic()
        result = Ask(
            self.group,
            self.source,
            self.in_flight,
            self._peak if self.waiting or self.in_flight else 0,
            waiting,
            len(self._starts),
            max(self._starts_wanted(), 0),
            campaigns,
            every_wish,
            self.usage,
            self._moved,
            self.probe,
        )
        self._asked_at, self._asked_starts = now, result.starts_wanted
        self._asked_demand = max(result.peak, self.in_flight + self.waiting)
        self.usage, self.probe, self._moved = Usage(), None, {}
        self._peak = self.in_flight + self.waiting
        self.ask_at = math.inf
        return result

    def _starts_wanted(self) -> int:
        """For whom a place is free, and as many more as were lately used between two questions."""
        most = math.ceil(BATCH_S / self._delay_s) if self._delay_s > 0 else max(self.waiting, 1)
        self._batch = self._batch // 2 if self._late else min(max(self._batch, 2 * self._used), most)
        self._used = self._late = 0
        if not self.waiting:
            return 0
        free = self._slots - self.in_flight if time.monotonic() < self._slots_until else self.waiting
        ahead = self._batch if most > 1 else 0
        return max(min(self.waiting, free, most + 1), ahead) - len(self._starts)

    def take(self, grant: Grant) -> None:
        now = time.monotonic()
        if grant.metered != self._metered or grant.probe:
            self._drop_starts()
        self._metered = grant.metered
        self._delay_s = grant.delay_s
        self._slots = grant.slots
        self._slots_until = self._asked_at + LEASE_S
        self._satisfied = len(grant.starts) >= self._asked_starts
        self.contended = grant.contended
        self.leased = grant.slots > 0 or self.in_flight > 0
        self._again_at = now + grant.again_in_s
        self._probing = grant.probe
        if self._paused_until > now:
            self.usage.returned += len(grant.starts) if grant.metered else 0
            self._slots_until = 0.0
        else:
            self._starts.extend((now + offset_s, campaign) for offset_s, campaign in grant.starts)
        self._wait = None
        if (wait := grant.wait) is not None:
            self._drop_starts()
            self._wait = NotNow(wait.seconds, wait.reason, wait.waiting_on, wait.detail, whole_source=wait.whole_source)
            self._wait_until, self._heard_at = now + wait.seconds, now
            self._refuse(self._wait)

    def failed(self, error: Exception, ask: Ask) -> None:
        """The ledger could not be asked: who waits is told; what was to be reported is reported later."""
        self.usage = _sum(self.usage, ask.usage)
        self.probe = self.probe or ask.probe
        for queue in self._queues.values():
            for _, _, waiter in queue.waiters:
                if not waiter.future.done():
                    waiter.future.set_exception(error)
            queue.waiters = []
        self.waiting = 0
        self.ask_at = time.monotonic() + RENEW_S if self.in_flight or self.leased or _tells(self.usage) else math.inf

    def _refuse(self, wait: NotNow) -> None:
        """Tells those who are not so patient."""
        for queue in self._queues.values():
            kept = []
            for entry in queue.waiters:
                waiter = entry[2]
                if waiter.future.done():
                    continue
                if wait.seconds > waiter.claim.patience_s:
                    self.waiting -= 1
                    waiter.future.set_exception(
                        NotNow(wait.seconds, wait.reason, wait.waiting_on, wait.detail, whole_source=wait.whole_source)
                    )
                else:
                    kept.append(entry)
            heapq.heapify(kept)
            queue.waiters = kept

    def _drop_starts(self) -> None:
        self.usage.returned += len(self._starts)
        for _, campaign in self._starts:
            self._move(campaign, -1)
        self._starts.clear()


def _tells(usage: Usage) -> bool:
    return bool(usage.requests or usage.bytes or usage.outcomes or usage.penalty_s or usage.returned)


def _sum(one: Usage, other: Usage) -> Usage:
    outcomes = dict(one.outcomes)
    for name, count in other.outcomes.items():
        outcomes[name] = outcomes.get(name, 0) + count
    return Usage(
        one.requests + other.requests,
        one.bytes + other.bytes,
        outcomes,
        one.unavailable + other.unavailable,
        one.latency_sum_s + other.latency_sum_s,
        one.latencies + other.latencies,
        max(one.penalty_s, other.penalty_s),
        one.returned + other.returned,
    )
