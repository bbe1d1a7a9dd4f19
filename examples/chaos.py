"""Kill anything, lose nothing, double nothing: ``make chaos``.

Runs the demo campaign twice: undisturbed in one data folder, and in another while the worker, the API, Temporal,
PostgreSQL and the object store are killed (SIGKILL) in random order at random moments. The supervisor restarts what
was killed. At the end both catalogs, their queues, their change feeds and their object stores are compared. The exit
status is 0 only if all is equal.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import shutil
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from catalog.campaigns import repository
from catalog.campaigns.files import load
from catalog.campaigns.progress import Progress, campaign_progress
from catalog.campaigns.spec import CampaignSpec
from catalog.database import Database
from catalog.models import Event, ReviewCase, Song, StoredObject, Version
from examples import snapshot
from examples.demo import CAMPAIGN, DemoError, Sites, check_machine
from examples.snapshot import Snapshot
from media.store import ObjectStore, StoreError
from runtime.adapters import adapter_facts
from runtime.connections import Connections
from runtime.embedded import state
from runtime.embedded.parts import NAMES
from runtime.embedded.state import StackError, StackState
from runtime.embedded.supervisor import Supervisor
from runtime.reconciler import Reconciler
from runtime.settings import Settings
from runtime.temporal import TemporalWorkflowClient, connect

KILLS = 10
DELAY_S = 0.3
"""Between two requests to one site while parts are killed."""
PATIENCE_S = 12.0
"""A kill waits so long at most for the work before it: what recovers may be killed too."""
AT_ONCE = 0.2
"""How often a kill does not wait for work: two parts are away at the same time."""
TIMEOUT_S = 300.0
CALM_S = 30.0
"""What was said last (a signal to a waiting case) may still be on its way when a run ends."""

WAYS = {
    "worker": ("process", "group"),
    "api": ("process",),
    "temporal": ("process",),
    "postgres": ("postmaster", "backend", "group"),
    "s3": ("process",),
}


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL; ``at``: seconds since the campaign's start; ``open``: candidates under way at that moment."""

    at: float
    part: str
    way: str
    pid: int
    found: int
    open: int


def plan(rng: random.Random, kills: int, parts: Sequence[str] = NAMES) -> list[tuple[str, str]]:
    """So many pairs of part and way: each part in each round once, in random order, its ways by turns."""
    result: list[tuple[str, str]] = []
    ways = {part: rng.sample(WAYS[part], len(WAYS[part])) for part in parts}
    round_number = 0
    while len(result) < kills:
        for part in rng.sample(list(parts), len(parts)):
            result.append((part, ways[part][round_number % len(ways[part])]))
        round_number += 1
    return result[:kills]


def victims(pid: int, way: str, rng: random.Random) -> list[int]:
    """The processes to kill of the part whose leader is ``pid``."""
    leader = psutil.Process(pid)
    children = leader.children(recursive=True)
    if way == "group":
        # The leader first: it must not see its children die and clean up after them.
        return [pid, *(child.pid for child in children)]
    if way == "backend":
        named = [(child, " ".join(child.cmdline())) for child in children]
        backends = [child.pid for child, name in named if "127.0.0.1(" in name]
        return [rng.choice(backends or [child.pid for child in children] or [pid])]
    return [pid]


def work_of(progress: Progress | None) -> int:
    """What has been done so far: answered requests and settled candidates."""
    if progress is None:
        return 0
    waiting = progress.total("open")
    return sum(progress.total(name) for name in ("requests_done", "requests_failed", "found")) - waiting


