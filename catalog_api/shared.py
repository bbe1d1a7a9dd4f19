"""What the API's processes share: how many requests a client made, and answers that hold for a few seconds.

In-process by default (each process then counts and remembers for itself), Redis where one is configured. Neither is a
record of anything: both may be lost at any moment.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from catalog_api.ratelimit import RateLimit, RateLimiter, Verdict

log = logging.getLogger(__name__)

_TIMEOUT_S = 0.25
_PAUSE_S = 5.0
T = TypeVar("T")


class Shared(Protocol):
    """Every method answers within a fraction of a second, whatever is broken."""

    async def take(self, client: str) -> Verdict:
        """Takes one token of this client's bucket, if there is one."""

    async def get(self, key: str) -> bytes | None:
        """What was put there, if it is still remembered."""

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Remembers the value for so many seconds, or shorter."""

    async def close(self) -> None:
        """Ends its connections."""


class InProcess:
    """In this process; forgets what was used least recently beyond ``max_bytes`` of values."""

    def __init__(
        self, limit: RateLimit, *, max_bytes: int = 16_000_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limiter = RateLimiter(limit, clock)
        self._clock, self._max_bytes, self._bytes = clock, max_bytes, 0
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    async def take(self, client: str) -> Verdict:
        return self._limiter.take(client)

    async def get(self, key: str) -> bytes | None:
        if (found := self._values.get(key)) is None:
            return None
        if found[0] <= self._clock():
            self._forget(key)
            return None
        self._values.move_to_end(key)
        return found[1]

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        if key in self._values:
            self._forget(key)
        self._values[key] = (self._clock() + ttl_s, value)
        self._bytes += len(value)
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._values)))

    def _forget(self, key: str) -> None:
        self._bytes -= len(self._values.pop(key)[1])

    async def close(self) -> None:
        return None


# The bucket of `RateLimiter`, by the server's clock: one atomic step, one round trip. Numbers leave as text, because
# Redis cuts fractions off.
_TAKE = """
local size, rate = tonumber(ARGV[1]), tonumber(ARGV[1]) / tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = math.min(size, tonumber(kept[1] or size) + math.max(0, now - tonumber(kept[2] or now)) * rate)
local allowed = 0
if tokens >= 1 then allowed, tokens = 1, tokens - 1 end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[2]) * 1000) + 1000)
return {allowed, string.format('%.6f', tokens)}
"""


class InRedis:
    """In a Redis that all processes share. While it is away, each does with its own, and one line says so."""

    def __init__(self, url: str, limit: RateLimit, *, prefix: str = "versions:api") -> None:
        """Connects on first use. ``prefix``: of all keys. Raises ValueError for what is no Redis URL."""
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            max_connections=50,
        )
        self._take = self._redis.register_script(_TAKE)
        self._limit, self._prefix = limit, prefix
        self._own = InProcess(limit)
        self._away_until = 0.0
        self._away = False

    async def take(self, client: str) -> Verdict:
        size, window_s = self._limit.requests, self._limit.window_s
        key = f"{self._prefix}:rate:{size}:{window_s:g}:{client}"
        answer = await self._ask(lambda: self._take(keys=[key], args=[size, window_s]))
        if answer is None:
            return await self._own.take(client)
        tokens, rate = float(answer[1]), size / window_s
        return Verdict(bool(answer[0]), int(tokens), (size - tokens) / rate, max(0.0, (1 - tokens) / rate))

    async def get(self, key: str) -> bytes | None:
        found: bytes | None = await self._ask(lambda: self._redis.get(self._key(key)))
        return found

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        await self._ask(lambda: self._redis.set(self._key(key), value, px=max(1, round(ttl_s * 1000))))

    def _key(self, key: str) -> str:
        # Keys hold what people typed: a digest bounds them and keeps them out of Redis's own logs.
        return f"{self._prefix}:cache:{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}"

    async def _ask(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """The answer; None while Redis is away, which is asked again every few seconds only."""
        if time.monotonic() < self._away_until:
            return None
        try:
            answer = await call()
        except (RedisError, OSError) as error:
            if not self._away:
                # The class only: the text may hold the address with its password.
                log.warning("Redis is away (%s): every process counts and remembers for itself", type(error).__name__)
            self._away, self._away_until = True, time.monotonic() + _PAUSE_S
            return None
        if self._away:
            log.warning("Redis is back")
            self._away = False
        return answer

    async def close(self) -> None:
        await self._redis.aclose()
