"""`/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import logging
from typing import Literal

import psycopg
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from catalog.migrate import head
from catalog.reads.connections import ReadPool
from catalog.reads.crawl_stats import CrawlStats, crawl_stats
from catalog.reads.stats import Stats, stats
from catalog_api.deps import DependencyState, ServicesDep
from catalog_api.metrics import CONTENT_TYPE
from catalog_api.schemas import example

log = logging.getLogger(__name__)

router = APIRouter(tags=["system"])


class Health(BaseModel):
    """The process answers."""

    model_config = example({"status": "ok"})

    status: Literal["ok"]


class PartState(BaseModel):
    """One part that the API needs."""

    healthy: bool
    detail: str


class Readiness(BaseModel):
    """Whether every part is there; ``status`` is `unready` (with 503) if one is not."""

    model_config = example({"status": "ready", "parts": {"database": {"healthy": True, "detail": "schema 0001"}}})

    status: Literal["ready", "unready"]
    parts: dict[str, PartState]


@router.get("/healthz", response_model=Health)
async def healthz() -> Response:
    """Says that the process lives; asks nothing of others."""
    return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


async def _read_stats(pool: ReadPool) -> Stats | None:
    try:
        async with pool.connection(timeout=2) as connection:
            return await stats(connection)
    except (psycopg.Error, OSError):
        log.warning("the database did not answer", exc_info=True)
        return None


async def _read_crawl_stats(pool: ReadPool) -> CrawlStats | None:
    try:
        async with pool.connection(timeout=2) as connection:
            return await crawl_stats(connection)
    except (psycopg.Error, OSError):
        log.warning("the database did not answer", exc_info=True)
        return None


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness, "description": "Unready."}})
async def readyz(services: ServicesDep) -> Response:
    """Says of each part whether it is there."""
    figures = await _read_stats(services.pool)
    expected = await run_in_threadpool(head)
    if figures is None:
        database = DependencyState(False, "no answer")
    elif figures.schema != expected:
        database = DependencyState(False, f"schema {figures.schema}, this code needs {expected}")
    else:
        database = DependencyState(True, f"schema {figures.schema}")
    parts = {"database": database}
    if services.readiness is not None:
        try:
            parts |= await services.readiness()
        except Exception:
            log.exception("the readiness check failed")
            parts["readiness"] = DependencyState(False, "the check itself failed; see the log")
    ready = all(part.healthy for part in parts.values())
    content = {
        "status": "ready" if ready else "unready",
        "parts": {name: {"healthy": part.healthy, "detail": part.detail} for name, part in parts.items()},
    }
    return JSONResponse(content, 200 if ready else 503, headers={"Cache-Control": "no-store"})


@router.get("/metrics", response_class=Response)
async def metrics(services: ServicesDep) -> Response:
    """Prometheus metrics."""
    text = services.metrics.show(await _read_stats(services.pool), await _read_crawl_stats(services.pool))
    return Response(text, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})
