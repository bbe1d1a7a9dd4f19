"""What a restart costs: pages fetched again after SIGKILL in the middle of a crawl, by the site's own log.

One crawl run with a delay of 2 ms, on the site of `benchmarks.crawl_pages`; its process is killed again and again,
each time after some hundred further pages, and a new one takes the run up where it is. The site counts every request.
The limit for each kill is the crawl's concurrency. (A crawl without any delay is after speed: it commits in bulk, and
may fetch some hundred pages again.)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter

from benchmarks import _stack
from benchmarks._figures import Figure, at_most
from benchmarks.crawl_pages import CONCURRENCY, asked, crawl_run, open_run, site
from catalog.database import Database
from runtime.settings import Settings

FIGURES = ("crawl_restart",)
PAGES = 2000
DELAY_S = 0.002
KILLS = 4


def measure(pages: int = PAGES, kills: int = KILLS) -> list[Figure]:
    """The figure: the worst of all kills."""
    costs: list[int] = []
    with _stack.running("postgres", "s3") as stack, site(pages) as url:
        environment = {**os.environ, **stack.connections.environment(), "VERSIONS_DATA_DIR": str(stack.data_dir)}
        database = Database(stack.connections.database_url, pool_size=2)
        try:
            politeness = {"delay": DELAY_S, "concurrency": CONCURRENCY, "robots": False}
            run_id = open_run(database, url, politeness=politeness)
        finally:
            database.dispose()
        command = _command(run_id)
        again_before = 0
        for number in range(1, kills + 1):
            _killed(command, environment, url, pages * number // (kills + 1))
            # What this kill costs is known when the next attempt has gone on for a while.
            if number > 1:
                again_before = _note(costs, url, again_before)
        crawl_in_child(run_id, environment)
        _note(costs, url, again_before)
        log = asked(url)
    if len({number for _, number in log}) != pages:
        raise RuntimeError(f"{len({number for _, number in log})} of {pages} pages were fetched")
    return [
        at_most(
            FIGURES[0],
            "pages fetched again a kill, at most",
            max(costs),
            CONCURRENCY,
            detail=(
                f"{pages} pages, {CONCURRENCY} at once, a delay of {DELAY_S * 1000:g} ms, SIGKILL {kills} times: "
                f"{sum(costs)} of {len(log)} "
                f"requests were repetitions ({', '.join(map(str, costs))})"
            ),
        )
    ]


def crawl_in_child(run_id: uuid.UUID, environment: dict[str, str]) -> None:
    """Crawls the run to its end in a process of its own."""
    subprocess.run(_command(run_id), env=environment, check=True, timeout=600)


def _command(run_id: uuid.UUID) -> list[str]:
    return [sys.executable, "-m", __name__, str(run_id)]


def _note(costs: list[int], url: str, before: int) -> int:
    again = sum(count - 1 for count in Counter(number for _, number in asked(url)).values())
    costs.append(again - before)
    return again


def _killed(command: list[str], environment: dict[str, str], url: str, after: int) -> None:
    """Crawls until so many different pages were fetched, then SIGKILL."""
    process = subprocess.Popen(command, env=environment)
    try:
        while len({number for _, number in asked(url)}) < after:
            if process.poll() is not None:
                raise RuntimeError("the crawl was over before it could be killed")
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def main() -> None:
    """Crawls one run, whoever began it."""
    settings = Settings()
    assert settings.database_url is not None
    database = Database(settings.database_url.get_secret_value(), pool_size=20)
    crawl_run(uuid.UUID(sys.argv[1]), database, settings)


if __name__ == "__main__":
    main()
