"""The whole network, crawled by two workers that are killed again and again: ``make network``.

Compares what was found, what failed and what was asked (by the sites' own log) with what each site expects. The exit
status is 0 only if all is as it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from catalog.campaigns import repository
from catalog.campaigns.progress import campaign_progress
from catalog.campaigns.report import run_report
from catalog.database import Database
from catalog.models import FINAL_STATES, Candidate, VersionSource
from crawlers.errors import CONSEQUENCES
from examples.chaos import begin, settings_of
from examples.demo import HERE, DemoError
from examples.network.__main__ import LOG, URLS
from examples.network.http import read_log
from examples.network.site import MANY, Site
from examples.network.web import CONCURRENCY, Forbidden, campaign, sites
from runtime.connections import Connections
from runtime.embedded import readiness
from runtime.embedded.state import StackError
from runtime.embedded.supervisor import Supervisor
from runtime.report import render

PAGES = 20
KILLS = 6
WORKERS = 2
TIMEOUT_S = 420.0
MOST_MEMORY = 700_000_000
"""Resident bytes of one worker, whatever the sites send."""
JITTER_S = 0.5
"""Between a permit and the arrival of its request: both ends run on this machine, with all the rest."""
_SETTLED = (*FINAL_STATES, "in_review")
REMEDIES = {str(failure): consequence.remedy for failure, consequence in CONSEQUENCES.items()}


class Workers:
    """Two worker processes; one that dies is started again at once, as a fleet's scheduler would."""

    def __init__(self, data: Path, connections: Connections, count: int = WORKERS) -> None:
        self._data = data
        self._environment = {**os.environ, **connections.environment()}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._sample, name="memory of the workers", daemon=True)
        self.kills: list[tuple[float, int]] = []
        self.peak_bytes = 0
        for number in range(count):
            self._start(number)
        self._watch.start()

    def _folder(self, number: int) -> Path:
        return self._data / f"worker-{number}"

    def _start(self, number: int) -> None:
        folder = self._folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "worker.log").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                [sys.executable, "-m", "runtime.worker"],
                cwd=HERE.parent,
                env={**self._environment, "VERSIONS_DATA_DIR": str(folder)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self, timeout_s: float = 120.0) -> None:
        """Until all can work. Raises DemoError."""
        deadline = time.monotonic() + timeout_s
        for number, process in self._processes.items():
            while not readiness.is_ready(self._folder(number), "worker", process.pid):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise DemoError(f"a worker does not start; see {self._folder(number) / 'worker.log'}")
                time.sleep(0.1)

    def kill(self, number: int) -> None:
        """SIGKILL to one worker and its children, and a new one in its place."""
        process = self._processes[number]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.kills.append((time.monotonic(), number))
        self._start(number)

    def _sample(self) -> None:
        while not self._over.wait(0.2):
            for process in list(self._processes.values()):
                with contextlib.suppress(psutil.Error):
                    self.peak_bytes = max(self.peak_bytes, psutil.Process(process.pid).memory_info().rss)

    def stop(self) -> None:
        """Ends them in order."""
        self._over.set()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextlib.contextmanager
def network(data: Path, pages: int) -> Iterator[dict[str, str]]:
    """The sites in a process of their own; their URLs by name."""
    data.mkdir(parents=True, exist_ok=True)
    for name in (URLS, LOG):
        (data / name).unlink(missing_ok=True)
    command = [sys.executable, "-m", "examples.network", "--data", str(data), "--pages", str(pages)]
    process = subprocess.Popen(command, cwd=HERE.parent)
    try:
        deadline = time.monotonic() + 60
        while not (data / URLS).exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemoError("the network of sites does not start")
            time.sleep(0.05)
        yield json.loads((data / URLS).read_text())
    finally:
        process.terminate()
        process.wait(20)


@dataclass(slots=True)
class Outcome:
    """What a trial left.

    Attributes:
        wrong: a sentence for each thing that is not as expected.
        asked: requests by site; ``again``: those of well sites that were asked a further time.
        report: as `catalog.campaigns.report` makes it.
    """

    wrong: list[str]
    asked: Counter[str]
    again: int
    kills: int
    peak_bytes: int
    seconds: float
    report: dict[str, Any] = field(default_factory=dict)


