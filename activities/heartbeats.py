"""Long work under Temporal: heartbeats while it runs, an orderly end when it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from temporalio import activity

T = TypeVar("T")

INTERVAL_S = 1.0
GRACE_S = 20.0
"""How long work may take to end after it was asked to."""


async def with_heartbeats(
    work: Coroutine[Any, Any, T], *, details: Callable[[], Any] = lambda: None, stop: asyncio.Event | None = None
) -> T:
    """Runs ``work`` and heartbeats ``details()`` each second.

    When the activity is cancelled, ``stop`` is set (if given) and the work may finish what is in flight; without
    ``stop``, or after `GRACE_S`, it is cancelled. The cancellation is raised in either case.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    loop = asyncio.get_running_loop()
    deadline = float("inf")
    while True:
        try:
            await asyncio.wait({task}, timeout=INTERVAL_S)
        except asyncio.CancelledError as error:
            if cancelled is not None or stop is None:
                task.cancel()
            else:
                stop.set()
            cancelled, deadline = error, loop.time() + GRACE_S
        if task.done():
            break
        if loop.time() > deadline:
            task.cancel()
        activity.heartbeat(details())
    if cancelled is not None:
        if not task.cancelled():
            task.exception()
        raise cancelled
    return task.result()
