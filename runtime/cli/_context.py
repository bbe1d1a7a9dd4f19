"""What a command works with: the database, and the way to the workflows when it needs one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any, TypeVar

from catalog.database import Database
from runtime.connections import Connections
from runtime.settings import Settings
from workflows.client import WorkflowClient

_CONNECT_S = 5.0
T = TypeVar("T")


class WorkflowsUnreachableError(Exception):
    """Temporal does not answer, or nobody said where it is."""

    code = "workflows_unreachable"


@dataclass
class Context:
    """A context manager; owns its pool and one event loop.

    ``connect``: called on the first use of the workflows; None where there is no Temporal server.
    """

    database: Database
    connect: Callable[[], Coroutine[Any, Any, WorkflowClient]] | None
    _runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    @cached_property
    def workflow_client(self) -> WorkflowClient | None:
        """The client, connected; None where there is no server. Raises WorkflowsUnreachableError."""
        if self.connect is None:
            return None
        try:
            return self.run(self.connect())
        except (TimeoutError, OSError) as error:
            raise WorkflowsUnreachableError("Temporal does not answer: see `versions status`") from error

    def need_workflows(self) -> WorkflowClient:
        """The client. Raises WorkflowsUnreachableError."""
        if (client := self.workflow_client) is None:
            raise WorkflowsUnreachableError(
                "no Temporal server is known: `versions up`, or set VERSIONS_TEMPORAL_ADDRESS"
            )
        return client

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result; all calls share one loop, as the client demands."""
        return self._runner.run(call)

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._runner.close()
        self.database.dispose()


def open_context() -> Context:
    """The context of this invocation's settings. Raises `StackNotRunningError` without a database."""
    connections = Connections.load(Settings(), need=("postgres",))

    async def connect() -> WorkflowClient:
        from runtime.temporal import TemporalWorkflowClient
        from runtime.temporal import connect as connect_temporal

        return TemporalWorkflowClient(
            await connect_temporal(connections.temporal_address, connections.temporal_namespace, timeout_s=_CONNECT_S)
        )

    return Context(Database(connections.database_url, pool_size=2), connect if connections.temporal_address else None)
