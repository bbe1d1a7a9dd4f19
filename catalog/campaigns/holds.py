"""Publication holds: what a run finds waits for an operator if the run does not look like the earlier ones.

``CrawlRun.publication``: ``open`` (what it finds is taken in), ``probation`` (the first items are being judged; what is
found waits), ``held`` (waits for an operator), ``released`` and ``discarded`` (what the operator decided). See
docs/decisions/0012-incremental-crawls.md. Callers own the transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, or_, select, update
from sqlalchemy.orm import Session

from catalog.campaigns import thresholds
from catalog.campaigns.errors import CampaignError
from catalog.campaigns.health import Usual, lost_fields, lost_items, usual
from catalog.models import FINAL_STATES, Campaign, Candidate, CrawlRun, PageHistory, VersionSource

HELD = "held_for_check"
"""The reason of a candidate that waits because of its run."""
DISCARDED = "held_discarded"
_SETTINGS = ("adapter", "seeds", "search", "follow", "options", "limits")
_DECIDED = ("released", "discarded")


class NotHeldError(CampaignError):
    """Nothing of this run is held."""

    code = "not_held"


def usual_for(session: Session, run: CrawlRun) -> Usual | None:
    """What earlier, finished runs of the same campaign, source and settings say is usual; None: too few."""
    query = (
        select(CrawlRun)
        .where(CrawlRun.campaign_id == run.campaign_id, CrawlRun.source == run.source, CrawlRun.id < run.id)
        .where(CrawlRun.state == "finished", CrawlRun.crawled_at.is_not(None))
        .where(CrawlRun.publication.in_(("open", "released")))
        .order_by(CrawlRun.id.desc())
        .limit(thresholds.EARLIER_RUNS)
    )
    same = [each for each in session.scalars(query) if _settings(each) == _settings(run)]
    return usual([each.counters for each in same])


def begin(session: Session, run_id: uuid.UUID) -> Usual | None:
    """Puts a run that has something to be compared with on probation, once, before it finds anything."""
    run = session.get_one(CrawlRun, run_id, with_for_update=True)
    if run.spec.get("kind") == "refresh":
        return None
    before = usual_for(session, run)
    if before is not None and run.publication == "open" and not run.counters.get("requests"):
        run.publication = "probation"
    return before


class Watch:
    """Judges a run after each commit of its crawl; ``before``: what is usual, None: no judgement is possible."""

    def __init__(self, before: Usual | None) -> None:
        self._before = before

    def after_commit(self, session: Session, run_id: uuid.UUID, counters: Mapping[str, Any]) -> None:
        """The caller holds the lock of the run's row."""
        if self._before is None:
            return
        publication = session.scalar(select(CrawlRun.publication).where(CrawlRun.id == run_id))
        if publication in _DECIDED:
            return
        if problems := lost_fields(counters, self._before):
            hold(session, run_id, problems)
        elif publication == "held":
            _hold_candidates(session, run_id)
        elif publication == "probation" and int(counters.get("read_items", 0)) >= thresholds.PROBATION_ITEMS:
            session.execute(update(CrawlRun).where(CrawlRun.id == run_id).values(publication="open"))


def judge_at_end(session: Session, run: CrawlRun) -> None:
    """The crawl is over: what was on probation is taken in, or held. The caller holds the lock of the run's row."""
    if run.publication in _DECIDED:
        return
    before = usual_for(session, run) if run.spec.get("kind") != "refresh" else None
    problems = [] if before is None else lost_items(run.counters, before) + lost_fields(run.counters, before)
    if problems:
        hold(session, run.id, problems)
    elif run.publication == "held":
        _hold_candidates(session, run.id)
    else:
        run.publication = "open"


def hold(session: Session, run_id: uuid.UUID, problems: Sequence[str]) -> None:
    """What the run found and nobody has taken in yet waits for an operator."""
    session.execute(
        update(CrawlRun)
        .where(CrawlRun.id == run_id)
        .values(publication="held", publication_detail="; ".join(problems)[:2000])
    )
    _hold_candidates(session, run_id)


