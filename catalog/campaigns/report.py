"""The report of one execution of a campaign, and the difference between two."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from catalog.campaigns import repository
from catalog.campaigns.errors import RunNotFoundError
from catalog.campaigns.progress import RunProgress, campaign_progress, waiting_items
from catalog.models import Campaign, Candidate, CrawlIncident, CrawlRun, FrontierRequest
from catalog.repositories.crawl_series import Bucket, percentile_s, series
from catalog.repositories.politeness import group_budgets

MAX_WAITING = 500
MAX_LISTED = 1000
"""URLs or items listed per class; the counts are always whole."""

COUNTS = (
    "found",
    "fetched",
    "fingerprinted",
    "published",
    "duplicates",
    "in_review",
    "rejected",
    "unavailable",
    "failed",
    "open",
)
_SETTLED_BADLY = ("failed", "unavailable", "rejected")
_BY_STATE = {"duplicates": "duplicate"}


def run_report(
    session: Session,
    campaign_id: uuid.UUID,
    trigger_key: str | None = None,
    remedies: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything about one execution (default: the newest) as JSON values; times in ISO 8601, durations in seconds.

    ``remedies``: what can be done about a failure class or a candidate's reason, by its code.

    Raises RunNotFoundError when there is no such execution.
    """
    campaign = session.get_one(Campaign, campaign_id)
    trigger, runs = _execution(session, campaign, trigger_key)
    progress = {each.run_id: each for each in campaign_progress(session, [run.id for run in runs]).runs}
    course = series(session, [run.id for run in runs])
    sources = [_source(session, run, progress[run.id], course[run.id], remedies or {}) for run in runs]
    waiting = waiting_items(session, campaign_id, MAX_WAITING)
    ids = {run.id for run in runs}
    started = min((run.started_at for run in runs if run.started_at), default=None)
    finished = max((run.finished_at for run in runs if run.finished_at), default=None)
    ended = all(each.final for each in progress.values())
    return {
        "campaign": campaign.name,
        "revision": runs[0].spec.get("revision", campaign.revision),
        "trigger": trigger,
        "finished": ended,
        "started_at": _iso(started),
        "finished_at": _iso(finished) if ended else None,
        "duration_s": _seconds(started, finished) if ended else None,
        "totals": {name: sum(each["counts"][name] for each in sources) for name in COUNTS},
        "incidents": _sum_by(sources, "incidents", "class"),
        "failures": _sum_by(sources, "candidates", "reason"),
        "sources": sources,
        "waiting": [_plain(asdict(item)) for item in waiting.items if item.run_id in ids],
        "waiting_more": waiting.next_cursor is not None,
    }


def compare_runs(session: Session, campaign_id: uuid.UUID, before: str, after: str) -> dict[str, Any]:
    """What changed from one execution to another, per source.

    Counts (of a run whose candidates a later one took over: as they were when it ended), requests, URLs that fail
    newly (``broke``) or no more (``mended``), and the source's settings.

    Raises RunNotFoundError.
    """
    campaign = session.get_one(Campaign, campaign_id)
    old = {run.source: run for run in _execution(session, campaign, before)[1]}
    new = {run.source: run for run in _execution(session, campaign, after)[1]}
    progress = {
        each.run_id: each
        for each in campaign_progress(session, [run.id for run in (*old.values(), *new.values())]).runs
    }
    sources: list[dict[str, Any]] = []
    for source in sorted(old.keys() | new.keys()):
        first, second = old.get(source), new.get(source)
        if first is None or second is None:
            sources.append({"source": source, "only_in": "before" if first else "after"})
            continue
        one, two = _counts(first, progress[first.id]), _counts(second, progress[second.id])
        failing_then, failing_now = _failing(session, first.id), _failing(session, second.id)
        sources.append(
            {
                "source": source,
                "counts": {name: [one[name], two[name], two[name] - one[name]] for name in COUNTS},
                "requests": [_answered(progress[first.id]), _answered(progress[second.id])],
                "duration_s": [
                    _seconds(first.started_at, first.finished_at),
                    _seconds(second.started_at, second.finished_at),
                ],
                "broke": [_url(failing_now[key]) for key in sorted(failing_now.keys() - failing_then.keys())],
                "mended": [_url(failing_then[key]) for key in sorted(failing_then.keys() - failing_now.keys())],
                "settings": repository.difference(_settings(first), _settings(second)),
            }
        )
    return {"campaign": campaign.name, "before": before, "after": after, "sources": sources}


