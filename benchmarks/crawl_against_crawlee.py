"""Pages a second of a crawl run beside crawlee, on the site and with the settings of `benchmarks.crawl_pages`.

crawlee is what a Python programmer would take instead: its ParselCrawler with the default HTTP client, storage in
memory, the same number of requests at once, neither sessions nor robots.txt. It parses each page once, takes the links
and the JSON-LD (as the bare spider of `crawl_pages` does) and keeps nothing; ours keeps all in PostgreSQL and the
object store, with all that a campaign has by default: only the delay and robots.txt are off.

Each crawler is one process with one event loop. Ours writes in threads of that process (compression and waiting for the
stores leave the other threads free); PostgreSQL and the object store use the second core, as the site does for both.
The garbage collector is set alike, by `runtime.collector`, once the imports are done.
"""

from __future__ import annotations

from benchmarks import _side, _stack
from benchmarks._figures import Figure, at_least
from benchmarks.crawl_pages import CONCURRENCY, PAGES, ROUNDS, run_child, run_ours, site

FIGURES = ("crawl_pages_crawlee",)
GOAL = 1.0


def measure(pages: int = PAGES, rounds: int = ROUNDS) -> list[Figure]:
    """The figure; the first time, the environment of crawlee is made."""
    interpreter = _side.python()
    taken: list[tuple[float, float]] = []
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    with _stack.running("postgres", "s3") as stack, site(pages) as url:
        environment = {**stack.connections.environment(), "VERSIONS_DATA_DIR": str(stack.data_dir)}
        command = [interpreter, "-m", "benchmarks._crawlee", url, str(CONCURRENCY)]
        for _ in range(rounds):
            ours.append(run_ours(url, pages, environment))
            theirs.append(run_child("crawlee", command, pages, {}))
            taken.append((pages / ours[-1]["s"], pages / theirs[-1]["s"]))
    cpu = [sum(each["cpu_s"] for each in done) * 1000 / pages / rounds for done in (ours, theirs)]
    peak = [max(each["peak_kb"] for each in done) / 1024 for done in (ours, theirs)]
    return [
        at_least(
            FIGURES[0],
            "pages/s",
            taken,
            reference_name="crawlee's ParselCrawler, which stores nothing",
            goal=GOAL,
            detail=(
                f"{pages} pages, {CONCURRENCY} at once; CPU ms a page: ours {cpu[0]:.1f}, crawlee {cpu[1]:.1f}; "
                f"peak MiB: ours {peak[0]:.0f}, crawlee {peak[1]:.0f}"
            ),
        )
    ]
