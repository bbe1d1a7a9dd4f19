"""Campaigns and crawl runs: opened, watched, ended."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, exists, select, update
from sqlalchemy.orm import Session
from temporalio import activity

from activities import messages as m
from activities.fetching import NEAR
from activities.resources import Resources
from catalog.campaigns import holds, repository, urgency
from catalog.models import FINAL_STATES, RUN_FINAL_STATES, AudioFingerprint, Campaign, Candidate, CrawlRun

_POLL_S = 0.2


class CampaignActivities:
    """Short steps in the database; each may be repeated."""

    def __init__(self, resources: Resources) -> None:
        self._database = resources.database

    @activity.defn(name="open_crawl_runs")
    def open_crawl_runs(self, message: m.OpenRunsInput) -> m.OpenRunsResult:
        with self._database.transaction() as session:
            campaign = session.get_one(Campaign, uuid.UUID(message.campaign_id))
            opened = []
            for run in repository.open_runs(session, campaign.id, message.trigger_key):
                if _other_run_of_source(session, run):
                    repository.finish_run(session, run.id, "cancelled", "another run of this source is under way")
                    continue
                if run.spec.get("kind") != "refresh":
                    _adopt_left_candidates(session, run)
                opened.append(m.OpenedRun(str(run.id), run.source, run.spec["adapter"], urgency.of_run(session, run)))
            return m.OpenRunsResult(campaign.name, opened)

    @activity.defn(name="set_run_state")
    def set_run_state(self, message: m.RunStateInput) -> str:
        run_id = uuid.UUID(message.crawl_run_id)
        with self._database.transaction() as session:
            if message.state in RUN_FINAL_STATES:
                run = repository.get_run(session, run_id)
                if run.state not in RUN_FINAL_STATES and message.state in ("cancelled", "stopped"):
                    _leave_candidates(session, run, discard=message.state == "cancelled")
                return repository.finish_run(session, run_id, message.state, message.reason).state
            repository.set_run_state(session, run_id, message.state, message.reason, waiting_on=message.waiting_on)
            return repository.get_run(session, run_id).state

    @activity.defn(name="next_candidates")
    async def next_candidates(self, message: m.NextCandidatesInput) -> m.NextCandidatesResult:
        """Waits a little for candidates while the crawl goes on: one question instead of many."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + message.wait_s
        while True:
            result = await asyncio.to_thread(self._next_candidates, message)
            if result.candidates or result.crawled or loop.time() >= deadline:
                return result
            activity.heartbeat()
            await asyncio.sleep(_POLL_S)

    def _next_candidates(self, message: m.NextCandidatesInput) -> m.NextCandidatesResult:
        run_id = uuid.UUID(message.crawl_run_id)
        with self._database.transaction() as session:
            run = session.get_one(CrawlRun, run_id)
            crawled = run.crawled_at is not None or run.state in RUN_FINAL_STATES
            if run.publication == "probation" and not crawled:
                return m.NextCandidatesResult([], crawled=False)
            query = (
                select(Candidate.id, needs_audio(), near())
                .where(Candidate.crawl_run_id == run_id, to_be_ingested())
                .where(Candidate.id.not_in([uuid.UUID(each) for each in message.exclude]))
                .order_by(Candidate.id)
                .limit(message.limit + message.silent)
            )
            found = [
                m.CandidateRef(str(candidate_id), bool(audio), bool(audio and here))
                for candidate_id, audio, here in session.execute(query)
            ]
            beyond = [each for each in found[message.limit :] if not each.needs_audio]
            return m.NextCandidatesResult(found[: message.limit] + beyond, crawled)


def to_be_ingested() -> ColumnElement[bool]:
    """Candidates that a worker should take up: not final, not with a moderator, not left by a stopped run."""
    return and_(Candidate.state.not_in([*FINAL_STATES, "in_review"]), Candidate.waiting_on.is_distinct_from("operator"))


def needs_audio() -> ColumnElement[bool]:
    """Whether audio is still to be fetched and may be."""
    return and_(
        Candidate.audio_policy != "none",
        Candidate.item["audio_url"].astext.is_not(None),
        ~exists().where(AudioFingerprint.candidate_id == Candidate.id),
    )


def near() -> ColumnElement[bool]:
    """Whether the audio lies on this machine: no source has to be asked for it."""
    url: ColumnElement[str] = Candidate.item["audio_url"].astext
    return url.startswith(NEAR)


def _other_run_of_source(session: Session, run: CrawlRun) -> bool:
    query = select(CrawlRun.id).where(
        CrawlRun.source == run.source, CrawlRun.id != run.id, CrawlRun.state.not_in(RUN_FINAL_STATES)
    )
    return run.state not in RUN_FINAL_STATES and session.scalar(query.limit(1)) is not None


def _adopt_left_candidates(session: Session, run: CrawlRun) -> None:
    """What a stopped run left is taken up by the next run of the source, unless it is held for a check."""
    session.execute(
        update(Candidate)
        .where(Candidate.source == run.source, Candidate.waiting_on == "operator")
        .where(Candidate.state.not_in(FINAL_STATES), Candidate.reason != holds.HELD)
        .values(crawl_run_id=run.id, reason="new", waiting_on="worker", since=datetime.now(UTC))
    )


def _leave_candidates(session: Session, run: CrawlRun, *, discard: bool) -> None:
    left = update(Candidate).where(Candidate.crawl_run_id == run.id, to_be_ingested())
    if discard:
        values = {"state": "rejected", "reason": "run_cancelled", "waiting_on": None}
    else:
        values = {"reason": "run_stopped", "waiting_on": "operator"}
    session.execute(left.values(**values, since=datetime.now(UTC)))