def _execution(session: Session, campaign: Campaign, trigger_key: str | None) -> tuple[str, list[CrawlRun]]:
    newest = repository.triggers(session, campaign.id, 20)
    trigger = trigger_key or (newest[0] if newest else "")
    runs = repository.runs_of(session, campaign.id, trigger) if trigger else []
    if not runs:
        there = ", ".join(newest) or f"none yet; `versions campaign start {campaign.name}`"
        raise RunNotFoundError(f"{campaign.name} has no execution {trigger_key or ''!r}; there are: {there}")
    return trigger, runs


def _source(
    session: Session, run: CrawlRun, progress: RunProgress, course: Sequence[Bucket], remedies: Mapping[str, str]
) -> dict[str, Any]:
    counters = run.counters
    requests = _answered(progress)
    delay = float(run.spec.get("politeness", {}).get("delay") or 0.0)
    end = run.finished_at or run.crawled_at
    return {
        "source": run.source,
        "adapter": progress.adapter,
        "run_id": str(run.id),
        "state": run.state,
        "reason": run.reason,
        "started_at": _iso(run.started_at),
        "crawled_at": _iso(run.crawled_at),
        "finished_at": _iso(run.finished_at),
        "crawl_s": _seconds(run.started_at, run.crawled_at),
        "duration_s": _seconds(run.started_at, run.finished_at),
        "counts": _counts(run, progress),
        "availability": counters.get("looks", {}),
        "publication": {"state": run.publication, "detail": run.publication_detail},
        "unchanged_pages": {name: int(counters.get(name, 0)) for name in ("not_modified", "skipped")},
        "requests": {
            "done": progress.requests_done,
            "failed": progress.requests_failed,
            "queued": progress.requests_queued,
            "retries": int(counters.get("retries", 0)),
            "bytes": int(counters.get("bytes", 0)),
            "rate_per_s": _rate(requests, _seconds(run.started_at, run.crawled_at or end)),
        },
        "items": {name: int(counters.get(name, 0)) for name in ("items", "new", "changed", "unchanged")},
        "statuses": dict(sorted(counters.get("statuses", {}).items())),
        "latency": {
            "p50_s": percentile_s(counters.get("latency", ()), 0.5),
            "p95_s": percentile_s(counters.get("latency", ()), 0.95),
        },
        "series": [_bucket(bucket) for bucket in course],
        "groups": _groups(session, course, _seconds(run.started_at, end)),
        "incidents": _incidents(session, run.id, remedies),
        "candidates": _failures(session, run.id, remedies),
        "politeness": {
            "delay_s": delay,
            "concurrency": run.spec.get("politeness", {}).get("concurrency"),
            "robots": run.spec.get("politeness", {}).get("robots"),
            # What the delay alone costs; a crawl is never faster against one server group.
            "least_s": delay * max(requests - 1, 0),
            "waited_s": counters.get("waited_s"),
            "delayed_requests": _delayed(session, run.id),
        },
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _iso(value) if isinstance(value, datetime) else str(value) if isinstance(value, uuid.UUID) else value
        for name, value in values.items()
    }


def _bucket(bucket: Bucket) -> dict[str, Any]:
    return {**asdict(bucket), "started_at": _iso(bucket.started_at)}


def _groups(session: Session, course: Sequence[Bucket], crawl_s: float | None) -> dict[str, dict[str, Any]]:
    """By server group, the busiest first: requests, its delay as it is now, the share of the allowed rate."""
    requests: dict[str, int] = {}
    for bucket in course:
        for group, count in bucket.groups.items():
            requests[group] = requests.get(group, 0) + count
    delays = {group: delay_s for group, (delay_s, _) in group_budgets(session, requests).items()}
    covered_s = crawl_s or sum(bucket.width_s for bucket in course)
    return {
        group: {
            "requests": count,
            "delay_s": delays.get(group),
            "used": round(count * delays[group] / covered_s, 3) if delays.get(group) and covered_s else None,
        }
        for group, count in sorted(requests.items(), key=lambda pair: (-pair[1], pair[0]))
    }


def _counts(run: CrawlRun, progress: RunProgress) -> dict[str, int]:
    counts = {name: int(getattr(progress, name)) for name in COUNTS}
    kept = run.counters.get("candidates")
    if not kept or sum(kept.values()) <= counts["found"]:
        return counts
    # A later run saw the candidates again and they are its own now: what was kept at this run's end is the truth.
    resting = ("published", "duplicate", "in_review", *_SETTLED_BADLY)
    at_end = {name: int(kept.get(_BY_STATE.get(name, name), 0)) for name in COUNTS}
    at_end["found"] = sum(kept.values())
    at_end["open"] = sum(count for state, count in kept.items() if state not in resting)
    at_end["fetched"] = at_end["found"] - sum(kept.get(state, 0) for state in ("discovered", "failed", "unavailable"))
    # Not kept by state: at least those that are this run's still.
    at_end["fingerprinted"] = counts["fingerprinted"]
    return at_end


