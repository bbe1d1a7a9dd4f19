"""The pool of read connections."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg_pool import AsyncConnectionPool

from catalog.database import libpq_url

ReadConnection = AsyncConnection[tuple[Any, ...]]
ReadPool = AsyncConnectionPool[ReadConnection]

TYPO_THRESHOLD = 0.42
"""Least `word_similarity` of a query and a spelling: lets one wrong letter in a five-letter word pass."""


class _JsonBytes(Loader):
    """JSON stays the bytes that PostgreSQL sent: nobody here looks into it."""

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


def read_pool(database_url: str, *, max_size: int = 10, statement_timeout_ms: int = 5000) -> ReadPool:
    """A closed pool of connections for reads; open it with ``async with``.

    Args:
        database_url: any PostgreSQL URL.
        max_size: most connections at once; further requests wait up to 5 s, then `psycopg_pool.PoolTimeout` is raised.
        statement_timeout_ms: a statement that takes longer is cancelled (`psycopg.errors.QueryCanceled`).
    """

    async def configure(connection: ReadConnection) -> None:
        connection.adapters.register_loader("json", _JsonBytes)
        await connection.execute(
            "SELECT set_config('statement_timeout', %s, false), set_config('TimeZone', 'UTC', false),"
            " set_config('pg_trgm.word_similarity_threshold', %s, false),"
            " set_config('default_transaction_read_only', 'on', false)",
            [str(statement_timeout_ms), str(TYPO_THRESHOLD)],
        )

    return AsyncConnectionPool(
        libpq_url(database_url),
        connection_class=AsyncConnection[tuple[Any, ...]],
        kwargs={
            "autocommit": True,  # one statement per read: no BEGIN and COMMIT around it
            "prepare_threshold": 0,
            "application_name": "versions-api",
            "connect_timeout": 10,
        },
        min_size=min(2, max_size),
        max_size=max_size,
        timeout=5,
        configure=configure,
        open=False,
        name="catalog-reads",
    )
