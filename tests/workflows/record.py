"""Records the histories that `test_replay` replays: ``python -m tests.workflows.record``.

Record anew only when a workflow changed in a way that running executions need not survive; otherwise the old
histories are the proof that they do.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
from pathlib import Path

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities import messages as m
from runtime.embedded import temporal
from runtime.temporal import RUNNER, WORKFLOWS, connect
from tests.ports import free_port
from tests.workflows.test_crawl_run import World, running, until
from workflows.campaign import CampaignWorkflow
from workflows.crawl_run import CrawlRunWorkflow
from workflows.ingest import IngestWorkflow
from workflows.names import campaign_workflow_id, ingest_workflow_id

HISTORIES = Path(__file__).parent / "histories"


async def save(name: str, handle: WorkflowHandle[object, object]) -> None:
    history = await handle.fetch_history()
    # Who recorded it, where, does not matter.
    text = re.sub(r'"identity": *"[^"]*"', '"identity": "recorder"', history.to_json())
    (HISTORIES / f"{name}.json").write_text(text + "\n")


async def record(client: Client) -> None:
    HISTORIES.mkdir(exist_ok=True)
    world = World(total=7, doubtful=2)
    async with running(client, world, window=3) as handle:
        await handle.result()
        await save("crawl_run_with_reviews", handle)
        published = client.get_workflow_handle(ingest_workflow_id(world.settled[0]))
        await save("ingest_published", published)
        candidate, case = next(iter(world.in_review.items()))
        reviewed = client.get_workflow_handle(ingest_workflow_id(candidate))
        await reviewed.execute_update(IngestWorkflow.decide, m.DecideInput(case))
        await reviewed.result()
        await save("ingest_decided", reviewed)
    world = World(total=9, doubtful=1, stubborn=2, audio=False)
    async with running(client, world, window=4) as handle:
        await handle.result()
        await save("crawl_run_silent", handle)
    world = World(total=9, near=True, doubtful=2, stubborn=1)
    async with running(client, world, window=4) as handle:
        await handle.result()
        await save("crawl_run_near", handle)
    world = World(total=4, endless=True)
    async with running(client, world, window=3) as handle:
        await until(lambda: len(world.settled) == 4)
        await handle.execute_update(CrawlRunWorkflow.pause)
        await until(lambda: not world.crawling)
        await handle.execute_update(CrawlRunWorkflow.resume)
        await until(lambda: world.crawling)
        await handle.execute_update(CrawlRunWorkflow.stop)
        await handle.result()
        await save("crawl_run_paused_and_stopped", handle)
    world = World(total=5)
    async with running(client, world, window=2, children_per_execution=3) as handle:
        first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        await handle.result()
        await save("crawl_run_continued", first)
    world = World(total=3)
    activities = [
        world.open_crawl_runs, world.next_candidates, world.settle, world.set_run_state, world.give_up,
    ]  # fmt: skip
    async with (
        Worker(client, task_queue=m.MEDIA_QUEUE, activities=[world.fetch_and_fingerprint]),
        Worker(client, task_queue=m.CONTROL_QUEUE, workflows=WORKFLOWS, workflow_runner=RUNNER, activities=activities),
        Worker(client, task_queue=m.crawl_queue("test"), activities=[world.crawl]),
    ):
        campaign = await client.start_workflow(
            CampaignWorkflow.run,
            m.CampaignInput("c0ffee", "trigger"),
            id=campaign_workflow_id("c0ffee"),
            task_queue=m.CONTROL_QUEUE,
        )
        await campaign.result()
        await save("campaign", campaign)


async def connect_and_record(address: str) -> None:
    await record(await connect(address, "default", timeout_s=60))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        port, ui_port = free_port(), free_port()
        process = subprocess.Popen(temporal.command(Path(folder) / "temporal.db", port, ui_port))
        try:
            asyncio.run(connect_and_record(f"127.0.0.1:{port}"))
        finally:
            process.terminate()
            process.wait(20)


if __name__ == "__main__":
    main()
