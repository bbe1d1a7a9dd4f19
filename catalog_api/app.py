"""The application factory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

import catalog_api.artists.endpoints
import catalog_api.campaigns.endpoints
import catalog_api.changes.endpoints
import catalog_api.identify.endpoints
import catalog_api.pages.endpoints
import catalog_api.reviews.endpoints
import catalog_api.search.endpoints
import catalog_api.songs.endpoints
import catalog_api.system.endpoints
import catalog_api.versions.endpoints
from catalog.database import Database
from catalog.reads.connections import read_pool
from catalog_api import docs, openapi, problems, responses
from catalog_api.deps import ObjectStore, Readiness, Services
from catalog_api.metrics import Metrics
from catalog_api.middleware import Envelope
from catalog_api.ratelimit import RateLimit
from catalog_api.shared import InProcess, InRedis, Shared
from workflows.client import WorkflowClient

API_PREFIX = "/api/v1"


def create_app(
    *,
    database_url: str,
    workflow_client: WorkflowClient | None = None,
    object_store: ObjectStore | None = None,
    temporal_ui_url: str | None = None,
    readiness: Readiness | None = None,
    rate_limit: RateLimit | None = None,
    redis_url: str = "",
    cors_origins: Sequence[str] = (),
    pool_size: int = 10,
    statement_timeout_ms: int = 5000,
) -> FastAPI:
    """The catalog service. It opens its connections when it starts and closes them when it stops.

    Args:
        database_url: PostgreSQL, migrated.
        workflow_client: has decisions applied; without it they are recorded and applied later.
        object_store: where stored audio is; without it no version can be streamed.
        temporal_ui_url: linked to on pages for operators.
        readiness: the state of further parts, for `/readyz`; the database is always asked.
        rate_limit: per client address; default 1,200 requests a minute.
        redis_url: what processes share lies there; without it each counts and remembers for itself.
        cors_origins: origins whose scripts may read the API; none by default.
        pool_size: most connections for reads; as many again, at most, serve writes.
        statement_timeout_ms: a read that takes longer is cancelled and answered by 503.
    """
    metrics = Metrics()
    limit = rate_limit or RateLimit()
    shared: Shared = InRedis(redis_url, limit) if redis_url else InProcess(limit)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(database_url, pool_size=5)
        try:
            async with read_pool(database_url, max_size=pool_size, statement_timeout_ms=statement_timeout_ms) as pool:
                app.state.services = Services(
                    pool=pool,
                    database=database,
                    metrics=metrics,
                    workflows=workflow_client,
                    objects=object_store,
                    readiness=readiness,
                    temporal_ui_url=temporal_ui_url,
                    shared=shared,
                )
                yield
        finally:
            database.dispose()
            await shared.close()

    app = FastAPI(
        title="Versions: the catalog API",
        version="1.0.0",
        lifespan=lifespan,
        openapi_url=f"{API_PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for module in (
        catalog_api.songs.endpoints,
        catalog_api.versions.endpoints,
        catalog_api.artists.endpoints,
        catalog_api.search.endpoints,
        catalog_api.changes.endpoints,
        catalog_api.identify.endpoints,
        catalog_api.reviews.endpoints,
        catalog_api.campaigns.endpoints,
        catalog_api.system.endpoints,
        docs,
        catalog_api.pages.endpoints,
    ):
        app.include_router(module.router)

    problems.install(app, catalog_api.pages.endpoints.error_page)
    app.add_exception_handler(responses.Moved, responses.moved)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = openapi.build(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]

    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors_origins),
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "X-Request-ID"],
            expose_headers=["ETag", "Link", "X-Request-ID", "RateLimit-Remaining", "RateLimit-Reset"],
        )
    app.add_middleware(Envelope, metrics=metrics, limit=limit, shared=shared)
    return app
