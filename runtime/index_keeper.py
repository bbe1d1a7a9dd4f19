"""Keeps the index of recordings in few segments, beside a worker's other work; one worker at a time does it."""

from __future__ import annotations

import asyncio
import logging

from catalog.database import Database
from identity.recording.merging import Merger, MergerBusyError

logger = logging.getLogger(__name__)

INTERVAL_S = 10.0


class IndexKeeper:
    """Merges what has gathered. A worker that dies over it loses nothing: the next round of any worker starts anew."""

    def __init__(self, database: Database) -> None:
        self._merger = Merger(database.engine)

    async def run_for_ever(self, interval_s: float = INTERVAL_S) -> None:
        """Until cancelled; a merge under way ends by itself. A database that is away is tried again."""
        while True:
            try:
                for merged in await asyncio.to_thread(self._merger.settle):
                    logger.info("the index of recordings: %s", merged)
            except MergerBusyError:
                pass
            except Exception:
                logger.exception("the index of recordings could not be merged")
            await asyncio.sleep(interval_s)
