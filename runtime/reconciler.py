"""PostgreSQL is the record, Temporal the motion: what should be moving and is not is started again, once.

Temporal's file may be lost, another Temporal server may be configured, the power may be cut between two steps. The
reconciler compares the record with the motion at a worker's start and regularly after, and mends the difference. Its
starts name fixed workflow ids, so that repeating them is harmless; an advisory lock lets one worker at a time do it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, or_, select
from sqlalchemy.orm import Session

from activities import messages as m
from activities.campaigns import needs_audio, to_be_ingested
from catalog.campaigns import urgency
from catalog.campaigns.spec import Schedule
from catalog.database import Database
from catalog.models import (
    RUN_FINAL_STATES,
    Campaign,
    Candidate,
    CrawlRun,
    PageSnapshot,
    ReviewCase,
    StoredObject,
    VersionSource,
)
from catalog.repositories.politeness import PolitenessRepository
from identity.melody import service as melody
from media.store import ObjectStore
from runtime.temporal import TemporalWorkflowClient

logger = logging.getLogger(__name__)

GRACE = timedelta(seconds=20)
"""How long something may stand still before it counts as lost: longer than any step's time-out."""

SWEEP_AFTER = timedelta(hours=1)
"""Objects that nothing refers to after so long were left by a killed worker."""

BATCH = 500
_LOCK = "versions.reconciler"


@dataclass(slots=True)
class Reconciled:
    """How many things were set in motion again, or swept away."""

    runs: int = 0
    ingests: int = 0
    decisions: int = 0
    cases: int = 0
    schedules: int = 0
    swept: int = 0
    melodies: int = 0

    def any(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)


class Reconciler:
    """Compares record and motion. ``first`` looks at everything, later rounds at what may have stopped since."""

    def __init__(self, database: Database, client: TemporalWorkflowClient, objects: ObjectStore) -> None:
        self._database = database
        self._client = client
        self._objects = objects
        self._namespace: str | None = None

    async def run_for_ever(self, interval_s: float = 10.0) -> None:
        """Until cancelled. A database or Temporal that is away is tried again in the next round."""
        while True:
            try:
                done = await self.reconcile(first=self._namespace is None)
                if done.any():
                    logger.info("reconciled: %s", done)
            except Exception:
                logger.exception("the reconciler could not finish its round")
            await asyncio.sleep(interval_s)

    async def reconcile(self, *, first: bool = False, grace: timedelta = GRACE) -> Reconciled:
        """One round."""
        result = Reconciled()
        # A transaction's lock ends with its connection, however that ends. In a thread: a database that does not answer
        # must not stop the worker's heartbeats.
        lock = await asyncio.to_thread(self._lock)
        if lock is None:
            return result
        try:
            await self._round(result, first, grace)
        finally:
            await asyncio.to_thread(lock.close)
        return result

    def _lock(self) -> Connection | None:
        connection = self._database.engine.connect()
        try:
            if connection.scalar(select(func.pg_try_advisory_xact_lock(func.hashtext(_LOCK)))):
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    async def _round(self, result: Reconciled, first: bool, grace: timedelta) -> None:
        # A server whose file was lost has made its namespace anew: it knows nothing of what it knew a moment ago.
        namespace = await self._client.namespace_id()
        everything = first or namespace != self._namespace
        if everything:
            # What does run is only refused; what does not should not wait.
            grace = timedelta(0)
        for run_message in await self._read(_resting_runs, grace):
            result.runs += await self._client.ensure_run(run_message)
        for ingest_message in await self._read(_resting_candidates, grace):
            result.ingests += await self._client.ensure_ingest(ingest_message)
        for candidate_id, case_id in await self._read(_unapplied_decisions, grace):
            result.decisions += await self._client.decide(candidate_id, case_id) is not None
        if everything:
            for case_message in await self._read(_open_cases, grace):
                result.cases += await self._client.ensure_ingest(case_message)
            for campaign_id, name, schedule, paused in await self._read(_schedules, grace):
                await self._client.sync_schedule(campaign_id, name, schedule, paused)
                result.schedules += 1
        self._namespace = namespace
        result.swept = await asyncio.to_thread(self.sweep)
        if everything:
            await asyncio.to_thread(PolitenessRepository(self._database).sweep)
        result.melodies = await asyncio.to_thread(self._refresh_melodies)

    def _refresh_melodies(self) -> int:
        """After an upgrade that embeds melodies otherwise, the stored ones follow, so many a round."""
        with self._database.transaction() as session:
            return melody.refresh(session, BATCH)

    async def _read(self, query: Any, grace: timedelta) -> Sequence[Any]:
        def read() -> Sequence[Any]:
            with self._database.transaction() as session:
                found: Sequence[Any] = query(session, datetime.now(UTC) - grace)
                return found

        return await asyncio.to_thread(read)

    def sweep(self, older_than: timedelta = SWEEP_AFTER) -> int:
        """Removes objects that were put but never referred to: object first, row second. Returns how many."""
        with self._database.transaction() as session:
            keys = session.scalars(
                select(StoredObject.key)
                .where(StoredObject.state == "pending", StoredObject.created_at < datetime.now(UTC) - older_than)
                .where(~select(Candidate.id).where(Candidate.audio_object == StoredObject.key).exists())
                .where(~select(VersionSource.id).where(VersionSource.audio_object == StoredObject.key).exists())
                .where(~select(PageSnapshot.id).where(PageSnapshot.object_key == StoredObject.key).exists())
                .limit(BATCH)
                .with_for_update(skip_locked=True)
            ).all()
            for key in keys:
                self._objects.delete(key)
                session.delete(session.get_one(StoredObject, key))
            return len(keys)


