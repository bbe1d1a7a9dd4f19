"""A site, and a crawl of it with the ports in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from adapters.contract import Adapter
from crawlers.classify import Backoff
from crawlers.engine import crawl
from crawlers.ports import CrawlJob, CrawlLimits, CrawlProgress
from tests.crawlers.memory import MemoryBudget, MemoryGuard, MemorySnapshots, MemoryStore, Stop
from tests.crawlers.reader import Reader
from tests.crawlers.site import Site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site().serve() as served:
        yield served


@dataclass
class Bench:
    """Everything a crawl needs; `run` runs one."""

    site: Site
    guard: MemoryGuard
    store: MemoryStore = field(default_factory=MemoryStore)
    snapshots: MemorySnapshots = field(default_factory=MemorySnapshots)
    budget: MemoryBudget = field(default_factory=MemoryBudget)
    progress: CrawlProgress = field(default_factory=CrawlProgress)
    stop: Stop = field(default_factory=Stop)
    adapter: Adapter = field(default_factory=Reader)

    async def run(self, *links: str, limits: dict[str, Any] | None = None, **job: Any) -> bool:
        if links:
            self.site.start = list(links)
        options = {"seeds": [f"{self.site.url}/"], "delay_s": 0.0, "concurrency": 8, "respect_robots": False} | job
        return await crawl(
            CrawlJob("run", "test", self.adapter.name, limits=CrawlLimits(**(limits or {})), **options),
            self.adapter,
            store=self.store,
            snapshots=self.snapshots,
            budget=self.budget,
            guard=self.guard,
            progress=self.progress,
            stop=self.stop,
            backoff=Backoff(base_s=0.05, cap_s=0.2),
        )


@pytest.fixture
def bench(site: Site) -> Bench:
    return Bench(site, MemoryGuard([site.host]))
