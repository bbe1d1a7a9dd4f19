"""Limits as an operator writes them, and what they mean at a moment."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from crawlers.budget.limits import (
    BudgetLimits,
    Policy,
    parse_rate,
    parse_size,
    parse_windows,
    rate_text,
)


@pytest.mark.parametrize(
    ("text", "delay_s"),
    [("30/min", 2.0), ("2/s", 0.5), ("0.5/s", 2.0), ("500/h", 7.2), ("1/90s", 90.0), ("86400/day", 1.0)],
)  # fmt: skip
def test_rates(text: str, delay_s: float) -> None:
    assert parse_rate(text) == delay_s


@pytest.mark.parametrize("text", ["", "fast", "0/s", "-1/s", "3", "3/week", "1/0s"])
def test_no_rates(text: str) -> None:
    with pytest.raises(ValueError, match="30/min"):
        parse_rate(text)


def test_sizes() -> None:
    assert [parse_size(each) for each in ("1500", "500MB", "2G", "1.5kB")] == [1500, 500_000_000, 2_000_000_000, 1500]
    with pytest.raises(ValueError, match="500MB"):
        parse_size("much")


def test_rates_are_read_back() -> None:
    assert [rate_text(each) for each in (0.0, 0.5, 2.0, 60.0, 7200.0)] == [
        "no limit",
        "2/s",
        "30/min",
        "1/min",
        "0.5/h",
    ]


def at(hour: int, minute: int = 0) -> float:
    return datetime(2026, 1, 15, hour, minute, tzinfo=UTC).timestamp()


def test_windows_over_midnight_in_their_time_zone() -> None:
    night = BudgetLimits(windows=(parse_windows(["22:00-06:00"], "Europe/Moscow"),))  # 19:00 to 03:00 UTC
    assert night.opens_in_s(at(20)) == 0
    assert night.opens_in_s(at(2, 59)) == 0
    assert night.opens_in_s(at(3)) == 16 * 3600
    assert night.opens_in_s(at(18, 30)) == 1800
    both = night.politest(BudgetLimits(windows=(parse_windows(["01:00-02:00", "04:00-24:00"], "UTC"),)))
    assert both.opens_in_s(at(1, 30)) == 0
    assert both.opens_in_s(at(3)) == 16 * 3600
    never = night.politest(BudgetLimits(windows=(parse_windows(["10:00-11:00"], "UTC"),)))
    assert never.opens_in_s(at(3)) == 48 * 3600  # looked at again then


def test_a_day_is_one_of_its_time_zone() -> None:
    moscow = BudgetLimits(per_day=5, timezone="Europe/Moscow")
    assert moscow.day(at(20, 59)) == "2026-01-15"
    assert moscow.day(at(21, 1)) == "2026-01-16"
    assert moscow.next_day_in_s(at(20)) == 3600


@pytest.mark.parametrize("text", ["22-06", "25:00-03:00", "10:00-10:00", "always"])
def test_no_windows(text: str) -> None:
    with pytest.raises(ValueError, match="window"):
        parse_windows([text], "UTC")


def test_no_time_zone() -> None:
    with pytest.raises(ValueError, match="Europe/Moscow"):
        parse_windows(["10:00-11:00"], "Moscow")


def test_limits_survive_json() -> None:
    limits = BudgetLimits(2.0, 3, 100, 10**9, (parse_windows(["22:00-06:00"], "Europe/Moscow"),), "Europe/Moscow")
    assert BudgetLimits.from_json(limits.to_json()) == limits
    assert BudgetLimits.from_json({}) == BudgetLimits()
    assert BudgetLimits().to_json() == {}


def test_the_longest_pattern_counts() -> None:
    policy = Policy({"host:*.example.org": BudgetLimits(1.0), "host:*.cdn.example.org": BudgetLimits(2.0)})
    assert policy.scope_of("a.cdn.example.org:443") == "host:*.cdn.example.org"
    assert policy.scope_of("a.example.org:443") == "host:*.example.org"
    assert policy.scope_of("example.com:80") == "group:example.com:80"