class Killer(threading.Thread):
    """Carries out a plan, spread over the work. Waits only for the part it wants to kill next: others may be away.

    Args:
        work: about so much will be done (see `work_of`).
    """

    def __init__(
        self,
        supervisor: Supervisor,
        steps: Sequence[tuple[str, str]],
        rng: random.Random,
        progress: Callable[[], Progress | None],
        tell: Callable[[Kill], None],
        work: int,
    ) -> None:
        super().__init__(name="killer", daemon=True)
        self._supervisor = supervisor
        self._steps = list(steps)
        self._rng = rng
        self._progress = progress
        self._tell = tell
        self._pace = work / (len(self._steps) + 2)
        self._over = threading.Event()
        self._begun = time.monotonic()
        self.kills: list[Kill] = []

    def run(self) -> None:
        for part, way in self._steps:
            wanted = 0.0 if self._rng.random() < AT_ONCE else self._pace * self._rng.uniform(0.3, 1.3)
            if not (self._wait_for_work(wanted) and not self._over.wait(self._rng.random()) and self._wait_ready(part)):
                return
            with contextlib.suppress(psutil.NoSuchProcess):
                self._kill(part, way)

    def _wait_for_work(self, wanted: float) -> bool:
        goal, deadline = work_of(self._progress()) + wanted, time.monotonic() + PATIENCE_S
        while work_of(self._progress()) < goal and time.monotonic() < deadline:
            if self._over.wait(0.05):
                return False
        return True

    def _wait_ready(self, part: str) -> bool:
        while not self._over.wait(0.05):
            if self._supervisor.snapshot()[part].state == "ready":
                return True
        return False

    def _kill(self, part: str, way: str) -> None:
        pid = self._supervisor.snapshot()[part].pid
        if pid is None:
            return
        progress = self._progress()
        for victim in victims(pid, way, self._rng):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        at = time.monotonic() - self._begun
        found, waiting = (progress.total("found"), progress.total("open")) if progress else (0, 0)
        self.kills.append(Kill(at, part, way, pid, found, waiting))
        self._tell(self.kills[-1])

    def stop(self) -> list[Kill]:
        """Ends the killing; what was killed."""
        self._over.set()
        self.join()
        return self.kills


class FeedReader(threading.Thread):
    """A consumer of the change feed: asks for what is new, over the API, and goes on when the API was away."""

    def __init__(self, api_url: Callable[[], str]) -> None:
        super().__init__(name="feed reader", daemon=True)
        self._api_url = api_url
        self._over = threading.Event()
        self._last = 0
        self.seen: list[int] = []
        self.answers: Counter[str] = Counter()

    def run(self) -> None:
        with httpx.Client(timeout=5, trust_env=False) as client:
            while not self._over.wait(0.25):
                self._read(client)

    def _read(self, client: httpx.Client) -> bool:
        try:
            answer = client.get(
                f"{self._api_url()}/api/v1/changes", params={"since": self._last, "limit": 100, "wait_s": 0}
            )
            answer.raise_for_status()
            page = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else "no answer"
            self.answers[str(status)] += 1
            return False
        self.answers["200"] += 1
        self.seen += [item["seq"] for item in page["items"]]
        self._last = page["next"]
        return not page["more"]

    def finish(self, timeout_s: float = 30.0) -> list[int]:
        """Reads to the end and stops; the numbers of all events seen, in the order in which they came."""
        self._over.set()
        self.join()
        deadline = time.monotonic() + timeout_s
        with httpx.Client(timeout=5, trust_env=False) as client:
            while not self._read(client) and time.monotonic() < deadline:
                time.sleep(0.2)
        return self.seen


@dataclass(slots=True)
class Trial:
    """What one execution left.

    Attributes:
        wrong: what contradicts itself (orphans, doubled events, lost events), whatever the other run says.
        pages: requests for pages by ``site path``, as the sites counted them; ``audio`` the same for audio.
    """

    snapshot: Snapshot
    incidents: set[tuple[str, str, str]]
    wrong: list[str]
    pages: Counter[str]
    audio: Counter[str]
    seconds: float
    work: int
    swept: int = 0
    kills: list[Kill] = field(default_factory=list)
    restarts: dict[str, int] = field(default_factory=dict)
    reads: Counter[str] = field(default_factory=Counter)


def settings_of(data: Path) -> Settings:
    """All parts embedded, whatever the surrounding shell says: nobody else's server may be killed."""
    return Settings(data_dir=data, database_url=None, temporal_address=None, s3_endpoint=None, redis_url=None)


def stack_of(data: Path) -> Supervisor:
    """A stack with ports of its own: while a part is away, no other stack on this machine should take its port.

    They lie below the range that systems use for outgoing connections.
    """
    if not data.exists():
        first = 20_000 + os.getpid() * 10 % 10_000
        data.mkdir(parents=True, mode=0o700)
        names = ("postgres", "temporal", "temporal_ui", "s3", "api")
        state.write(data, StackState(ports={name: first + number for number, name in enumerate(names)}))
    return Supervisor(settings_of(data))


def campaign(urls: dict[str, str], *, delay_s: float | None = None, only: Sequence[str] = ()) -> CampaignSpec:
    """The demo campaign, slower if asked, and on fewer sources."""
    spec = load(CAMPAIGN, urls, adapter_facts())
    sources = [source for source in spec.sources if not only or source.name in only]
    if delay_s is not None:
        sources = [
            source.model_copy(update={"politeness": source.politeness.model_copy(update={"delay": delay_s})})
            for source in sources
        ]
    return spec.model_copy(update={"sources": sources})


