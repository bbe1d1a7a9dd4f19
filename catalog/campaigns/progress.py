"""How far the runs of a campaign are, and what every item that is not finished waits for."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, func, literal, or_, select, tuple_
from sqlalchemy.orm import Session

from catalog.campaigns import holds, repository
from catalog.campaigns.errors import BadCursorError
from catalog.models import (
    FINAL_STATES,
    RUN_FINAL_STATES,
    AudioFingerprint,
    Campaign,
    Candidate,
    CrawlIncident,
    CrawlRun,
    FrontierRequest,
    ReviewCase,
)
from catalog.repositories.politeness import BreakerState, open_breakers

RATE_WINDOW_S = 10.0
"""Rates are taken over so many seconds."""

UNBLOCK = {
    "worker": "nobody needs to act: a worker takes it; `versions status` tells whether one runs",
    "source": "the site: it is asked again by itself",
    "moderator": "a moderator: `versions review list`",
    "operator": "the operator: `versions campaign show`",
    "schedule": "nobody needs to act: its time comes",
}
"""Who can unblock what waits, by ``waiting_on``."""
BREAKER_OPEN = "breaker_open"


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Where one crawl run stands. Counts are of candidates, unless named requests.

    Attributes:
        fetched: candidates whose page (and audio, where it is wanted) arrived.
        duplicates: became a further source of a known version.
        open: not final and not in review.
        errors: by class: final incidents of requests, and reasons of failed candidates.
        requests_waiting: of the queued ones, those whose time has not come; ``next_request_at``: the soonest.
        rate_per_s: answered requests plus settled candidates a second, over the last `RATE_WINDOW_S`.
        time_left_s: an estimate; None where nothing can be said yet, 0 for a finished run.
    """

    run_id: uuid.UUID
    source: str
    adapter: str
    state: str
    reason: str
    waiting_on: str | None
    next_attempt_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    crawled: bool
    found: int = 0
    fetched: int = 0
    fingerprinted: int = 0
    duplicates: int = 0
    in_review: int = 0
    published: int = 0
    rejected: int = 0
    unavailable: int = 0
    failed: int = 0
    open: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    requests_done: int = 0
    requests_failed: int = 0
    requests_queued: int = 0
    requests_waiting: int = 0
    next_request_at: datetime | None = None
    rate_per_s: float = 0.0
    time_left_s: float | None = None

    @property
    def final(self) -> bool:
        """Whether the run has ended."""
        return self.state in RUN_FINAL_STATES


@dataclass(frozen=True, slots=True)
class Progress:
    """All runs that were asked for, oldest first. ``taken_at``: UTC, the database's clock."""

    runs: tuple[RunProgress, ...]
    taken_at: datetime

    @property
    def finished(self) -> bool:
        """Whether there are runs and all have ended."""
        return bool(self.runs) and all(run.final for run in self.runs)

    def total(self, name: str) -> int:
        """Sum of one count over the runs."""
        return sum(getattr(run, name) for run in self.runs)

    def errors(self) -> dict[str, int]:
        """Errors by class over all runs, most first."""
        result: dict[str, int] = {}
        for run in self.runs:
            for name, count in run.errors.items():
                result[name] = result.get(name, 0) + count
        return dict(sorted(result.items(), key=lambda pair: (-pair[1], pair[0])))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"taken_at": self.taken_at, "finished": self.finished, "runs": [asdict(run) for run in self.runs]}


def campaign_progress(session: Session, campaign_or_runs: uuid.UUID | Sequence[uuid.UUID]) -> Progress:
    """Progress of the newest execution of a campaign, or of the given runs: four grouped queries in all."""
    if isinstance(campaign_or_runs, uuid.UUID):
        runs = repository.latest_runs(session, campaign_or_runs)
    else:
        runs = list(
            session.scalars(
                select(CrawlRun)
                .where(CrawlRun.id.in_(campaign_or_runs))
                .order_by(CrawlRun.id)
                .execution_options(populate_existing=True)
            )
        )
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    ids = [run.id for run in runs]
    candidates, requests = _candidates(session, ids, now), _requests(session, ids, now)
    errors = _errors(session, ids)
    result = []
    for run in runs:
        counts, queue = candidates.get(run.id, {}), requests.get(run.id, {})
        answered, settled = queue.pop("answered", 0), counts.pop("settled", 0)
        progress = RunProgress(
            run_id=run.id,
            source=run.source,
            adapter=str(run.spec.get("adapter") or run.source),
            state=run.state,
            reason=run.reason,
            waiting_on=run.waiting_on,
            next_attempt_at=run.next_attempt_at,
            started_at=run.started_at,
            finished_at=run.finished_at,
            crawled=run.crawled_at is not None,
            errors=errors.get(run.id, {}),
            rate_per_s=0.0 if run.state in RUN_FINAL_STATES else (answered + settled) / RATE_WINDOW_S,
            time_left_s=_time_left(run, counts, queue, answered, settled, now),
            **counts,
            **queue,
        )
        result.append(progress)
    return Progress(tuple(result), now)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(condition)


