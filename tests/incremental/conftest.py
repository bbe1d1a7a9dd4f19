"""Crawl runs of one campaign, by the real activity, on PostgreSQL and an S3 server."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.testing import ActivityEnvironment

from activities import messages as m
from activities.crawls import CrawlActivities
from activities.politeness import fleet_budget
from activities.resources import Resources
from catalog.campaigns import repository
from catalog.campaigns.files import resolve
from catalog.campaigns.spec import CampaignSpec
from catalog.database import Database
from catalog.models import CrawlRun
from media.store import ObjectStore
from runtime.adapters import adapter_facts
from tests.incremental.site import Song, SongSite
from tests.media.conftest import ACCESS_KEY, SECRET_KEY, s3_endpoint  # noqa: F401 (fixture)


@pytest.fixture
async def site() -> AsyncIterator[SongSite]:
    site = SongSite({number: Song(f"Песня {number}") for number in range(12)})
    async with site.serve():
        yield site


@dataclass
class World:
    """``campaign``, ``source``: laid over the smallest campaign of the site."""

    database: Database
    resources: Resources
    site: SongSite
    campaign: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)

    def spec(self) -> CampaignSpec:
        spec = {
            "version": 1,
            "name": "songs",
            "allow_private": [self.site.url],
            "approval": {"recording": "auto", "song": "auto", "new_song": "auto", "require": ["title"]},
            **self.campaign,
            "sources": [
                {
                    "source": "site",
                    "adapter": "website",
                    "seeds": [f"{self.site.url}/sitemap.xml"],
                    "audio": "none",
                    "politeness": {"delay": 0, "concurrency": 4, "robots": False},
                    **self.source,
                }
            ],
        }
        return resolve(CampaignSpec.model_validate(spec), adapter_facts())

    def open(self) -> uuid.UUID:
        with self.database.transaction() as session:
            campaign, _, _ = repository.apply(session, self.spec())
            (run,) = repository.open_runs(session, campaign.id, str(uuid.uuid4()))
            repository.set_run_state(session, run.id, "running", "crawling")
            return run.id

    async def crawl(self, run_id: uuid.UUID | None = None) -> CrawlRun:
        """One run until its frontier is empty; ended as the workflow would."""
        run_id = run_id or self.open()
        self.site.forget()
        result = await ActivityEnvironment().run(CrawlActivities(self.resources).crawl, m.CrawlInput(str(run_id)))
        assert result.complete
        with self.database.transaction() as session:
            return repository.finish_run(session, run_id, "finished")

    def rows(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        with self.database.transaction() as session:
            return [dict(row) for row in session.execute(text(statement), values).mappings()]

    def titles(self, run: CrawlRun | None = None) -> set[str]:
        """Of all candidates, or those that a run saw."""
        rows = self.rows("SELECT item ->> 'title' AS title, crawl_run_id FROM candidates")
        return {row["title"] for row in rows if run is None or row["crawl_run_id"] == run.id}


@pytest.fixture
def world(database: Database, s3_endpoint: str, site: SongSite, tmp_path: Path) -> World:  # noqa: F811
    objects = ObjectStore(s3_endpoint, ACCESS_KEY, SECRET_KEY, f"b{uuid.uuid4().hex}")
    objects.ensure_bucket()
    budget = fleet_budget(database)
    return World(database, Resources(database=database, objects=objects, budget=budget, temporary=tmp_path), site)