class Watch:
    """Looks at a campaign from outside; a database that is away for a moment does not matter."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._url = ""
        self._database: Database | None = None
        self.latest: Progress | None = None

    @property
    def database(self) -> Database:
        """Follows PostgreSQL to another port."""
        url = self._supervisor.connections().database_url
        if self._database is None or url != self._url:
            self.close()
            self._database, self._url = Database(url, pool_size=2), url
        return self._database

    def close(self) -> None:
        if self._database is not None:
            self._database.dispose()
            self._database = None

    def progress(self, campaign_id: uuid.UUID, trigger: str) -> Progress | None:
        """Where the execution stands; None where it cannot be asked."""
        try:
            with self.database.transaction() as session:
                runs = repository.runs_of(session, campaign_id, trigger)
                found = campaign_progress(session, [run.id for run in runs]) if runs else None
        except (DBAPIError, OSError):
            return None
        self.latest = found or self.latest
        return found

    def until_finished(self, campaign_id: uuid.UUID, trigger: str, timeout_s: float) -> Progress:
        """Returns when every candidate is settled or with a moderator. Raises DemoError."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = self.progress(campaign_id, trigger)
            if found is not None and found.finished and found.total("open") == 0:
                return found
            time.sleep(0.25)
        waiting = self.latest.total("open") if self.latest else "all"
        raise DemoError(f"the campaign is not over after {timeout_s:.0f} s: {waiting} candidates are not settled")


def begin(connections: Connections, spec: CampaignSpec) -> tuple[uuid.UUID, str]:
    """Applies the campaign and starts it; its id and the key of this execution."""

    async def start(campaign_id: str) -> str:
        client = TemporalWorkflowClient(await connect(connections.temporal_address, connections.temporal_namespace))
        schedule = spec.schedule.message() if spec.schedule else None
        await client.sync_schedule(campaign_id, spec.name, schedule, False)
        return await client.start_campaign(campaign_id)

    database = Database(connections.database_url, pool_size=1)
    try:
        with database.transaction() as session:
            campaign_id = repository.apply(session, spec)[0].id
    finally:
        database.dispose()
    return campaign_id, asyncio.run(start(str(campaign_id)))


def store_of(connections: Connections) -> ObjectStore:
    """The stack's object store."""
    return ObjectStore(
        connections.s3_endpoint, connections.s3_access_key, connections.s3_secret_key, connections.s3_bucket
    )


def sweep(connections: Connections, database: Database) -> int:
    """What the reconciler does an hour later: removes objects that were put and never referred to."""

    async def swept() -> int:
        client = TemporalWorkflowClient(await connect(connections.temporal_address, connections.temporal_namespace))
        return Reconciler(database, client, store_of(connections)).sweep(older_than=timedelta(0))

    return asyncio.run(swept())


def contradictions(session: Session, objects: ObjectStore, seen: Sequence[int]) -> list[str]:
    """What is wrong in itself.

    Args:
        seen: numbers of the events that a consumer of the feed read, in the order in which they came.
    """
    lines = snapshot.orphans(session, objects.keys())
    pending = session.scalar(select(func.count()).select_from(StoredObject).where(StoredObject.state == "pending"))
    lines += [f"{pending} objects are announced, unused and not swept"] if pending else []
    events = session.execute(select(Event.seq, Event.kind, Event.entity_id, Event.payload).order_by(Event.seq)).all()
    there = {"song": set(session.scalars(select(Song.id))), "version": set(session.scalars(select(Version.id)))}
    for entity, kind in (("song", "song.created"), ("version", "version.uploaded")):
        told = Counter(event.entity_id for event in events if event.kind == kind)
        lines += [f"{kind} {count} times for {entity} {key}" for key, count in told.items() if count > 1]
        lines += [f"{kind} for a {entity} that is not there: {key}" for key in told.keys() - there[entity]]
        lines += [f"no {kind} for {entity} {key}" for key in there[entity] - told.keys()]
    created: set[uuid.UUID] = set()
    for event in events:
        if event.kind == "song.created":
            created.add(event.entity_id)
        elif event.kind == "version.uploaded" and uuid.UUID(event.payload["song_id"]) not in created:
            lines.append(f"version.uploaded {event.seq} comes before its song")
    if any(after <= before for before, after in itertools.pairwise(seen)):
        lines.append("the change feed went backwards")
    lines += [f"a consumer of the feed never saw event {seq}" for seq in sorted({e.seq for e in events} - set(seen))]
    lines += [f"the feed told of event {seq}, which is gone" for seq in sorted(set(seen) - {e.seq for e in events})]
    many = (
        select(ReviewCase.candidate_id)
        .where(ReviewCase.state.in_(("open", "decided")))
        .group_by(ReviewCase.candidate_id)
        .having(func.count() > 1)
    )
    return lines + [f"several open cases of candidate {key}" for key in session.scalars(many)]