def _candidates(session: Session, ids: list[uuid.UUID], now: datetime) -> dict[uuid.UUID, dict[str, Any]]:
    state = Candidate.state
    fingerprinted = exists().where(AudioFingerprint.candidate_id == Candidate.id)
    past = state.in_(("fetched", "fingerprinted", "matched", "in_review", "published", "duplicate", "rejected"))
    resting = state.in_((*FINAL_STATES, "in_review"))
    columns = {
        "found": func.count(),
        "fetched": _count(or_(Candidate.fetched_at.is_not(None), past)),
        "fingerprinted": _count(fingerprinted),
        "duplicates": _count(state == "duplicate"),
        "in_review": _count(state == "in_review"),
        "published": _count(state == "published"),
        "rejected": _count(state == "rejected"),
        "unavailable": _count(state == "unavailable"),
        "failed": _count(state == "failed"),
        "open": _count(~resting),
        "settled": _count(and_(resting, Candidate.since > now - timedelta(seconds=RATE_WINDOW_S))),
    }
    return _grouped(session, Candidate.crawl_run_id, ids, columns)


def _requests(session: Session, ids: list[uuid.UUID], now: datetime) -> dict[uuid.UUID, dict[str, Any]]:
    queued = FrontierRequest.state == "queued"
    waiting = and_(queued, FrontierRequest.not_before > now)
    columns = {
        "requests_done": _count(FrontierRequest.state == "done"),
        "requests_failed": _count(FrontierRequest.state == "failed"),
        "requests_queued": _count(queued),
        "requests_waiting": _count(waiting),
        "next_request_at": func.min(FrontierRequest.not_before).filter(waiting),
        "answered": _count(FrontierRequest.finished_at > now - timedelta(seconds=RATE_WINDOW_S)),
    }
    return _grouped(session, FrontierRequest.crawl_run_id, ids, columns)


def _grouped(
    session: Session, run: Any, ids: list[uuid.UUID], columns: dict[str, Any]
) -> dict[uuid.UUID, dict[str, Any]]:
    rows = session.execute(select(run, *columns.values()).where(run.in_(ids)).group_by(run))
    return {row[0]: dict(zip(columns, row[1:], strict=True)) for row in rows}


def _errors(session: Session, ids: list[uuid.UUID]) -> dict[uuid.UUID, dict[str, int]]:
    incidents = (
        select(CrawlIncident.crawl_run_id, CrawlIncident.failure, func.count())
        .where(CrawlIncident.crawl_run_id.in_(ids), CrawlIncident.final)
        .group_by(CrawlIncident.crawl_run_id, CrawlIncident.failure)
    )
    failed = (
        select(Candidate.crawl_run_id, Candidate.reason, func.count())
        .where(Candidate.crawl_run_id.in_(ids), Candidate.state == "failed")
        .group_by(Candidate.crawl_run_id, Candidate.reason)
    )
    result: dict[uuid.UUID, dict[str, int]] = {}
    for run_id, name, count in session.execute(incidents.union_all(failed)):
        classes = result.setdefault(run_id, {})
        classes[name] = classes.get(name, 0) + count
    return result


def _time_left(
    run: CrawlRun, counts: dict[str, Any], queue: dict[str, Any], answered: int, settled: int, now: datetime
) -> float | None:
    if run.state in RUN_FINAL_STATES:
        return 0.0
    if run.state in ("paused", "pending") or run.started_at is None:
        return None
    elapsed = max((now - run.started_at).total_seconds(), 1.0)
    window = min(elapsed, RATE_WINDOW_S)
    done = queue.get("requests_done", 0) + queue.get("requests_failed", 0)
    resting = counts.get("found", 0) - counts.get("open", 0)
    least = 0.0
    for left, recent, ever in (
        (queue.get("requests_queued", 0), answered, done),
        (counts.get("open", 0), settled, resting),
    ):
        rate = recent / window if recent else ever / elapsed
        if left and not rate:
            return None
        least = max(least, left / rate if left else 0.0)
    if soonest := queue.get("next_request_at"):
        least = max(least, (soonest - now).total_seconds())
    return least


