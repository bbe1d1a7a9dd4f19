"""Campaigns and their crawl runs in the database. Callers own the transaction; everything is safe to repeat."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog.campaigns.errors import CampaignBusyError, CampaignNotFoundError, RunNotFoundError
from catalog.campaigns.spec import CampaignSpec
from catalog.models import RUN_FINAL_STATES, RUN_STATES, Campaign, Candidate, CrawlRun

Change = Literal["created", "changed", "unchanged"]


def apply(session: Session, spec: CampaignSpec) -> tuple[Campaign, Change, list[str]]:
    """Records the campaign under its name; a deleted one of that name comes back.

    Returns it, what happened, and the difference line by line (see `difference`). Runs under way keep the
    spec they were opened with.
    """
    record = spec.record()
    inserted = session.scalar(
        insert(Campaign).values(name=spec.name, spec=record).on_conflict_do_nothing().returning(Campaign.id)
    )
    campaign = session.scalars(
        select(Campaign).where(Campaign.name == spec.name).with_for_update().execution_options(populate_existing=True)
    ).one()
    if inserted is not None:
        return campaign, "created", []
    lines = difference(campaign.spec, record)
    if not lines and campaign.state != "deleted":
        return campaign, "unchanged", []
    if campaign.state == "deleted":
        campaign.state, campaign.deleted_at = "active", None
        lines.insert(0, "state: deleted → active")
    campaign.spec = record
    campaign.revision += 1
    session.flush()
    return campaign, "changed", lines


def get(session: Session, name: str, *, lock: bool = False) -> Campaign:
    """The campaign of this name. Raises CampaignNotFoundError, which lists those there are."""
    query = select(Campaign).where(Campaign.name == name, Campaign.state != "deleted")
    campaign = session.scalar(query.with_for_update() if lock else query)
    if campaign is None:
        names = session.scalars(
            select(Campaign.name).where(Campaign.state != "deleted").order_by(Campaign.name).limit(20)
        )
        there = ", ".join(names) or "none yet; add one by `versions campaign apply FILE`"
        raise CampaignNotFoundError(f"no campaign named {name!r}; there are: {there}")
    return campaign


def list_campaigns(session: Session) -> list[Campaign]:
    """All that are not deleted, by name."""
    return list(session.scalars(select(Campaign).where(Campaign.state != "deleted").order_by(Campaign.name)))


def set_state(session: Session, name: str, state: Literal["active", "paused"]) -> Campaign:
    """Whether its schedule starts it. Raises CampaignNotFoundError."""
    campaign = get(session, name, lock=True)
    campaign.state = state
    session.flush()
    return campaign


def delete(session: Session, name: str) -> Campaign:
    """Marks the campaign as deleted; runs and what they found stay. Raises CampaignNotFoundError, CampaignBusyError."""
    campaign = get(session, name, lock=True)
    if running := len(active_runs(session, campaign.id)):
        raise CampaignBusyError(
            f"{name} has {running} runs under way; first `versions campaign stop {name}` or `cancel {name}`"
        )
    campaign.state, campaign.deleted_at = "deleted", func.now()
    session.flush()
    return campaign


def open_runs(session: Session, campaign_id: uuid.UUID, trigger_key: str) -> list[CrawlRun]:
    """The crawl runs of this execution, one per source in the file's order, opened on the first call.

    A run's ``spec`` is the source's entry with ``campaign``, ``allow_private`` and ``approval``; all durations in
    seconds. A later call returns the same runs, also when the campaign has been changed in between.

    Raises CampaignNotFoundError.
    """
    campaign = session.scalar(
        select(Campaign).where(Campaign.id == campaign_id, Campaign.state != "deleted").with_for_update()
    )
    if campaign is None:
        raise CampaignNotFoundError(f"no campaign with id {campaign_id}; it may have been deleted")
    runs = list(
        session.scalars(
            select(CrawlRun)
            .where(CrawlRun.campaign_id == campaign_id, CrawlRun.trigger_key == trigger_key)
            .order_by(CrawlRun.id)
        )
    )
    if runs:
        return runs
    for entry in campaign.spec["sources"]:
        run = CrawlRun(
            campaign_id=campaign_id,
            trigger_key=trigger_key,
            source=entry["source"],
            spec={**run_spec(campaign.spec, entry), "campaign": campaign.name, "revision": campaign.revision},
        )
        session.add(run)
        session.flush()  # one by one: keys sort by time, and so keep the file's order
        runs.append(run)
    return runs


def run_spec(record: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a run needs of a campaign's record: the source's entry, and what counts for all sources."""
    return {
        **entry,
        "allow_private": record["allow_private"],
        "approval": record["approval"],
        # A campaign that was recorded by an earlier version of the program says nothing of these.
        "revisit": record.get("revisit"),
        "kind": record.get("kind", "crawl"),
        "refresh": record.get("refresh"),
    }


def get_run(session: Session, run_id: uuid.UUID) -> CrawlRun:
    """One run. Raises RunNotFoundError."""
    run = session.get(CrawlRun, run_id, populate_existing=True)
    if run is None:
        raise RunNotFoundError(f"no crawl run with id {run_id}")
    return run


