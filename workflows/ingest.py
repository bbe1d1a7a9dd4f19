"""One candidate on its way: audio, identity, and a moderator where that is needed."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities import messages as m
    from activities import signatures as a
    from workflows import policies
    from workflows.search_attributes import STATE


@workflow.defn(name="IngestWorkflow")
class IngestWorkflow:
    """Ends with the candidate's final state; waits as long as its case is open."""

    def __init__(self) -> None:
        self._case_id: str | None = None
        self._outcome: m.DecideResult | None = None
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
        settled = await workflow.execute_activity(
            a.settle,
            m.CandidateInput(message.candidate_id),
            start_to_close_timeout=policies.DATABASE_TIMEOUT,
            retry_policy=policies.PATIENT,
        )
        if settled.state != "in_review" or settled.case_id is None:
            await workflow.wait_condition(lambda: self._deciding == 0)
            return settled.state
        self._case_id = settled.case_id
        await self._tell_parent(message.candidate_id)
        workflow.upsert_search_attributes([STATE.value_set("in_review")])
        outcome = await self._wait_for_decision(settled)
        await workflow.wait_condition(lambda: self._deciding == 0)
        return outcome.state

    async def _tell_parent(self, candidate_id: str) -> None:
        """Frees our place in the crawl run's window: a moderator may take days."""
        parent = workflow.info().parent
        if parent is None:
            return
        try:
            await workflow.get_external_workflow_handle(parent.workflow_id).signal("parked", candidate_id)
        except Exception:  # the run is over: there is no window any more
            workflow.logger.info("the crawl run ended before its candidate was parked")

    async def _wait_for_decision(self, settled: m.SettleResult) -> m.DecideResult:
        assert settled.case_id is not None
        case = m.CaseInput(settled.case_id)
        started = workflow.now()
        while self._outcome is None:
            timeouts = [settled.remind_after_s or 7 * 86_400.0]
            if settled.expire_after_s is not None:
                timeouts.append(settled.expire_after_s - (workflow.now() - started).total_seconds())
            try:
                await workflow.wait_condition(
                    lambda: self._outcome is not None, timeout=timedelta(seconds=max(1.0, min(timeouts)))
                )
            except TimeoutError:
                waited = (workflow.now() - started).total_seconds()
                if settled.expire_after_s is not None and waited >= settled.expire_after_s - 1:
                    return await workflow.execute_activity(
                        a.expire_case,
                        case,
                        start_to_close_timeout=policies.DATABASE_TIMEOUT,
                        retry_policy=policies.PATIENT,
                    )
                await workflow.execute_activity(
                    a.remind_moderators,
                    case,
                    start_to_close_timeout=policies.DATABASE_TIMEOUT,
                    retry_policy=policies.PATIENT,
                )
        return self._outcome

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