@dataclass(frozen=True, slots=True)
class WaitingItem:
    """Something that is not finished, and why.

    Attributes:
        kind: ``run``, ``requests`` (a group of queued ones whose time has not come) or ``candidate``.
        id: of the run or candidate; for a group: the run's.
        what: a title or URL, as the source spells it (untrusted text).
        reason: a stable code; ``detail``: for people.
        waiting_on: ``worker``, ``source``, ``moderator``, ``operator``; ``who``: the same as a sentence.
        count: how many requests the group has.
    """

    kind: str
    id: uuid.UUID
    run_id: uuid.UUID | None
    source: str
    what: str
    state: str
    reason: str
    detail: str
    since: datetime | None
    next_attempt_at: datetime | None
    waiting_on: str
    who: str
    count: int = 1
    case_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class WaitingPage:
    """``next_cursor``: opaque; None on the last page."""

    items: list[WaitingItem]
    next_cursor: str | None


def waiting_items(session: Session, campaign_id: uuid.UUID, limit: int = 50, cursor: str | None = None) -> WaitingPage:
    """Everything of a campaign that waits: first (on the first page) its runs and groups of delayed requests, then
    the candidates of all its runs, longest waiting first; ``limit`` counts candidates.

    Raises BadCursorError.
    """
    items: list[WaitingItem] = []
    after = _read_cursor(cursor, campaign_id) if cursor else None
    name = session.scalar(select(Campaign.name).where(Campaign.id == campaign_id)) or ""
    if after is None:
        items += _held_runs(session, campaign_id)
        items += _waiting_runs(session, campaign_id, name)
        items += waiting_requests(session, campaign_id)
    query = (
        select(Candidate, CrawlRun.source, CrawlRun.state, CrawlRun.publication, ReviewCase.id)
        .join(CrawlRun, CrawlRun.id == Candidate.crawl_run_id)
        .outerjoin(ReviewCase, and_(ReviewCase.candidate_id == Candidate.id, ReviewCase.state.in_(("open", "decided"))))
        .where(CrawlRun.campaign_id == campaign_id, Candidate.state.not_in(FINAL_STATES))
        .order_by(Candidate.since, Candidate.id)
        .limit(limit + 1)
    )
    if after is not None:
        query = query.where(tuple_(Candidate.since, Candidate.id) > tuple_(literal(after[0]), literal(after[1])))
    rows = session.execute(query).all()
    breakers = open_breakers(session, {row[1] for row in rows})
    for candidate, source, run_state, publication, case_id in rows[:limit]:
        waiting_on = candidate.waiting_on or ("moderator" if candidate.state == "in_review" else "worker")
        who = UNBLOCK.get(waiting_on, waiting_on)
        if case_id is not None and waiting_on == "moderator":
            who = f"a moderator: `versions review show {case_id}`"
        elif waiting_on == "worker" and publication == "probation" and run_state not in RUN_FINAL_STATES:
            who = "nobody needs to act: the first items of the run are judged together"
        elif waiting_on == "worker" and run_state == "paused":
            waiting_on, who = "operator", f"the operator: `versions campaign resume {name}`"
        elif candidate.reason == holds.HELD:
            who = _held(candidate.crawl_run_id)
        elif waiting_on == "operator":
            verb = "start" if run_state in RUN_FINAL_STATES else "resume"
            who = f"the operator: `versions campaign {verb} {name}`"
        reason, detail, again_at = candidate.reason, candidate.detail, candidate.next_attempt_at
        breaker = breakers.get(source)
        if breaker is not None and candidate.state == "discovered" and waiting_on in ("worker", "source"):
            # Its audio comes from that source, and nobody may ask there.
            reason, detail, waiting_on = BREAKER_OPEN, breaker.words, breaker.waiting_on
            again_at, who = breaker.next_probe_at, _who_closes(breaker)
        items.append(
            WaitingItem(
                kind="candidate",
                id=candidate.id,
                run_id=candidate.crawl_run_id,
                source=source,
                what=str(candidate.item.get("title") or candidate.url),
                state=candidate.state,
                reason=reason,
                detail=detail,
                since=candidate.since,
                next_attempt_at=again_at,
                waiting_on=waiting_on,
                who=who,
                case_id=case_id,
            )
        )
    more = len(rows) > limit
    last = rows[limit - 1][0] if more else None
    return WaitingPage(items, _cursor(campaign_id, last.since, last.id) if last is not None else None)


def _held(run_id: uuid.UUID | None) -> str:
    return f"the operator: `versions campaign release {run_id}`, or `discard`"


def _held_runs(session: Session, campaign_id: uuid.UUID) -> list[WaitingItem]:
    return [
        WaitingItem(
            kind="run",
            id=run.id,
            run_id=run.id,
            source=run.source,
            what=f"publication of what {run.source} brought",
            state=run.state,
            reason=holds.HELD,
            detail=run.publication_detail,
            since=run.crawled_at or run.updated_at,
            next_attempt_at=None,
            waiting_on="operator",
            who=_held(run.id),
        )
        for run in holds.held_runs(session, campaign_id)
    ]


