"""What the second run of a site costs, in requests and bytes, beside the first: 1 % of the pages changed, 1 % are new.

The crawl activity as a worker runs it, PostgreSQL and object store included, on a local site whose own log counts. Two
sites: one whose sitemap says when a page changed, one that only has ETags. Both must find every change and lose
nothing, or there is no figure.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from benchmarks import _stack
from benchmarks._figures import Figure, at_most

FIGURES = ("recrawl_cost", "recrawl_bytes")
PAGES = 1000
LIMITS = (5.0, 10.0)
"""Per cent of the first run: requests where the sitemap has dates, bytes where there are ETags only."""
CONCURRENCY = 16


@dataclass
class _Site:
    """``titles`` by page; ``changed``: when, as the sitemap says if ``dated``."""

    titles: dict[int, str]
    dated: bool
    changed: dict[int, datetime] = field(default_factory=dict)
    requests: int = 0
    bytes: int = 0
    url: str = ""

    def change(self, share: float) -> None:
        """So much of it changes, and as much is new."""
        count = max(1, int(len(self.titles) * share))
        for number in range(count):
            self.titles[number * 7] += ", neu"
            self.titles[len(self.titles)] = f"Später {number}"
        moment = datetime.now(UTC) - timedelta(minutes=1)
        self.changed |= {number * 7: moment for number in range(count)}

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/sitemap.xml", self._sitemap)
        app.router.add_get("/song/{number}", self._song)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _sitemap(self, request: web.Request) -> web.Response:
        entries = []
        for number in self.titles:
            moment = self.changed.get(number, datetime(2026, 1, 1, tzinfo=UTC)).isoformat()
            date = f"<lastmod>{moment}</lastmod>" if self.dated else ""
            entries.append(f"<url><loc>{self.url}/song/{number}</loc>{date}</url>")
        return self._answer(request, f"<urlset>{''.join(entries)}</urlset>", "application/xml")

    async def _song(self, request: web.Request) -> web.Response:
        title = self.titles[int(request.match_info["number"])]
        data = {"@context": "https://schema.org", "@type": "MusicRecording", "name": title, "duration": "PT3M"}
        script = f'<script type="application/ld+json">{json.dumps(data, ensure_ascii=False)}</script>'
        return self._answer(
            request, f"<html><head>{script}</head><body>{'<p>Text</p>' * 400}</body></html>", "text/html"
        )

    def _answer(self, request: web.Request, text: str, kind: str) -> web.Response:
        self.requests += 1
        etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        self.bytes += len(text.encode())
        return web.Response(text=text, content_type=kind, headers={"ETag": etag})


async def _runs(stack: _stack.Stack, site: _Site) -> list[dict[str, int]]:
    """Two runs with changes in between: requests and bytes of each, as the site counted them."""
    from sqlalchemy import select
    from temporalio.testing import ActivityEnvironment

    from activities import messages as m
    from activities.crawls import CrawlActivities
    from activities.politeness import fleet_budget
    from activities.resources import Resources
    from catalog.campaigns import repository
    from catalog.campaigns.spec import CampaignSpec
    from catalog.database import Database
    from catalog.models import Candidate
    from media.store import ObjectStore

    there = stack.connections
    database = Database(there.database_url)
    objects = ObjectStore(there.s3_endpoint, there.s3_access_key, there.s3_secret_key, there.s3_bucket)
    objects.ensure_bucket()
    resources = Resources(
        database=database, objects=objects, budget=fleet_budget(database), temporary=stack.data_dir / "tmp"
    )
    name = f"bench-{uuid.uuid4().hex[:12]}"
    result: list[dict[str, int]] = []
    async with site.serve():
        source: dict[str, Any] = {"source": name, "adapter": "website", "seeds": [f"{site.url}/sitemap.xml"]}
        source |= {"audio": "none", "politeness": {"delay": 0, "concurrency": CONCURRENCY, "robots": False}}
        spec = {"version": 1, "name": name, "allow_private": [site.url], "sources": [source]}
        for number in range(2):
            site.requests = site.bytes = 0
            with database.transaction() as session:
                campaign, _, _ = repository.apply(session, CampaignSpec.model_validate(spec))
                (run,) = repository.open_runs(session, campaign.id, str(number))
            done = await ActivityEnvironment().run(CrawlActivities(resources).crawl, m.CrawlInput(str(run.id)))
            assert done.complete
            with database.transaction() as session:
                repository.finish_run(session, run.id, "finished")
                seen = set(
                    session.scalars(select(Candidate.item["title"].astext).where(Candidate.crawl_run_id == run.id))
                )
            if seen != set(site.titles.values()):
                raise RuntimeError(f"run {number + 1}: {len(seen)} of {len(site.titles)} pages were seen")
            result.append({"requests": site.requests, "bytes": site.bytes})
            site.change(0.01)
    database.dispose()
    return result


def measure(pages: int = PAGES) -> list[Figure]:
    """The figures; PostgreSQL and the object store are their own."""
    titles = {number: f"Lied {number}" for number in range(pages)}
    with _stack.running("postgres", "s3") as stack:
        dated = asyncio.run(_runs(stack, _Site(dict(titles), dated=True)))
        tagged = asyncio.run(_runs(stack, _Site(dict(titles), dated=False)))
    figures = []
    for name, runs, what, limit, how in (
        (FIGURES[0], dated, "requests", LIMITS[0], "the sitemap says when a page changed"),
        (FIGURES[1], tagged, "bytes", LIMITS[1], "the pages have ETags and the sitemap no dates"),
    ):
        detail = (
            f"{pages} pages, of which 1 % changed and 1 % more are new, all found and none lost; {how}; "
            f"first run {runs[0]['requests']} requests, {runs[0]['bytes']} bytes of bodies, "
            f"second {runs[1]['requests']} requests, {runs[1]['bytes']} bytes"
        )
        figures.append(at_most(name, "% of run 1", 100 * runs[1][what] / runs[0][what], limit, detail=detail))
    return figures
