"""How each source does: what its runs brought, what went wrong lately, what it waits for."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session, aliased

from catalog import availability
from catalog.campaigns import holds
from catalog.campaigns.progress import UNBLOCK, waiting_requests
from catalog.models import RUN_FINAL_STATES, Candidate, CrawlIncident, CrawlRun

N = TypeVar("N", int, float)

RECENT_RUNS = 5
"""Runs of a source whose errors are told."""
SAMPLE = 10_000
"""Candidates of a run that its field coverage is counted over."""

_RECENT = text("""
    SELECT source, id FROM (
        SELECT source, id, row_number() OVER (PARTITION BY source ORDER BY id DESC) AS number FROM crawl_runs
    ) AS runs WHERE number <= :runs
""")

# A list that names an item with little (see the store's upsert) does not make what is known of it less.
_COVERAGE = text("""
    SELECT run.id, field.name, count(*) AS items, max(sample.total) AS total
    FROM unnest(CAST(:runs AS uuid[])) AS run(id)
    CROSS JOIN LATERAL (
        SELECT item, count(*) OVER () AS total
        FROM (SELECT item FROM candidates WHERE crawl_run_id = run.id LIMIT :sample) AS newest
    ) AS sample
    CROSS JOIN LATERAL jsonb_object_keys(sample.item) AS field(name)
    GROUP BY run.id, field.name
""")


@dataclass(frozen=True, slots=True)
class Waiting:
    """What does not go on. ``who``: can unblock it, as a sentence; ``requests``: how many wait, 0 for the whole run."""

    reason: str
    who: str
    requests: int
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source does.

    Attributes:
        newest_run: the state of its newest run; newest_run_at: when that began.
        last_success: when a run of it last finished.
        items: that the newest run found.
        candidates: of all runs, by state.
        errors: of the newest run, by class; recent_errors: of its last runs together.
        coverage: share of the newest run's items that have each field, 0 to 1.
        waiting: why the newest run, or requests of it, do not go on; empty where all does.
    """

    source: str
    adapter: str
    newest_run: str
    newest_run_at: datetime
    last_success: datetime | None
    items: int = 0
    candidates: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    recent_errors: dict[str, int] = field(default_factory=dict)
    coverage: dict[str, float] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)


def source_states(session: Session) -> list[SourceState]:
    """Every source that has a run, by name: a few grouped queries, however many there are."""
    later = aliased(CrawlRun)
    # A refresh run finds nothing: it says little of how the source does.
    newer = select(later.id).where(later.source == CrawlRun.source, later.id > CrawlRun.id, _crawls(later))
    newest = session.scalars(select(CrawlRun).where(_crawls(CrawlRun), ~newer.exists()).order_by(CrawlRun.source)).all()
    success = {
        row[0]: row[1]
        for row in session.execute(
            select(CrawlRun.source, func.max(CrawlRun.finished_at))
            .where(CrawlRun.state == "finished")
            .group_by(CrawlRun.source)
        )
    }
    candidates: dict[str, dict[str, int]] = {}
    for source, state, count in session.execute(
        select(Candidate.source, Candidate.state, func.count())
        .group_by(Candidate.source, Candidate.state)
        .order_by(Candidate.source, Candidate.state)
    ):
        candidates.setdefault(source, {})[state] = count
    recent: dict[str, list[uuid.UUID]] = {}
    for source, run_id in session.execute(_RECENT, {"runs": RECENT_RUNS}):
        recent.setdefault(source, []).append(run_id)
    errors = _errors(session, [run_id for ids in recent.values() for run_id in ids])
    coverage = _coverage(session, [run.id for run in newest])
    return [
        SourceState(
            source=run.source,
            adapter=str(run.spec.get("adapter") or run.source),
            newest_run=run.state,
            newest_run_at=run.started_at or run.created_at,
            last_success=success.get(run.source),
            items=int(run.counters.get("items", 0)),
            candidates=candidates.get(run.source, {}),
            errors=_most_first(errors.get(run.id, {})),
            recent_errors=_summed(errors, recent.get(run.source, ())),
            coverage=coverage.get(run.id, {}),
            waiting=_waiting(session, run),
        )
        for run in newest
    ]


def _errors(session: Session, runs: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, int]]:
    """What failed for good, requests and candidates, by run and class."""
    errors: dict[uuid.UUID, dict[str, int]] = {}
    for query in (
        select(CrawlIncident.crawl_run_id, CrawlIncident.failure, func.count())
        .where(CrawlIncident.crawl_run_id.in_(runs), CrawlIncident.final)
        .group_by(CrawlIncident.crawl_run_id, CrawlIncident.failure),
        select(Candidate.crawl_run_id, Candidate.reason, func.count())
        .where(Candidate.crawl_run_id.in_(runs), Candidate.state.in_(("failed", "unavailable")))
        .group_by(Candidate.crawl_run_id, Candidate.reason),
    ):
        for run_id, name, count in session.execute(query):
            assert run_id is not None
            of_run = errors.setdefault(run_id, {})
            of_run[name] = of_run.get(name, 0) + count
    return errors


def _coverage(session: Session, runs: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, float]]:
    found: dict[uuid.UUID, dict[str, float]] = {}
    if runs:
        for run_id, name, having, total in session.execute(_COVERAGE, {"runs": list(runs), "sample": SAMPLE}):
            found.setdefault(run_id, {})[name] = round(having / total, 4)
    by_share = {
        run_id: sorted(shares.items(), key=lambda pair: (-pair[1], pair[0])) for run_id, shares in found.items()
    }
    return {run_id: dict(shares) for run_id, shares in by_share.items()}


def _summed(errors: dict[uuid.UUID, dict[str, int]], runs: Sequence[uuid.UUID]) -> dict[str, int]:
    total: dict[str, int] = {}
    for run_id in runs:
        for name, count in errors.get(run_id, {}).items():
            total[name] = total.get(name, 0) + count
    return _most_first(total)


def _most_first(counts: dict[str, N]) -> dict[str, N]:
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _crawls(run: Any) -> ColumnElement[bool]:
    wanted: ColumnElement[bool] = run.spec["kind"].astext.is_distinct_from("refresh")
    return wanted


def _waiting(session: Session, run: CrawlRun) -> list[Waiting]:
    result = []
    if run.publication == "held":
        result.append(Waiting(holds.HELD, f"the operator: `versions campaign release {run.id}`, or `discard`", 0, None))
    if (freeze := availability.frozen(session, run.source)) is not None:
        result.append(Waiting(freeze.reason, f"the operator: `versions source thaw {run.source}`", 0, None))
    if run.state in RUN_FINAL_STATES:
        return result
    if run.state == "paused" or run.waiting_on:
        waiting_on = run.waiting_on or "operator"
        result.append(Waiting(run.reason, UNBLOCK.get(waiting_on, waiting_on), 0, run.next_attempt_at))
    return result + [
        Waiting(each.reason, each.who, each.count, each.next_attempt_at)
        for each in waiting_requests(session, run.campaign_id)
        if each.run_id == run.id
    ]
