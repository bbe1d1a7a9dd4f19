"""The crawl activity: an engine, wired to the database, the object store and the shared budget."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities import messages as m
from activities.crawl_ports import PostgresCrawlStore, PostgresHistory, WarcSnapshotStore
from activities.heartbeats import with_heartbeats
from activities.politeness import budget_limits
from activities.resources import Resources
from adapters.contract import Adapter, Engine, UnknownAdapterError, get_adapter
from catalog import availability
from catalog.availability import Bounds
from catalog.campaigns import holds
from catalog.campaigns.health import Usual
from catalog.models import RUN_FINAL_STATES, CrawlRun
from catalog.repositories.crawl_store import CrawlRunStore
from catalog.repositories.refresh_store import RefreshRunStore
from crawlers.engines import crawl_with_engine
from crawlers.errors import CONSEQUENCES
from crawlers.history import RevisitPolicy
from crawlers.ports import CrawlJob, CrawlLimits, CrawlProgress
from crawlers.recheck import KEYS, Known, recheck

RETRIED_REASONS = [failure.value for failure, consequence in CONSEQUENCES.items() if consequence.retry]
"""A candidate that failed for one of these is tried again by the next run."""


REST_AFTER_S = 60.0
"""A crawl that has nothing to do for longer gives its place to another."""
MAX_REST_S = 300.0
"""It looks again at least so often: the operator may have changed what it waits for."""


class _Rest(asyncio.Event):
    """Stops a crawl, from outside or because nothing is due for long; ``rest_s``: for how long, then."""

    rest_s: float | None = None

    def idle(self, seconds: float) -> None:
        """Nothing is due for so long."""
        if seconds > REST_AFTER_S and not self.is_set():
            self.rest_s = min(seconds, MAX_REST_S)
            self.set()


class CrawlActivities:
    """Runs on the task queue of its adapter."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._database = resources.database

    @activity.defn(name="crawl")
    async def crawl(self, message: m.CrawlInput) -> m.CrawlResult:
        run_id = uuid.UUID(message.crawl_run_id)
        run = await asyncio.to_thread(self._load, run_id)
        if run.crawled_at is not None or run.state in RUN_FINAL_STATES:
            return m.CrawlResult(complete=True)
        try:
            adapter = get_adapter(run.spec["adapter"])
        except UnknownAdapterError as error:
            raise ApplicationError(str(error), type="unknown_source", non_retryable=True) from error
        job = job_of(run, adapter, self._resources.user_agent)
        # Files are what a person has: fewer of them are no fault of ours.
        judged = adapter.engine is not Engine.FILES
        before = await asyncio.to_thread(self._begin, run_id) if judged else None
        # An earlier attempt's pages count: the limits are the run's.
        before_pages, before_unmodified = (int(run.counters.get(name, 0)) for name in ("pages", "not_modified"))
        progress = CrawlProgress(pages=before_pages, not_modified=before_unmodified)
        stop = _Rest()
        self._resources.crawls[message.crawl_run_id] = progress
        try:
            complete = await with_heartbeats(
                await asyncio.to_thread(self._engine, run, job, adapter, progress, stop, before),
                details=lambda: asdict(progress),
                stop=stop,
            )
        except ValueError as error:  # a seed that the adapter cannot understand
            raise ApplicationError(str(error), type="bad_seed", non_retryable=True) from error
        finally:
            self._resources.crawls.pop(message.crawl_run_id, None)
        if complete:
            await asyncio.to_thread(self._crawled, run_id, judged)
        return m.CrawlResult(complete, progress.pages, progress.items, None if complete else stop.rest_s)

    def _engine(
        self,
        run: CrawlRun,
        job: CrawlJob,
        adapter: Adapter,
        progress: CrawlProgress,
        stop: _Rest,
        before: Usual | None,
    ) -> Any:
        record: CrawlRunStore
        if run.spec.get("kind") == "refresh":
            record, adapter, job = self._refresh(run, adapter, job)
        else:
            record = CrawlRunStore(
                self._database,
                run.id,
                source=run.source,
                audio_policy=run.spec["audio"],
                trust=float(run.spec["trust"]),
                retryable=RETRIED_REASONS,
                max_depth=job.limits.max_depth,
                bounds=(job.revisit.min_s, job.revisit.max_s),
                watch=holds.Watch(before),
            )
        return crawl_with_engine(
            job,
            adapter,
            store=PostgresCrawlStore(record, stop.idle),
            snapshots=WarcSnapshotStore(record, self._resources.objects, source=run.source, crawl_run_id=str(run.id)),
            budget=self._resources.budget,
            progress=progress,
            stop=stop,
            accounts=self._resources.accounts,
            transport=self._resources.transport,
            history=PostgresHistory(self._database, run.id, run.source),
        )

    def _refresh(self, run: CrawlRun, adapter: Adapter, job: CrawlJob) -> tuple[CrawlRunStore, Adapter, CrawlJob]:
        """The parts of a run that only looks whether known items are still there."""
        wanted = run.spec["refresh"]
        bounds = Bounds(wanted["confirm_after"], wanted["min"], wanted["max"])
        record = RefreshRunStore(self._database, run.id, source=run.source, bounds=bounds, keys_in=KEYS)
        chosen: list[Known] = []
        if not record.is_seeded():
            with self._database.transaction() as session:
                availability.prune(session)
                found = availability.due(session, run.source, bounds, wanted["max_checks"])
                chosen = [Known(each.source_key, each.url) for each in found]
        limits = replace(job.limits, max_pages=max(job.limits.max_pages, wanted["max_checks"]))
        return (
            record,
            recheck(adapter, chosen),
            replace(job, seeds=(), search=(), limits=limits, revisit=RevisitPolicy(only_look=True)),
        )

    def _begin(self, run_id: uuid.UUID) -> Usual | None:
        with self._database.transaction() as session:
            return holds.begin(session, run_id)

    def _load(self, run_id: uuid.UUID) -> CrawlRun:
        with self._database.transaction() as session:
            return session.get_one(CrawlRun, run_id)

    def _crawled(self, run_id: uuid.UUID, judged: bool) -> None:
        with self._database.transaction() as session:
            run = session.get_one(CrawlRun, run_id, with_for_update=True)
            if run.crawled_at is None:
                run.crawled_at = datetime.now(UTC)
                if judged:
                    holds.judge_at_end(session, run)
                availability.hurry(session, run_id)


