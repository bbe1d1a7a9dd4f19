"""The API process: the catalog service on its real parts."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import FastAPI
from temporalio.client import Client

from catalog_api.app import create_app as create_catalog_app
from media.store import ObjectStore
from runtime.connections import Connections
from runtime.settings import Settings
from runtime.temporal import TemporalWorkflowClient, connect

logger = logging.getLogger(__name__)

_CONNECT_S = 5.0


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

    async def check(self) -> str:
        """Temporal's state for `/readyz`; raises when it does not answer."""
        client = (await self._get()).client
        await client.service_client.check_health()
        return "ok"


def create_app() -> FastAPI:
    """Entry point of ``uvicorn --factory runtime.api:create_app``."""
    settings = Settings()
    connections = Connections.load(settings)
    objects = ObjectStore(
        connections.s3_endpoint, connections.s3_access_key, connections.s3_secret_key, connections.s3_bucket
    )
    return create_catalog_app(
        database_url=connections.database_url,
        workflow_client=LateWorkflowClient(connections.temporal_address, connections.temporal_namespace),
        object_store=objects,
        temporal_ui_url=connections.temporal_ui_url,
        redis_url=connections.redis_url,
    )
