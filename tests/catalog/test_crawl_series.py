"""The series of a run: counted with the commit, bounded for ever, whole."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import PageRequest
from catalog.database import Database
from catalog.repositories import crawl_series
from catalog.repositories.crawl_series import (
    LATENCY_BOUNDS_S,
    MAX_BUCKETS,
    MAX_GROUPS,
    OTHER,
    Bucket,
    add_latencies,
    percentile_s,
    series,
)
from catalog.repositories.crawl_store import IncidentRow, OutcomeRow
from crawlers.errors import FailureClass
from crawlers.ports import Incident, PageOutcome, QueuedRequest
from tests.catalog.test_crawl_store import open_store, run_id


async def test_a_commit_is_counted_once(database: Database) -> None:
    run = run_id(database)
    store = open_store(database, run)
    await store.seed([QueuedRequest(name, PageRequest(f"http://site.example/{name}")) for name in "abc"])
    one, two, three = await store.take(9, [])
    busy = Incident("b", "http://site.example/b", FailureClass.RATE_LIMITED, status=429, final=False)
    away = Incident("c", "http://site.example/c", FailureClass.CONNECTION)
    outcomes = [
        PageOutcome(one, 200, bytes_received=10, latency_s=0.02),
        PageOutcome(two, 429, incident=busy, retry_in_s=60, latency_s=0.3),
        PageOutcome(three, incident=away, final_url="http://[bad"),
    ]
    await store.commit(outcomes)
    await store.commit(outcomes)  # a repeated commit, as after a lost heartbeat
    with database.transaction() as session:
        buckets = series(session, [uuid.UUID(run)])[uuid.UUID(run)]
    total = buckets[0]
    for other in buckets[1:]:  # the minute may have turned
        total.merge(other)
    assert (total.requests, total.pages, total.bytes) == (3, 1, 10)
    assert total.statuses == {"200": 1, "429": 1, "none": 1}
    assert total.failures == {"rate_limited": 1, "connection": 1}
    assert total.groups == {"site.example:80": 2}
    assert sum(total.latency) == 2


def test_a_long_run_keeps_its_recent_minutes_and_every_count(database: Database) -> None:
    run = uuid.UUID(run_id(database))
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    count = MAX_BUCKETS + 3
    with database.transaction() as session:
        minutes = [
            Bucket(begun + timedelta(minutes=n), requests=n, statuses={"200": n}, groups={f"g{n}": 1}, latency=[1] * 13)
            for n in range(count)
        ]
        crawl_series._write(session, run, minutes)
        crawl_series.record(session, run, [OutcomeRow("k", "u", status=200)])
        found = series(session, [run])[run]
        recent = series(session, [run], since=found[-2].started_at + timedelta(seconds=30))[run]
    assert len(found) == count + 1 - MAX_BUCKETS // 4
    assert {each.width_s for each in found[:250]} == {120}
    assert {each.width_s for each in found[250:]} == {60}
    assert sum(each.requests for each in found) == count * (count - 1) // 2 + 1
    assert sum(each.statuses["200"] for each in found) == count * (count - 1) // 2 + 1
    assert sum(sum(each.latency) for each in found) == 13 * count + 1
    assert [each.started_at for each in recent] == [each.started_at for each in found[-2:]]


def test_groups_are_bounded() -> None:
    bucket = Bucket(datetime.now(UTC))
    for number in range(50):
        bucket.count(OutcomeRow("k", "u", status=200, server_group=f"host{number}:80"))
    other = Bucket(datetime.now(UTC))
    for number in range(100, 150):
        other.count(OutcomeRow("k", "u", status=200, server_group=f"host{number}:80"))
    bucket.merge(other)
    assert len(bucket.groups) <= MAX_GROUPS + 1
    assert bucket.groups[OTHER] >= 60
    assert sum(bucket.groups.values()) == bucket.requests == 100


def test_a_failure_without_an_answer_has_no_latency() -> None:
    bucket = Bucket(datetime.now(UTC))
    bucket.count(OutcomeRow("k", "u", incident=IncidentRow("u", "timeout"), latency_s=0.0))
    assert bucket.latency == []
    assert asdict(bucket)["failures"] == {"timeout": 1}


@given(st.lists(st.floats(0, 29.9), min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_percentiles_stay_within_their_class(latencies: list[float], share: float) -> None:
    exact = sorted(latencies)[max(round(share * len(latencies) + 0.499999) - 1, 0)]
    found = percentile_s(add_latencies([], latencies), share)
    upper = next(bound for bound in LATENCY_BOUNDS_S if exact <= bound)
    lower = max((bound for bound in LATENCY_BOUNDS_S if bound < exact), default=0.0)
    assert found is not None
    assert lower <= found <= upper


@pytest.mark.parametrize(("counts", "expected"), [([], None), ([0] * 13, None), ([0] * 12 + [5], 30.0)])
def test_percentiles_at_the_edges(counts: list[int], expected: float | None) -> None:
    assert percentile_s(counts, 0.5) == expected