def job_of(run: CrawlRun, adapter: Adapter, user_agent: str) -> CrawlJob:
    """The crawl job of a run, from the campaign's entry that it carries."""
    spec = run.spec
    politeness = spec.get("politeness", {})
    limits = dict(spec.get("limits", {}))
    if "timeout" in limits:
        limits["timeout_s"] = limits.pop("timeout")
    default = adapter.politeness
    return CrawlJob(
        crawl_run_id=str(run.id),
        source=run.source,
        adapter=spec["adapter"],
        seeds=spec.get("seeds", ()),
        search=spec.get("search", ()),
        follow=spec.get("follow", ()),
        options=spec.get("options", {}),
        limits=CrawlLimits(**limits),
        delay_s=_or(politeness.get("delay"), default.delay_s),
        concurrency=_or(politeness.get("concurrency"), default.concurrency),
        respect_robots=_or(politeness.get("robots"), default.respect_robots),
        allow_private=spec.get("allow_private", ()),
        user_agent=user_agent,
        campaign=str(run.campaign_id),
        budget=budget_limits(politeness).of_source(),
        weight=float(_or(politeness.get("weight"), 1.0)),
        group_by=_or(politeness.get("group"), "host"),
        revisit=_revisit(spec.get("revisit")),
    )


def _revisit(spec: Mapping[str, Any] | None) -> RevisitPolicy:
    if spec is None:
        return RevisitPolicy()
    return RevisitPolicy(
        incremental=spec["incremental"],
        when_due=spec["ask"] == "when_due",
        min_s=spec["min"],
        max_s=spec["max"],
        stop_after_known=spec["stop_after_known"],
    )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