def _incidents(session: Session, run_id: uuid.UUID, remedies: Mapping[str, str]) -> list[dict[str, Any]]:
    rank = func.row_number().over(partition_by=CrawlIncident.failure, order_by=CrawlIncident.url)
    total = func.count().over(partition_by=CrawlIncident.failure)
    ranked = (
        select(CrawlIncident, rank.label("place"), total.label("total"))
        .where(CrawlIncident.crawl_run_id == run_id)
        .subquery()
    )
    row = ranked.c
    classes: dict[str, dict[str, Any]] = {}
    for each in session.execute(select(ranked).where(row.place <= MAX_LISTED).order_by(row.failure, row.place)):
        entry = classes.setdefault(
            each.failure,
            {"class": each.failure, "count": each.total, "remedy": remedies.get(each.failure, ""), "urls": []},
        )
        entry["urls"].append(
            {
                "url": each.url,
                "status": each.status,
                "attempts": each.attempts,
                "final": each.final,
                "detail": each.detail,
                "seen_at": _iso(each.seen_at),
            }
        )
    return sorted(classes.values(), key=lambda entry: (-entry["count"], entry["class"]))


def _failures(session: Session, run_id: uuid.UUID, remedies: Mapping[str, str]) -> list[dict[str, Any]]:
    keys = (Candidate.state, Candidate.reason)
    rank = func.row_number().over(partition_by=keys, order_by=Candidate.id)
    total = func.count().over(partition_by=keys)
    columns = (*keys, Candidate.id, Candidate.url, Candidate.item["title"].astext.label("title"), Candidate.detail)
    ranked = (
        select(*columns, Candidate.attempts, rank.label("place"), total.label("total"))
        .where(Candidate.crawl_run_id == run_id, Candidate.state.in_(_SETTLED_BADLY))
        .subquery()
    )
    row = ranked.c
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for each in session.execute(select(ranked).where(row.place <= MAX_LISTED).order_by(row.place)):
        entry = groups.setdefault(
            (each.state, each.reason),
            {
                "state": each.state,
                "reason": each.reason,
                "count": each.total,
                "remedy": remedies.get(each.reason, ""),
                "items": [],
            },
        )
        entry["items"].append(
            {
                "id": str(each.id),
                "title": each.title or "",
                "url": each.url,
                # The remedy stands once, with the class.
                "detail": (each.detail or "").removesuffix(entry["remedy"]).rstrip(" ;"),
                "attempts": each.attempts,
            }
        )
    return sorted(groups.values(), key=lambda entry: (entry["state"], -entry["count"], entry["reason"]))


def _delayed(session: Session, run_id: uuid.UUID) -> dict[str, Any]:
    count, until = session.execute(
        select(func.count(), func.max(FrontierRequest.not_before)).where(
            FrontierRequest.crawl_run_id == run_id,
            FrontierRequest.state == "queued",
            FrontierRequest.not_before > func.now(),
        )
    ).one()
    return {"count": count, "until": _iso(until)}


def _failing(session: Session, run_id: uuid.UUID) -> dict[str, Any]:
    rows = session.execute(
        select(CrawlIncident.request_key, CrawlIncident.url, CrawlIncident.failure)
        .where(CrawlIncident.crawl_run_id == run_id, CrawlIncident.final)
        .order_by(CrawlIncident.seen_at)
        .limit(MAX_LISTED)
    )
    return {row.request_key: row for row in rows}


def _url(row: Any) -> dict[str, str]:
    return {"url": row.url, "class": row.failure}


def _settings(run: CrawlRun) -> dict[str, Any]:
    return {key: value for key, value in run.spec.items() if key != "revision"}


def _answered(progress: RunProgress) -> int:
    return progress.requests_done + progress.requests_failed


def _sum_by(sources: list[dict[str, Any]], part: str, key: str) -> dict[str, int]:
    result: dict[str, int] = {}
    for source in sources:
        for each in source[part]:
            result[each[key]] = result.get(each[key], 0) + each["count"]
    return dict(sorted(result.items()))


def _rate(count: int, seconds: float | None) -> float | None:
    return round(count / seconds, 3) if seconds else None


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return round((end - start).total_seconds(), 3) if start and end else None


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
