"""One execution of a campaign: a crawl run per source."""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ChildWorkflowError, WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from activities import messages as m
    from activities import signatures as a
    from workflows import policies
    from workflows.crawl_run import CrawlRunWorkflow
    from workflows.names import crawl_run_workflow_id
    from workflows.search_attributes import CAMPAIGN


@workflow.defn(name="CampaignWorkflow")
class CampaignWorkflow:
    """Opens the runs and waits for them. One source that fails does not stop the others."""

    @workflow.run
    async def run(self, message: m.CampaignInput) -> m.CampaignResult:
        opened = await workflow.execute_activity(
            a.open_crawl_runs,
            m.OpenRunsInput(message.campaign_id, message.trigger_key or workflow.info().run_id),
            start_to_close_timeout=policies.DATABASE_TIMEOUT,
            retry_policy=policies.PATIENT,
        )
        workflow.upsert_search_attributes([CAMPAIGN.value_set(opened.campaign)])
        states = await asyncio.gather(*(self._run(opened.campaign, run) for run in opened.runs))
        return m.CampaignResult({run.crawl_run_id: state for run, state in zip(opened.runs, states, strict=True)})

    async def _run(self, campaign: str, run: m.OpenedRun) -> str:
        try:
            return await workflow.execute_child_workflow(
                CrawlRunWorkflow.run,
                m.CrawlRunInput(run.crawl_run_id, run.source, run.adapter, campaign, run.urgency),
                id=crawl_run_workflow_id(run.crawl_run_id),
                task_queue=m.CONTROL_QUEUE,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                priority=Priority(priority_key=run.urgency),
            )
        except WorkflowAlreadyStartedError:
            return "running"  # the reconciler was faster
        except ChildWorkflowError as error:
            return await workflow.execute_activity(
                a.set_run_state,
                m.RunStateInput(run.crawl_run_id, "failed", str(error.cause or error), "operator"),
                start_to_close_timeout=policies.DATABASE_TIMEOUT,
                retry_policy=policies.PATIENT,
            )
