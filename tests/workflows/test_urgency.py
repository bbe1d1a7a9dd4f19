"""What is urgent goes first where several runs wait for the same workers, on a real Temporal server."""

from __future__ import annotations

import asyncio
import uuid

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from activities import messages as m
from runtime.temporal import RUNNER, WORKFLOWS
from workflows.campaign import CampaignWorkflow

CANDIDATES = 6


class World:
    """Two campaigns, named by their urgency; each finds ``CANDIDATES`` whose audio takes the one worker's time."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self.heard: list[str] = []

    @activity.defn
    async def open_crawl_runs(self, message: m.OpenRunsInput) -> m.OpenRunsResult:
        urgency = int(message.campaign_id)
        return m.OpenRunsResult("campaign", [m.OpenedRun(f"{urgency}-{uuid.uuid4()}", "site", "test", urgency)])

    @activity.defn
    async def crawl(self, message: m.CrawlInput) -> m.CrawlResult:
        return m.CrawlResult(True)

    @activity.defn
    async def next_candidates(self, message: m.NextCandidatesInput) -> m.NextCandidatesResult:
        run_id = message.crawl_run_id
        if run_id in self.waiting:
            return m.NextCandidatesResult([], crawled=True)
        self.waiting.add(run_id)
        return m.NextCandidatesResult([m.CandidateRef(f"{run_id}-{n}", True) for n in range(CANDIDATES)], crawled=True)

    @activity.defn
    async def fetch_and_fingerprint(self, message: m.CandidateInput) -> m.MediaResult:
        self.heard.append(message.candidate_id[0])
        return m.MediaResult("ready")

    @activity.defn
    async def settle(self, message: m.CandidateInput) -> m.SettleResult:
        return m.SettleResult("published")

    @activity.defn
    async def set_run_state(self, message: m.RunStateInput) -> str:
        return message.state


async def test_urgent_audio_overtakes_what_waits(client: Client) -> None:
    world = World()
    database_steps = [world.open_crawl_runs, world.next_candidates, world.settle, world.set_run_state]
    async with (
        Worker(client, task_queue=m.crawl_queue("test"), activities=[world.crawl]),
        Worker(
            client, task_queue=m.CONTROL_QUEUE, workflows=WORKFLOWS, workflow_runner=RUNNER, activities=database_steps
        ),
    ):
        campaigns = []
        for begun, urgency in enumerate((4, 1), start=1):
            campaigns.append(
                await client.start_workflow(
                    CampaignWorkflow.run,
                    m.CampaignInput(str(urgency)),
                    id=f"campaign-{uuid.uuid4()}",
                    task_queue=m.CONTROL_QUEUE,
                )
            )
            # All audio of this run waits before the next run begins, and before anybody listens.
            async with asyncio.timeout(60):
                while await backlog(client) < begun * CANDIDATES:
                    await asyncio.sleep(0.1)
        media = Worker(
            client, task_queue=m.MEDIA_QUEUE, activities=[world.fetch_and_fingerprint], max_concurrent_activities=1
        )
        async with media:
            await asyncio.gather(*(each.result() for each in campaigns))
    assert world.heard == ["1"] * CANDIDATES + ["4"] * CANDIDATES


async def backlog(client: Client) -> int:
    """Ingest workflows that wait for somebody who listens."""
    found = 0
    async for each in client.list_workflows("WorkflowType = 'IngestWorkflow' AND ExecutionStatus = 'Running'"):
        pending = (await client.get_workflow_handle(each.id).describe()).raw_description.pending_activities
        found += bool(pending)
    return found
