"""A politeness budget for one process.

The budget is the generic cell rate algorithm (ITU-T I.371) without burst: a group has one "next free slot", and each
request takes it and moves it on by the group's delay.
"""

from __future__ import annotations

import asyncio
import time

from crawlers.errors import FailureClass
from crawlers.ports import Claim, NotNow, Observed, Permit

DEFAULT_PENALTY_S = 30.0
"""For a 429 that names no time, in seconds."""


def penalty_s(observed: Observed) -> float | None:
    """How long a server group is to be left alone after this answer, in seconds; None: no need."""
    if observed.retry_after_s is not None:
        return observed.retry_after_s
    return DEFAULT_PENALTY_S if observed.failure is FailureClass.RATE_LIMITED else None


class MemoryBudget:
    """A `PolitenessBudget` of one process. ``default_delay_s``: for groups that nobody configured, in seconds."""

    def __init__(self, default_delay_s: float = 0.0) -> None:
        self._default_delay_s = default_delay_s
        self._delay_s: dict[str, float] = {}
        self._next_slot: dict[str, float] = {}
        self._penalised_until: dict[str, float] = {}

    async def acquire(self, group: str, claim: Claim = Claim()) -> Permit:
        """Returns when one request to this group may start. Raises NotNow."""
        while True:
            now = time.monotonic()
            if (penalty := self._penalised_until.get(group, 0.0) - now) > claim.patience_s:
                raise NotNow(penalty, "penalty", "source")
            slot = max(self._next_slot.get(group, now), now)
            self._next_slot[group] = slot + self._delay_s.get(group, self._default_delay_s)
            if slot > now:
                await asyncio.sleep(slot - now)
            # A penalty may have come while this slot was waited for.
            if self._penalised_until.get(group, 0.0) <= time.monotonic():
                return Permit(group, lambda observed: self._released(group, observed))

    def _released(self, group: str, observed: Observed) -> None:
        if (seconds := penalty_s(observed)) is not None:
            self._penalise(group, seconds)

    async def penalise(self, group: str, seconds: float) -> None:
        """Nobody asks this group again before so many seconds have passed."""
        self._penalise(group, seconds)

    def _penalise(self, group: str, seconds: float) -> None:
        until = time.monotonic() + max(seconds, 0.0)
        self._penalised_until[group] = max(self._penalised_until.get(group, 0.0), until)
        self._next_slot[group] = max(self._next_slot.get(group, 0.0), until)

    async def configure(self, group: str, *, delay_s: float, concurrency: int | None = None) -> None:
        """The group's delay is at least so long from now on; the first call sets it."""
        self._delay_s[group] = max(self._delay_s.get(group, 0.0), delay_s)
