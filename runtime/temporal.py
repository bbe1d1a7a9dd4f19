"""The workflow client: what the API and the command line may ask of Temporal."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities import messages as m
from workflows import names
from workflows.campaign import CampaignWorkflow
from workflows.client import CampaignRunningError
from workflows.crawl_run import CrawlRunWorkflow
from workflows.identify import IdentifyWorkflow
from workflows.ingest import IngestWorkflow

WORKFLOWS = [CampaignWorkflow, CrawlRunWorkflow, IngestWorkflow, IdentifyWorkflow]

# Our own rooms hold no I/O in what workflows import; passing them through keeps the sandbox quick.
RUNNER = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules("activities", "workflows")
)


_CLOSING_S = 3.0
"""An execution whose runs have just ended takes a moment to end itself."""


async def connect(address: str, namespace: str, *, timeout_s: float = 30.0) -> Client:
    """A client, as soon as the server answers. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                return await Client.connect(address, namespace=namespace)
            except RuntimeError:
                await asyncio.sleep(0.2)


class TemporalWorkflowClient:
    """Implements `workflows.client.WorkflowClient`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def client(self) -> Client:
        """The SDK's own client."""
        return self._client

    async def start_campaign(self, campaign_id: str) -> str:
        trigger_key = str(uuid.uuid4())
        deadline = asyncio.get_running_loop().time() + _CLOSING_S
        while True:
            try:
                await self._client.start_workflow(
                    CampaignWorkflow.run,
                    m.CampaignInput(campaign_id, trigger_key),
                    id=names.campaign_workflow_id(campaign_id),
                    task_queue=m.CONTROL_QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                )
                return trigger_key
            except WorkflowAlreadyStartedError as error:
                if asyncio.get_running_loop().time() > deadline:
                    message = "the campaign is under way already: `versions campaign watch`"
                    raise CampaignRunningError(message) from error
            await asyncio.sleep(0.2)

    async def sync_schedule(self, campaign_id: str, name: str, schedule: dict[str, Any] | None, paused: bool) -> None:
        handle = self._client.get_schedule_handle(names.schedule_id(campaign_id))
        if schedule is None:
            try:
                await handle.delete()
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
            return
        wanted = Schedule(
            action=ScheduleActionStartWorkflow(
                CampaignWorkflow.run,
                m.CampaignInput(campaign_id),
                id=names.campaign_workflow_id(campaign_id),
                task_queue=m.CONTROL_QUEUE,
            ),
            spec=_spec(schedule),
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
            state=ScheduleState(note=name, paused=paused),
        )
        try:
            await self._client.create_schedule(names.schedule_id(campaign_id), wanted)
        except ScheduleAlreadyRunningError:

            def change(_: ScheduleUpdateInput) -> ScheduleUpdate:
                return ScheduleUpdate(wanted)

            await handle.update(change)

    async def next_starts(self, campaign_id: str) -> list[str]:
        try:
            description = await self._client.get_schedule_handle(names.schedule_id(campaign_id)).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return []
            raise
        return [moment.isoformat() for moment in description.info.next_action_times]

    async def pause_run(self, crawl_run_id: str) -> None:
        await self._update_run(crawl_run_id, CrawlRunWorkflow.pause)

    async def resume_run(self, crawl_run_id: str) -> None:
        await self._update_run(crawl_run_id, CrawlRunWorkflow.resume)

    async def stop_run(self, crawl_run_id: str) -> None:
        await self._update_run(crawl_run_id, CrawlRunWorkflow.stop)

    async def cancel_run(self, crawl_run_id: str) -> None:
        await self._update_run(crawl_run_id, CrawlRunWorkflow.cancel)

    async def _update_run(self, crawl_run_id: str, update: Any) -> None:
        handle = self._client.get_workflow_handle(names.crawl_run_workflow_id(crawl_run_id))
        await handle.execute_update(update, rpc_timeout=timedelta(seconds=30))

    async def run_progress(self, crawl_run_id: str) -> m.CrawlRunProgress | None:
        handle = self._client.get_workflow_handle(names.crawl_run_workflow_id(crawl_run_id))
        try:
            return await handle.query(CrawlRunWorkflow.progress, rpc_timeout=timedelta(seconds=5))
        except RPCError as error:
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.DEADLINE_EXCEEDED):
                return None
            raise

    async def decide(self, candidate_id: str, case_id: str, timeout_s: float = 10.0) -> m.DecideResult | None:
        start = WithStartWorkflowOperation(
            IngestWorkflow.run,
            m.IngestInput(candidate_id, needs_audio=False),
            id=names.ingest_workflow_id(candidate_id),
            task_queue=m.CONTROL_QUEUE,
            # Whether the workflow waits, ended or was lost with Temporal's file: the decision is applied.
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        try:
            return await self._client.execute_update_with_start_workflow(
                IngestWorkflow.decide,
                m.DecideInput(case_id),
                # One decision, one update: a second call answers with the result of the first.
                id=f"decide-{case_id}",
                start_workflow_operation=start,
                rpc_timeout=timedelta(seconds=timeout_s),
            )
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            return None
        except RPCError as error:
            if error.status in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED):
                return None
            raise

    async def identify(self, message: m.IdentifyInput, timeout_s: float = 120.0) -> m.IdentifyResult | None:
        try:
            return await self._client.execute_workflow(
                IdentifyWorkflow.run,
                message,
                id=f"identify-{uuid.uuid4()}",
                task_queue=m.CONTROL_QUEUE,
                execution_timeout=timedelta(seconds=timeout_s),
                rpc_timeout=timedelta(seconds=timeout_s),
            )
        except (RPCError, WorkflowFailureError):
            return None

    # -- for the reconciler ----------------------------------------------------------------------------------------

    async def namespace_id(self) -> str:
        """Of our namespace; a server whose file was lost makes the namespace anew, with another id."""
        request = DescribeNamespaceRequest(namespace=self._client.namespace)
        answer = await self._client.workflow_service.describe_namespace(request)
        return answer.namespace_info.id

    async def ensure_run(self, message: m.CrawlRunInput) -> bool:
        """Starts the workflow of a crawl run unless it is running; returns whether it was started."""
        return await self._ensure(
            CrawlRunWorkflow.run,
            message,
            names.crawl_run_workflow_id(message.crawl_run_id),
            Priority(priority_key=message.urgency),
        )

    async def ensure_ingest(self, message: m.IngestInput) -> bool:
        """Starts the workflow of a candidate unless it is running; returns whether it was started."""
        return await self._ensure(IngestWorkflow.run, message, names.ingest_workflow_id(message.candidate_id))

    async def _ensure(
        self, workflow: Any, message: Any, workflow_id: str, priority: Priority = Priority.default
    ) -> bool:
        try:
            await self._client.start_workflow(
                workflow,
                message,
                id=workflow_id,
                task_queue=m.CONTROL_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                priority=priority,
            )
        except WorkflowAlreadyStartedError:
            return False
        return True


def _spec(schedule: dict[str, Any]) -> ScheduleSpec:
    if "cron" in schedule:
        return ScheduleSpec(cron_expressions=[schedule["cron"]], time_zone_name=schedule.get("timezone") or None)
    return ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=float(schedule["every_s"])))])
