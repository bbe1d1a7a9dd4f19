"""Workflows that do nothing, with as many activities as the ingest of a candidate without audio: one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow

QUEUE = "bench-empty"


@dataclass
class Started:
    """How many children, and at most how many at once."""

    count: int
    window: int


@activity.defn
def nothing(name: str) -> str:
    """Does nothing."""
    return name


@workflow.defn
class EmptyWorkflow:
    """One activity."""

    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(nothing, name, start_to_close_timeout=timedelta(seconds=15))


@workflow.defn
class EmptyParent:
    """Empty workflows as children, in a window; its loop has no question to ask."""

    @workflow.run
    async def run(self, message: Started) -> None:
        room = asyncio.Semaphore(message.window)

        async def one(number: int) -> None:
            async with room:
                name = f"{workflow.info().workflow_id}-{number}"
                await workflow.execute_child_workflow(EmptyWorkflow.run, name, id=name)

        await asyncio.gather(*(one(number) for number in range(message.count)))
