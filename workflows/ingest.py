"""One candidate on its way: audio, identity, and a moderator where that is needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities import messages as m
    from activities import signatures as a
    from workflows import policies
    from workflows.names import ingest_workflow_id
    from workflows.search_attributes import STATE


@workflow.defn(name="IngestWorkflow")
class IngestWorkflow:
    """Ends with the candidate's final state; waits as long as its case is open.

    A case ends by a moderator's decision, by new evidence that settles it (`look_again`), or by its expiry.
    """

    def __init__(self) -> None:
        self._case_id: str | None = None
        self._outcome: m.DecideResult | None = None
        self._look_again = False
        self._deciding = 0

    @workflow.run
    async def run(self, message: m.IngestInput) -> str:
        if message.needs_audio:
            media = await workflow.execute_activity(
                a.fetch_and_fingerprint,
                m.CandidateInput(message.candidate_id),
                task_queue=m.MEDIA_QUEUE,
                start_to_close_timeout=policies.MEDIA_TIMEOUT,
                heartbeat_timeout=policies.HEARTBEAT_TIMEOUT,
                retry_policy=policies.PATIENT,
            )
            if media.outcome == "settled":
                return "failed"
        settled = await self._settle(message.candidate_id)
        if settled.state == "in_review":
            await self._tell_parent(message.candidate_id)
            workflow.upsert_search_attributes([STATE.value_set("in_review")])
            state = await self._wait_for_end(message.candidate_id, settled)
        else:
            state = settled.state
        await workflow.wait_condition(lambda: self._deciding == 0)
        return state

    async def _settle(self, candidate_id: str) -> m.SettleResult:
        # One short transaction: as a local activity it costs the Temporal server neither a task nor three events.
        settled = await workflow.execute_local_activity(
            a.settle,
            m.CandidateInput(candidate_id),
            start_to_close_timeout=policies.DATABASE_TIMEOUT,
            retry_policy=policies.PATIENT,
        )
        self._case_id = settled.case_id
        await tell_to_look_again(settled.look_again)
        return settled

    async def _tell_parent(self, candidate_id: str) -> None:
        """Frees our place in the crawl run's window: a moderator may take days."""
        parent = workflow.info().parent
        if parent is None:
            return
        try:
            await workflow.get_external_workflow_handle(parent.workflow_id).signal("parked", candidate_id)
        except ApplicationError:  # the run is over: there is no window any more
            workflow.logger.info("the crawl run ended before its candidate was parked")

    async def _wait_for_end(self, candidate_id: str, settled: m.SettleResult) -> str:
        started = workflow.now()
        while True:
            try:
                await workflow.wait_condition(
                    lambda: self._outcome is not None or self._look_again, timeout=self._patience(settled, started)
                )
            except TimeoutError:
                if self._expired(settled, started):
                    return (await self._on_case(a.expire_case)).state
                if (await self._on_case(a.remind_moderators)).state != "in_review":
                    self._look_again = True
                continue
            if self._outcome is not None:
                return self._outcome.state
            self._look_again = False
            settled = await self._settle(candidate_id)
            if settled.state != "in_review":
                return settled.state

    def _patience(self, settled: m.SettleResult, started: datetime) -> timedelta:
        waits = [settled.remind_after_s or 7 * 86_400.0]
        if settled.expire_after_s is not None:
            waits.append(settled.expire_after_s - (workflow.now() - started).total_seconds())
        return timedelta(seconds=max(1.0, min(waits)))

    def _expired(self, settled: m.SettleResult, started: datetime) -> bool:
        waited = (workflow.now() - started).total_seconds()
        return settled.expire_after_s is not None and waited >= settled.expire_after_s - 1

    async def _on_case(self, step: Callable[[m.CaseInput], Awaitable[m.DecideResult]]) -> m.DecideResult:
        return await workflow.execute_activity(
            step,
            m.CaseInput(self._case_id or ""),
            start_to_close_timeout=policies.DATABASE_TIMEOUT,
            retry_policy=policies.PATIENT,
        )

    @workflow.signal
    def look_again(self) -> None:
        """New evidence about our candidate: it may settle by itself now."""
        self._look_again = True

    @workflow.update
    async def decide(self, message: m.DecideInput) -> m.DecideResult:
        """Applies the decision that PostgreSQL holds for this case; repeating it is harmless."""
        self._deciding += 1
        try:
            outcome = await workflow.execute_activity(
                a.apply_decision,
                m.ApplyDecisionInput(message.case_id),
                start_to_close_timeout=policies.DATABASE_TIMEOUT,
                retry_policy=policies.PATIENT,
            )
            await tell_to_look_again(outcome.look_again)
        finally:
            self._deciding -= 1
        if outcome.state != "in_review":
            self._outcome = outcome
        return outcome

    @decide.validator
    def _check_decide(self, message: m.DecideInput) -> None:
        if not message.case_id:
            raise ApplicationError("case_id is missing", type="bad_decision")
        if self._case_id is not None and message.case_id != self._case_id:
            raise ApplicationError(f"the open case is {self._case_id}", type="case_changed")


async def tell_to_look_again(candidate_ids: list[str]) -> None:
    """What was published is evidence for cases that wait."""
    for candidate_id in candidate_ids:
        other = workflow.get_external_workflow_handle(ingest_workflow_id(candidate_id))
        try:
            await other.signal("look_again")
        except ApplicationError:  # it does not wait any more, or the reconciler will start it anew
            workflow.logger.info("candidate %s does not wait any more", candidate_id)