def _resting_runs(session: Session, before: datetime) -> list[m.CrawlRunInput]:
    """Runs that should be moving; Temporal says whether they are."""
    rows = session.execute(
        select(CrawlRun, Campaign.name)
        .join(Campaign)
        .where(CrawlRun.state.not_in(RUN_FINAL_STATES), CrawlRun.updated_at < before)
        .order_by(CrawlRun.id)
        .limit(BATCH)
    )
    return [
        m.CrawlRunInput(
            str(run.id),
            run.source,
            run.spec["adapter"],
            campaign,
            urgency.of_run(session, run),
            crawled=run.crawled_at is not None,
            paused=run.state == "paused",
        )
        for run, campaign in rows
    ]


def _resting_candidates(session: Session, before: datetime) -> list[m.IngestInput]:
    """Candidates that no run takes care of any more."""
    rows = session.execute(
        select(Candidate.id, needs_audio(), Candidate.source)
        .outerjoin(CrawlRun, CrawlRun.id == Candidate.crawl_run_id)
        .where(to_be_ingested(), Candidate.updated_at < before)
        .where(or_(CrawlRun.id.is_(None), CrawlRun.state.in_(RUN_FINAL_STATES)))
        .order_by(Candidate.id)
        .limit(BATCH)
    )
    return [m.IngestInput(str(candidate_id), bool(audio), source) for candidate_id, audio, source in rows]


def _unapplied_decisions(session: Session, before: datetime) -> list[tuple[str, str]]:
    rows = session.execute(
        select(ReviewCase.candidate_id, ReviewCase.id)
        .where(ReviewCase.state == "decided", ReviewCase.updated_at < before)
        .limit(BATCH)
    )
    return [(str(candidate_id), str(case_id)) for candidate_id, case_id in rows]


def _open_cases(session: Session, before: datetime) -> list[m.IngestInput]:
    """Cases whose timers (reminder, expiry) need a workflow."""
    rows = session.execute(
        select(Candidate.id, Candidate.source)
        .join(ReviewCase, ReviewCase.candidate_id == Candidate.id)
        .where(ReviewCase.state == "open", ReviewCase.updated_at < before)
    )
    return [m.IngestInput(str(candidate_id), False, source) for candidate_id, source in rows]


def _schedules(session: Session, before: datetime) -> list[tuple[str, str, dict[str, Any] | None, bool]]:
    return [
        (
            str(campaign.id),
            campaign.name,
            Schedule.model_validate(campaign.spec["schedule"]).message() if campaign.spec.get("schedule") else None,
            campaign.state == "paused",
        )
        for campaign in session.scalars(select(Campaign).where(Campaign.state != "deleted"))
    ]
