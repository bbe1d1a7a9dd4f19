"""Keeps the index of recordings in few segments, and copies of them in this host's files, beside a worker's other work.

One worker at a time merges, and one of each host fetches.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from catalog.database import Database
from identity.recording.files import SegmentFiles
from identity.recording.index import search_files
from identity.recording.merging import Merger, MergerBusyError

logger = logging.getLogger(__name__)

INTERVAL_S = 10.0


class IndexKeeper:
    """Merges what has gathered. A worker that dies over it loses nothing: the next round of any worker starts anew."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._engine = database.engine
        self._merger = Merger(database.engine)
        self._files = SegmentFiles(folder)
        search_files(database.engine, self._files)

    async def run_for_ever(self, interval_s: float = INTERVAL_S) -> None:
        """Until cancelled; a merge under way ends by itself. A database that is away is tried again."""
        while True:
            await self._guarded(self._merge)
            # A merger elsewhere needs no waiting for, nor does a failing one.
            await self._guarded(self._refresh)
            await asyncio.sleep(interval_s)

    async def _guarded(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(work)
        except MergerBusyError:
            pass
        except Exception:
            logger.exception("the index of recordings could not be kept")

    def _merge(self) -> None:
        for merged in self._merger.settle():
            logger.info("the index of recordings: %s", merged)

    def _refresh(self) -> None:
        done = self._files.refresh(self._engine)
        if done.fetched or done.removed:
            logger.info("files of the index of recordings: %s", done)
