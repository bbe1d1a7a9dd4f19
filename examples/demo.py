"""The main job, end to end: ``make demo``.

Starts the embedded stack and two sample sites, crawls them, and shows what came of it. It stays up until Ctrl-C, or
with ``--exit`` ends with status 0 if the catalog is exactly the expected one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from sqlalchemy import func, select

from catalog.campaigns import repository
from catalog.campaigns.files import load
from catalog.campaigns.progress import Progress, campaign_progress
from catalog.database import Database
from catalog.models import Event
from examples import snapshot
from examples.expected import EXPECTED
from examples.snapshot import Snapshot
from media.store import ObjectStore
from runtime.adapters import adapter_facts
from runtime.chromium import REMEDY, ensure_chromium
from runtime.cli._progress import render
from runtime.connections import Connections
from runtime.embedded.process import memory_bytes
from runtime.embedded.state import StackError
from runtime.embedded.supervisor import Supervisor
from runtime.settings import Settings
from runtime.temporal import TemporalWorkflowClient, connect

HERE = Path(__file__).parent
CAMPAIGN = HERE / "campaigns" / "demo.yaml"
MINIMUM_FREE_MB = 1000
TIMEOUT_S = 600.0
STILL_S = 1.0
"""Nothing was published for so long: it is over."""


class DemoError(RuntimeError):
    """The demo cannot go on; the message is one line for the person in front of it."""


@dataclass(slots=True)
class Sites:
    """The two sample sites, in a process of their own."""

    process: subprocess.Popen[bytes]
    file: Path
    urls: dict[str, str] = field(default_factory=dict)

    @classmethod
    def start(cls, data: Path) -> Sites:
        """Starts rendering the music (once) and then serving; see `wait`."""
        data.mkdir(parents=True, exist_ok=True)
        (data / "sites.json").unlink(missing_ok=True)
        log = (data / "sites.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "examples.sites", "--data", str(data), "--port-one", "8801", "--port-two", "8802"],
            cwd=HERE.parent,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        return cls(process, data / "sites.json")

    def wait(self, timeout_s: float = 180.0) -> dict[str, str]:
        """The sites' addresses, as soon as they serve."""
        deadline = time.monotonic() + timeout_s
        while not self.file.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"the sample sites do not start; see {self.file.with_name('sites.log')}")
            time.sleep(0.05)
        found = json.loads(self.file.read_text())
        self.urls = {name: found[name] for name in ("site_one", "site_two")}
        return self.urls

    def stop(self) -> None:
        """Ends them."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


@dataclass(slots=True)
class Outcome:
    """What one execution of the demo campaign left, and how it went."""

    snapshot: Snapshot
    problems: list[str]
    orphans: list[str]
    progress: Progress
    seconds: float
    first_event: int
    last_event: int
    peak_memory: int = 0

    @property
    def anew(self) -> bool:
        """Whether this execution published something."""
        return self.last_event > self.first_event


def check_machine(data: Path, say: Callable[[str], None] = print) -> None:
    """Says in one line what is missing. Raises DemoError."""
    data.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(data).free // 1_000_000
    if free < MINIMUM_FREE_MB:
        raise DemoError(f"the demo needs {MINIMUM_FREE_MB} MB of free disk in {data}; there are {free} MB")
    if ensure_chromium(say) is None:
        raise DemoError(f"the second sample site needs a browser; {REMEDY}")


async def run_campaign(
    connections: Connections,
    urls: dict[str, str],
    *,
    show: Callable[[Progress], None] = lambda progress: None,
    timeout_s: float = TIMEOUT_S,
) -> Outcome:
    """Applies the demo campaign, runs it once, and waits until every candidate is settled or with a moderator."""
    database = Database(connections.database_url, pool_size=4)
    try:
        spec = load(CAMPAIGN, urls, adapter_facts())
        with database.transaction() as session:
            campaign, _, _ = repository.apply(session, spec)
            campaign_id = campaign.id
            first_event = session.scalar(select(func.coalesce(func.max(Event.seq), 0))) or 0
        started = time.monotonic()
        client = TemporalWorkflowClient(await connect(connections.temporal_address, connections.temporal_namespace))
        schedule = spec.schedule.message() if spec.schedule else None
        await client.sync_schedule(str(campaign_id), spec.name, schedule, False)
        trigger = await client.start_campaign(str(campaign_id))
        progress = await _watch(database, campaign_id, trigger, show, started + timeout_s)
        with database.transaction() as session:
            after = snapshot.take(session)
            problems = EXPECTED.differences(
                partition=after.partition,
                review=after.review,
                failed=after.failed,
                incidents=snapshot.incidents(session),
            )
            objects = ObjectStore(
                connections.s3_endpoint, connections.s3_access_key, connections.s3_secret_key, connections.s3_bucket
            )
            return Outcome(
                after,
                problems,
                snapshot.orphans(session, objects.keys()),
                progress,
                time.monotonic() - started,
                first_event,
                session.scalar(select(func.coalesce(func.max(Event.seq), 0))) or 0,
            )
    finally:
        database.dispose()


async def _watch(
    database: Database, campaign_id: uuid.UUID, trigger: str, show: Callable[[Progress], None], deadline: float
) -> Progress:
    """Until the execution named by ``trigger`` is over. Parts that are away for a moment do not matter."""
    progress: Progress | None = None
    while time.monotonic() < deadline:
        try:
            progress = await asyncio.to_thread(_progress, database, campaign_id, trigger)
        except OSError:
            progress = None
        if progress is not None:
            show(progress)
            if progress.finished and progress.total("open") == 0:
                return await _still(database, campaign_id, trigger) or progress
        await asyncio.sleep(0.25)
    waiting = "nothing was started" if progress is None else f"{progress.total('open')} candidates are not settled"
    raise DemoError(f"the crawl is not over after {TIMEOUT_S:.0f} s: {waiting}; see `versions campaign show demo`")


async def _still(database: Database, campaign_id: uuid.UUID, trigger: str) -> Progress | None:
    """The progress when nothing moves any more: what was published last may settle cases that wait a moment later."""
    before = -1
    while (now := await asyncio.to_thread(newest_event, database)) != before:
        before = now
        await asyncio.sleep(STILL_S)
    return await asyncio.to_thread(_progress, database, campaign_id, trigger)


def newest_event(database: Database) -> int:
    """The sequence number of the newest event; it grows with every publication."""
    with database.transaction() as session:
        return session.scalar(select(func.coalesce(func.max(Event.seq), 0))) or 0


def _progress(database: Database, campaign_id: uuid.UUID, trigger: str) -> Progress | None:
    from sqlalchemy.exc import DBAPIError

    try:
        with database.transaction() as session:
            runs = repository.runs_of(session, campaign_id, trigger)
            return campaign_progress(session, [run.id for run in runs]) if runs else None
    except DBAPIError:
        return None


def summary(outcome: Outcome, connections: Connections, urls: dict[str, str]) -> list[Table]:
    """Tables for the end."""
    found = outcome.snapshot
    result = Table(title="The catalog", show_header=False, min_width=60)
    result.add_row("songs", str(found.songs))
    result.add_row("versions", str(found.versions))
    result.add_row("sources of versions", f"{found.sources} (up to {found.most_sources} of one version)")
    result.add_row("waiting for a moderator", str(len(found.review)))
    result.add_row("without audio, with a reason", str(len(found.failed)))
    result.add_row("pages that ended badly", ", ".join(f"{n} {c}" for c, n in outcome.progress.errors().items()))
    result.add_row("published by this run", "yes" if outcome.anew else "nothing: all was known")
    result.add_row("time", f"{outcome.seconds:.1f} s")
    if outcome.peak_memory:
        result.add_row("memory of the stack, at most", f"{outcome.peak_memory / 2**20:.0f} MiB")
    addresses = Table(title="Look at it", show_header=False, min_width=60)
    addresses.add_row("catalog", f"{connections.api_url}/")
    addresses.add_row("API documentation", f"{connections.api_url}/docs")
    addresses.add_row("Temporal", connections.temporal_ui_url or "external")
    addresses.add_row("sample sites", "  ".join(urls.values()))
    return [result, addresses]


class MemoryWatch(threading.Thread):
    """Adds up the resident memory of the stack's processes, shared pages once; remembers the most, in bytes."""

    def __init__(self, supervisor: Supervisor) -> None:
        super().__init__(name="memory", daemon=True)
        self._supervisor = supervisor
        self._over = threading.Event()
        self.peak = 0

    def run(self) -> None:
        while not self._over.wait(1.0):
            parts = self._supervisor.snapshot().values()
            self.peak = max(self.peak, sum(memory_bytes(part.pid) for part in parts if part.pid))

    def stop(self) -> int:
        """Ends the watch; the peak."""
        self._over.set()
        self.join()
        return self.peak