def trial(
    data: Path,
    *,
    pages: int = PAGES,
    kills: int = KILLS,
    rng: random.Random | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Outcome:
    """One crawl of the network on a stack of its own in ``data``. Raises DemoError and StackError."""
    rng = rng or random.Random(0)  # noqa: S311
    crawled = sites(pages)
    supervisor = Supervisor(settings_of(data / "stack"), only=["postgres", "temporal", "s3"])
    with contextlib.ExitStack() as ending:
        urls = ending.enter_context(network(data, pages))
        ending.callback(supervisor.stop)
        connections = supervisor.start()
        database = Database(connections.database_url, pool_size=2)
        ending.callback(database.dispose)
        workers = Workers(data, connections)
        ending.callback(workers.stop)
        workers.wait_ready()
        began = time.monotonic()
        campaign_id, trigger = begin(connections, campaign(crawled, urls))
        _kill_meanwhile(workers, database, campaign_id, trigger, kills, rng, began + timeout_s)
        _until_finished(database, campaign_id, trigger, began + timeout_s)
        seconds = time.monotonic() - began
        with database.transaction() as session:
            report = run_report(session, campaign_id, trigger, REMEDIES)
            wrong = differences(session, crawled, report)
        log = read_log(data / LOG)
    (data / "report.html").write_text(render(report), encoding="utf-8")
    asked = Counter(str(entry["host"]) for entry in log)
    again = repeated(log, crawled)
    wrong += misbehaviour(log, crawled, len(workers.kills)) + report_gaps(report)
    if workers.peak_bytes > MOST_MEMORY:
        wrong.append(f"a worker took {workers.peak_bytes / 1e6:.0f} MB; at most {MOST_MEMORY / 1e6:.0f} are expected")
    return Outcome(wrong, asked, again, len(workers.kills), workers.peak_bytes, seconds, report)


def _kill_meanwhile(
    workers: Workers,
    database: Database,
    campaign_id: uuid.UUID,
    trigger: str,
    kills: int,
    rng: random.Random,
    deadline: float,
) -> None:
    """One worker after the other, each time when something was crawled since."""
    before = 0
    for number in range(kills):
        while (done := _answered(database, campaign_id, trigger)) is not None and done < before + 15:
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)
        if done is None:
            return
        time.sleep(rng.random())
        workers.kill(number % WORKERS)
        before = done


def _answered(database: Database, campaign_id: uuid.UUID, trigger: str) -> int | None:
    """Requests that were answered so far; None when all runs have ended."""
    with database.transaction() as session:
        runs = repository.runs_of(session, campaign_id, trigger)
        progress = campaign_progress(session, [run.id for run in runs])
    return None if progress.finished else progress.total("requests_done") + progress.total("requests_failed")


def _until_finished(database: Database, campaign_id: uuid.UUID, trigger: str, deadline: float) -> None:
    while time.monotonic() < deadline:
        with database.transaction() as session:
            runs = repository.runs_of(session, campaign_id, trigger)
            progress = campaign_progress(session, [run.id for run in runs])
        if progress.finished and progress.total("open") == 0:
            return
        time.sleep(0.25)
    late = [f"{run.source} {run.state} ({run.requests_queued} queued)" for run in progress.runs if not run.final]
    raise DemoError(f"the crawl is not over: {', '.join(late) or progress.total('open')}")


def differences(session: Session, crawled: Sequence[Site], report: Mapping[str, Any]) -> list[str]:
    """What was found and what failed, against what the sites expect."""
    wrong = []
    by_source = {each["source"]: each for each in report["sources"]}
    for site in crawled:
        source = by_source[site.name]
        if source["state"] != "finished":
            wrong.append(f"{site.name}: the run is {source['state']} ({source['reason']})")
        rows = session.scalars(select(Candidate).where(Candidate.source == site.name)).all()
        found = Counter(row.source_key for row in rows)
        wrong += [f"{site.name}: lost: {key}" for key in sorted(site.expected.items - found.keys())]
        wrong += [f"{site.name}: not expected: {key}" for key in sorted(found.keys() - site.expected.items)]
        wrong += [f"{site.name}: {row.source_key} is {row.state}" for row in rows if row.state not in _SETTLED]
        failed: dict[str, set[str]] = defaultdict(set)
        for each in source["incidents"]:
            failed[each["class"]] |= {urlsplit(url["url"]).path for url in each["urls"] if url["final"]}
        seen = {name: paths for name, paths in failed.items() if paths}
        for name, paths in site.expected.failures.items():
            there = seen.pop(name, set())
            if not there or (paths != MANY and there != paths):
                wanted = paths if isinstance(paths, str) else sorted(paths)
                wrong.append(f"{site.name}: {name}: {sorted(there)} instead of {wanted}")
        wrong += [f"{site.name}: not expected: {name} {sorted(paths)[:3]}" for name, paths in seen.items()]
    doubled = select(VersionSource.candidate_id).group_by(VersionSource.candidate_id).having(func.count() > 1)
    return wrong + [f"candidate {key} is in the catalog more than once" for key in session.scalars(doubled) if key]


