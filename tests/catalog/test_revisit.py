"""How often a page changes, estimated; when it is visited again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.revisit import Habit, changes_per_s, visited

HOUR, DAY = 3600.0, 86_400.0


@pytest.mark.parametrize("per_day", [0.05, 0.2, 1.0, 3.0])
def test_the_rate_is_estimated_without_much_bias(per_day: float) -> None:
    """A Poisson process, looked at once a day: changes in between are not seen, and yet the mean is near."""
    dice = random.Random(7)
    estimates = []
    for _ in range(300):
        changes = sum(dice.expovariate(per_day) < 1.0 for _ in range(30))
        rate = changes_per_s(Habit(30, changes, 30 * DAY))
        assert rate is not None
        estimates.append(rate * DAY)
    assert sum(estimates) / len(estimates) == pytest.approx(per_day, rel=0.1)


def test_a_page_that_always_changes_has_a_finite_rate() -> None:
    rate = changes_per_s(Habit(10, 10, 10 * DAY))
    assert rate is not None
    assert 2 / DAY < rate < 4 / DAY


def test_what_never_changes_is_asked_less_and_less_and_what_does_soon_again() -> None:
    habit = visited(None, changed=False, after_s=0, min_s=HOUR, max_s=30 * DAY)
    assert habit.interval_s == HOUR
    waits = []
    for _ in range(14):
        habit = visited(habit, changed=False, after_s=habit.interval_s, min_s=HOUR, max_s=30 * DAY)
        waits.append(habit.interval_s)
    assert waits == sorted(waits)
    assert waits[:3] == [2 * HOUR, 4 * HOUR, 8 * HOUR]
    assert waits[-1] == 30 * DAY
    for _ in range(12):
        habit = visited(habit, changed=True, after_s=habit.interval_s, min_s=HOUR, max_s=30 * DAY)
    assert habit.interval_s < 30 * DAY


def test_an_old_habit_is_forgotten() -> None:
    habit: Habit | None = None
    for number in range(200):
        changed = number >= 120
        habit = visited(habit, changed=changed, after_s=DAY, min_s=HOUR, max_s=30 * DAY)
    assert habit is not None
    assert habit.visits <= 33
    rate = changes_per_s(habit)
    assert rate is not None
    assert rate > 1 / DAY


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1e9)), max_size=80),
    st.floats(1, 1e6),
    st.floats(1, 1e3),
)
def test_bounds_hold_for_any_history(steps: list[tuple[bool, float]], min_s: float, factor: float) -> None:
    habit = None
    for changed, after_s in steps:
        habit = visited(habit, changed=changed, after_s=after_s, min_s=min_s, max_s=min_s * factor)
        assert min_s <= habit.interval_s <= min_s * factor
        assert 0 <= habit.changes <= habit.visits
