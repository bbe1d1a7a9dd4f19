"""A frontier of a million requests: what taking from it costs, and what the worker holds of it.

The rows are real ones in PostgreSQL, written by the store that crawls write them with. Beside a frontier of 10,000
stands one of 1,000,000 of the same form; from each, batches are taken and committed in turns as a crawl does it, each
page with 24 links of which half are known. The worker's memory is that of a process that crawls some hundred pages of
such a frontier, by the real engine, from a real site.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import psycopg
from sqlalchemy import text

from benchmarks import _stack
from benchmarks._figures import Figure, at_most
from benchmarks.crawl_pages import crawl_run, open_run, site
from catalog.database import Database, libpq_url
from catalog.repositories.crawl_store import CrawlRunStore, FrontierRow, OutcomeRow
from crawlers.urls import request_key
from runtime.settings import Settings

FIGURES = ("frontier_take", "frontier_worker_memory", "frontier_bytes")
SMALL, LARGE = 10_000, 1_000_000
BATCHES = 60
TAKE = 64
CRAWLED = 500
TAKE_LIMIT = 2.0
"""Times as long from the large frontier as from the small one."""
WORKER_LIMIT_MIB = 1.0
ROW_LIMIT_MIB = 100.0


def measure(small: int = SMALL, large: int = LARGE, batches: int = BATCHES, crawled: int = CRAWLED) -> list[Figure]:
    """The three figures."""
    with _stack.running("postgres", "s3") as stack, site(1000) as url:
        database = Database(stack.connections.database_url, pool_size=2)
        limits = {"max_depth": 1000, "max_pages": crawled}
        try:
            runs = {count: open_run(database, url, limits=limits) for count in (small, large)}
            stores = {count: CrawlRunStore(database, run, source=f"frontier-{count}") for count, run in runs.items()}
            empty = _table_bytes(database)
            began = time.perf_counter()
            for count, store in stores.items():
                _fill(store, url, count)
            filled_s = time.perf_counter() - began
            per_row = (_table_bytes(database) - empty) / (small + large)
            _vacuum(stack.connections.database_url)
            taken: dict[int, list[float]] = {small: [], large: []}
            for number in range(batches):
                for count, store in stores.items():
                    taken[count].append(_turn(store, url, count, number))
        finally:
            database.dispose()
        environment = {**os.environ, **stack.connections.environment(), "VERSIONS_DATA_DIR": str(stack.data_dir)}
        peaks = {count: _crawl(run, environment) for count, run in runs.items()}
    medians = {count: statistics.median(each) * 1000 for count, each in taken.items()}
    growth = max(peaks[large] - peaks[small], 0.0) / (large - small) * 100_000
    return [
        at_most(
            FIGURES[0],
            f"ms to take {TAKE} of {large:,}",
            medians[large],
            medians[small] * TAKE_LIMIT,
            detail=(
                f"{batches} batches in turns; of {small:,}: {medians[small]:.1f} ms; the limit is {TAKE_LIMIT:g} times "
                f"that; the slowest {max(taken[large]) * 1000:.0f} and {max(taken[small]) * 1000:.0f} ms"
            ),
        ),
        at_most(
            FIGURES[1],
            "MiB a 100,000 queued requests",
            growth,
            WORKER_LIMIT_MIB,
            detail=(
                f"peak of a worker that crawls {crawled} pages: {peaks[large]:.0f} MiB with {large:,} queued, "
                f"{peaks[small]:.0f} MiB with {small:,}"
            ),
        ),
        at_most(
            FIGURES[2],
            "MiB a 100,000 queued requests",
            per_row * 100_000 / 2**20,
            ROW_LIMIT_MIB,
            detail=f"PostgreSQL, with indexes; {small + large:,} were written in {filled_s:.0f} s",
        ),
    ]


def _row(url: str, number: int) -> FrontierRow:
    address = f"{url.rpartition('/')[0]}/{number}"
    return FrontierRow(request_key(address, "page"), address, context={"from": "page"}, depth=1)


def _fill(store: CrawlRunStore, url: str, count: int, step: int = 10_000) -> None:
    for first in range(0, count, step):
        store.seed([_row(url, number) for number in range(first, min(first + step, count))])


def _turn(store: CrawlRunStore, url: str, count: int, number: int) -> float:
    """Takes a batch, commits half of it, and says how long the taking took, in seconds."""
    began = time.perf_counter()
    rows = store.take(TAKE)
    seconds = time.perf_counter() - began
    fresh: Iterator[int] = iter(range(count + number * 10_000, count + (number + 1) * 10_000))
    store.commit(
        [
            OutcomeRow(
                row.request_key,
                row.url,
                row.attempts,
                status=200,
                discovered=[_row(url, each) for each in (*range(12), *(next(fresh) for _ in range(12)))],
            )
            for row in rows[: TAKE // 2]
        ]
    )
    return seconds


def _table_bytes(database: Database) -> int:
    with database.transaction() as session:
        return int(session.execute(text("SELECT pg_total_relation_size('frontier_requests')")).scalar_one())


def _vacuum(database_url: str) -> None:
    """As autovacuum does it sooner or later; what is measured should not depend on when."""
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE frontier_requests")


def _crawl(run_id: uuid.UUID, environment: dict[str, str]) -> float:
    """The peak of a process that crawls this run until its page limit, in MiB."""
    command = [sys.executable, "-m", __name__, str(run_id)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True, timeout=600)
    peak: float = json.loads(done.stdout.splitlines()[-1])
    return peak


def main() -> None:
    """Crawls one run and prints the peak of its memory."""
    import resource

    settings = Settings()
    assert settings.database_url is not None
    database = Database(settings.database_url.get_secret_value(), pool_size=20)
    crawl_run(uuid.UUID(sys.argv[1]), database, settings)
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


if __name__ == "__main__":
    main()
