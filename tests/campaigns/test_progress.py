"""Progress, what waits, the report and the plan, on rows in a real database."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from catalog.campaigns import repository
from catalog.campaigns.errors import BadCursorError, RunNotFoundError
from catalog.campaigns.plan import Sample, next_starts, plan
from catalog.campaigns.progress import campaign_progress, waiting_items
from catalog.campaigns.report import compare_runs, run_report
from catalog.campaigns.spec import Schedule
from catalog.models import Campaign, CrawlRun
from tests.campaigns import rows


@pytest.fixture
def campaign(session: Session) -> Campaign:
    return repository.apply(session, rows.spec())[0]


@pytest.fixture
def runs(session: Session, campaign: Campaign) -> list[CrawlRun]:
    return repository.open_runs(session, campaign.id, "t1")


def fill(session: Session, run: CrawlRun) -> None:
    """Two published, one duplicate, one in review, one failed, one unavailable, one fingerprinted, one discovered."""
    repository.set_run_state(session, run.id, "running", "crawling")
    session.refresh(run)
    run.started_at = rows.ago(100)
    for state in ("published", "published", "duplicate", "in_review", "fingerprinted"):
        rows.fingerprint(session, rows.candidate(session, run.id, state, fetched_at=rows.ago(50)))
    rows.candidate(session, run.id, "failed", reason="not_audio", detail="a picture", fetched_at=rows.ago(50))
    rows.candidate(session, run.id, "unavailable", reason="removed")
    rows.candidate(session, run.id)
    for number in range(10):
        rows.request(session, run.id, "done", finished_at=rows.ago(5 if number < 5 else 60))
    rows.request(session, run.id, "failed", finished_at=rows.ago(60))
    for _ in range(4):
        rows.request(session, run.id)
    late = rows.request(session, run.id, not_before=rows.ago(-120), attempts=1)
    rows.incident(session, run.id, "rate_limited", late, final=False, status=429)
    rows.incident(session, run.id, "not_found", status=404)
    rows.incident(session, run.id, "not_found", status=404)
    rows.incident(session, run.id, "gone", status=410)
    session.flush()


def test_progress_counts(session: Session, campaign: Campaign, runs: list[CrawlRun]) -> None:
    fill(session, runs[0])
    progress = campaign_progress(session, campaign.id)
    first, second = progress.runs
    assert (first.source, first.adapter, first.state) == ("pesennik", "website", "running")
    assert (first.found, first.fetched, first.fingerprinted) == (8, 6, 5)
    assert (first.published, first.duplicates, first.in_review) == (2, 1, 1)
    assert (first.failed, first.unavailable, first.rejected, first.open) == (1, 1, 0, 2)
    assert first.errors == {"not_found": 2, "gone": 1, "not_audio": 1}
    assert (first.requests_done, first.requests_failed) == (10, 1)
    assert (first.requests_queued, first.requests_waiting) == (5, 1)
    assert first.rate_per_s == pytest.approx(0.5)
    # The request that waits two minutes is the longest part.
    assert first.time_left_s == pytest.approx(120, abs=5)
    assert (second.found, second.rate_per_s, second.time_left_s) == (0, 0.0, None)
    assert progress.total("found") == 8
    assert progress.errors() == {"not_found": 2, "gone": 1, "not_audio": 1}
    assert not progress.finished
    assert json.loads(json.dumps(progress.to_json(), default=str))["runs"][0]["found"] == 8


def test_progress_by_run_ids_and_of_finished_runs(session: Session, runs: list[CrawlRun]) -> None:
    for run in runs:
        repository.finish_run(session, run.id, "finished")
    progress = campaign_progress(session, [runs[1].id])
    assert [each.source for each in progress.runs] == ["talk"]
    assert progress.finished
    assert progress.runs[0].time_left_s == 0.0
    assert not campaign_progress(session, []).finished


def test_progress_is_few_queries_however_many_runs(session: Session, campaign: Campaign) -> None:
    for number in range(5):
        repository.open_runs(session, campaign.id, f"x{number}")
    statements: list[str] = []
    connection = session.connection()
    event.listen(connection, "before_cursor_execute", lambda *args: statements.append(args[2]))
    campaign_progress(session, campaign.id)
    assert len(statements) <= 6


def test_what_waits(session: Session, campaign: Campaign, runs: list[CrawlRun]) -> None:
    fill(session, runs[0])
    in_review = rows.candidate(session, runs[0].id, "in_review", since=rows.ago(9999), waiting_on="moderator")
    case = rows.review_case(session, in_review)
    page = waiting_items(session, campaign.id, limit=2)
    kinds = [each.kind for each in page.items]
    assert kinds == ["run", "run", "requests", "candidate", "candidate"]
    group = page.items[2]
    assert (group.reason, group.count, group.waiting_on) == ("rate_limited", 1, "source")
    assert group.next_attempt_at is not None
    oldest = page.items[3]
    assert (oldest.id, oldest.case_id, oldest.waiting_on) == (in_review.id, case.id, "moderator")
    assert str(case.id) in oldest.who
    seen = [each.id for each in page.items[3:]]
    while page.next_cursor:
        page = waiting_items(session, campaign.id, limit=2, cursor=page.next_cursor)
        assert all(each.kind == "candidate" for each in page.items)
        seen += [each.id for each in page.items]
    assert len(seen) == len(set(seen)) == 4


def test_requests_that_wait_for_the_budget_say_for_what(
    session: Session, campaign: Campaign, runs: list[CrawlRun]
) -> None:
    for _ in range(2):
        rows.request(session, runs[0].id, not_before=rows.ago(-60), wait_reason="daily_requests", waiting_on="schedule")
    group = next(item for item in waiting_items(session, campaign.id).items if item.kind == "requests")
    assert (group.reason, group.waiting_on, group.count) == ("daily_requests", "schedule", 2)
    assert group.who.startswith("nobody needs to act")


def test_what_a_paused_run_holds_waits_for_the_operator(
    session: Session, campaign: Campaign, runs: list[CrawlRun]
) -> None:
    rows.candidate(session, runs[0].id)
    repository.set_run_state(session, runs[0].id, "paused", "asked")
    run, _, item = waiting_items(session, campaign.id).items
    assert (run.state, run.waiting_on, item.waiting_on) == ("paused", "operator", "operator")
    assert item.who == "the operator: `versions campaign resume demo`"


def test_what_a_stopped_run_left_waits_for_a_new_start(
    session: Session, campaign: Campaign, runs: list[CrawlRun]
) -> None:
    rows.candidate(session, runs[0].id, waiting_on="operator", reason="run_stopped")
    for run in runs:
        repository.finish_run(session, run.id, "stopped")
    (item,) = waiting_items(session, campaign.id).items
    assert (item.reason, item.who) == ("run_stopped", "the operator: `versions campaign start demo`")


@pytest.mark.parametrize("cursor", ["", "x", "bm90IGpzb24", "WzEsMiwzXQ", "é", "A" * 1000])
def test_cursors_from_elsewhere(session: Session, campaign: Campaign, cursor: str) -> None:
    if not cursor:
        other = repository.apply(session, rows.spec(rows.TEXT.replace("demo", "other")))[0]
        run = repository.open_runs(session, other.id, "t")[0]
        for _ in range(2):
            rows.candidate(session, run.id)
        cursor = waiting_items(session, other.id, limit=1).next_cursor or ""
        assert cursor
    with pytest.raises(BadCursorError):
        waiting_items(session, campaign.id, cursor=cursor)


def test_the_report(session: Session, campaign: Campaign, runs: list[CrawlRun]) -> None:
    fill(session, runs[0])
    runs[0].counters = {"requests": 11, "bytes": 4096, "items": 8, "retries": 1}
    runs[0].crawled_at = rows.ago(50)
    session.flush()
    report = run_report(session, campaign.id, remedies={"not_found": "Nothing to do.", "not_audio": "Look at it."})
    assert (report["campaign"], report["trigger"], report["finished"]) == ("demo", "t1", False)
    assert report["totals"]["found"] == 8
    assert report["incidents"] == {"gone": 1, "not_found": 2, "rate_limited": 1}
    assert report["failures"] == {"not_audio": 1, "removed": 1}
    source = report["sources"][0]
    missing = source["incidents"][0]
    assert (missing["class"], missing["count"], missing["remedy"]) == ("not_found", 2, "Nothing to do.")
    assert [each["status"] for each in missing["urls"]] == [404, 404]
    assert all(each["url"].startswith("http://a.example/") and each["attempts"] == 1 for each in missing["urls"])
    not_audio = source["candidates"][0]
    assert (not_audio["state"], not_audio["reason"], not_audio["remedy"]) == ("failed", "not_audio", "Look at it.")
    assert not_audio["items"][0]["detail"] == "a picture"
    assert source["crawl_s"] == pytest.approx(50, abs=5)
    assert source["politeness"]["least_s"] == 20.0  # eleven requests, two seconds apart
    assert source["politeness"]["delayed_requests"]["count"] == 1
    json.dumps(report)


def test_no_such_execution(session: Session, campaign: Campaign) -> None:
    with pytest.raises(RunNotFoundError, match="none yet"):
        run_report(session, campaign.id)
    repository.open_runs(session, campaign.id, "t1")
    with pytest.raises(RunNotFoundError, match="there are: t1"):
        run_report(session, campaign.id, "t2")


def test_two_runs_compared(session: Session, campaign: Campaign, runs: list[CrawlRun]) -> None:
    fill(session, runs[0])
    for run in runs:
        repository.finish_run(session, run.id, "finished")
    repository.apply(session, rows.spec(rows.TEXT.replace("delay: 2s", "delay: 1s")))
    again = repository.open_runs(session, campaign.id, "t2")
    rows.incident(session, again[0].id, "gone", status=410)
    # The second run sees everything again.
    session.connection().exec_driver_sql("UPDATE candidates SET crawl_run_id = %s", (again[0].id,))
    result = compare_runs(session, campaign.id, "t1", "t2")
    source = next(each for each in result["sources"] if each["source"] == "pesennik")
    assert source["counts"]["found"] == [8, 8, 0]
    assert source["counts"]["published"] == [2, 2, 0]
    assert source["counts"]["duplicates"] == [1, 1, 0]
    assert source["counts"]["open"] == [2, 2, 0]
    assert source["counts"]["fetched"][0] == 5
    assert len(source["mended"]) == 3
    assert [each["class"] for each in source["broke"]] == ["gone"]
    assert source["settings"] == ["politeness.delay: 2.0 → 1.0"]


def test_a_plan_without_any_run(session: Session) -> None:
    result = plan(session, rows.spec(), samples={"talk": Sample(50, 1000.0)})
    assert result.change == "created"
    first, second = result.sources
    assert (first.basis, first.requests, first.bytes) == ("limit", 10_000, None)
    assert first.note == "no earlier run: at most 10000 requests"
    assert first.hours == pytest.approx(2 * 9999 / 3600)
    assert (second.basis, second.requests, second.bytes) == ("sample", 50, 50_000)
    assert result.hours == first.hours
    assert session.query(Campaign).count() == 0


def test_a_plan_from_the_last_run(session: Session, campaign: Campaign, runs: list[CrawlRun]) -> None:
    runs[0].counters = {"requests": 1000, "bytes": 2_000_000, "items": 300}
    runs[0].started_at, runs[0].crawled_at = rows.ago(9000), rows.ago(3000)
    runs[1].counters = {"requests": 1000, "bytes": 2_000_000, "items": 300}
    for run in runs:
        repository.finish_run(session, run.id, "finished")
    changed = rows.spec(rows.TEXT.replace("delay: 2s", "delay: 1s, concurrency: 6"))
    result = plan(session, changed)
    assert result.change == "changed"
    assert "sources[pesennik].politeness.delay: 2.0 → 1.0" in result.difference
    first, second = result.sources
    assert (first.basis, first.requests, first.bytes) == ("last_run", 1000, 2_000_000)
    # 6 s a request at concurrency 3 was the server's own slowness: 18 s of service each, six at a time now.
    assert first.hours == pytest.approx(3000 / 3600, rel=0.01)
    assert first.changes == ["politeness.concurrency: 3 → 6", "politeness.delay: 2.0 → 1.0"]
    # The limit of 500 pages halves what the last run cost.
    assert (second.requests, second.bytes) == (500, 1_000_000)
    json.dumps(result.to_json())


def test_next_starts() -> None:
    now = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
    cron = Schedule(cron="0 3 * * *", timezone="Europe/Moscow")
    assert [each.isoformat() for each in next_starts(cron, 2, now)] == [
        "2026-01-02T00:00:00+00:00",
        "2026-01-03T00:00:00+00:00",
    ]
    assert next_starts(Schedule(every=6 * 3600), 1, now) == [datetime(2026, 1, 1, 18, tzinfo=UTC)]
    assert next_starts(None) == []


def test_ids_that_are_nowhere(session: Session) -> None:
    assert campaign_progress(session, uuid.uuid4()).runs == ()
    assert waiting_items(session, uuid.uuid4()).items == []
