"""Keeps the parts of a stack running: starts them in order, restarts what dies, stops them cleanly.

One thread decides and starts everything. Linux's parent-death signal is bound to the *thread* that started a child, so
no short-lived thread may start one; slow work (initdb, migrations, health checks) goes to a pool, and its results are
read in the next round.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from runtime.connections import Connections
from runtime.embedded import ports, process, state
from runtime.embedded.parts import Context, FatalPartError, Part, default_parts
from runtime.embedded.state import Lock, PartState, StackError, StackState
from runtime.logging import get_logger, redact
from runtime.settings import Settings

BACKOFF_FIRST_S = 0.2
BACKOFF_LONGEST_S = 5.0
DEATHS_PER_MINUTE = 5
"""A part that dies more often than this within 60 s is reported as failed (and still tried)."""
LOG_BYTES = 10 * 1024 * 1024
"""A part's log is moved to ``.1`` when it grows beyond this; so each part keeps at most twice as much."""

_ROUND_S = 0.05
_QUIET_ROUND_S = 0.2
_LOG_CHECK_S = 10.0
_CHECK_PAUSE_S = 0.1
_log = get_logger(__name__)


def tail(path: Path, lines: int = 5) -> str:
    """The last lines of a log, without secrets; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return redact("\n".join(text.strip().splitlines()[-lines:]))


class _Running:
    """A part and what is going on with it; touched by the supervising thread only."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.status = PartState(external=part.command is None, since=time.time())
        self.child: subprocess.Popen[bytes] | None = None
        self.work: Future[object] | None = None
        self.deaths: deque[float] = deque()
        self.next_start = 0.0
        self.next_check = 0.0
        self.deadline = 0.0
        self.variables: dict[str, str] = {}

    def become(self, name: str, error: str | None = None) -> None:
        if self.status.state != name:
            self.status.since = time.time()
        self.status.state = name
        if error is not None or name == "ready":
            self.status.error = error


