"""Group commit: many finished requests, one WARC object and one transaction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from crawlers.ports import CrawlStore, PageOutcome, SnapshotRecord, SnapshotStore

FLUSH_AT = 32
FLUSH_AFTER_S = 0.25
MAX_BATCH = 256
MAX_BATCH_BYTES = 16_000_000


class GroupWriter:
    """Collects outcomes and commits them together; what is not committed is fetched again after a crash.

    Args:
        committed: called with the outcomes of each finished commit.
    """

    def __init__(
        self, store: CrawlStore, snapshots: SnapshotStore, committed: Callable[[Sequence[PageOutcome]], None]
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._committed = committed
        self._pending: deque[tuple[PageOutcome, SnapshotRecord | None]] = deque()
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._closed = False
        self.pending_bytes = 0

    def put(self, outcome: PageOutcome, record: SnapshotRecord | None = None) -> None:
        """Adds an outcome to the next batch; the caller bounds how many it has under way."""
        self._pending.append((outcome, record))
        if record is not None:
            self.pending_bytes += len(record.body)
        self._some.set()
        if len(self._pending) >= FLUSH_AT or self.pending_bytes >= MAX_BATCH_BYTES:
            self._enough.set()

    def hurry(self) -> None:
        """Nothing else is under way: waiting for a fuller batch would only cost time."""
        if self._pending:
            self._enough.set()

    def close(self) -> None:
        """No more outcomes come; `run` ends when the last is committed."""
        self._closed = True
        self._some.set()
        self._enough.set()

    async def run(self) -> None:
        """Commits until closed. Raises whatever the stores raise: the run then ends and is taken up again later."""
        while True:
            await self._some.wait()
            if not self._closed and not self._enough.is_set():
                try:
                    async with asyncio.timeout(FLUSH_AFTER_S):
                        await self._enough.wait()
                except TimeoutError:
                    pass
            batch = self._next_batch()
            if batch:
                await self._commit(batch)
            elif self._closed:
                return

    def _next_batch(self) -> list[tuple[PageOutcome, SnapshotRecord | None]]:
        batch: list[tuple[PageOutcome, SnapshotRecord | None]] = []
        size = 0
        while self._pending and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            outcome, record = self._pending.popleft()
            size += len(record.body) if record is not None else 0
            batch.append((outcome, record))
        if not self._closed:
            if not self._pending:
                self._some.clear()
            if len(self._pending) < FLUSH_AT:
                self._enough.clear()
        return batch

    async def _commit(self, batch: list[tuple[PageOutcome, SnapshotRecord | None]]) -> None:
        recorded = [(outcome, record) for outcome, record in batch if record is not None]
        if recorded:
            references = await self._snapshots.write([record for _, record in recorded])
            for (outcome, record), reference in zip(recorded, references, strict=True):
                outcome.snapshot = reference
                self.pending_bytes -= len(record.body)
        outcomes = [outcome for outcome, _ in batch]
        await self._store.commit(outcomes)
        self._committed(outcomes)
