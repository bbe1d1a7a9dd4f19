"""What is remembered of one scope, a server group or a source, by everybody who takes from its budget.

Rates follow the generic cell rate algorithm (ITU-T I.371) without burst; concurrency is leased to processes for a few
seconds; a slow-down is additive-increase, multiplicative-decrease (of the rate), as congestion control has it (Chiu
and Jain 1989); campaigns share by start-time fair queueing (Goyal, Vin and Cheng 1996). All times are seconds since
1970 by the store's clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from crawlers.budget.breaker import Breaker
from crawlers.budget.limits import BudgetLimits
from crawlers.errors import FailureClass

LEASE_S = 10.0
"""A process that has not been heard of for so long has lost its places: it was killed."""
WISH_S = 600.0
"""A campaign's or a robots.txt's wish stands for so long after the last request that it came with."""
SHARE_S = 3.0
"""A campaign that was not seen waiting for so long does not hold up others."""
ROTATE_S = 2.0
"""Where there are fewer places than processes that want one, they take turns of so many seconds."""
SLOWER = 2.0
"""The delay is multiplied by this for each sign of too much load, once per round trip of the new rate."""
MAX_FACTOR = 64.0
RECOVERY = 0.02
"""Each good answer takes so much of the factor's excess over 1 at factor 1 (additive increase of the rate)."""
SLOWED_DELAY_S = 0.1
"""What a slow-down of a scope without delay multiplies."""
LATENCY_GROWTH = 4.0
"""A mean latency so many times the usual one, and over `LATENCY_FLOOR_S`, is a sign of too much load."""
LATENCY_FLOOR_S = 1.0
_FAST, _SLOW = 0.3, 0.02

OVERLOAD = frozenset((FailureClass.RATE_LIMITED, FailureClass.TIMEOUT))


@dataclass(slots=True)
class Lease:
    """What one process may hold: ``slots`` places, of which ``in_flight`` are used; ``demand``: what it could use."""

    slots: int = 0
    in_flight: int = 0
    demand: int = 0
    weight: float = 1.0
    until: float = 0.0


@dataclass(slots=True)
class Share:
    """A campaign's place in the fair queue: virtual time, weight, and until when it counts as waiting."""

    time: float = 0.0
    weight: float = 1.0
    until: float = 0.0


@dataclass(slots=True)
class Usage:
    """What came of requests since the last report. ``outcomes``: by failure class, ``ok`` for answers."""

    requests: int = 0
    bytes: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    unavailable: int = 0
    """Answers with 503."""
    latency_sum_s: float = 0.0
    latencies: int = 0
    penalty_s: float = 0.0
    returned: int = 0
    """Starts that were granted and not used."""


