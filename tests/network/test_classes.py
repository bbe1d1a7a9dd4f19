"""The failure classes that no site of the network makes by itself, each made by a server and told by the report."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from activities.crawl_ports import PostgresCrawlStore, WarcSnapshotStore
from adapters.contract import Adapter, Availability, Page, PageRequest, RecordingItem, SourceQuery
from catalog.campaigns import repository
from catalog.campaigns.report import run_report
from catalog.database import Database
from catalog.repositories.crawl_store import CrawlRunStore
from crawlers.classify import Backoff
from crawlers.engine import crawl
from crawlers.ports import CrawlJob, CrawlProgress
from examples.network.trial import REMEDIES
from runtime.report import render
from tests.campaigns import rows
from tests.catalog_api.test_crawl_metrics import Objects
from tests.crawlers.memory import MemoryBudget, MemoryGuard, Stop
from tests.crawlers.reader import Reader, RenderedReader
from tests.crawlers.site import Site


class Telling(Reader):
    """An item whose key is an availability has it."""

    name: ClassVar[str] = "telling"

    def parse(self, page: Page, query: SourceQuery) -> Iterable[RecordingItem | PageRequest]:
        for found in super().parse(page, query):
            if isinstance(found, RecordingItem) and found.source_key in set(Availability):
                found = replace(found, availability=Availability(found.source_key))
            yield found


async def report_of(database: Database, site: Site, adapter: Adapter, *links: str) -> dict[str, Any]:
    """Crawls these pages into the database and reports the run."""

    def open_run() -> tuple[uuid.UUID, uuid.UUID]:
        with database.transaction() as session:
            campaign, _, _ = repository.apply(session, rows.spec())
            run = repository.open_runs(session, campaign.id, "t")[0]
            repository.set_run_state(session, run.id, "running", "crawling")
            return campaign.id, run.id

    campaign_id, run_id = await asyncio.to_thread(open_run)
    site.start = list(links)
    record = CrawlRunStore(database, run_id, source="pesennik")
    job = CrawlJob(
        str(run_id), "pesennik", adapter.name, seeds=[f"{site.url}/"], delay_s=0.0, concurrency=4, respect_robots=False
    )
    await crawl(
        job,
        adapter,
        store=PostgresCrawlStore(record),
        snapshots=WarcSnapshotStore(record, Objects(), source="pesennik", crawl_run_id=str(run_id)),
        budget=MemoryBudget(),
        guard=MemoryGuard([site.host]),
        progress=CrawlProgress(),
        stop=Stop(),
        backoff=Backoff(base_s=0.01, cap_s=0.02),
    )

    def report() -> dict[str, Any]:
        with database.transaction() as session:
            return run_report(session, campaign_id, "t", REMEDIES)

    result = await asyncio.to_thread(report)
    page = render(result)
    for remedy in remedies(result).values():
        assert remedy.replace("'", "&#39;") in page
    return result


def remedies(report: dict[str, Any]) -> dict[str, str]:
    """By class of a request's failure or reason of an item's."""
    source = report["sources"][0]
    return {each["class"]: each["remedy"] for each in source["incidents"]} | {
        each["reason"]: each["remedy"] for each in source["candidates"]
    }


async def test_what_an_item_says_of_itself(database: Database, site: Site) -> None:
    told = await report_of(database, site, Telling(), "/song/private", "/song/age_restricted", "/song/1")
    assert remedies(told) == {
        "private": "Nothing to do: the owner made it private.",
        "age_restricted": "Configure an adult account for this source.",
    }
    assert told["totals"]["unavailable"] == 2


async def test_an_adapter_with_a_bug(database: Database, site: Site) -> None:
    told = await report_of(database, site, Reader(), "/bug", "/song/1")
    assert "mend the adapter" in remedies(told)["adapter_broken"]
    assert "KeyError: 'title'" in told["sources"][0]["incidents"][0]["urls"][0]["detail"]


async def test_a_page_that_needs_a_browser_where_there_is_none(
    database: Database, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAYWRIGHT_CHROMIUM_EXECUTABLE", "no-such-browser")
    told = await report_of(database, site, RenderedReader())
    assert "Install Chromium" in remedies(told)["browser_missing"]