def requests_of(urls: dict[str, str]) -> tuple[Counter[str], Counter[str]]:
    """How often each page and each audio file was asked for, by the sites' own logs."""
    pages: Counter[str] = Counter()
    audio: Counter[str] = Counter()
    for name, url in urls.items():
        answer = httpx.get(f"{url}/__log", timeout=30, trust_env=False)
        for entry in (httpx.Response(200, content=line).json() for line in answer.text.splitlines()):
            if entry["path"].startswith("/audio/"):
                audio[f"{name} {entry['path']}"] += 1
            elif not entry["path"].startswith("/static/"):
                pages[f"{name} {entry['path']}?{entry['query']}"] += 1
    return pages, audio


def again(calm: Counter[str], disturbed: Counter[str]) -> int:
    """Requests that only the disturbed run sent a further time."""
    return sum(max(0, count - max(calm[key], 1)) for key, count in disturbed.items())


@contextlib.contextmanager
def sites_of(folder: Path) -> Iterator[tuple[Sites, dict[str, str]]]:
    """Fresh sites (they remember whom they have refused) on the same music."""
    sites = Sites.start(folder)
    try:
        yield sites, sites.wait()
    finally:
        sites.stop()


def trial(
    data: Path,
    sites: Path,
    *,
    steps: Sequence[tuple[str, str]] = (),
    rng: random.Random | None = None,
    work: int = 0,
    delay_s: float | None = None,
    only: Sequence[str] = (),
    expected: Callable[[Snapshot], bool] = lambda _: True,
    tell: Callable[[Kill], None] = lambda _: None,
    timeout_s: float = TIMEOUT_S,
) -> Trial:
    """One execution of the campaign in a fresh data folder, while ``steps`` are killed, spread over its ``work``.

    ``expected`` says whether the catalog is as it should be; it is given `CALM_S` to become so.
    Raises DemoError if the campaign does not end, and StackError.
    """
    supervisor = stack_of(data)
    watch = Watch(supervisor)
    with sites_of(sites) as (_, urls), contextlib.ExitStack() as ending:
        ending.callback(supervisor.stop)
        ending.callback(watch.close)
        connections = supervisor.start()
        reader = FeedReader(lambda: supervisor.connections().api_url)
        reader.start()
        begun = time.monotonic()
        campaign_id, trigger = begin(connections, campaign(urls, delay_s=delay_s, only=only))
        killer = Killer(supervisor, steps, rng or random.Random(0), lambda: watch.latest, tell, work)  # noqa: S311
        killer.start()
        try:
            done = work_of(watch.until_finished(campaign_id, trigger, timeout_s))
            seconds = time.monotonic() - begun
        finally:
            kills = killer.stop()
        _until_ready(supervisor)
        found = _until(lambda: _snapshot(watch), lambda taken: expected(taken) and not taken.unfinished)
        connections = supervisor.connections()
        swept = sweep(connections, watch.database)
        seen = reader.finish()
        with watch.database.transaction() as session:
            wrong = contradictions(session, store_of(connections), seen)
            incidents = snapshot.incidents(session)
        pages, audio = requests_of(urls)
        restarts = {name: part.restarts for name, part in supervisor.snapshot().items()}
        return Trial(found, incidents, wrong, pages, audio, seconds, done, swept, kills, restarts, reader.answers)


def _snapshot(watch: Watch) -> Snapshot:
    with watch.database.transaction() as session:
        return snapshot.take(session)


def _until(take: Callable[[], Snapshot], good: Callable[[Snapshot], bool]) -> Snapshot:
    deadline = time.monotonic() + CALM_S
    while True:
        with contextlib.suppress(DBAPIError, OSError, StoreError):
            taken = take()
            if good(taken) or time.monotonic() > deadline:
                return taken
        if time.monotonic() > deadline:
            raise DemoError("the catalog cannot be read")
        time.sleep(0.5)


