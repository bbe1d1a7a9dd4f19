"""The sliding window, on a real Temporal server; only the work itself is replaced, so that it can be watched."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, Worker

from activities import messages as m
from runtime.temporal import RUNNER, WORKFLOWS
from workflows.crawl_run import NEAR_BATCH, SILENT_BATCH, CrawlRunWorkflow
from workflows.names import crawl_run_workflow_id, ingest_workflow_id


@dataclass
class World:
    """The crawl finds ``total`` candidates; the first ``doubtful`` of them need a moderator.

    ``stubborn``: so many are not settled together with others.
    """

    total: int
    doubtful: int = 0
    stubborn: int = 0
    audio: bool = True
    near: bool = False
    endless: bool = False
    bad_seed: bool = False
    rests: int = 0
    found: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    in_review: dict[str, str] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)
    crawls: int = 0
    crawling: bool = False
    busy: int = 0
    busiest: int = 0
    crawled: bool = False
    together: list[int] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    @activity.defn
    async def open_crawl_runs(self, message: m.OpenRunsInput) -> m.OpenRunsResult:
        return m.OpenRunsResult("campaign", [m.OpenedRun(str(uuid.uuid4()), "site", "test")])

    @activity.defn
    async def crawl(self, message: m.CrawlInput) -> m.CrawlResult:
        if self.bad_seed:
            raise ApplicationError("seeds: 'nonsense' is no URL", type="bad_seed", non_retryable=True)
        self.crawls += 1
        if self.crawls <= self.rests:
            return m.CrawlResult(False, rest_s=0.1 if self.crawls < self.rests else 3600.0)
        self.crawling = True
        try:
            while len(self.found) < self.total or self.endless:
                if len(self.found) < self.total:
                    self.found.append(str(uuid.uuid4()))
                activity.heartbeat()
                await asyncio.sleep(0.005)
        finally:
            self.crawling = False
        self.crawled = True
        return m.CrawlResult(True)

    @activity.defn
    async def next_candidates(self, message: m.NextCandidatesInput) -> m.NextCandidatesResult:
        for _ in range(20):
            crawled = self.crawled
            done = {*self.settled, *self.in_review, *message.exclude}
            todo = [each for each in self.found if each not in done][
                : message.limit + message.silent * (not self.audio)
            ]
            if todo or crawled:
                return m.NextCandidatesResult([m.CandidateRef(each, self.audio, self.near) for each in todo], crawled)
            await asyncio.sleep(0.05)
        return m.NextCandidatesResult()

    @activity.defn
    async def fetch_and_fingerprint(self, message: m.CandidateInput) -> m.MediaResult:
        self.fetched.append(message.candidate_id)
        return m.MediaResult("ready")

    @activity.defn
    async def settle_silent(self, message: m.CandidatesInput) -> m.SettledTogether:
        self.together.append(len(message.candidate_ids))
        answers = []
        for each in message.candidate_ids:
            stubborn = self.found.index(each) < self.stubborn
            answers.append(m.SettledCandidate(each, None if stubborn else await self.settle(m.CandidateInput(each))))
        return m.SettledTogether(answers)

    @activity.defn
    async def ingest_near(self, message: m.CandidatesInput) -> m.SettledTogether:
        assert activity.info().task_queue == m.MEDIA_QUEUE
        return await self.settle_silent(message)

    @activity.defn
    async def settle(self, message: m.CandidateInput) -> m.SettleResult:
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        await asyncio.sleep(0.02)
        self.busy -= 1
        if self.found.index(message.candidate_id) < self.doubtful:
            case = self.in_review.setdefault(message.candidate_id, str(uuid.uuid4()))
            return m.SettleResult("in_review", case, 3600, None)
        self.settled.append(message.candidate_id)
        return m.SettleResult("published")

    @activity.defn
    async def apply_decision(self, message: m.ApplyDecisionInput) -> m.DecideResult:
        return m.DecideResult("published")

    @activity.defn
    async def set_run_state(self, message: m.RunStateInput) -> str:
        self.states.append(message.state)
        return message.state

    @activity.defn
    async def give_up(self, message: m.GiveUpInput) -> None:
        raise AssertionError(message.detail)


@contextlib.asynccontextmanager
async def running(client: Client, world: World, **options: int) -> AsyncIterator[WorkflowHandle[CrawlRunWorkflow, str]]:
    run_id = str(uuid.uuid4())
    activities = [
        world.next_candidates, world.settle, world.settle_silent, world.apply_decision, world.set_run_state,
        world.give_up,
    ]  # fmt: skip
    async with (
        Worker(client, task_queue=m.MEDIA_QUEUE, activities=[world.fetch_and_fingerprint, world.ingest_near]),
        Worker(client, task_queue=m.CONTROL_QUEUE, workflows=WORKFLOWS, workflow_runner=RUNNER, activities=activities),
        Worker(
            client,
            task_queue=m.crawl_queue("test"),
            activities=[world.crawl],
            # Cancellations travel with heartbeats.
            max_heartbeat_throttle_interval=timedelta(milliseconds=100),
        ),
    ):
        yield await client.start_workflow(
            CrawlRunWorkflow.run,
            m.CrawlRunInput(run_id, "site", "test", "campaign", **options),
            id=crawl_run_workflow_id(run_id),
            task_queue=m.CONTROL_QUEUE,
        )


async def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


async def test_every_candidate_once_and_never_more_than_the_window(client: Client) -> None:
    world = World(total=40)
    async with running(client, world, window=6) as handle:
        assert await handle.result() == "finished"
    assert sorted(world.settled) == sorted(world.found)
    assert len(world.settled) == 40
    assert 2 <= world.busiest <= 6
    assert world.states == ["running", "finished"]
    await replays(handle)


async def test_continues_as_new_and_loses_nothing(client: Client) -> None:
    world = World(total=30)
    async with running(client, world, window=4, children_per_execution=8) as handle:
        assert await handle.result() == "finished"
    assert sorted(world.settled) == sorted(world.found)
    assert len(set(world.settled)) == len(world.settled) == 30
    assert world.states.count("running") >= 3, "one execution for every eight candidates"


async def test_a_resting_crawl_is_called_again_and_can_be_ended(client: Client) -> None:
    world = World(total=4, rests=2)
    async with running(client, world, window=6) as handle:
        await until(lambda: world.crawls == 2)  # the first rest is over, the second takes an hour
        await handle.execute_update(CrawlRunWorkflow.pause)
        await handle.execute_update(CrawlRunWorkflow.resume)
        assert await handle.result() == "finished"
    assert (world.crawls, len(world.settled)) == (3, 4)
    await replays(handle)


async def test_candidates_in_review_do_not_hold_the_window(client: Client) -> None:
    world = World(total=12, doubtful=6)
    async with running(client, world, window=3) as handle:
        assert await handle.result() == "finished"
        progress = await handle.query(CrawlRunWorkflow.progress)
    assert len(world.settled) == 6
    assert len(world.in_review) == 6
    assert progress.parked == 6
    assert progress.ingested == 12


async def test_silent_candidates_are_settled_together(client: Client) -> None:
    """Only those that wait for a moderator, or could not be settled among others, have a workflow of their own."""
    world = World(total=40, audio=False, doubtful=2, stubborn=3, found=[str(uuid.uuid4()) for _ in range(40)])
    async with running(client, world, window=8) as handle:
        assert await handle.result() == "finished"
        progress = await handle.query(CrawlRunWorkflow.progress)
        children = [
            event.start_child_workflow_execution_initiated_event_attributes.workflow_id
            for event in (await handle.fetch_history()).events
            if event.HasField("start_child_workflow_execution_initiated_event_attributes")
        ]
    assert children == [ingest_workflow_id(each) for each in world.found[:3]]
    assert sorted([*world.settled, *world.in_review]) == sorted(world.found)
    assert (progress.ingested, progress.parked) == (40, 2)
    assert sum(world.together) == 40
    assert 8 < max(world.together) <= 8 + SILENT_BATCH
    await replays(handle)


async def test_candidates_whose_audio_lies_here_go_together(client: Client) -> None:
    """What has to be tried again has a workflow of its own, from the audio on; so has what waits for a moderator."""
    world = World(total=30, near=True, doubtful=3, stubborn=1, found=[str(uuid.uuid4()) for _ in range(30)])
    async with running(client, world, window=16) as handle:
        assert await handle.result() == "finished"
        progress = await handle.query(CrawlRunWorkflow.progress)
    assert world.fetched == world.found[:1]
    assert sorted([*world.settled, *world.in_review]) == sorted(world.found)
    assert (progress.ingested, progress.parked) == (30, 3)
    assert sum(world.together) == 30
    assert max(world.together) == NEAR_BATCH
    await replays(handle)


async def test_pause_resume_and_stop(client: Client) -> None:
    world = World(total=10, endless=True)
    async with running(client, world, window=4) as handle:
        await until(lambda: len(world.settled) == 10)
        assert await handle.execute_update(CrawlRunWorkflow.pause) == "paused"
        assert (await handle.query(CrawlRunWorkflow.progress)).state == "paused"
        await until(lambda: not world.crawling)
        crawls = world.crawls
        world.total = 15
        await asyncio.sleep(0.3)
        assert len(world.found) == 10, "a paused crawl finds nothing"
        assert await handle.execute_update(CrawlRunWorkflow.resume) == "running"
        await until(lambda: len(world.settled) == 15)
        assert world.crawls == crawls + 1
        assert await handle.execute_update(CrawlRunWorkflow.stop) == "stopped"
        assert await handle.result() == "stopped"
    assert world.states == ["running", "paused", "running", "stopped"]
    await replays(handle)


@pytest.mark.parametrize("ending", ["stop", "cancel"])
async def test_ending_a_paused_run(client: Client, ending: str) -> None:
    world = World(total=3, endless=True)
    async with running(client, world, window=4) as handle:
        await until(lambda: len(world.settled) == 3)
        await handle.execute_update(CrawlRunWorkflow.pause)
        await handle.execute_update(ending)
        assert await handle.result() == {"stop": "stopped", "cancel": "cancelled"}[ending]


async def test_a_crawl_that_cannot_succeed_is_recorded_as_failed(client: Client) -> None:
    world = World(total=0, bad_seed=True)
    async with running(client, world, window=4) as handle:
        assert await handle.result() == "failed"
    assert world.states == ["running", "failed"]
    await replays(handle)


async def replays(handle: WorkflowHandle[CrawlRunWorkflow, str]) -> None:
    """The history that was just made replays without a difference."""
    history = await handle.fetch_history()
    await Replayer(workflows=WORKFLOWS, workflow_runner=RUNNER).replay_workflow(history)