def set_run_state(
    session: Session,
    run_id: uuid.UUID,
    state: str,
    reason: str,
    *,
    waiting_on: str | None = None,
    next_attempt_at: datetime | None = None,
) -> bool:
    """Moves a run that is not final to another state that is not final; False when it is final already.

    Raises RunNotFoundError, and ValueError for a final or unknown state (see `finish_run`).
    """
    if state not in RUN_STATES or state in RUN_FINAL_STATES:
        raise ValueError(f"{state!r} is not a state of a run under way")
    moved = session.execute(
        update(CrawlRun)
        .where(CrawlRun.id == run_id, CrawlRun.state.not_in(RUN_FINAL_STATES))
        .values(
            state=state,
            reason=reason,
            waiting_on=waiting_on,
            next_attempt_at=next_attempt_at,
            started_at=func.coalesce(CrawlRun.started_at, func.now()) if state != "pending" else CrawlRun.started_at,
        )
        .returning(CrawlRun.id)
    ).first()
    if moved is None:
        get_run(session, run_id)
    return moved is not None


def finish_run(session: Session, run_id: uuid.UUID, state: str, reason: str = "") -> CrawlRun:
    """Ends a run; the first final state stands. Keeps the candidates' states in ``counters["candidates"]``.

    Candidates move on to later runs that see them again; the kept counts let two runs be compared.

    Raises RunNotFoundError, and ValueError for a state that is not final.
    """
    if state not in RUN_FINAL_STATES:
        raise ValueError(f"{state!r} is not a final state of a run; one of: {', '.join(RUN_FINAL_STATES)}")
    run = session.scalar(
        select(CrawlRun).where(CrawlRun.id == run_id).with_for_update().execution_options(populate_existing=True)
    )
    if run is None:
        raise RunNotFoundError(f"no crawl run with id {run_id}")
    if run.state in RUN_FINAL_STATES:
        return run
    states = session.execute(
        select(Candidate.state, func.count()).where(Candidate.crawl_run_id == run_id).group_by(Candidate.state)
    ).all()
    run.state, run.reason = state, reason or state
    run.waiting_on = run.next_attempt_at = None
    run.started_at = run.started_at or session.scalar(select(func.now()))
    run.finished_at = session.scalar(select(func.clock_timestamp()))
    run.counters = {**run.counters, "candidates": {row[0]: row[1] for row in states}}
    session.flush()
    return run


def active_runs(session: Session, campaign_id: uuid.UUID) -> list[CrawlRun]:
    """Runs that are not final, oldest first."""
    return list(
        session.scalars(
            select(CrawlRun)
            .where(CrawlRun.campaign_id == campaign_id, CrawlRun.state.not_in(RUN_FINAL_STATES))
            .order_by(CrawlRun.id)
        )
    )


def all_active_runs(session: Session) -> list[CrawlRun]:
    """Runs of all campaigns that are not final, oldest first."""
    return list(session.scalars(select(CrawlRun).where(CrawlRun.state.not_in(RUN_FINAL_STATES)).order_by(CrawlRun.id)))


def triggers(session: Session, campaign_id: uuid.UUID, limit: int = 10) -> list[str]:
    """Trigger keys of the newest executions, newest first."""
    newest = func.max(CrawlRun.created_at)
    return list(
        session.scalars(
            select(CrawlRun.trigger_key)
            .where(CrawlRun.campaign_id == campaign_id)
            .group_by(CrawlRun.trigger_key)
            .order_by(newest.desc(), CrawlRun.trigger_key.desc())
            .limit(limit)
        )
    )


def runs_of(session: Session, campaign_id: uuid.UUID, trigger_key: str) -> list[CrawlRun]:
    """The runs of one execution, in the file's order."""
    return list(
        session.scalars(
            select(CrawlRun)
            .where(CrawlRun.campaign_id == campaign_id, CrawlRun.trigger_key == trigger_key)
            .order_by(CrawlRun.id)
            .execution_options(populate_existing=True)
        )
    )


def latest_runs(session: Session, campaign_id: uuid.UUID) -> list[CrawlRun]:
    """The runs of the newest execution, in the file's order; empty before the first."""
    newest = triggers(session, campaign_id, 1)
    return runs_of(session, campaign_id, newest[0]) if newest else []


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Changed keys, one line each: ``sources[pesennik].limits.max_pages: 100 → 200``, or after ``+`` and ``-``."""
    before, after = dict(_flatten(old)), dict(_flatten(new))
    lines = []
    for key in sorted(before.keys() | after.keys()):
        if key not in after:
            lines.append(f"- {key}: {_show(before[key])}")
        elif key not in before:
            lines.append(f"+ {key}: {_show(after[key])}")
        elif before[key] != after[key]:
            lines.append(f"{key}: {_show(before[key])} → {_show(after[key])}")
    return lines


def _show(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:199] + "…"


def _flatten(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [pair for key, each in value.items() for pair in _flatten(each, f"{prefix}.{key}" if prefix else key)]
    if isinstance(value, list) and prefix == "sources":
        return [pair for each in value for pair in _flatten(each, f"sources[{each['source']}]")]
    return [(prefix, value)]