def _who_closes(breaker: BreakerState) -> str:
    if breaker.waiting_on == "operator":
        return f"the operator: `versions source breaker {breaker.source} auto`"
    return "the site: one request probes by itself; `versions source breaker` shows and forces it"


def _waiting_runs(session: Session, campaign_id: uuid.UUID, name: str) -> list[WaitingItem]:
    result = []
    runs = repository.active_runs(session, campaign_id)
    breakers = open_breakers(session, {run.source for run in runs})
    for run in runs:
        waiting_on = run.waiting_on or ("operator" if run.state == "paused" else "worker")
        who = (
            f"the operator: `versions campaign resume {name}`"
            if run.state == "paused"
            else UNBLOCK.get(waiting_on, waiting_on)
        )
        reason, detail, since, again_at = run.reason, "", run.updated_at, run.next_attempt_at
        if run.state != "paused" and run.crawled_at is None and (breaker := breakers.get(run.source)) is not None:
            reason, detail, waiting_on = BREAKER_OPEN, breaker.words, breaker.waiting_on
            since, again_at = breaker.since or since, breaker.next_probe_at
            who = _who_closes(breaker)
        result.append(
            WaitingItem(
                kind="run",
                id=run.id,
                run_id=run.id,
                source=run.source,
                what=f"crawl of {run.source}",
                state=run.state,
                reason=reason,
                detail=detail,
                since=since,
                next_attempt_at=again_at,
                waiting_on=waiting_on,
                who=who,
            )
        )
    return result


def waiting_requests(session: Session, campaign_id: uuid.UUID) -> list[WaitingItem]:
    """The queued requests of a campaign's runs whose time has not come, in groups by run and reason."""
    # The newest incident of a request says why it waits; without one it is only not its time yet.
    newest = (
        select(CrawlIncident.failure)
        .where(
            CrawlIncident.crawl_run_id == FrontierRequest.crawl_run_id,
            CrawlIncident.request_key == FrontierRequest.request_key,
        )
        .order_by(CrawlIncident.seen_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    reason = func.coalesce(
        FrontierRequest.wait_reason, newest, case((FrontierRequest.attempts > 0, "retry"), else_="politeness")
    ).label("reason")
    waiting = (
        select(
            FrontierRequest.crawl_run_id,
            CrawlRun.source,
            FrontierRequest.url,
            FrontierRequest.not_before,
            reason,
            func.coalesce(FrontierRequest.waiting_on, "source").label("waiting_on"),
        )
        .join(CrawlRun, CrawlRun.id == FrontierRequest.crawl_run_id)
        .where(
            CrawlRun.campaign_id == campaign_id,
            CrawlRun.state.not_in(RUN_FINAL_STATES),
            FrontierRequest.state == "queued",
            FrontierRequest.not_before > func.now(),
        )
        .subquery()
    )
    rows = session.execute(
        select(
            waiting.c.crawl_run_id,
            waiting.c.source,
            waiting.c.reason,
            waiting.c.waiting_on,
            func.count(),
            func.min(waiting.c.not_before),
            func.min(waiting.c.url),
        )
        .group_by(waiting.c.crawl_run_id, waiting.c.source, waiting.c.reason, waiting.c.waiting_on)
        .order_by(func.min(waiting.c.not_before))
    )
    return [
        WaitingItem(
            kind="requests",
            id=run_id,
            run_id=run_id,
            source=source,
            what=url,
            state="queued",
            reason=why,
            detail=f"{count} requests",
            since=None,
            next_attempt_at=soonest,
            waiting_on=waiting_on,
            who=UNBLOCK.get(waiting_on, waiting_on),
            count=count,
        )
        for run_id, source, why, waiting_on, count, soonest, url in rows
    ]


def _cursor(campaign_id: uuid.UUID, since: datetime, candidate_id: uuid.UUID) -> str:
    text = json.dumps([campaign_id.hex, since.astimezone(UTC).isoformat(), candidate_id.hex])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str, campaign_id: uuid.UUID) -> tuple[datetime, uuid.UUID]:
    try:
        if len(cursor) > 500:
            raise ValueError(cursor[:20])
        campaign, since, candidate = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if uuid.UUID(campaign) != campaign_id:
            raise ValueError(campaign)
        moment = datetime.fromisoformat(since)
        if moment.tzinfo is None:
            raise ValueError(since)
        return moment, uuid.UUID(candidate)
    except (ValueError, TypeError, AttributeError):
        raise BadCursorError("this cursor is not from this list; begin without one") from None
