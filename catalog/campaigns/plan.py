"""What a campaign would cost before it runs: requests, bytes and hours under its budget."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from croniter import croniter
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from catalog import availability
from catalog.campaigns import repository
from catalog.campaigns.spec import CampaignSpec, Schedule, SourceSpec
from catalog.models import Campaign, CrawlRun, FrontierRequest


@dataclass(frozen=True, slots=True)
class Sample:
    """What a look at the site told. ``requests``: expected in all; ``bytes_per_request``: mean size of a page.

    ``pages``: so many were looked at; ``complete``: that was all there is.
    """

    requests: int
    bytes_per_request: float
    pages: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """The expected cost of one source.

    Attributes:
        basis: ``sample`` (where one was taken), ``last_run``, ``due`` (of a refresh: sources that are to be looked at),
            or ``limit`` (nothing is known: the figures are the most that may happen).
        requests: expected, or at most.
        bytes: expected; None when unknown.
        hours: at least so long under delay and concurrency; for ``limit``, if the limit is reached.
        note: the same for people.
        last: what the last run did (``requests, bytes, hours, items``), None without one.
        changes: the source's settings against those of its last run.
        since_last: requests, bytes and hours against its last run, one line each.
    """

    source: str
    adapter: str
    basis: str
    requests: int
    bytes: int | None
    hours: float
    note: str
    last: dict[str, Any] | None
    changes: list[str]
    since_last: list[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """``change``: what applying would do (``created, changed, unchanged``), ``difference``: line by line."""

    campaign: str
    change: str
    difference: list[str]
    sources: list[SourcePlan]
    next_starts: list[datetime]

    @property
    def hours(self) -> float:
        """Sources run side by side: the longest counts."""
        return max((each.hours for each in self.sources), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **asdict(self),
            "next_starts": [each.isoformat() for each in self.next_starts],
            "requests": sum(each.requests for each in self.sources),
            "hours": self.hours,
        }


def plan(
    session: Session, spec: CampaignSpec, samples: Mapping[str, Sample] | None = None, now: datetime | None = None
) -> Plan:
    """The plan of a campaign, stored or not; nothing is changed. ``samples`` by source name; ``now``: UTC."""
    stored = session.scalar(select(Campaign).where(Campaign.name == spec.name))
    record = spec.record()
    difference: list[str] = []
    change = "created"
    if stored is not None:
        difference = repository.difference(stored.spec, record)
        change = "changed" if difference or stored.state == "deleted" else "unchanged"
    sources = []
    for source, entry in zip(spec.sources, record["sources"], strict=True):
        last = _last_run(session, stored, source.name) if stored is not None else None
        current = repository.run_spec(record, entry)
        sources.append(_source(session, source, current, last, (samples or {}).get(source.name)))
    return Plan(spec.name, change, difference, sources, next_starts(spec.schedule, now=now))


def next_starts(schedule: Schedule | None, count: int = 3, now: datetime | None = None) -> list[datetime]:
    """The next starts of a schedule, UTC, soonest first; intervals count from the epoch, as Temporal's do."""
    moment = now or datetime.now(UTC)
    if schedule is None:
        return []
    if schedule.every is not None:
        passed = moment.timestamp() // schedule.every
        return [datetime.fromtimestamp((passed + step) * schedule.every, UTC) for step in range(1, count + 1)]
    assert schedule.cron is not None
    zone = zoneinfo.ZoneInfo(schedule.timezone or "UTC")
    times = croniter(schedule.cron, moment.astimezone(zone))
    return [times.get_next(datetime).astimezone(UTC) for _ in range(count)]