def demo(data: Path, *, stay: bool, console: Console) -> int:
    """Runs the demo; the exit status."""
    check_machine(data, lambda line: console.print(line, highlight=False))
    settings = Settings(data_dir=data)
    sites = Sites.start(data / "sites")
    supervisor = Supervisor(settings)
    try:
        with console.status("starting PostgreSQL, Temporal, S3, worker and API; rendering the sample music …"):
            connections = supervisor.start()
            urls = sites.wait()
        memory = MemoryWatch(supervisor)
        memory.start()
        with Live(console=console, refresh_per_second=4) as live:
            outcome = asyncio.run(
                run_campaign(connections, urls, show=lambda progress: live.update(render(progress, "demo")))
            )
        outcome.peak_memory = memory.stop()
        for table in summary(outcome, connections, urls):
            console.print(table)
        wrong = outcome.problems + outcome.orphans
        for line in wrong:
            console.print(f"[red]not as expected[/]: {line}", highlight=False)
        if not wrong:
            console.print("[green]Everything is as expected.[/]")
        if stay:
            console.print("Ctrl-C ends it. [dim]`make demo` again finds everything known.[/]")
            _wait_for_end(supervisor)
        return 1 if wrong else 0
    finally:
        with console.status("stopping …"):
            supervisor.stop()
            sites.stop()


def _wait_for_end(supervisor: Supervisor) -> None:
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    while not over.wait(0.5) and not supervisor.wait(0.0):
        pass


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``python -m examples.demo``."""
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--exit", action="store_true", help="end when done; status 0 if all is as expected")
    parser.add_argument("--data-dir", type=Path, default=Path(".data/demo"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        return demo(options.data_dir.absolute(), stay=not options.exit, console=console)
    except (DemoError, StackError) as error:
        console.print(f"[red]demo:[/] {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