def misbehaviour(log: Sequence[Mapping[str, Any]], crawled: Sequence[Site], kills: int) -> list[str]:
    """What the sites' own log says against us: too many requests, too fast, or where nobody may ask."""
    wrong = []
    moments: dict[str, list[float]] = defaultdict(list)
    for entry in log:
        moments[entry["host"]].append(entry["at"])
    for site in crawled:
        asked = moments[site.name]
        most = site.expected.most_requests + kills * (CONCURRENCY + 1)
        if len(asked) > most:
            wrong.append(f"{site.name}: asked {len(asked)} times; at most {most} are expected")
        if burst := fastest_burst(asked, site.delay_s):
            wrong.append(f"{site.name}: {burst[0]} requests in {burst[1]:.2f} s, delay {site.delay_s} s")
    asked_there = [entry["target"] for entry in log if entry["host"] == Forbidden.name]
    return wrong + [f"somebody asked {target} of the forbidden host" for target in asked_there]


def fastest_burst(moments: Sequence[float], delay_s: float) -> tuple[int, float] | None:
    """The first window, of whatever length, in which more was asked than the delay permits: how many, how long."""
    for number, first in enumerate(moments):
        for further, later in enumerate(moments[number + 1 :], 1):
            if later - first < further * delay_s - JITTER_S:
                return further + 1, later - first
    return None


def repeated(log: Sequence[Mapping[str, Any]], crawled: Sequence[Site]) -> int:
    """Requests for a page that had been answered well before; pages that fail on purpose do not count."""
    well = {site.name for site in crawled if not site.expected.failures and site.name not in ("flaky", "limiting")}
    return sum(
        entry["number"] > 0 and entry["target"] != "/robots.txt" for entry in log if entry["host"] in well
    )  # fmt: skip


def report_gaps(report: Mapping[str, Any]) -> list[str]:
    """Failures that the report does not explain."""
    page = render(report)
    classes = {each["class"]: each["remedy"] for source in report["sources"] for each in source["incidents"]}
    wrong = [f"no remedy for {name}" for name, remedy in classes.items() if not remedy]
    return wrong + [f"the page does not tell of {name}" for name in classes if f'id="class-{name}"' not in page]


def summary(outcome: Outcome, crawled: Sequence[Site]) -> Table:
    """A row a site."""
    result = Table(title="The network")
    for column in ("site", "state", "requests", "items", "failures"):
        result.add_column(column, justify="right" if column in ("requests", "items") else "left")
    by_source = {each["source"]: each for each in outcome.report["sources"]}
    for site in crawled:
        source = by_source[site.name]
        failures = ", ".join(f"{each['class']} {each['count']}" for each in source["incidents"])
        result.add_row(
            site.name, source["state"], str(outcome.asked[site.name]), str(source["counts"]["found"]), failures
        )
    return result


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``python -m examples.network.trial``."""
    parser = argparse.ArgumentParser(prog="make network", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=PAGES, help="songs of a site, at most 24; default: %(default)s")
    parser.add_argument("--kills", type=int, default=KILLS, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--data-dir", type=Path, default=Path(".data/network"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    console = Console()
    data = options.data_dir.absolute() / str(os.getpid())
    try:
        outcome = trial(data, pages=options.pages, kills=options.kills, rng=random.Random(options.seed))  # noqa: S311
    except (DemoError, StackError) as error:
        console.print(f"[red]network:[/] {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(summary(outcome, sites(options.pages)))
    console.print(
        f"{outcome.seconds:.0f} s, {outcome.asked.total()} requests, {outcome.kills} kills, {outcome.again} pages asked"
        f" again, at most {outcome.peak_bytes / 1e6:.0f} MB in a worker; report: {data / 'report.html'}",
        highlight=False,
    )
    for line in outcome.wrong:
        console.print(f"[red]wrong:[/] {line}", highlight=False)
    if not outcome.wrong:
        console.print("[green]All that was there was found once, nobody was asked too often, and nothing got out.[/]")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
