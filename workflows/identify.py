"""A question to the catalog that needs a worker: what is this file, or this page?"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities import messages as m
    from activities import signatures as a
    from workflows import policies


@workflow.defn(name="IdentifyWorkflow")
class IdentifyWorkflow:
    """One activity; somebody waits for it, so it is not tried for long."""

    @workflow.run
    async def run(self, message: m.IdentifyInput) -> m.IdentifyResult:
        return await workflow.execute_activity(
            a.identify,
            message,
            task_queue=m.MEDIA_QUEUE,
            start_to_close_timeout=policies.IDENTIFY_TIMEOUT,
            schedule_to_close_timeout=policies.IDENTIFY_TIMEOUT + timedelta(seconds=30),
            heartbeat_timeout=policies.HEARTBEAT_TIMEOUT,
            retry_policy=RetryPolicy(maximum_attempts=2),
        )
