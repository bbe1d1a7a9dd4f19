"""Decides who may ask when. Pure but for its store: the same rules hold in memory, in PostgreSQL and in Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from crawlers.budget.limits import UNLIMITED, BudgetLimits, Policy
from crawlers.budget.scope import WISH_S, Scope, Usage
from crawlers.errors import FailureClass

HORIZON_S = 0.5
"""Starts are granted so far ahead. A change of limits takes hold after at most this and `RENEW_S`."""
RENEW_S = 1.0
"""A process whose lease is in use asks again after so many seconds."""
RETRY_S = 0.1
"""How soon one asks again whose turn it is not."""
HEADROOM = 32
"""Places beyond its present use that a process gets where concurrency is not limited."""


@dataclass(slots=True)
class Ask:
    """What one lane (requests of one source to one server group) of one process reports and wants.

    Attributes:
        in_flight: permits that are out; ``peak``: the most places it could have used since the last time.
        waiting: by campaign; ``starts_held``: granted starts that are not used yet.
        starts_wanted: how many more starts it would take at most.
        campaigns: weights of all campaigns that wait or have permits.
        wishes: limits by who wishes them.
        moved: by campaign, starts that it used beyond those granted to it (negative: that it left to others).
        probe: what the probe that this lane was given brought: (failure class or None, whether it was sent).
    """

    group: str
    source: str = ""
    in_flight: int = 0
    peak: int = 0
    waiting: dict[str, int] = field(default_factory=dict)
    starts_held: int = 0
    starts_wanted: int = 0
    campaigns: dict[str, float] = field(default_factory=dict)
    wishes: dict[str, BudgetLimits] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    moved: dict[str, int] = field(default_factory=dict)
    probe: tuple[FailureClass | None, bool] | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Why nothing is granted, and for how long; the fields of `crawlers.ports.NotNow`."""

    seconds: float
    reason: str
    waiting_on: str
    detail: str = ""
    whole_source: bool = False


@dataclass(slots=True)
class Grant:
    """The answer to an `Ask`.

    Attributes:
        slots: permits that may be out at a time.
        metered: each permit needs one of ``starts``: (seconds from now, campaign).
        delay_s: between two starts.
        again_in_s: ask again then, if anything waits or is out.
        contended: others want the same places: give back at once what is not used.
        probe: the one permit granted is the breaker's probe.
    """

    slots: int = 0
    metered: bool = False
    starts: list[tuple[float, str]] = field(default_factory=list)
    delay_s: float = 0.0
    again_in_s: float = RENEW_S
    contended: bool = False
    probe: bool = False
    wait: Wait | None = None


class ScopeStore(Protocol):
    """Where scopes are kept for everybody."""

    def transact(self, keys: Sequence[str], change: Callable[[dict[str, dict[str, Any]], float], None]) -> None:
        """Calls ``change`` with the documents of these keys (empty for new ones) and the store's time, seconds since
        1970, and keeps what it made of them; one after the other, for all processes. May call it again."""


class Ledger:
    """The rules, over a store. ``policy``: what the operator set, as fresh as it should be obeyed."""

    def __init__(self, store: ScopeStore, policy: Callable[[], Policy]) -> None:
        self._store = store
        self._policy = policy

    def exchange(self, holder: str, asks: Sequence[Ask]) -> list[Grant]:
        """Takes the reports of a process and grants what may be granted now, all in one transaction."""
        policy = self._policy()
        places = [(policy.scope_of(ask.group), f"source:{ask.source}" if ask.source else "") for ask in asks]
        keys = sorted({key for pair in places for key in pair if key})
        grants: list[Grant] = []

        def change(documents: dict[str, dict[str, Any]], now: float) -> None:
            grants.clear()
            scopes = {key: Scope.from_json(documents[key]) for key in keys}
            for ask, (group, source) in zip(asks, places, strict=True):
                grants.append(
                    _Decision(
                        holder, ask, group, scopes[group], source, scopes.get(source) if source else None, policy, now
                    ).grant()
                )
            for key, scope in scopes.items():
                documents[key] = scope.to_json()

        self._store.transact(keys, change)
        return grants

    def force_breaker(self, source: str, mode: str) -> None:
        """``open``, ``close`` or ``auto``, by the operator."""
        key = f"source:{source}"

        def change(documents: dict[str, dict[str, Any]], now: float) -> None:
            scope = Scope.from_json(documents[key])
            scope.breaker.force(mode, now)
            documents[key] = scope.to_json()

        self._store.transact([key], change)


