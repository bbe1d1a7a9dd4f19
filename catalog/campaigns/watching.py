"""What an operator watches while sources are crawled. All of it comes from PostgreSQL, so that it holds for a fleet."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.campaigns import repository
from catalog.campaigns.progress import Progress, RunProgress, campaign_progress, waiting_requests
from catalog.models import Campaign, CrawlRun, PolitenessScope
from catalog.repositories import worker_reports
from catalog.repositories.crawl_series import Bucket, percentile_s, series
from catalog.repositories.politeness import BreakerState, group_budgets, open_breakers

WINDOW_S = 60.0
"""Rates, statuses and latencies are of the last minute; the buckets behind them reach back up to two."""


@dataclass(frozen=True, slots=True)
class Queue:
    """Requests of a run that are not answered.

    Attributes:
        due: may be sent now; ``in_flight``: sent and not answered; ``turn``: taken by a worker, wait for their slot.
        waiting: whose time has not come, by reason: ``{"count": …, "next_attempt_at": …, "who": …}``.
    """

    queued: int
    due: int
    in_flight: int
    turn: int
    waiting: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class GroupUse:
    """How far a server group's budget was used in the last minute.

    ``allowed_per_min``: None where there is no delay; ``used``: the share of it, None likewise; ``next_slot_in_s``:
    until somebody may ask the group again.
    """

    server_group: str
    delay_s: float
    requests_per_min: float
    allowed_per_min: float | None
    used: float | None
    next_slot_in_s: float


@dataclass(frozen=True, slots=True)
class DailyBudget:
    """How much of a day's requests or bytes (``unit``) is used. ``scope``: ``source:NAME`` or ``group:HOST:PORT``."""

    scope: str
    unit: str
    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class Breaker:
    """A source's circuit breaker; the states are those of `catalog.repositories.politeness.BreakerState`."""

    state: str
    since: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """Errors of one class so far, and what the operator can do about them."""

    name: str
    count: int
    remedy: str


@dataclass(frozen=True, slots=True)
class Publication:
    """Whether what a run finds is taken in; the states are those of `catalog.campaigns.holds`."""

    state: str
    detail: str


@dataclass(frozen=True, slots=True)
class SourceWatch:
    """One source of a campaign, now.

    Attributes:
        statuses: answers of the last minute by HTTP status; ``none``: no answer. ``statuses_total``: of the whole run.
        latency_p50_s, latency_p95_s: of the last minute, without the wait for our own budget; None without answers.
        requests_per_s: answered in the last minute.
    """

    campaign: str
    progress: RunProgress
    queue: Queue
    groups: tuple[GroupUse, ...]
    errors: tuple[ErrorClass, ...]
    statuses: Mapping[str, int] = field(default_factory=dict)
    statuses_total: Mapping[str, int] = field(default_factory=dict)
    requests_per_s: float = 0.0
    bytes_per_s: float = 0.0
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    breaker: Breaker | None = None
    publication: Publication | None = None
    daily: tuple[DailyBudget, ...] = ()


@dataclass(frozen=True, slots=True)
class ProxyHealth:
    """A proxy as a worker finds it. ``state``: ``fit``, ``probing`` (one request tries it) or ``quarantine``."""

    worker: str
    name: str
    state: str


@dataclass(frozen=True, slots=True)
class Watched:
    """All that is watched. ``taken_at``: the database's clock, UTC; ``workers``: names of those that live."""

    taken_at: datetime
    sources: tuple[SourceWatch, ...]
    workers: tuple[str, ...]
    progress: Progress
    proxies: tuple[ProxyHealth, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "taken_at": self.taken_at,
            "finished": self.progress.finished,
            "workers": list(self.workers),
            "proxies": [asdict(proxy) for proxy in self.proxies],
            "sources": [asdict(source) for source in self.sources],
        }


