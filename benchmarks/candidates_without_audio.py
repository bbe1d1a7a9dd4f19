"""Candidates without audio a second through a crawl run, beside empty Temporal workflows with as many activities.

Ours: the candidates stand in the table, the crawl is over; `CrawlRunWorkflow` has them settled in batches: each is
asked of identity, linked to a song or made one, and published. The reference: workflows
whose one activity does nothing, on the same server, by a worker of the same options in a process of its own, started
by a client with as many at once as a crawl run has in its window; and, as a second view, by a parent workflow with
that window.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities import messages as m
from adapters.contract import Credit, RecordingItem
from benchmarks import _empty, _stack
from benchmarks._figures import Figure, at_least
from catalog.database import Database
from catalog.models import FINAL_STATES, Campaign, Candidate, CrawlRun
from runtime.temporal import TemporalWorkflowClient, connect
from workflows.names import crawl_run_workflow_id

FIGURES = ("candidates_without_audio",)
GOAL = 0.8
COST = (
    "its cost is the settlement itself, about 23 SQL statements through the ORM, one after another under the "
    "identity lock; no candidate that is settled at once has a workflow of its own"
)
COUNT = 150
ROUNDS = 3
WINDOW = m.CrawlRunInput("", "", "").window
_ROOT = Path(__file__).resolve().parent.parent
_SYLLABLES = re.findall("..", "калинавеснодорогаполеморенебозимолеторекабезасоловечаегретучалугулутума")


def items(seed: int, count: int) -> list[RecordingItem]:
    """Recordings as a site describes them: every third is another version of a song that came before."""
    dice = random.Random(seed)

    def word() -> str:
        return "".join(dice.choice(_SYLLABLES) for _ in range(dice.randint(2, 4))).capitalize()

    singers = [f"{word()} {word()}" for _ in range(max(2, count // 6))]
    authors = [f"{word()} {word()}" for _ in range(max(2, count // 8))]
    songs: list[tuple[str, str]] = []
    found = []
    for number in range(count):
        if number % 3 == 2:
            title, author = dice.choice(songs)
        else:
            title, author = " ".join(word() for _ in range(dice.randint(2, 4))), dice.choice(authors)
            songs.append((title, author))
        found.append(
            RecordingItem(
                source_key=f"{seed}/{number}",
                title=title,
                url=f"https://bench.example/{seed}/{number}",
                credits=(Credit(dice.choice(singers)), Credit(author, "composer")),
                duration_s=float(dice.randint(90, 400)),
                year=dice.randint(1950, 2025),
                language="ru",
                genre="estrada",
            )
        )
    return found


def fill(database: Database, number: int, count: int) -> m.CrawlRunInput:
    """A crawl run that is crawled and has so many candidates to ingest."""
    with database.transaction() as session:
        campaign = Campaign(name=f"bench-{number}", spec={})
        session.add(campaign)
        session.flush()
        approval = {"recording": "auto", "song": "auto", "new_song": "auto"}
        run = CrawlRun(
            campaign_id=campaign.id,
            trigger_key=str(number),
            source=f"bench-{number}",
            spec={"adapter": "website", "approval": approval, "audio": "none", "trust": 0.5},
            crawled_at=datetime.now(UTC),
        )
        session.add(run)
        session.flush()
        for item in items(number, count):
            session.add(
                Candidate(
                    source=run.source,
                    source_key=item.source_key,
                    url=item.url,
                    crawl_run_id=run.id,
                    item=item.to_json(),
                    item_digest=item.digest(),
                    audio_policy="none",
                    waiting_on="worker",
                )
            )
        return m.CrawlRunInput(str(run.id), run.source, "website", campaign.name, crawled=True)


async def ours(client: Client, database: Database, number: int, count: int) -> float:
    """Seconds for one crawl run of ``count`` candidates."""
    message = await asyncio.to_thread(fill, database, number, count)
    started = time.perf_counter()
    await TemporalWorkflowClient(client).ensure_run(message)
    await client.get_workflow_handle(crawl_run_workflow_id(message.crawl_run_id)).result()
    seconds = time.perf_counter() - started
    with database.transaction() as session:
        query = select(func.count()).where(Candidate.crawl_run_id == uuid.UUID(message.crawl_run_id))
        settled = session.scalar(query.where(Candidate.state.in_([*FINAL_STATES, "in_review"])))
    if settled != count:
        raise RuntimeError(f"only {settled} of {count} candidates were settled")
    return seconds


async def empty_by_client(client: Client, count: int) -> float:
    """Seconds for ``count`` empty workflows, a window of them at once."""
    room = asyncio.Semaphore(WINDOW)

    async def one() -> None:
        async with room:
            name = f"empty-{uuid.uuid4()}"
            await client.execute_workflow(_empty.EmptyWorkflow.run, name, id=name, task_queue=_empty.QUEUE)

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return time.perf_counter() - started


async def empty_by_parent(client: Client, count: int) -> float:
    """Seconds for ``count`` empty workflows as children of one workflow with the same window."""
    started = time.perf_counter()
    await client.execute_workflow(
        _empty.EmptyParent.run,
        _empty.Started(count, WINDOW),
        id=f"empty-parent-{uuid.uuid4()}",
        task_queue=_empty.QUEUE,
    )
    return time.perf_counter() - started


async def work(address: str, namespace: str) -> None:
    """The reference's worker, until SIGTERM; its options are those of `runtime.worker`'s control queue."""
    client = await connect(address, namespace)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with ThreadPoolExecutor(32) as threads:
        worker = Worker(
            client,
            task_queue=_empty.QUEUE,
            workflows=[_empty.EmptyWorkflow, _empty.EmptyParent],
            workflow_runner=SandboxedWorkflowRunner(
                restrictions=SandboxRestrictions.default.with_passthrough_modules("benchmarks")  # as ours are
            ),
            activities=[_empty.nothing],
            activity_executor=threads,
            max_concurrent_activities=100,
            graceful_shutdown_timeout=timedelta(seconds=1),
        )
        async with worker:
            await stop.wait()


@contextmanager
def reference_worker(stack: _stack.Stack) -> Iterator[subprocess.Popen[bytes]]:
    """The reference's worker in a process of its own."""
    where = stack.connections
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, where.temporal_address, where.temporal_namespace], cwd=_ROOT
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


