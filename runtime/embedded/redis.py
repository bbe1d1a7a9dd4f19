"""The optional Redis that the API's processes share; always an external server."""

from __future__ import annotations

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def check(url: str, timeout_s: float = 2.0) -> str:
    """Its version. Raises redis.exceptions.RedisError, and ValueError for what is no Redis URL."""
    with Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    ) as client:
        return f"Redis {client.info('server')['redis_version']}"