def watched(
    session: Session,
    campaigns: Sequence[uuid.UUID] = (),
    remedies: Mapping[str, str] | None = None,
    trigger: str | None = None,
) -> Watched:
    """The newest execution of each of these campaigns; without any, all runs that are under way.

    Args:
        remedies: what can be done about a failure class, by its code.
        trigger: another execution than the newest.
    """
    if campaigns and trigger is not None:
        runs = [run for each in campaigns for run in repository.runs_of(session, each, trigger)]
    elif campaigns:
        runs = [run for each in campaigns for run in repository.latest_runs(session, each)]
    else:
        runs = repository.all_active_runs(session)
    ids = [run.id for run in runs]
    progress = campaign_progress(session, ids)
    since = progress.taken_at - timedelta(seconds=WINDOW_S)
    recent = series(session, ids, since)
    workers = worker_reports.living(session)
    campaign_ids = {run.campaign_id for run in runs}
    names = {each.id: each.name for each in session.scalars(select(Campaign).where(Campaign.id.in_(campaign_ids)))}
    waiting: dict[uuid.UUID, dict[str, dict[str, Any]]] = {}
    for campaign_id in campaign_ids:
        for item in waiting_requests(session, campaign_id):
            # Soonest first; one reason may wait on several.
            why = waiting.setdefault(item.id, {}).setdefault(
                item.reason, {"count": 0, "next_attempt_at": item.next_attempt_at, "who": item.who}
            )
            why["count"] += item.count
    breakers = open_breakers(session, {run.source for run in runs})
    budgets = group_budgets(
        session, {group for buckets in recent.values() for each in buckets for group in each.groups}
    )
    daily = _daily(session, [f"source:{run.source}" for run in runs] + [f"group:{group}" for group in budgets])
    by_id = {each.run_id: each for each in progress.runs}
    sources = tuple(
        _source(
            names[run.campaign_id],
            run,
            by_id[run.id],
            recent[run.id],
            waiting.get(run.id, {}),
            workers,
            budgets,
            remedies or {},
            since,
            breakers.get(run.source),
            daily,
        )
        for run in runs
    )
    proxies = tuple(
        ProxyHealth(worker.name, name, state)
        for worker in workers
        for name, state in sorted(worker.figures.get("proxies", {}).items())
    )
    return Watched(progress.taken_at, sources, tuple(worker.name for worker in workers), progress, proxies)


def _source(
    campaign: str,
    run: CrawlRun,
    progress: RunProgress,
    recent: Sequence[Bucket],
    waiting: Mapping[str, Mapping[str, Any]],
    workers: list[worker_reports.Worker],
    budgets: Mapping[str, tuple[float, float]],
    remedies: Mapping[str, str],
    since: datetime,
    breaker: BreakerState | None,
    daily: Sequence[DailyBudget],
) -> SourceWatch:
    total = Bucket(since)
    window_s = WINDOW_S
    for bucket in recent:
        window_s = max(window_s, (since - bucket.started_at).total_seconds() + WINDOW_S)
        total.merge(bucket)
    if run.started_at is not None:
        window_s = min(window_s, max((since - run.started_at).total_seconds() + WINDOW_S, 1.0))
    groups = []
    for group, requests in sorted(total.groups.items(), key=lambda pair: (-pair[1], pair[0])):
        delay_s, next_slot_in_s = budgets.get(group, (0.0, 0.0))
        per_min = requests / window_s * 60
        allowed = 60 / delay_s if delay_s else None
        used = round(per_min / allowed, 3) if allowed else None
        groups.append(GroupUse(group, delay_s, round(per_min, 1), allowed, used, next_slot_in_s))
    key = str(run.id)
    scopes = {f"source:{run.source}", *(f"group:{group}" for group in total.groups)}
    return SourceWatch(
        campaign=campaign,
        progress=progress,
        queue=Queue(
            progress.requests_queued,
            progress.requests_queued - progress.requests_waiting,
            worker_reports.crawl_figure(workers, key, "in_flight"),
            worker_reports.crawl_figure(workers, key, "turn"),
            waiting,
        ),
        groups=tuple(groups),
        errors=tuple(
            ErrorClass(name, count, remedies.get(name, ""))
            for name, count in sorted(progress.errors.items(), key=lambda pair: (-pair[1], pair[0]))
        ),
        statuses=dict(sorted(total.statuses.items())),
        statuses_total=dict(sorted(run.counters.get("statuses", {}).items())),
        requests_per_s=round(total.requests / window_s, 2),
        bytes_per_s=round(total.bytes / window_s, 1),
        latency_p50_s=percentile_s(total.latency, 0.5),
        latency_p95_s=percentile_s(total.latency, 0.95),
        daily=tuple(each for each in daily if each.scope in scopes),
        publication=Publication(run.publication, run.publication_detail or ""),
        breaker=Breaker(breaker.state, breaker.since, breaker.words) if breaker else Breaker("closed", None, ""),
    )


def _daily(session: Session, keys: Sequence[str]) -> list[DailyBudget]:
    """The daily budgets of these scopes, where they have one."""
    result = []
    for scope in session.scalars(select(PolitenessScope).where(PolitenessScope.key.in_(keys))):
        limits = scope.state.get("limits", {})
        for unit, name in (("requests", "per_day"), ("bytes", "bytes_per_day")):
            if (limit := limits.get(name)) is not None:
                result.append(DailyBudget(scope.key, unit, int(scope.state.get(unit, 0)), int(limit)))
    return result
