"""The fleet's budget in Redis, where one is configured; PostgreSQL keeps a copy for display.

Redis takes the many small writes; what an operator set stays in PostgreSQL. A Redis that lost its memory begins from
the copy, which is at most `MIRROR_S` old.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import WatchError

from catalog.repositories.politeness import PolitenessRepository

PREFIX = "versions:politeness:"
MIRROR_S = 2.0
FORGET_S = 7 * 86400
TIMEOUT_S = 5.0


class RedisScopes:
    """A `crawlers.budget.ledger.ScopeStore`. Raises redis errors where Redis is away: the crawl ends and is retried."""

    def __init__(self, redis_url: str, repository: PolitenessRepository) -> None:
        self._client: Redis = Redis.from_url(redis_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        self._repository = repository
        self._lock = threading.Lock()
        self._unmirrored: dict[str, dict[str, Any]] = {}
        self._mirrored_at = 0.0

    def transact(self, keys: Sequence[str], change: Callable[[dict[str, dict[str, Any]], float], None]) -> None:
        """Calls ``change`` with the documents of these keys and the time, and keeps what it made of them."""
        names = [PREFIX + key for key in keys]
        with self._client.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(*names)  # type: ignore[no-untyped-call]
                    values: Any = pipe.mget(names)
                    seconds, microseconds = pipe.time()
                    documents: dict[str, dict[str, Any]] = {
                        key: json.loads(value) for key, value in zip(keys, values, strict=True) if value
                    }
                    for key in (missing := [key for key in keys if key not in documents]):
                        documents[key] = {}
                    if missing:
                        documents |= self._repository.read(missing)
                    before = _breakers(documents)
                    change(documents, seconds + microseconds / 1e6)
                    pipe.multi()
                    for key, name in zip(keys, names, strict=True):
                        pipe.set(name, json.dumps(documents[key]), ex=FORGET_S)
                    pipe.execute()
                except WatchError:  # another process was faster
                    time.sleep(random.uniform(0.0005, 0.005))  # noqa: S311 - spreads load, hides nothing
                else:
                    break
        self._mirror(documents, at_once=_breakers(documents) != before)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _mirror(self, documents: Mapping[str, dict[str, Any]], *, at_once: bool) -> None:
        with self._lock:
            self._unmirrored.update(documents)
            if not at_once and time.monotonic() - self._mirrored_at < MIRROR_S:
                return
            pending, self._unmirrored = self._unmirrored, {}
            self._mirrored_at = time.monotonic()
        self._repository.mirror(pending)


def _breakers(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {key: document.get("breaker", {}).get("state", "closed") for key, document in documents.items()}
