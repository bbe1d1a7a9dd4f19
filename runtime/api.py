"""The API process: the catalog service on its real parts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from fastapi import FastAPI
from temporalio.client import Client

from catalog_api.app import create_app as create_catalog_app
from catalog_api.deps import DependencyState, Readiness
from media.store import ObjectStore
from runtime.connections import Connections
from runtime.logging import redact
from runtime.settings import Settings
from runtime.temporal import TemporalWorkflowClient, connect

logger = logging.getLogger(__name__)

_CONNECT_S = 5.0
_CHECK_S = 3.0


class LateWorkflowClient:
    """A workflow client that connects when it is first used: the catalog is served while Temporal is away."""

    def __init__(self, address: str, namespace: str) -> None:
        self._address, self._namespace = address, namespace
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def _get(self) -> TemporalWorkflowClient:
        async with self._connecting:
            if self._client is None:
                self._client = await connect(self._address, self._namespace, timeout_s=_CONNECT_S)
        return TemporalWorkflowClient(self._client)

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **options: Any) -> Any:
            return await getattr(await self._get(), name)(*arguments, **options)

        return call

    async def decide(self, candidate_id: str, case_id: str, timeout_s: float = 10.0) -> Any:
        """As `TemporalWorkflowClient.decide`; a decision that cannot be applied now is applied later."""
        try:
            return await (await self._get()).decide(candidate_id, case_id, timeout_s)
        except (TimeoutError, OSError) as error:
            logger.warning("the decision on %s is recorded and will be applied later: %r", case_id, error)
            return None

    async def check(self) -> None:
        """Raises when Temporal does not answer."""
        client = (await self._get()).client
        await client.service_client.check_health()


def readiness(workflows: LateWorkflowClient, objects: ObjectStore) -> Readiness:
    """The state of Temporal and of the object store, for `/readyz`."""

    async def state(check: Awaitable[object]) -> DependencyState:
        try:
            async with asyncio.timeout(_CHECK_S):
                await check
        except Exception as error:  # whatever is wrong, the answer is that it is away
            return DependencyState(False, redact(f"{type(error).__name__}: {error}")[:200])
        return DependencyState(True)

    async def ask() -> dict[str, DependencyState]:
        temporal, store = await asyncio.gather(
            state(workflows.check()), state(asyncio.to_thread(objects.size, "readiness-probe"))
        )
        return {"temporal": temporal, "object_store": store}

    return ask


def create_app() -> FastAPI:
    """Entry point of ``uvicorn --factory runtime.api:create_app``."""
    settings = Settings()
    connections = Connections.load(settings)
    objects = ObjectStore(
        connections.s3_endpoint, connections.s3_access_key, connections.s3_secret_key, connections.s3_bucket
    )
    workflows = LateWorkflowClient(connections.temporal_address, connections.temporal_namespace)
    return create_catalog_app(
        database_url=connections.database_url,
        workflow_client=workflows,
        object_store=objects,
        readiness=readiness(workflows, objects),
        temporal_ui_url=connections.temporal_ui_url,
        redis_url=connections.redis_url,
    )