def _source(
    session: Session, source: SourceSpec, entry: dict[str, Any], last: CrawlRun | None, sample: Sample | None
) -> SourcePlan:
    most, delay = source.limits.max_pages, source.politeness.delay or 0.0
    facts, service_s = _facts(session, last) if last is not None else (None, 0.0)
    size: int | None = None
    if entry["kind"] == "refresh":
        wanted = entry["refresh"]
        bounds = availability.Bounds(wanted["confirm_after"], wanted["min"], wanted["max"])
        waiting = availability.count_due(session, source.name, bounds)
        basis, requests = "due", min(waiting, wanted["max_checks"])
        note = f"{waiting} sources are due; at most {wanted['max_checks']} in one run"
    elif sample is not None:
        basis, requests = "sample", min(sample.requests, most)
        size = int(sample.bytes_per_request * requests)
        least = "" if sample.complete else "at least "
        note = f"from {sample.pages} pages: {least}{sample.requests} requests"
    elif facts is not None and facts["requests"]:
        # A page that did not change does not count towards the limit.
        basis, requests = "last_run", min(int(facts["requests"]), most + int(facts["not_modified"]))
        size = int(facts["bytes"] * requests / facts["requests"])
        note = f"as the last run: {facts['requests']} requests, {facts['items']} items"
        if facts["skipped"] or facts["not_modified"]:
            note += f"; {facts['skipped']} known pages not asked, {facts['not_modified']} not modified"
        if facts["state"] not in ("finished",):
            note = f"the last run was {facts['state']} after {facts['requests']} requests: expect at least that"
    else:
        basis, requests, note = "limit", most, f"no earlier run: at most {most} requests"
    concurrency = source.politeness.concurrency or 1
    seconds = max(delay * max(requests - 1, 0), service_s * requests / concurrency)
    changes = []
    if last is not None:
        before = {key: value for key, value in last.spec.items() if key not in ("campaign", "revision")}
        changes = repository.difference(before, entry)
    return SourcePlan(
        source=source.name,
        adapter=source.adapter or source.name,
        basis=basis,
        requests=requests,
        bytes=size,
        hours=seconds / 3600,
        note=note,
        last=facts,
        changes=changes,
        since_last=[] if facts is None or basis == "last_run" else _since_last(facts, requests, size, seconds / 3600),
    )


def _since_last(facts: dict[str, Any], requests: int, size: int | None, hours: float) -> list[str]:
    lines = []
    for name, now in (("requests", requests), ("bytes", size), ("hours", round(hours, 2))):
        before = round(facts[name], 2)
        if now is not None and now != before:
            share = f" ({(now - before) / before:+.0%})" if before else ""
            lines.append(f"{name}: {before} → {now}{share}")
    return lines


def _last_run(session: Session, campaign: Campaign, source: str) -> CrawlRun | None:
    return session.scalar(
        select(CrawlRun)
        .where(
            CrawlRun.campaign_id == campaign.id,
            CrawlRun.source == source,
            CrawlRun.state.in_(("finished", "stopped")),
        )
        .order_by(CrawlRun.id.desc())
        .limit(1)
    )


def _facts(session: Session, run: CrawlRun) -> tuple[dict[str, Any], float]:
    """What a run did, and the mean seconds that one request took beyond waiting for its turn."""
    counters = run.counters
    requests = int(counters.get("requests", 0))
    if not requests:
        requests = (
            session.scalar(
                select(func.count()).where(FrontierRequest.crawl_run_id == run.id, FrontierRequest.state != "queued")
            )
            or 0
        )
    end = run.crawled_at or run.finished_at
    took = max((end - run.started_at) / timedelta(seconds=1), 0.0) if end and run.started_at else 0.0
    politeness = run.spec.get("politeness", {})
    delay, concurrency = float(politeness.get("delay") or 0.0), int(politeness.get("concurrency") or 1)
    # A crawl that its delay held back says nothing of the server's own speed.
    bound_by_delay = took <= delay * requests * 1.2
    service_s = 0.0 if bound_by_delay or not requests else took * concurrency / requests
    facts = {
        "state": run.state,
        "requests": requests,
        "bytes": int(counters.get("bytes", 0)),
        "items": int(counters.get("items", 0)),
        "skipped": int(counters.get("skipped", 0)),
        "not_modified": int(counters.get("not_modified", 0)),
        "hours": took / 3600,
    }
    return facts, service_s