async def _measure(stack: _stack.Stack, count: int, rounds: int) -> Figure:
    client = await connect(stack.connections.temporal_address, stack.connections.temporal_namespace)
    database = Database(stack.connections.database_url)
    taken: list[tuple[float, float, float]] = []
    used: list[dict[str, float]] = []
    empty: list[dict[str, float]] = []
    try:
        with reference_worker(stack) as worker:
            # Both sides have begun before the clock does: imports, pools, caches.
            await empty_by_client(client, min(20, count))
            await empty_by_parent(client, min(20, count))
            await ours(client, database, 0, min(20, count))
            for number in range(1, rounds + 1):
                before = stack.cpu_s() | _stack.cpu_of(worker.pid)
                by_client = await empty_by_client(client, count)
                empty.append(_stack.cpu_difference(before, stack.cpu_s() | _stack.cpu_of(worker.pid)))
                before = stack.cpu_s()
                mine = await ours(client, database, number, count)
                used.append(_stack.cpu_difference(before, stack.cpu_s()))
                by_parent = await empty_by_parent(client, count)
                taken.append((count / mine, count / by_client, count / by_parent))
    finally:
        database.dispose()
    parents = ", ".join(f"{mine / by_parent:.2f}" for mine, _, by_parent in taken)
    detail = (
        f"{count} candidates a round, {WINDOW} at once, no audio; each asks identity and is published; CPU a candidate "
        f"{_stack.per_item(used, count * rounds)}, an empty workflow {_stack.per_item(empty, count * rounds)}; "
        f"ratio to the same empty workflows as children of a parent with that window: {parents}; {COST}"
    )
    return at_least(
        FIGURES[0],
        "candidates/s",
        [(mine, by_client) for mine, by_client, _ in taken],
        reference_name="empty workflow, one activity",
        goal=GOAL,
        detail=detail,
    )


def measure(count: int = COUNT, rounds: int = ROUNDS) -> list[Figure]:
    """The figure, from a stack of its own."""
    with _stack.running("postgres", "temporal", "s3", "worker") as stack:
        return [asyncio.run(_measure(stack, count, rounds))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("namespace")
    options = parser.parse_args()
    asyncio.run(work(options.address, options.namespace))