class Supervisor:
    """Owns a data folder and the parts of its stack.

    `start` returns when all parts are ready and raises StackError, with everything stopped again, if one cannot start;
    `stop` ends them. As a context manager it does both.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        only: Sequence[str] | None = None,
        parts: Sequence[Part] | None = None,
        on_change: Callable[[str, PartState], None] | None = None,
    ) -> None:
        """``only``: names of the parts to run (default: all); ``parts``: other parts than the usual ones;
        ``on_change``: told of each change of a part's state, in the supervising thread."""
        data_dir = settings.data_dir.expanduser().absolute()
        self.settings = settings.model_copy(update={"data_dir": data_dir})
        self.data_dir = data_dir
        try:
            chosen = list(parts) if parts is not None else default_parts(self.settings, only)
        except ValueError as error:
            raise StackError(str(error)) from error
        self._running = {part.name: _Running(part) for part in chosen}
        self._on_change = on_change
        self._lock = Lock(data_dir)
        self._state = StackState()
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._stop = threading.Event()
        self._settled = threading.Event()
        self._problem: str | None = None
        self._reported: dict[str, str] = {}
        self._written: str = ""

    # What others call

    def start(self, timeout_s: float = 180.0, give_up: threading.Event | None = None) -> Connections:
        """Starts all parts and waits until they are ready, or ``give_up`` is set (the caller then calls `stop`)."""
        self._make_folders()
        self._lock.acquire()
        try:
            self._state = state.read(self.data_dir)
            recover(self._state)
            self._state = StackState(
                state="starting",
                supervisor_pid=os.getpid(),
                supervisor_create_time=process.create_time(os.getpid()),
                started_at=time.time(),
                ports=self._state.ports,
            )
            self._pool = ThreadPoolExecutor(max_workers=len(self._running) + 1, thread_name_prefix="stack")
            self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
            self._thread.start()
        except BaseException:
            self._lock.release()
            raise
        try:
            settled = self._wait_settled(timeout_s, give_up)
        except BaseException:
            self.stop()
            raise
        if self._problem or not settled:
            problem = self._problem or f"the stack is not ready after {timeout_s:.0f} s: {self._waiting()}"
            self.stop()
            raise StackError(problem)
        return self.connections()

    def _wait_settled(self, timeout_s: float, give_up: threading.Event | None) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._settled.wait(0.1) or (give_up is not None and give_up.is_set()):
                return True
        return False

    def stop(self) -> None:
        """Stops all parts, worker and API first, and gives the data folder free. Safe to repeat."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        self._lock.release()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for the end of supervision; True if it ended."""
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def connections(self) -> Connections:
        """Where the parts are."""
        return Context(self.settings, self._used_ports()).connections()

    def snapshot(self) -> dict[str, PartState]:
        """The parts as they are now."""
        return {name: replace(running.status) for name, running in self._running.items()}

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    # The supervising thread

    def _supervise(self) -> None:
        logs_due = time.monotonic() + _LOG_CHECK_S
        try:
            while not self._stop.is_set():
                for running in self._running.values():
                    self._step(running)
                self._settle()
                self._publish()
                if time.monotonic() > logs_due:
                    self._rotate_logs()
                    logs_due = time.monotonic() + _LOG_CHECK_S
                quiet = all(running.status.state == "ready" for running in self._running.values())
                self._stop.wait(_QUIET_ROUND_S if quiet else _ROUND_S)
        except Exception as error:
            _log.exception("the supervisor failed")
            self._problem = f"the supervisor failed: {error}"
        finally:
            self._state.state = "stopping"
            self._publish()
            self._stop_parts()
            self._state = replace(
                self._state, state="stopped", supervisor_pid=None, supervisor_create_time=None, connections={}
            )
            self._publish()
            self._settled.set()

    def _settle(self) -> None:
        """Tells whoever waits in `start` that all is well, or that a part cannot start."""
        if self._settled.is_set():
            return
        for name, running in self._running.items():
            if running.status.state == "failed":
                self._problem = f"{name} does not start: {running.status.error}"
                self._settled.set()
                return
        if all(running.status.state == "ready" for running in self._running.values()):
            self._state.state = "ready"
            self._publish()
            self._settled.set()

    def _step(self, running: _Running) -> None:
        status, now = running.status, time.monotonic()
        if running.child is not None and running.child.poll() is not None and status.state in ("starting", "ready"):
            code = running.child.returncode
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
            last = tail(self._log_path(running), 3)
            self._died(running, f"{how}; its log ends: {last}" if last else how)
        elif status.state in ("waiting", "backoff", "failed"):
            if now >= running.next_start and running.work is None and self._needs_ready(running):
                self._begin(running)
        elif status.state == "preparing":
            self._prepared(running)
        elif status.state == "starting":
            self._check(running, now)
        elif status.state == "ready" and running.child is not None:
            # Another part came back on another port: whoever was told the old one must be told the new one.
            variables = running.part.variables(self._context(running)) if running.part.needs else running.variables
            if variables != running.variables:
                _log.info("restarting: addresses changed", extra={"part": running.part.name})
                self._end_children([running])
                running.become("waiting")

    def _needs_ready(self, running: _Running) -> bool:
        needs = [self._running[name] for name in running.part.needs if name in self._running]
        return all(needed.status.state == "ready" for needed in needs)

    def _begin(self, running: _Running) -> None:
        assert self._pool is not None
        running.become("preparing")
        running.deadline = time.monotonic() + running.part.start_timeout_s
        self._assign_ports(running)
        running.work = self._pool.submit(running.part.prepare, self._context(running))

    def _prepared(self, running: _Running) -> None:
        if running.work is None or not running.work.done():
            return
        error, running.work = running.work.exception(), None
        if error is not None:
            self._died(running, str(error) or repr(error), fatal=isinstance(error, FatalPartError))
            return
        try:
            if running.part.command is not None:
                self._spawn(running)
        except Exception as spawn_error:  # one part's fault must not take the others down
            self._died(running, str(spawn_error) or repr(spawn_error))
            return
        running.next_check = 0.0
        running.become("starting")

    def _spawn(self, running: _Running) -> None:
        part, context = running.part, self._context(running)
        assert part.command is not None
        command = part.command(context)
        running.variables = part.variables(context)
        descriptor = os.open(self._log_path(running), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            running.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=running.variables,
                cwd=part.cwd,
                start_new_session=True,
                preexec_fn=process.die_with_parent(part.death_signal),
                **part.popen(),
            )
        finally:
            os.close(descriptor)
        status = running.status
        status.pid = running.child.pid
        status.create_time = process.create_time(running.child.pid)
        status.command = command
        status.started_at = time.time()
        with contextlib.suppress(Exception):
            status.url = part.url(context)
        self._publish()

    def _check(self, running: _Running, now: float) -> None:
        if running.work is not None and running.work.done():
            error, running.work = running.work.exception(), None
            if error is None:
                with contextlib.suppress(Exception):
                    running.status.url = running.part.url(self._context(running))
                running.status.started_at = running.status.started_at or time.time()
                running.become("ready")
                return
            running.status.error = redact(str(error) or repr(error))
            running.next_check = now + _CHECK_PAUSE_S
            if isinstance(error, FatalPartError):
                self._end_children([running])
                self._died(running, str(error), fatal=True)
                return
        if now > running.deadline:
            problem = f"not ready after {running.part.start_timeout_s:.0f} s: {running.status.error}"
            self._end_children([running])
            # What does not answer at all will not answer at the sixth try either: report it now.
            self._died(running, problem, fatal=True)
        elif running.work is None and now >= running.next_check:
            assert self._pool is not None
            running.work = self._pool.submit(_check_and_finish, running.part, self._context(running))

    def _died(self, running: _Running, error: str, *, fatal: bool = False) -> None:
        """Records the end of a part and when it is tried again."""
        now = time.monotonic()
        running.deaths.append(now)
        while running.deaths and now - running.deaths[0] > 60:
            running.deaths.popleft()
        if running.child is not None:
            # What it started itself must not outlive it.
            process.kill_group(running.child.pid)
        running.child, running.work = None, None
        running.status.pid = running.status.create_time = None
        running.status.restarts += 1
        running.next_start = now + min(BACKOFF_FIRST_S * 2 ** (len(running.deaths) - 1), BACKOFF_LONGEST_S)
        failed = fatal or len(running.deaths) > DEATHS_PER_MINUTE
        if fatal:
            running.next_start = now + BACKOFF_LONGEST_S
        running.become("failed" if failed else "backoff", redact(error))
        _log.warning("part ended", extra={"part": running.part.name, "error": redact(error)})

    # Ports and state

    def _used_ports(self) -> dict[str, int]:
        names = {name for running in self._running.values() for name in running.part.ports}
        return {name: port for name, port in self._state.ports.items() if name in names}

    def _context(self, running: _Running) -> Context:
        return Context(self.settings, self._used_ports(), running.status.pid)

    def _assign_ports(self, running: _Running) -> None:
        for name, preferred in running.part.ports.items():
            remembered = self._state.ports.get(name)
            others = {port for other, port in self._used_ports().items() if other != name}
            wanted = [remembered, preferred] if remembered else [preferred]
            self._state.ports[name] = ports.choose(wanted, others, running.part.host)
        if running.part.ports:
            running.status.port = self._state.ports[next(iter(running.part.ports))]

    def _publish(self) -> None:
        """Writes the state file if anything changed, and tells of changed parts."""
        self._state.parts = {name: replace(running.status) for name, running in self._running.items()}
        if self._state.state in ("starting", "ready"):
            self._state.connections = asdict(self.connections())
        for name, running in self._running.items():
            if self._reported.get(name) != running.status.state:
                self._reported[name] = running.status.state
                _log.info(running.status.state, extra={"part": name, "pid": running.status.pid})
                if self._on_change is not None:
                    self._on_change(name, replace(running.status))
        shown = repr(self._state)
        if shown != self._written:
            state.write(self.data_dir, self._state)
            self._written = shown

    def _waiting(self) -> str:
        return "; ".join(
            f"{name} is {running.status.state} ({running.status.error})"
            for name, running in self._running.items()
            if running.status.state != "ready"
        )

    # Folders and logs

    def _make_folders(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("logs", "run"):
                (self.data_dir / name).mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise StackError(
                f"the data folder {self.data_dir} cannot be used ({error.strerror}): choose another by --data-dir"
            ) from error

    def _log_path(self, running: _Running) -> Path:
        return self.data_dir / "logs" / f"{running.part.name}.log"

    def _rotate_logs(self) -> None:
        """Copies and empties: the part goes on writing to the same file (a few lines may be lost in between)."""
        for running in self._running.values():
            path = self._log_path(running)
            with contextlib.suppress(OSError):
                if path.stat().st_size > LOG_BYTES:
                    shutil.copyfile(path, path.with_suffix(".log.1"))
                    path.with_suffix(".log.1").chmod(0o600)
                    os.truncate(path, 0)

    # Stopping

    def _stop_parts(self) -> None:
        """Those that need others first, then those they needed; each wave at once."""
        waves = self._waves()
        for wave in waves:
            self._end_children(wave)
            for running in wave:
                running.become("stopped")
                running.status.pid = running.status.create_time = None
            self._publish()

    def _waves(self) -> list[list[_Running]]:
        left, waves = dict(self._running), []
        while left:
            needed = {need for running in left.values() for need in running.part.needs}
            wave = [running for name, running in left.items() if name not in needed] or list(left.values())
            waves.append(wave)
            for running in wave:
                del left[running.part.name]
        return waves

    def _end_children(self, wave: Sequence[_Running]) -> None:
        living = [(running, running.child) for running in wave if running.child is not None]
        for running, child in living:
            if child.poll() is None:
                child.send_signal(running.part.stop_signal)
        begin = time.monotonic()
        for running, child in living:
            try:
                child.wait(max(0.0, begin + running.part.stop_grace_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.warning("part does not stop: killed", extra={"part": running.part.name})
            # Even after a clean end, something it started may be left.
            process.kill_group(child.pid)
            child.wait(10)
            running.child, running.work = None, None
            running.status.pid = running.status.create_time = None


def _check_and_finish(part: Part, context: Context) -> None:
    part.check(context)
    part.after(context)


def recover(known: StackState) -> list[str]:
    """Stops what a killed supervisor left running; returns the names of those parts. The caller holds the lock."""
    leftovers = []
    order = sorted(known.parts.items(), key=lambda item: item[0] not in ("worker", "api"))
    for name, part in order:
        found = process.find(part.pid, part.create_time, part.command)
        if found is None:
            continue
        leftovers.append(name)
        _log.warning("stopping what a killed supervisor left", extra={"part": name, "pid": part.pid})
        process.end(found, signal.SIGINT if name == "postgres" else signal.SIGTERM, 20 if name == "postgres" else 10)
    return leftovers


def stop_stack(data_dir: Path, timeout_s: float = 60.0) -> bool:
    """Ends the stack of the data folder, from any process; False if none ran. Raises StackError if it does not end."""
    known = state.read(data_dir)
    supervisor = process.find(known.supervisor_pid, known.supervisor_create_time)
    if supervisor is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            current = state.read(data_dir)
            if current.state == "stopped" or process.find(known.supervisor_pid, known.supervisor_create_time) is None:
                break
            time.sleep(0.1)
        else:
            raise StackError(f"the stack does not end after {timeout_s:.0f} s: kill -9 {known.supervisor_pid}")
    if not data_dir.exists():
        return False
    # The state file says "stopped" a moment before the lock is free.
    lock = Lock(data_dir)
    for attempt in range(50):
        try:
            lock.acquire()
            break
        except state.StackRunningError:
            if attempt == 49:
                raise
            time.sleep(0.1)
    try:
        known = state.read(data_dir)
        leftovers = recover(known)
        if leftovers or known.supervisor_pid is not None:
            for part in known.parts.values():
                part.state, part.pid, part.create_time = "stopped", None, None
            state.write(
                data_dir,
                replace(known, state="stopped", supervisor_pid=None, supervisor_create_time=None, connections={}),
            )
        return supervisor is not None or bool(leftovers)
    finally:
        lock.release()
