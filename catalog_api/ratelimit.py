"""A token bucket per client, in this process. `catalog_api.shared` chooses between it and Redis."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MAX_CLIENTS = 10_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """``requests`` per ``window_s`` seconds on average, as many at once."""

    requests: int = 1200
    window_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reset_s``: until the bucket is full; ``retry_s``: until the next request is allowed."""

    allowed: bool
    remaining: int
    reset_s: float
    retry_s: float


class RateLimiter:
    """Remembers the 10,000 clients seen last; a forgotten one starts with a full bucket."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> Verdict:
        """Takes one token of this client's bucket, if there is one."""
        now = self._clock()
        size, rate = self.limit.requests, self.limit.requests / self.limit.window_s
        tokens, then = self._buckets.pop(client, (float(size), now))
        tokens = min(size, tokens + (now - then) * rate)
        allowed = tokens >= 1
        tokens -= allowed
        self._buckets[client] = (tokens, now)
        if len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return Verdict(allowed, int(tokens), (size - tokens) / rate, max(0.0, (1 - tokens) / rate))
