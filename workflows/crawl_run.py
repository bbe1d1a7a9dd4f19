"""One execution of a campaign on one source: the crawl, and the ingest of what it finds, in a sliding window."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import (
    ActivityError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from activities import messages as m
    from activities import signatures as a
    from workflows import policies
    from workflows.ingest import IngestWorkflow, tell_to_look_again
    from workflows.names import ingest_workflow_id
    from workflows.search_attributes import CAMPAIGN, SOURCE

SILENT_BATCH = 48
"""Candidates without audio that are settled together beyond the window: about a second's work, when nothing waits."""


NEAR_BATCH = 8
"""Candidates whose audio lies here that are ingested together: half of the usual window, so that another half waits."""


@workflow.defn(name="CrawlRunWorkflow")
class CrawlRunWorkflow:
    """Pause, resume, stop (keep what was found) and cancel (discard it) are updates; progress is a query.

    At most ``window`` candidates are under way at once; those that wait for a moderator do not count. The workflow
    continues as new after so many children, when none is under way.
    """

    @workflow.init
    def __init__(self, message: m.CrawlRunInput) -> None:
        self._message = message
        self._paused = message.paused
        self._ending: str | None = None
        self._crawled = message.crawled
        self._crawl: workflow.ActivityHandle[m.CrawlResult] | None = None
        self._children: dict[str, asyncio.Task[None]] = {}
        self._parked: set[str] = set()
        self._parked_count = message.parked
        self._ingested = message.ingested
        self._started = 0

    @workflow.run
    async def run(self, message: m.CrawlRunInput) -> str:
        await self._record("paused" if self._paused else "running", "paused" if self._paused else "crawling")
        crawling = asyncio.create_task(self._crawl_until_done())
        try:
            again = await self._ingest_until_done(crawling)
            await crawling
        except ActivityError as error:
            # A crawl that cannot succeed (a bad seed, an unknown adapter). The record must say so: a run that only
            # its workflow knows to have failed would be started again for ever.
            await self._drain()
            await self._record("failed", str(error.cause or error), "operator")
            await workflow.wait_condition(workflow.all_handlers_finished)
            return "failed"
        if again:
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new(
                m.CrawlRunInput(
                    **{
                        **vars(message),
                        "crawled": self._crawled,
                        "paused": self._paused,
                        "ingested": self._ingested,
                        "parked": self._parked_count,
                    }
                )
            )
        state = await self._record(self._ending or "finished", self._ending or "complete")
        await workflow.wait_condition(workflow.all_handlers_finished)
        return state

    # -- the crawl ---------------------------------------------------------------------------------------------------

    async def _crawl_until_done(self) -> None:
        while not self._crawled and not self._leaving():
            await workflow.wait_condition(lambda: not self._paused or self._leaving())
            if self._leaving():
                return
            self._crawl = workflow.start_activity(
                a.crawl,
                m.CrawlInput(self._message.crawl_run_id),
                task_queue=m.crawl_queue(self._message.adapter),
                start_to_close_timeout=policies.CRAWL_TIMEOUT,
                heartbeat_timeout=policies.HEARTBEAT_TIMEOUT,
                retry_policy=policies.PATIENT,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
            try:
                result = await self._crawl
                self._crawled = result.complete
                if result.rest_s is not None:
                    await self._rest(result.rest_s)
            except ActivityError as error:
                if not is_cancelled_exception(error):
                    raise

    async def _rest(self, seconds: float) -> None:
        """All requests wait (hours, a daily budget, a breaker): other crawls have the worker meanwhile."""
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._paused or self._leaving(), timeout=timedelta(seconds=seconds))

    def _leaving(self) -> bool:
        return self._ending is not None or self._due_to_continue()

    def _due_to_continue(self) -> bool:
        info = workflow.info()
        return (
            self._started >= self._message.children_per_execution
            or info.get_current_history_length() > policies.EVENTS_PER_EXECUTION
            or info.is_continue_as_new_suggested()
        )

    # -- the window --------------------------------------------------------------------------------------------------

    async def _ingest_until_done(self, crawling: asyncio.Task[None]) -> bool:
        """Returns whether to continue as new."""
        while True:
            if self._ending is not None:
                await self._drain()
                return False
            if self._due_to_continue():
                if self._crawl is not None and not self._crawl.done():
                    self._crawl.cancel()
                await self._drain()
                return True
            if self._paused:
                await workflow.wait_condition(lambda: not self._paused or self._ending is not None)
                continue
            if crawling.done():
                await crawling  # a crawl that failed for good fails the run
            found = await workflow.execute_activity(
                a.next_candidates,
                m.NextCandidatesInput(
                    self._message.crawl_run_id,
                    limit=self._message.window - len(self._children),
                    silent=0 if self._children else SILENT_BATCH,
                    exclude=[*self._children, *self._parked],
                ),
                start_to_close_timeout=policies.POLL_TIMEOUT,
                heartbeat_timeout=policies.HEARTBEAT_TIMEOUT,
                retry_policy=policies.PATIENT,
            )
            self._begin(found.candidates)
            if found.crawled and not found.candidates:
                if not self._children:
                    return False
                await self._wait_for_room(1)
            elif len(self._children) >= self._message.window:
                # Until a quarter is free: fewer, larger questions.
                await self._wait_for_room(self._message.window - self._message.window // 4)

    def _begin(self, candidates: list[m.CandidateRef]) -> None:
        """A workflow for each candidate whose audio somebody has to be asked for; the others go together."""
        silent = [each for each in candidates if not each.needs_audio]
        if silent and workflow.patched("settle-silent"):
            self._begin_together(silent)
            candidates = [each for each in candidates if each.needs_audio]
        near = [each for each in candidates if each.near]
        if near and workflow.patched("ingest-near"):
            for start in range(0, len(near), NEAR_BATCH):
                self._begin_together(near[start : start + NEAR_BATCH])
            candidates = [each for each in candidates if not each.near]
        for candidate in candidates:
            self._children[candidate.candidate_id] = asyncio.create_task(self._ingest(candidate))
            self._started += 1

    def _begin_together(self, candidates: list[m.CandidateRef]) -> None:
        together = asyncio.create_task(self._ingest_together(candidates))
        self._children |= {each.candidate_id: together for each in candidates}
        self._started += 1

    async def _wait_for_room(self, room: int) -> None:
        await workflow.wait_condition(lambda: len(self._children) < room or self._ending is not None or self._paused)

    async def _drain(self) -> None:
        await workflow.wait_condition(lambda: not self._children)

    async def _ingest_together(self, candidates: list[m.CandidateRef]) -> None:
        """A workflow of its own costs a candidate more than its settlement: only one that has to wait gets it."""
        message = m.CandidatesInput([each.candidate_id for each in candidates])
        near = candidates[0].near
        result = await workflow.execute_activity(
            a.ingest_near if near else a.settle_silent,
            message,
            task_queue=m.MEDIA_QUEUE if near else None,
            start_to_close_timeout=policies.MEDIA_TIMEOUT if near else policies.SETTLE_TIMEOUT,
            heartbeat_timeout=policies.HEARTBEAT_TIMEOUT,
            retry_policy=policies.PATIENT,
        )
        for one in result.candidates:
            if one.settled is not None:
                await tell_to_look_again(one.settled.look_again)
        for one in result.candidates:
            if one.settled is None or one.settled.state == "in_review":
                waiting = m.CandidateRef(one.candidate_id, needs_audio=near and one.settled is None)
                self._children[one.candidate_id] = asyncio.create_task(self._ingest(waiting))
                self._started += 1
            elif self._children.pop(one.candidate_id, None) is not None:
                self._ingested += 1

    async def _ingest(self, candidate: m.CandidateRef) -> None:
        detail = ""
        try:
            await workflow.execute_child_workflow(
                IngestWorkflow.run,
                m.IngestInput(candidate.candidate_id, candidate.needs_audio),
                id=ingest_workflow_id(candidate.candidate_id),
                task_queue=m.CONTROL_QUEUE,
                # A candidate in review outlives its crawl run.
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                search_attributes=_attributes(self._message.campaign, self._message.source),
            )
        except WorkflowAlreadyStartedError:
            # The reconciler was faster. Look again in a while whether it is done.
            await workflow.sleep(5)
        except ChildWorkflowError as error:
            detail = str(error.cause or error)
        if detail:
            await workflow.execute_activity(
                a.give_up,
                m.GiveUpInput(candidate.candidate_id, detail),
                start_to_close_timeout=policies.DATABASE_TIMEOUT,
                retry_policy=policies.PATIENT,
            )
        if self._children.pop(candidate.candidate_id, None) is not None:
            self._ingested += 1

    @workflow.signal
    def parked(self, candidate_id: str) -> None:
        """A candidate waits for a moderator: its place in the window is free."""
        if self._children.pop(candidate_id, None) is not None:
            self._ingested += 1
            self._parked.add(candidate_id)
            self._parked_count += 1

    # -- what the operator says --------------------------------------------------------------------------------------

    @workflow.update
    async def pause(self) -> str:
        """What is in flight is finished; nothing new is begun."""
        if self._ending is None and not self._paused:
            self._paused = True
            if self._crawl is not None and not self._crawl.done():
                self._crawl.cancel()
            return await self._record("paused", "paused by the operator", "operator")
        return "paused"

    @workflow.update
    async def resume(self) -> str:
        """Goes on where it paused."""
        if self._ending is None and self._paused:
            self._paused = False
            return await self._record("running", "resumed")
        return "running"

    @workflow.update
    async def stop(self) -> str:
        """Ends the crawl; what was found stays and is ingested by the next run."""
        return self._end("stopped")

    @workflow.update
    async def cancel(self) -> str:
        """Ends the crawl and discards what was found and is not published."""
        return self._end("cancelled")

    def _end(self, state: str) -> str:
        if self._ending is None:
            self._ending = state
            if self._crawl is not None and not self._crawl.done():
                self._crawl.cancel()
        return self._ending

    @workflow.query
    def progress(self) -> m.CrawlRunProgress:
        """The workflow's own view of the run."""
        state = self._ending or ("paused" if self._paused else "running")
        return m.CrawlRunProgress(state, self._crawled, len(self._children), self._ingested, self._parked_count)

    async def _record(self, state: str, reason: str, waiting_on: str | None = None) -> str:
        return await workflow.execute_activity(
            a.set_run_state,
            m.RunStateInput(self._message.crawl_run_id, state, reason, waiting_on),
            start_to_close_timeout=policies.DATABASE_TIMEOUT,
            retry_policy=policies.PATIENT,
        )


def _attributes(campaign: str, source: str) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(CAMPAIGN, campaign), SearchAttributePair(SOURCE, source)])
