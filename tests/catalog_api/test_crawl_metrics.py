"""Metrics of crawls, read by Prometheus's own parser while a real crawl is under way."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from activities.crawl_ports import PostgresCrawlStore, WarcSnapshotStore
from activities.politeness import fleet_budget
from catalog.campaigns import holds, repository
from catalog.database import Database
from catalog.models import SourceFreeze
from catalog.repositories.crawl_store import CrawlRunStore
from crawlers.engine import crawl
from crawlers.ports import CrawlJob, CrawlLimits, CrawlProgress
from runtime.reporting import WorkerReporter
from tests.campaigns import rows
from tests.crawlers.memory import MemoryGuard, Stop
from tests.crawlers.reader import Reader
from tests.crawlers.site import Site

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
DELAY_S = 0.02


class Objects:
    """An object store in memory."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    def put_bytes(self, key: str, data: bytes, content_type: str) -> None:
        self.stored[key] = data


async def read(client: httpx.AsyncClient) -> Samples:
    """All samples by name and labels."""
    text = (await client.get("/metrics")).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def until(client: httpx.AsyncClient, true: Callable[[Samples], bool]) -> Samples:
    for _ in range(400):
        if true(found := await read(client)):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"it never came to this: {found}")


async def test_metrics_during_a_crawl(client: httpx.AsyncClient, database: Database) -> None:
    def open_run() -> uuid.UUID:
        with database.transaction() as session:
            campaign, _, _ = repository.apply(session, rows.spec())
            run = repository.open_runs(session, campaign.id, "t")[0]
            repository.set_run_state(session, run.id, "running", "crawling")
            return run.id

    run_id = await asyncio.to_thread(open_run)
    async with Site().serve() as site:
        site.start = [*(f"/song/{n}" for n in range(20)), "/status/410", "/busy/seconds", "/hang"]
        progress, stop = CrawlProgress(), Stop()
        job = CrawlJob(
            str(run_id), "pesennik", "reader", seeds=[f"{site.url}/"], delay_s=DELAY_S, concurrency=8,
            respect_robots=False, limits=CrawlLimits(timeout_s=60),
        )  # fmt: skip
        reporter = WorkerReporter(database, {str(run_id): progress}, name="host:1")
        reporting = asyncio.create_task(reporter.run_for_ever(0.05))
        record = CrawlRunStore(database, run_id, source="pesennik")
        crawling = asyncio.create_task(
            crawl(
                job,
                Reader(),
                store=PostgresCrawlStore(record),
                snapshots=WarcSnapshotStore(record, Objects(), source="pesennik", crawl_run_id=str(run_id)),
                budget=fleet_budget(database),
                guard=MemoryGuard([site.host]),
                progress=progress,
                stop=stop,
            )
        )
        source = ("source", "pesennik")
        worker = ("worker", "host:1")
        group = ("group", site.host)
        pages = ("versions_crawl_pages_total", (source,))
        in_flight = ("versions_crawl_in_flight", (source, worker))
        try:
            # The start page, twenty songs and the busy one; /hang is in flight until we stop.
            found = await until(client, lambda each: each.get(pages) == 22 and each.get(in_flight) == 1)
        finally:
            crawling.cancel()
            reporting.cancel()
            await asyncio.wait({crawling, reporting})
    assert found["versions_crawl_items_total", (source,)] == 21
    assert found["versions_crawl_bytes_total", (source,)] > 500
    assert found["versions_crawl_retries_total", (source,)] == 1
    assert found["versions_crawl_requests_total", (source, ("status", "200"))] == 22
    assert found["versions_crawl_requests_total", (source, ("status", "429"))] == 1
    assert found["versions_crawl_errors_total", (("class", "gone"), source)] == 1
    assert found["versions_crawl_request_seconds_bucket", (("le", "+Inf"), source)] == 24
    assert found["versions_crawl_request_seconds_count", (source,)] == 24
    assert found["versions_crawl_runs", (source, ("state", "running"))] == 1
    assert found["versions_crawl_queue", (source, ("state", "due"))] == 1
    # The 429 slowed the group down for a while.
    assert DELAY_S <= found["versions_politeness_delay_seconds", (group,)] <= 4 * DELAY_S
    assert 0 < found["versions_politeness_budget_used_ratio", (group,)] <= 1
    assert found["versions_workers", ()] == 1
    assert found["versions_worker_resident_bytes", (worker,)] > 1_000_000
    assert found["versions_worker_crawls", (worker,)] == 1
    assert ("versions_worker_cpu_seconds_total", (worker,)) in found


async def test_what_waits_for_the_operator_is_a_metric(client: httpx.AsyncClient, database: Database) -> None:
    def leave_alerts() -> None:
        with database.transaction() as session:
            campaign, _, _ = repository.apply(session, rows.spec())
            run = repository.open_runs(session, campaign.id, "t")[0]
            holds.hold(session, run.id, ["21 items, usually 60"])
            session.add(SourceFreeze(source="talk", reason="mass_disappearance", detail="12 of 30"))

    await asyncio.to_thread(leave_alerts)
    alert = "versions_operator_alerts"
    found = await until(client, lambda samples: any(name == alert for name, _ in samples))
    assert {labels: value for (name, labels), value in found.items() if name == alert} == {
        (("reason", "held_for_check"), ("source", "pesennik")): 1.0,
        (("reason", "mass_disappearance"), ("source", "talk")): 1.0,
    }
