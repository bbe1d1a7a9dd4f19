"""A crawl store in memory, for engines that are tested without a database."""

from __future__ import annotations

from collections.abc import Sequence

from crawlers.ports import PageOutcome, QueuedRequest


class MemoryStore:
    """Keeps what `crawlers.ports.CrawlStore` promises; ``commits``: the batches so far."""

    def __init__(self) -> None:
        self.queued: dict[str, QueuedRequest] = {}
        self.answered: dict[str, PageOutcome] = {}
        self.commits: list[list[PageOutcome]] = []

    async def seed(self, requests: Sequence[QueuedRequest]) -> None:
        for request in requests:
            if request.request_key not in self.answered:
                self.queued.setdefault(request.request_key, request)

    async def take(self, limit: int, exclude: Sequence[str]) -> Sequence[QueuedRequest]:
        return [request for key, request in self.queued.items() if key not in exclude][:limit]

    async def next_due_in_s(self) -> float | None:
        return 0.0 if self.queued else None

    async def commit(self, outcomes: Sequence[PageOutcome]) -> None:
        self.commits.append(list(outcomes))
        for outcome in outcomes:
            if self.queued.pop(outcome.queued.request_key, None) is not None:
                self.answered[outcome.queued.request_key] = outcome
                await self.seed(outcome.discovered)
