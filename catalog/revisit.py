"""When a page is to be visited again, by how often it was seen to change.

The rate of change is estimated as in J. Cho and H. Garcia-Molina, "Estimating frequency of change", ACM Transactions on
Internet Technology 3 (3), 2003: of n visits at intervals I, X found a change (one or more: further ones in between are
not seen), and r = -log((n - X + 0.5) / (n + 0.5)) estimates the changes per interval with little bias, also where
every visit found one. Visits that are not evenly spaced enter by their mean interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MEMORY = 32
"""Visits after which what was seen counts half: a page that changes its habits is followed."""
CHANGED_BY_THEN = 0.5
"""The probability of a change at which a page is due: earlier, more visits are in vain than not."""
GROWTH = 2.0
"""The time to the next visit grows at most so much at once: n visits without a change only say that the rate is below
about 1/n."""


@dataclass(frozen=True, slots=True)
class Habit:
    """What visits have shown of a page: ``visits`` after the first, over ``observed_s`` seconds in all.

    ``interval_s``: seconds from the last visit to the next.
    """

    visits: float = 0
    changes: float = 0
    observed_s: float = 0.0
    interval_s: float = 0.0


def changes_per_s(habit: Habit) -> float | None:
    """The estimated rate of change; None before the second visit."""
    if habit.visits <= 0 or habit.observed_s <= 0:
        return None
    per_interval = -math.log((habit.visits - habit.changes + 0.5) / (habit.visits + 0.5))
    return per_interval / (habit.observed_s / habit.visits)


def visited(before: Habit | None, *, changed: bool, after_s: float, min_s: float, max_s: float) -> Habit:
    """The habit after a further visit, ``after_s`` seconds after the last; ``before`` None: the first visit.

    The new interval lies within ``min_s`` and ``max_s``.
    """
    if before is None:
        return Habit(interval_s=min_s)
    fade = 0.5 if before.visits >= MEMORY else 1.0
    habit = Habit(
        round(before.visits * fade) + 1,
        round(before.changes * fade) + changed,
        before.observed_s * fade + max(after_s, 0.0),
    )
    rate = changes_per_s(habit)
    wanted_s = -math.log(1 - CHANGED_BY_THEN) / rate if rate else math.inf
    bound_s = max(before.interval_s, min_s) * GROWTH
    interval_s = min(max(min(wanted_s, bound_s), min_s), max_s)
    return Habit(habit.visits, habit.changes, habit.observed_s, interval_s)