@dataclass(slots=True)
class Scope:
    """The state of one scope.

    Attributes:
        next_at: when the next request may start.
        penalty_until: nobody asks before.
        factor: by how much the delay is longer than wished, at present.
        slowed_at: when the factor last grew.
        latency_s, usual_latency_s: short and long moving averages.
        day, requests, bytes: the daily budgets' use.
        wishes: limits that campaigns and robots.txt asked for, with the time until which each stands.
        leases: by process; shares: by campaign.
        limits: those in force at the last request, for display.
        breaker: of a source.
    """

    next_at: float = 0.0
    penalty_until: float = 0.0
    factor: float = 1.0
    slowed_at: float = 0.0
    latency_s: float = 0.0
    usual_latency_s: float = 0.0
    day: str = ""
    requests: int = 0
    bytes: int = 0
    wishes: dict[str, tuple[float, BudgetLimits]] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)
    limits: BudgetLimits = field(default_factory=BudgetLimits)
    breaker: Breaker = field(default_factory=Breaker)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "wishes": {name: [until, wish.to_json()] for name, (until, wish) in self.wishes.items()},
            "leases": {name: asdict(lease) for name, lease in self.leases.items()},
            "shares": {name: asdict(share) for name, share in self.shares.items()},
            "limits": self.limits.to_json(),
            "delay_s": self.delay_s(),  # for display: nobody needs to know the rules
            "breaker": self.breaker.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scope:
        """The inverse of `to_json`; an empty object is a scope that nobody used yet."""
        return cls(
            **{name: data[name] for name in _PLAIN if name in data},
            wishes={
                name: (until, BudgetLimits.from_json(wish)) for name, (until, wish) in data.get("wishes", {}).items()
            },
            leases={name: Lease(**lease) for name, lease in data.get("leases", {}).items()},
            shares={name: Share(**share) for name, share in data.get("shares", {}).items()},
            limits=BudgetLimits.from_json(data.get("limits", {})),
            breaker=Breaker.from_json(data.get("breaker", {})),
        )

    # --- before each decision

    def settle(self, operator: BudgetLimits, now: float) -> None:
        """Forgets what is over, and puts the limits in force together: the politest of all that stand."""
        self.wishes = {name: wish for name, wish in self.wishes.items() if wish[0] > now}
        self.leases = {name: lease for name, lease in self.leases.items() if lease.until > now}
        limits = operator
        for _, wish in self.wishes.values():
            limits = limits.politest(wish)
        self.limits = limits
        if (day := limits.day(now)) != self.day:
            self.day, self.requests, self.bytes = day, 0, 0
        # A clock that was set back must not hold up a scope for long.
        self.next_at = min(self.next_at, now + max(10 * self.delay_s(), 60.0))

    def take_in(self, usage: Usage, now: float) -> None:
        """What was seen moves the daily budgets, the penalty and the slow-down."""
        self.requests = max(self.requests + usage.requests - usage.returned, 0)
        self.bytes += usage.bytes
        if usage.penalty_s > 0:
            self.penalty_until = max(self.penalty_until, now + usage.penalty_s)
        overloaded = usage.unavailable > 0 or any(usage.outcomes.get(each, 0) for each in OVERLOAD)
        if usage.latencies:
            mean = usage.latency_sum_s / usage.latencies
            usual = self.usual_latency_s or mean
            self.latency_s += _FAST * (mean - (self.latency_s or mean)) if self.latency_s else mean
            if self.latency_s > max(LATENCY_FLOOR_S, LATENCY_GROWTH * usual):
                overloaded = True
            else:
                self.usual_latency_s = usual + _SLOW * (mean - usual)
        if overloaded:
            self._slow_down(now)
        elif good := usage.outcomes.get("ok", 0):
            # Additive in the rate: 1 / factor grows by RECOVERY for each good answer.
            self.factor = 1 / min(1.0, 1 / self.factor + RECOVERY * good)
            if self.factor < 1.01:
                self.factor = 1.0

    def _slow_down(self, now: float) -> None:
        # Requests that were under way together tell of one overload, not of many.
        if now - self.slowed_at >= max(1.0, 2 * self.delay_s()):
            self.factor = min(self.factor * SLOWER, MAX_FACTOR)
            self.slowed_at = now

    # --- rate

    def delay_s(self) -> float:
        """Seconds between two starts, slow-down included."""
        if self.factor <= 1.0:
            return self.limits.delay_s
        return (self.limits.delay_s or SLOWED_DELAY_S) * self.factor

    def metered(self) -> bool:
        """Whether each single start must be granted, because of a delay or of a daily budget."""
        return self.delay_s() > 0 or self.limits.per_day is not None

    def left_today(self) -> int | None:
        """Requests of today's budget that are left; None: no bound."""
        return None if self.limits.per_day is None else max(self.limits.per_day - self.requests, 0)

    def bytes_used_up(self) -> bool:
        """Whether today's bytes are used up."""
        return self.limits.bytes_per_day is not None and self.bytes >= self.limits.bytes_per_day

    # --- concurrency

    def allot(self, who: str, in_flight: int, demand: int, weight: float, now: float) -> tuple[int, bool]:
        """Leases places to a process: how many it may hold from now on, and whether others want them as well."""
        lease = self.leases.setdefault(who, Lease())
        lease.in_flight, lease.demand, lease.weight, lease.until = in_flight, demand, weight, now + LEASE_S
        if demand <= 0:
            del self.leases[who]
            return 0, False
        limit = self.limits.concurrency
        if limit is None:
            lease.slots = max(in_flight, demand)
            return lease.slots, False
        wanting = {name: each for name, each in self.leases.items() if each.demand > 0}
        contended = sum(each.demand for each in wanting.values()) > limit
        target = _shares_of(limit, wanting, now)[who] if contended else demand
        free = limit - sum(max(each.slots, each.in_flight) for name, each in self.leases.items() if name != who)
        slots = max(min(target, free), 0)
        # What is in flight cannot be taken back: it still counts as held, while no more may be begun.
        lease.slots = max(slots, in_flight)
        return slots, contended and len(wanting) > 1

    # --- fairness

    def turn(self, waiting: Iterable[str], lag: float, now: float) -> str | None:
        """The campaign among those ``waiting`` here whose turn it is; None: others, elsewhere, come first.

        It is charged one request, however many of it wait: one that waits now mostly has more to come, and what it
        leaves to others is corrected by `correct`. ``lag``: by how many requests (at weight 1) one may be ahead of
        another that waits elsewhere.
        """
        mine = set(waiting)
        if not mine:
            return None
        best = min(mine, key=lambda name: (self.shares[name].time, name))
        others = [share.time for name, share in self.shares.items() if name not in mine and share.until > now]
        if others and self.shares[best].time > min(others) + lag:
            return None
        self.shares[best].time += 1 / self.shares[best].weight
        return best

    def correct(self, moved: Mapping[str, int]) -> None:
        """Charges campaigns for what they really used."""
        for name, count in moved.items():
            if (share := self.shares.get(name)) is not None:
                share.time += count / share.weight

    def queue_up(self, campaigns: Mapping[str, float], waiting: bool, now: float) -> None:
        """Notes which campaigns wait, with their weights. Who was away begins where the others are."""
        live = [share.time for share in self.shares.values() if share.until > now]
        floor = min(live) if live else max((share.time for share in self.shares.values()), default=0.0)
        for name, weight in campaigns.items():
            share = self.shares.setdefault(name, Share(floor))
            if share.until <= now:
                share.time = max(share.time, floor) if live else floor
            share.weight = max(weight, 0.001)
            share.until = now + SHARE_S if waiting else 0.0
        if len(self.shares) > 64:
            self.shares = {name: share for name, share in self.shares.items() if share.until > now}


_PLAIN = (
    "next_at",
    "penalty_until",
    "factor",
    "slowed_at",
    "latency_s",
    "usual_latency_s",
    "day",
    "requests",
    "bytes",
)


def _shares_of(limit: int, wanting: Mapping[str, Lease], now: float) -> dict[str, int]:
    """Max-min fair whole places by weight; what is left over goes round, `ROTATE_S` seconds each."""
    result = dict.fromkeys(wanting, 0)
    left = limit
    open_ = dict(wanting)
    while open_ and left > 0:
        total = sum(lease.weight for lease in open_.values())
        given = {
            name: min(math.floor(left * lease.weight / total), lease.demand - result[name])
            for name, lease in open_.items()
        }
        if not any(given.values()):
            break
        for name, count in given.items():
            result[name] += count
        left -= sum(given.values())
        open_ = {name: lease for name, lease in open_.items() if result[name] < lease.demand}
    names = sorted(open_)
    first = int(now // ROTATE_S) % len(names) if names else 0
    for name in (names[first:] + names[:first])[:left]:
        result[name] += 1
    return result