def _until_ready(supervisor: Supervisor, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while any(part.state != "ready" for part in supervisor.snapshot().values()):
        if time.monotonic() > deadline:
            states = ", ".join(f"{name} is {part.state}" for name, part in supervisor.snapshot().items())
            raise DemoError(f"not all parts came back: {states}")
        time.sleep(0.1)


def differences(calm: Trial, disturbed: Trial) -> list[str]:
    """What the kills changed, one sentence each."""
    lines = calm.snapshot.differences(disturbed.snapshot)
    kept = {each for each in calm.incidents if each[2] not in ("trap", "too_deep")}
    found = {each for each in disturbed.incidents if each[2] not in ("trap", "too_deep")}
    lines += [f"page lost or failed otherwise: {' '.join(each)}" for each in sorted(kept - found)]
    lines += [f"page failed otherwise: {' '.join(each)}" for each in sorted(found - kept)]
    return lines + disturbed.wrong


def summary(calm: Trial, disturbed: Trial) -> list[Table]:
    """The result in figures."""
    parts = Table(title="Killed and come back", min_width=60)
    for column in ("part", "kills", "ways", "restarts"):
        parts.add_column(column, justify="right" if column in ("kills", "restarts") else "left")
    for name in NAMES:
        mine = [kill for kill in disturbed.kills if kill.part == name]
        ways = ", ".join(f"{n} {way}" for way, n in Counter(kill.way for kill in mine).items())
        parts.add_row(name, str(len(mine)), ways, str(disturbed.restarts.get(name, 0)))
    parts.add_row("all", str(len(disturbed.kills)), "", str(sum(disturbed.restarts.values())))
    result = Table(title="Undisturbed and disturbed", min_width=60)
    for column in ("", "undisturbed", "disturbed"):
        result.add_column(column, justify="left" if not column else "right")
    for title, value in (
        ("songs", lambda t: t.snapshot.songs),
        ("versions", lambda t: t.snapshot.versions),
        ("sources of versions", lambda t: t.snapshot.sources),
        ("waiting for a moderator", lambda t: len(t.snapshot.review)),
        ("without audio, with a reason", lambda t: len(t.snapshot.failed)),
        ("requests for pages", lambda t: t.pages.total()),
        ("requests for audio", lambda t: t.audio.total()),
        ("objects swept", lambda t: t.swept),
        ("reads of the feed that failed", lambda t: ", ".join(f"{n} × {s}" for s, n in t.reads.items() if s != "200")),
        ("time", lambda t: f"{t.seconds:.1f} s"),
    ):
        result.add_row(title, str(value(calm)), str(value(disturbed)))
    result.add_row("pages fetched again", "", str(again(calm.pages, disturbed.pages)))
    result.add_row("audio fetched again", "", str(again(calm.audio, disturbed.audio)))
    return [parts, result]


def chaos(data: Path, *, seed: int, kills: int, delay_s: float, console: Console) -> int:
    """Both executions and their comparison; the exit status."""
    check_machine(data, lambda line: console.print(line, highlight=False))
    rng = random.Random(seed)  # noqa: S311
    console.print(f"seed {seed}, {kills} kills, data in {data}", highlight=False)
    folder = data / str(os.getpid())

    def tell(kill: Kill) -> None:
        console.print(
            f"{kill.at:6.1f} s  SIGKILL {kill.part} ({kill.way}, pid {kill.pid}): "
            f"{kill.found} found, {kill.open} under way",
            highlight=False,
        )

    console.print("first undisturbed …")
    calm = trial(folder / "calm", data / "sites")
    for line in calm.wrong:
        console.print(f"[red]wrong even without kills[/]: {line}", highlight=False)
    console.print(f"done in {calm.seconds:.1f} s; now with kills …", highlight=False)
    disturbed = trial(
        folder / "disturbed",
        data / "sites",
        steps=plan(rng, kills),
        rng=rng,
        work=calm.work,
        delay_s=delay_s,
        expected=lambda taken: not calm.snapshot.differences(taken),
        tell=tell,
    )
    for table in summary(calm, disturbed):
        console.print(table)
    wrong = calm.wrong + differences(calm, disturbed)
    if len(disturbed.kills) < kills:
        wrong.append(f"the campaign was over after {len(disturbed.kills)} kills: use a larger --delay")
    for line in wrong:
        console.print(f"[red]not equal[/]: {line}", highlight=False)
    if wrong:
        console.print(f"the data of both runs: {folder}", highlight=False)
    else:
        console.print("[green]Nothing lost, nothing doubled.[/]")
        shutil.rmtree(folder)
    return 1 if wrong else 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``python -m examples.chaos``."""
    parser = argparse.ArgumentParser(prog="make chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="of the order, the ways and the moments")
    parser.add_argument("--kills", type=int, default=KILLS, help="default: %(default)s")
    parser.add_argument("--delay", type=float, default=DELAY_S, help="seconds between requests; default: %(default)s")
    parser.add_argument("--data-dir", type=Path, default=Path(".data/chaos"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    console = Console()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10_000)
    try:
        return chaos(
            options.data_dir.absolute(), seed=seed, kills=options.kills, delay_s=options.delay, console=console
        )
    except (DemoError, StackError) as error:
        console.print(f"[red]chaos:[/] {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