def release(session: Session, run_id: uuid.UUID) -> int:
    """The operator has looked: what was held goes on its way. Returns how many. Raises NotHeldError."""
    run = _held_run(session, run_id)
    run.publication = "released"
    let_go = update(Candidate).where(_held_by(run))
    moved = session.execute(
        let_go.values(reason="released", detail="", waiting_on="worker", since=_now()).returning(Candidate.id)
    )
    return len(moved.all())


def discard(session: Session, run_id: uuid.UUID) -> int:
    """The operator has looked: what was held is worth nothing. Returns how many. Raises NotHeldError.

    What is in the catalog stays as it was published. The pages of the run are forgotten, so that the next run reads
    them anew, with a mended adapter.
    """
    run = _held_run(session, run_id)
    run.publication = "discarded"
    drop = update(Candidate).where(_held_by(run))
    first = (
        select(VersionSource.candidate_id)
        .where(VersionSource.version_id == Candidate.version_id)
        .order_by(VersionSource.id)
        .limit(1)
        .scalar_subquery()
    )
    moved = session.execute(
        drop.values(
            state=case(
                (Candidate.version_id.is_(None), "rejected"), (first == Candidate.id, "published"), else_="duplicate"
            ),
            reason=DISCARDED,
            detail="",
            waiting_on=None,
            since=_now(),
            # Whatever the next run finds differs from this, so that it is taken in.
            item_digest="discarded " + Candidate.item_digest,
        ).returning(Candidate.id)
    )
    count = len(moved.all())
    session.execute(delete(PageHistory).where(PageHistory.source == run.source, PageHistory.crawl_run_id == run.id))
    return count


def held_runs(session: Session, campaign_id: uuid.UUID) -> list[CrawlRun]:
    """Runs of a campaign that wait for an operator's word, oldest first."""
    query = select(CrawlRun).where(CrawlRun.campaign_id == campaign_id, CrawlRun.publication == "held")
    return list(session.scalars(query.order_by(CrawlRun.id)))


def campaigns_with_holds(session: Session) -> dict[uuid.UUID, int]:
    """How many runs are held, by campaign."""
    query = select(CrawlRun.campaign_id, func.count()).where(CrawlRun.publication == "held")
    return {row[0]: row[1] for row in session.execute(query.join(Campaign).group_by(CrawlRun.campaign_id))}


def _hold_candidates(session: Session, run_id: uuid.UUID) -> None:
    session.execute(
        update(Candidate)
        .where(Candidate.crawl_run_id == run_id, Candidate.state.not_in((*FINAL_STATES, "in_review")))
        .where(Candidate.waiting_on.is_distinct_from("operator"))
        .values(
            reason=HELD,
            detail="Its crawl run does not look like the earlier ones.",
            waiting_on="operator",
            next_attempt_at=None,
            since=_now(),
        )
    )


def _held_run(session: Session, run_id: uuid.UUID) -> CrawlRun:
    run = session.get(CrawlRun, run_id, with_for_update=True, populate_existing=True)
    if run is None or run.publication != "held":
        raise NotHeldError(f"nothing is held of crawl run {run_id}; see `versions campaign show NAME`")
    return run


def _held_by(run: CrawlRun) -> ColumnElement[bool]:
    """Its held candidates, also those that a later run has seen and did not hold itself."""
    holding = select(CrawlRun.id).where(CrawlRun.publication == "held", CrawlRun.id != run.id)
    return (
        (Candidate.source == run.source)
        & (Candidate.reason == HELD)
        & Candidate.state.not_in(FINAL_STATES)
        & or_(Candidate.crawl_run_id == run.id, Candidate.crawl_run_id.not_in(holding))
    )


def _settings(run: CrawlRun) -> dict[str, Any]:
    return {key: run.spec.get(key) for key in _SETTINGS}


def _now() -> datetime:
    return datetime.now(UTC)
