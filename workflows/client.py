"""The typed way to the workflows, for the API and the command line."""

from __future__ import annotations

from typing import Any, Protocol

from activities.messages import CrawlRunProgress, DecideResult, IdentifyInput, IdentifyResult


class WorkflowClient(Protocol):
    """What callers may ask of the motion. Every method is safe to repeat."""

    async def start_campaign(self, campaign_id: str) -> str:
        """Starts one execution now; returns its trigger key. Raises CampaignRunningError if one is under way."""

    async def sync_schedule(self, campaign_id: str, name: str, schedule: dict[str, Any] | None, paused: bool) -> None:
        """Creates, changes or (None) deletes the campaign's Temporal Schedule.

        ``schedule``: ``{"cron": "0 3 * * *", "timezone": "Europe/Moscow"}`` or ``{"every_s": 21600}``.
        """

    async def next_starts(self, campaign_id: str) -> list[str]:
        """ISO times of the next scheduled starts, soonest first; empty without a schedule."""

    async def pause_run(self, crawl_run_id: str) -> None:
        """Finishes what is in flight, then waits for `resume_run`."""

    async def resume_run(self, crawl_run_id: str) -> None:
        """Goes on where it paused."""

    async def stop_run(self, crawl_run_id: str) -> None:
        """Ends the crawl and keeps what was found."""

    async def cancel_run(self, crawl_run_id: str) -> None:
        """Ends the crawl and discards what was found and is not published."""

    async def run_progress(self, crawl_run_id: str) -> CrawlRunProgress | None:
        """The workflow's own view; None when it is not running."""

    async def decide(self, candidate_id: str, case_id: str, timeout_s: float = 10.0) -> DecideResult | None:
        """Has a recorded decision applied; None when no worker answered in time (it will be applied later)."""

    async def identify(self, message: IdentifyInput, timeout_s: float = 120.0) -> IdentifyResult | None:
        """Has a worker compare a file or a page with the catalog; None when none answered in time."""


class CampaignRunningError(RuntimeError):
    """The campaign is under way already."""

    code = "campaign_running"
