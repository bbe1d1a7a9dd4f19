"""A politeness budget for one process.

The budget is the generic cell rate algorithm (ITU-T I.371) without burst: a group has one "next free slot", and each
request takes it and moves it on by the group's delay.
"""

from __future__ import annotations

import asyncio
import time


class MemoryBudget:
    """A `PolitenessBudget` of one process. ``default_delay_s``: for groups that nobody configured, in seconds."""

    def __init__(self, default_delay_s: float = 0.0) -> None:
        self._default_delay_s = default_delay_s
        self._delay_s: dict[str, float] = {}
        self._next_slot: dict[str, float] = {}
        self._penalised_until: dict[str, float] = {}

    async def acquire(self, group: str) -> None:
        """Returns when one request to this group may start."""
        while True:
            now = time.monotonic()
            slot = max(self._next_slot.get(group, now), now)
            self._next_slot[group] = slot + self._delay_s.get(group, self._default_delay_s)
            if slot > now:
                await asyncio.sleep(slot - now)
            # A penalty may have come while this slot was waited for.
            if self._penalised_until.get(group, 0.0) <= time.monotonic():
                return

    async def penalise(self, group: str, seconds: float) -> None:
        """Nobody asks this group again before so many seconds have passed."""
        until = time.monotonic() + max(seconds, 0.0)
        self._penalised_until[group] = max(self._penalised_until.get(group, 0.0), until)
        self._next_slot[group] = max(self._next_slot.get(group, 0.0), until)

    async def configure(self, group: str, *, delay_s: float) -> None:
        """The group's delay is at least so long from now on; the first call sets it."""
        self._delay_s[group] = max(self._delay_s.get(group, 0.0), delay_s)
