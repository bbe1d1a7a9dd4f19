"""A worker tells of itself through the database: one way for the embedded stack and for a fleet."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict

import psutil
from sqlalchemy.exc import SQLAlchemyError

from catalog.database import Database
from catalog.repositories import worker_reports
from crawlers.ports import CrawlProgress

INTERVAL_S = 2.0

logger = logging.getLogger(__name__)


class WorkerReporter:
    """Reports memory, CPU time, crawls and proxies of this process.

    Args:
        crawls: the crawls under way, by run id.
        proxies: tells their states by name.
    """

    def __init__(
        self,
        database: Database,
        crawls: Mapping[str, CrawlProgress],
        *,
        name: str | None = None,
        proxies: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._database = database
        self._crawls = crawls
        self._proxies = proxies
        self._process = psutil.Process()

    async def run_for_ever(self, interval_s: float = INTERVAL_S) -> None:
        """Reports every ``interval_s``; a database that is away is tried again. Withdraws when cancelled."""
        try:
            while True:
                await self._quietly(self.report)
                await asyncio.sleep(interval_s)
        finally:
            await asyncio.shield(self._quietly(self._withdraw))

    def report(self) -> None:
        """Reports once."""
        with self._process.oneshot():
            times = self._process.cpu_times()
            figures = {
                "rss_bytes": self._process.memory_info().rss,
                "cpu_s": round(times.user + times.system, 2),
                "crawls": {run_id: asdict(progress) for run_id, progress in dict(self._crawls).items()},
                "proxies": dict(self._proxies()),
            }
        with self._database.transaction() as session:
            worker_reports.report(session, self.name, json.dumps(figures))

    def _withdraw(self) -> None:
        with self._database.transaction() as session:
            worker_reports.withdraw(session, self.name)

    async def _quietly(self, call: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(call)
        except SQLAlchemyError as error:
            logger.debug("not reported: %s", error)
