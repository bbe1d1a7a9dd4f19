"""The next starts of all campaigns in one view."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from rich.console import RenderableType

from catalog.campaigns import repository
from catalog.campaigns.plan import next_starts
from catalog.campaigns.spec import Schedule
from catalog.models import RUN_FINAL_STATES, Campaign
from runtime.cli import _context
from runtime.cli._output import cell, duration, moment, table


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A campaign and when it starts.

    Attributes:
        starts: the next ones, soonest first; empty where it is started by hand or paused.
        from_record: computed from the schedule, because Temporal did not tell.
        runs: the runs of its newest execution by state.
    """

    campaign: str
    state: str
    schedule: str
    starts: tuple[datetime, ...]
    from_record: bool
    last_started_at: datetime | None
    runs: dict[str, int]

    @property
    def under_way(self) -> bool:
        """Whether any run of it is."""
        return any(state not in RUN_FINAL_STATES for state in self.runs)


def read(context: _context.Context) -> list[ScheduleRow]:
    """All campaigns, the next to start first. Temporal says when; where it is away, the recorded schedule does."""
    with context.database.transaction() as session:
        campaigns = repository.list_campaigns(session)
        newest = {campaign.id: repository.latest_runs(session, campaign.id) for campaign in campaigns}
    told = _told(context, [each for each in campaigns if each.spec.get("schedule") and each.state == "active"])
    rows = []
    for campaign in campaigns:
        schedule = campaign.spec.get("schedule")
        starts = told.get(campaign.name)
        if starts is None:
            active = bool(schedule) and campaign.state == "active"
            starts = next_starts(Schedule.model_validate(schedule)) if active else []
        started = [run.started_at for run in newest[campaign.id] if run.started_at]
        rows.append(
            ScheduleRow(
                campaign.name,
                campaign.state,
                text_of(campaign),
                tuple(starts),
                bool(starts) and campaign.name not in told,
                min(started, default=None),
                dict(Counter(run.state for run in newest[campaign.id])),
            )
        )
    return sorted(rows, key=lambda row: (not row.starts, row.starts[:1], row.campaign))


def _told(context: _context.Context, campaigns: list[Campaign]) -> dict[str, list[datetime]]:
    try:
        client = context.workflow_client if campaigns else None
    except _context.WorkflowsUnreachableError:
        return {}
    if client is None:
        return {}

    async def ask() -> list[list[str] | BaseException]:
        return await asyncio.gather(*(client.next_starts(str(each.id)) for each in campaigns), return_exceptions=True)

    return {
        campaign.name: [datetime.fromisoformat(each) for each in answer]
        for campaign, answer in zip(campaigns, context.run(ask()), strict=True)
        if not isinstance(answer, BaseException)
    }


def text_of(campaign: Campaign) -> str:
    """The schedule in words."""
    schedule = campaign.spec.get("schedule")
    if not schedule:
        return "started by hand"
    if schedule.get("cron"):
        return f"cron {schedule['cron']} {schedule.get('timezone') or 'UTC'}"
    return f"every {duration(schedule['every'])}"


def render(rows: list[ScheduleRow]) -> RenderableType:
    """A row a campaign."""
    result = table("campaign", "state", "schedule", "next starts (UTC)", "last started", "newest runs")
    for row in rows:
        starts = ", ".join(map(moment, row.starts[:3])) or ("paused" if row.state == "paused" else "–")
        result.add_row(
            cell(row.campaign),
            cell(row.state, "yellow" if row.state == "paused" else ""),
            cell(row.schedule),
            cell(starts + (" (computed)" if row.from_record else ""), limit=100),
            moment(row.last_started_at),
            cell(", ".join(f"{count} {state}" for state, count in row.runs.items())),
        )
    return result