class _Decision:
    """One ask, at one moment."""

    def __init__(
        self,
        holder: str,
        ask: Ask,
        group_key: str,
        group: Scope,
        source_key: str,
        source: Scope | None,
        policy: Policy,
        now: float,
    ) -> None:
        self.ask = ask
        self.now = now
        self.group = group
        self.source = source
        self.in_group = f"{holder}|{ask.source}|{ask.group}"
        self.lane = f"{holder}|{ask.group}"
        for name, wish in ask.wishes.items():
            part = wish if source is None else wish.of_group()
            _wish(group, name, part, now)
            if source is not None:
                _wish(source, name, wish.of_source(), now)
        group.settle(policy.limits_of(group_key), now)
        group.take_in(ask.usage, now)
        if source is not None:
            source.settle(policy.limits_of(source_key), now)
            # A host that is slow or penalised must not slow down all the others of its source.
            source.take_in(Usage(ask.usage.requests, ask.usage.bytes, returned=ask.usage.returned), now)
            if ask.probe is not None:
                source.breaker.probed(self.lane, *ask.probe, now)
            source.breaker.count(ask.usage.outcomes, now)
        self.scopes = [group] if source is None else [group, source]

    def grant(self) -> Grant:
        ask, now = self.ask, self.now
        waiting = sum(ask.waiting.values())
        wait = self._closed() if waiting or ask.in_flight else None
        probing = waiting > 0 and wait is None and self.source is not None and self.source.breaker.wants_probe(now)
        if wait is not None or probing:
            demand = ask.in_flight + probing
        elif self.group.limits.concurrency is None:
            demand = max(ask.peak, ask.in_flight + waiting)
            demand += HEADROOM if demand else 0
        else:
            demand = max(ask.peak, ask.in_flight + waiting)
        slots, contended = self._allot(demand)
        metered = any(scope.metered() for scope in self.scopes)
        grant = Grant(slots, metered, delay_s=max(scope.delay_s() for scope in self.scopes), contended=contended)
        if wait is not None:
            self._queue_up(False)
            grant.slots = 0
            grant.wait = wait
            grant.again_in_s = min(wait.seconds, RENEW_S)
            return grant
        if probing and self.source is not None:
            self._queue_up(False)
            if slots > ask.in_flight:
                self.source.breaker.begin_probe(self.lane, now)
                self._charge(now, 1)
                grant.starts = [(0.0, next(name for name, count in ask.waiting.items() if count))]
                grant.metered = grant.probe = True
            else:
                grant.again_in_s = RETRY_S
            return grant
        if metered:
            self._grant_starts(grant, slots)
        else:
            self._queue_up(False)
        if waiting and slots <= ask.in_flight and contended:
            grant.again_in_s = RETRY_S
        return grant

    def _closed(self) -> Wait | None:
        """Why nobody may ask this group or source now, the longest wait first."""
        now, waits = self.now, []
        if self.source is not None and (seconds := self.source.breaker.blocked_s(now)) > 0:
            breaker = self.source.breaker
            forced = breaker.state == "forced_open"
            waits.append(
                Wait(
                    seconds,
                    "breaker_open",
                    "operator" if forced else "source",
                    f"{breaker.reason}: {breaker.detail}" if breaker.detail else breaker.reason,
                    whole_source=True,
                )
            )
        for scope in self.scopes:
            whole = scope is self.source
            if (seconds := scope.penalty_until - now) > 0:
                waits.append(Wait(seconds, "penalty", "source", "the site asked for a pause", whole))
            if (seconds := scope.limits.opens_in_s(now)) > 0:
                spans = "; ".join(each.text() for each in scope.limits.windows)
                waits.append(Wait(seconds, "outside_window", "schedule", f"open {spans}", whole))
            if scope.left_today() == 0:
                detail = f"{scope.limits.per_day} requests a day"
                waits.append(Wait(scope.limits.next_day_in_s(now), "daily_requests", "schedule", detail, whole))
            if scope.bytes_used_up():
                detail = f"{scope.limits.bytes_per_day} bytes a day"
                waits.append(Wait(scope.limits.next_day_in_s(now), "daily_bytes", "schedule", detail, whole))
        return max(waits, key=lambda each: each.seconds, default=None)

    def _allot(self, demand: int) -> tuple[int, bool]:
        ask = self.ask
        weight = sum(ask.campaigns.values()) or 1.0
        slots, contended = self.group.allot(self.in_group, ask.in_flight, demand, weight, self.now)
        if self.source is not None:
            # What the group does not give need not be held at the source, and the other way round.
            wanted = max(slots, ask.in_flight)
            least, more = self.source.allot(self.lane, ask.in_flight, wanted, weight, self.now)
            if least < slots:
                slots = least
                if (lease := self.group.leases.get(self.in_group)) is not None:
                    lease.slots = max(slots, ask.in_flight)
            contended = contended or more
        return slots, contended

    def _queue_up(self, waiting: bool) -> None:
        for scope in self.scopes:
            scope.queue_up(self.ask.campaigns, waiting, self.now)
            scope.correct(self.ask.moved)

    def _grant_starts(self, grant: Grant, slots: int) -> None:
        ask, now = self.ask, self.now
        wanted = ask.starts_wanted if slots > 0 else 0
        self._queue_up(wanted > 0 or ask.starts_held > 0)
        if wanted <= 0:
            return
        fair = self.group if self.source is None or self.group.delay_s() >= self.source.delay_s() else self.source
        delay_s = grant.delay_s
        lag = max(1.0, 0.5 * HORIZON_S / delay_s) if delay_s > 0 else float(max(wanted, 1))
        for scope in self.scopes:
            if (left := scope.left_today()) is not None:
                wanted = min(wanted, left)
        while len(grant.starts) < wanted:
            start = max(now, *(scope.next_at for scope in self.scopes))
            if start > now + HORIZON_S:
                grant.again_in_s = max(start - now - HORIZON_S / 2, 0.01)
                break
            campaign = fair.turn(ask.waiting, lag, now)
            if campaign is None:
                grant.again_in_s = min(RETRY_S, max(start - now, 0.02))
                break
            self._charge(start, 1)
            grant.starts.append((start - now, campaign))

    def _charge(self, start: float, count: int) -> None:
        for scope in self.scopes:
            delay_s = scope.delay_s()
            if delay_s > 0:
                scope.next_at = max(scope.next_at, start) + delay_s * count
            scope.requests += count


def _wish(scope: Scope, name: str, wish: BudgetLimits, now: float) -> None:
    if wish == UNLIMITED:
        scope.wishes.pop(name, None)
    else:
        scope.wishes[name] = (now + WISH_S, wish)


def no_policy() -> Policy:
    """Nothing set by any operator."""
    return Policy({})


def policy_of(targets: Mapping[str, Mapping[str, Any]]) -> Policy:
    """The policy in its stored form."""
    return Policy({target: BudgetLimits.from_json(limits) for target, limits in targets.items()})
