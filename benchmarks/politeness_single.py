"""How much of its budget a polite crawl uses, and that it takes no more, by the site's own log.

One engine on one server group with a delay: the theoretical budget is one request each delay. Ours: requests by the
time they took, once the frontier holds some: a crawl knows nothing to ask for before its first page has been kept.
"""

from __future__ import annotations

import os

from benchmarks import _stack
from benchmarks._figures import Figure, at_least
from benchmarks.crawl_pages import asked, open_run, site
from benchmarks.crawl_restart import crawl_in_child
from catalog.database import Database

FIGURES = ("politeness_single",)
GOAL = 0.98
DELAY_S = 0.05
PAGES = 400
CONCURRENCY = 4
WARM_UP = 20
"""Requests before the measurement begins."""


def measure(pages: int = PAGES, rounds: int = 2) -> list[Figure]:
    """The figure."""
    taken: list[tuple[float, float]] = []
    bursts: list[float] = []
    with _stack.running("postgres", "s3") as stack:
        environment = {**os.environ, **stack.connections.environment(), "VERSIONS_DATA_DIR": str(stack.data_dir)}
        database = Database(stack.connections.database_url, pool_size=2)
        try:
            for _ in range(rounds):
                with site(pages) as url:
                    politeness = {"delay": DELAY_S, "concurrency": CONCURRENCY, "robots": False}
                    crawl_in_child(open_run(database, url, politeness=politeness), environment)
                    moments = [moment for moment, _ in asked(url)]
                steady = moments[WARM_UP:]
                taken.append(((len(steady) - 1) / (steady[-1] - steady[0]), 1 / DELAY_S))
                bursts.append(_most_ahead(moments))
        finally:
            database.dispose()
    return [
        at_least(
            FIGURES[0],
            "requests/s",
            taken,
            reference_name="one request each delay",
            goal=GOAL,
            detail=(
                f"{pages} pages, a delay of {DELAY_S * 1000:g} ms, {CONCURRENCY} at once; in no window did "
                f"requests come more than {max(bursts) * 1000:.0f} ms ahead of the budget, as the site saw them"
            ),
        )
    ]


def _most_ahead(moments: list[float]) -> float:
    """The most by which the last request of any window came before the budget permits it, in seconds."""
    ahead = latest = 0.0
    for number, moment in enumerate(moments):
        # A window that begins with the request that is furthest behind its turn is the worst one.
        behind = moment - number * DELAY_S
        latest = behind if number == 0 else max(latest, behind)
        ahead = max(ahead, latest - behind)
    return ahead
