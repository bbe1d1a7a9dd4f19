"""What is watched, from rows as crawls and workers leave them."""

from __future__ import annotations

import asyncio
import io
import os
from datetime import UTC, datetime, timedelta

from rich.console import Console
from sqlalchemy import text
from sqlalchemy.orm import Session

from catalog.campaigns import repository
from catalog.campaigns.watching import watched
from catalog.database import Database
from catalog.models import PolitenessScope
from catalog.repositories import crawl_series, worker_reports
from catalog.repositories.crawl_series import Bucket
from crawlers.ports import CrawlProgress
from crawlers.proxies import ProxyPool
from runtime.cli import _watch
from runtime.reporting import WorkerReporter
from tests.campaigns import rows

GROUP = "a.example:80"


def test_the_last_minute_of_a_source(session: Session) -> None:
    campaign, _, _ = repository.apply(session, rows.spec())
    run, other = repository.open_runs(session, campaign.id, "t")
    repository.set_run_state(session, run.id, "running", "crawling")
    session.execute(text("UPDATE crawl_runs SET started_at = now() - interval '1 hour'"))
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    old, last, now = (minute - timedelta(minutes=n) for n in (30, 1, 0))
    latency = crawl_series.add_latencies([], [0.02] * 18 + [0.4, 4.0])
    crawl_series._write(
        session,
        run.id,
        [
            Bucket(old, requests=1000, statuses={"500": 1000}, groups={GROUP: 1000}),
            Bucket(last, requests=15, statuses={"200": 14, "429": 1}, groups={GROUP: 15}, latency=latency),
            Bucket(now, requests=5, statuses={"200": 5}, groups={GROUP: 5}),
        ],
    )
    session.add(PolitenessScope(key=f"group:{GROUP}", state={"delay_s": 2.0, "next_at": rows.ago(-30).timestamp()}))
    due, later = rows.request(session, run.id), rows.request(session, run.id, not_before=rows.ago(-90), attempts=1)
    rows.incident(session, run.id, "rate_limited", later, final=False)
    rows.incident(session, run.id, "gone")
    figures = '{"crawls": {"%s": {"in_flight": 3, "turn": 2}}}'
    worker_reports.report(session, "host:1", figures % run.id)
    seen = watched(session, [campaign.id], {"gone": "Nothing to do."})
    assert due
    source, quiet = seen.sources
    assert source.statuses == {"200": 19, "429": 1}
    assert source.latency_p50_s is not None
    assert 0.01 < source.latency_p50_s <= 0.025
    assert source.latency_p95_s is not None
    assert 0.25 <= source.latency_p95_s <= 0.5
    # Twenty answers in the whole minutes that the window touches: one to two.
    assert 20 / 120 <= source.requests_per_s <= 20 / 60
    (use,) = source.groups
    assert (use.server_group, use.allowed_per_min) == (GROUP, 30)
    assert use.used is not None
    assert 1 / 3 <= use.used <= 2 / 3
    assert 0 < use.next_slot_in_s <= 30
    queue = source.queue
    assert (queue.queued, queue.due, queue.in_flight, queue.turn) == (2, 1, 3, 2)
    assert queue.waiting["rate_limited"]["count"] == 1
    assert [(each.name, each.count, each.remedy) for each in source.errors] == [("gone", 1, "Nothing to do.")]
    assert (quiet.progress.run_id, quiet.statuses, quiet.groups) == (other.id, {}, ())
    assert seen.workers == ("host:1",)
    assert [each.campaign for each in watched(session).sources] == ["demo", "demo"]


def test_daily_budgets_and_an_open_breaker(session: Session) -> None:
    campaign, _, _ = repository.apply(session, rows.spec())
    run, _ = repository.open_runs(session, campaign.id, "t")
    breaker = {"state": "open", "reason": "bot_check", "detail": "3 in a row", "since": 1e9, "next_probe_at": 2e9}
    limits = {"per_day": 100, "bytes_per_day": 5000}
    state = {"limits": limits, "requests": 40, "bytes": 5000, "breaker": breaker}
    session.add(PolitenessScope(key="source:pesennik", state=state))
    session.flush()
    seen = watched(session, [campaign.id])
    source, other = seen.sources
    assert [(each.unit, each.used, each.limit) for each in source.daily] == [
        ("requests", 40, 100),
        ("bytes", 5000, 5000),
    ]
    assert source.breaker is not None
    assert source.breaker.state == "open"
    assert (other.daily, run.source) == ((), "pesennik")
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(_watch.render(seen))
    text = console.export_text()
    assert "40 of 100 requests today" in text
    assert "bot_check: 3 in a row" in text


def test_held_runs_and_resting_proxies(session: Session) -> None:
    campaign, _, _ = repository.apply(session, rows.spec())
    run, _ = repository.open_runs(session, campaign.id, "t")
    run.publication, run.publication_detail = "held", "performers: 0.95 of items → 0.10"
    worker_reports.report(session, "host:1", '{"proxies": {"b.example:3128": "quarantine", "a.example:3128": "fit"}}')
    session.flush()
    seen = watched(session, [campaign.id])
    assert [(each.name, each.state) for each in seen.proxies] == [
        ("a.example:3128", "fit"),
        ("b.example:3128", "quarantine"),
    ]
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(_watch.render(seen))
    text = console.export_text()
    assert f"publication held: performers: 0.95 of items → 0.10; `versions campaign release {run.id}`" in text
    assert "1 of 2 rest: b.example:3128 (quarantine, host:1)" in text


def test_a_worker_that_is_silent_is_gone(session: Session) -> None:
    worker_reports.report(session, "old:1", "{}")
    session.execute(text("UPDATE worker_reports SET seen_at = now() - interval '20 seconds'"))
    worker_reports.report(session, "new:2", "{}")
    assert [worker.name for worker in worker_reports.living(session)] == ["new:2"]
    session.execute(text("UPDATE worker_reports SET seen_at = now() - interval '2 hours' WHERE name = 'old:1'"))
    worker_reports.report(session, "new:2", "{}")
    assert [worker.name for worker in worker_reports.living(session, fresh_s=1e6)] == ["new:2"]


async def test_a_worker_tells_of_itself_and_withdraws(database: Database) -> None:
    crawls = {"run": CrawlProgress(pages=7, in_flight=2)}
    pool = ProxyPool(["http://user:secret@proxy.example:3128"])
    reporter = WorkerReporter(database, crawls, proxies=pool.states)
    task = asyncio.create_task(reporter.run_for_ever(0.05))

    async def told() -> list[worker_reports.Worker]:
        def read() -> list[worker_reports.Worker]:
            with database.transaction() as session:
                return worker_reports.living(session)

        return await asyncio.to_thread(read)

    while not (found := await told()):
        await asyncio.sleep(0.02)
    assert found[0].name.endswith(f":{os.getpid()}")
    assert found[0].figures["rss_bytes"] > 1_000_000
    assert found[0].figures["proxies"] == {"proxy.example:3128": "fit"}
    assert worker_reports.crawl_figure(found, "run", "in_flight") == 2
    assert worker_reports.crawl_figure(found, "another", "in_flight") == 0
    task.cancel()
    await asyncio.wait({task})
    assert await told() == []
