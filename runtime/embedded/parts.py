"""What the stack consists of: how each part is started, asked whether it is healthy, and stopped."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from media import memory
from runtime.connections import Connections, external, secret
from runtime.embedded import postgres, process, readiness, s3, temporal
from runtime.settings import Settings

# What a program of somebody else's needs of our environment; the rest may hold secrets.
_PLAIN_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")


class NotReadyError(RuntimeError):
    """The part does not answer as it should (yet)."""


class FatalPartError(RuntimeError):
    """Trying again will not help: somebody has to do something first."""


@dataclass
class Context:
    """What a part may know: the settings, all ports by name, and its own process (None: not started, or external)."""

    settings: Settings
    ports: Mapping[str, int]
    pid: int | None = None

    @property
    def data_dir(self) -> Path:
        """The data folder."""
        return self.settings.data_dir

    def connections(self) -> Connections:
        """Addresses and keys of the parts that have a port, and of the external ones."""
        settings, ports = self.settings, self.ports
        values: dict[str, Any] = {
            "temporal_namespace": settings.temporal_namespace,
            "s3_bucket": settings.s3_bucket,
        }
        if "postgres" in ports and (self.data_dir / "postgres" / "postgres.password").exists():
            values["database_url"] = postgres.url(self.data_dir / "postgres" / "data", ports["postgres"])
        if "temporal" in ports:
            values["temporal_address"] = f"127.0.0.1:{ports['temporal']}"
            values["temporal_ui_url"] = f"http://127.0.0.1:{ports['temporal_ui']}"
        if "s3" in ports:
            values["s3_endpoint"] = f"http://127.0.0.1:{ports['s3']}"
            values["s3_access_key"], values["s3_secret_key"] = s3.keys(self.data_dir / "s3.keys")
        if "api" in ports:
            values["api_url"] = f"http://{_reachable(settings.api_host)}:{ports['api']}"
        return Connections(**{**values, **external(settings)})


def _nothing(_context: Context) -> None:
    pass


def _no_environment(_context: Context) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Part:
    """One part of the stack.

    Attributes:
        command: its command line, free of secrets; None: it is external, and only checked.
        check: its version if it is healthy; raises what it met otherwise. Called in other threads, repeatedly.
        needs: parts that must be ready before it is started.
        ports: its ports by name, each with the preferred number.
        prepare: done before each start (in another thread).
        after: done when it answers for the first time after a start, before it counts as ready.
        environment: variables it gets beside a few harmless ones.
        inherit: it gets our whole environment (our own programs: settings, proxies).
        url: where it can be reached, without secrets.
        popen: further arguments for `subprocess.Popen`.
        death_signal: what Linux sends it when the supervisor dies.
    """

    name: str
    check: Callable[[Context], str]
    command: Callable[[Context], list[str]] | None = None
    needs: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    host: str = "127.0.0.1"
    prepare: Callable[[Context], None] = _nothing
    after: Callable[[Context], None] = _nothing
    environment: Callable[[Context], dict[str, str]] = _no_environment
    inherit: bool = False
    url: Callable[[Context], str | None] = lambda _context: None
    popen: Callable[[], dict[str, Any]] = dict
    cwd: str = "/"
    stop_signal: int = signal.SIGTERM
    stop_grace_s: float = 10.0
    death_signal: int = signal.SIGKILL
    start_timeout_s: float = 60.0

    def variables(self, context: Context) -> dict[str, str]:
        """The whole environment of the process."""
        base = dict(os.environ) if self.inherit else {k: v for k in _PLAIN_VARIABLES if (v := os.environ.get(k))}
        return {**base, **self.environment(context)}


NAMES = ("postgres", "temporal", "s3", "worker", "api")


def default_parts(settings: Settings, only: Sequence[str] | None = None) -> list[Part]:
    """The parts of the stack; those with an address in the settings are external. Raises ValueError on a wrong name."""
    for name in only or ():
        if name not in NAMES:
            raise ValueError(f"there is no part {name!r}: choose of {', '.join(NAMES)}")
    parts = [
        _external_postgres() if secret(settings.database_url) else _postgres(settings),
        _external_temporal() if settings.temporal_address else _temporal(settings),
        _external_s3() if settings.s3_endpoint else _s3(settings),
        _worker(),
        _api(settings),
    ]
    if not only:
        return parts
    chosen = [part for part in parts if part.name in only]
    for part in chosen:
        for need in part.needs:
            # An external part costs nothing, and what needs it must find it.
            wanted = next(candidate for candidate in parts if candidate.name == need)
            if wanted not in chosen:
                if wanted.command is not None:
                    raise ValueError(f"{part.name} needs {need}: add it to --only, or give the address of another")
                chosen.append(wanted)
    return [part for part in parts if part in chosen]


# Our own programs' first start compiles all they import, perhaps on a machine that does much else.
_OWN_START_TIMEOUT_S = 150.0


# PostgreSQL


def _postgres(settings: Settings) -> Part:
    data = settings.data_dir / "postgres" / "data"

    def prepare(_context: Context) -> None:
        try:
            postgres.recover(data)
            postgres.prepare(data)
        except postgres.PostgresError as error:
            raise FatalPartError(str(error)) from error

    def check(context: Context) -> str:
        return postgres.check(postgres.url(data, context.ports["postgres"], "postgres"))

    def after(context: Context) -> None:
        postgres.wait_ready(data, context.ports["postgres"], timeout_s=10)
        _migrate(context)

    return Part(
        name="postgres",
        ports={"postgres": 15432},
        command=lambda context: postgres.command(data, context.ports["postgres"]),
        prepare=prepare,
        check=check,
        after=after,
        url=lambda context: f"postgresql://127.0.0.1:{context.ports['postgres']}/{postgres.DATABASE}",
        popen=postgres.as_server_user,
        stop_signal=signal.SIGINT,  # "fast": it ends sessions and writes a checkpoint
        stop_grace_s=20,
        death_signal=signal.SIGINT,
    )


def _external_postgres() -> Part:
    return Part(
        name="postgres",
        check=lambda context: postgres.check(context.connections().database_url),
        after=_migrate,
        url=lambda context: _host_of(context.connections().database_url),
        start_timeout_s=20,
    )


def _migrate(context: Context) -> None:
    from catalog.migrate import upgrade

    try:
        upgrade(context.connections().database_url)
    except Exception as error:
        raise FatalPartError(f"the schema cannot be brought up to date (`versions db upgrade`): {error}") from error


# Temporal


def _temporal(settings: Settings) -> Part:
    folder = settings.data_dir / "temporal"

    def check(context: Context) -> str:
        if context.pid is not None and not process.listens(context.pid, context.ports["temporal"]):
            raise NotReadyError("it does not listen yet")
        return temporal.check(context.ports["temporal_ui"], settings.temporal_namespace)

    return Part(
        name="temporal",
        ports={"temporal": 7233, "temporal_ui": 8233},
        command=lambda context: temporal.command(
            folder / "temporal.db",
            context.ports["temporal"],
            context.ports["temporal_ui"],
            settings.temporal_namespace,
        ),
        prepare=lambda _context: folder.mkdir(parents=True, exist_ok=True, mode=0o700),
        check=check,
        environment=lambda _context: temporal.MEMORY,
        url=lambda context: f"http://127.0.0.1:{context.ports['temporal_ui']}",
    )


def _external_temporal() -> Part:
    def check(context: Context) -> str:
        from runtime.embedded import temporal_external

        where = context.connections()
        return temporal_external.check(where.temporal_address, where.temporal_namespace)

    return Part(
        name="temporal",
        check=check,
        url=lambda context: context.connections().temporal_address,
        start_timeout_s=30,
    )


# The object store


def _s3(settings: Settings) -> Part:
    root = settings.data_dir / "s3"

    def prepare(context: Context) -> None:
        s3.prepare(root)
        s3.keys(context.data_dir / "s3.keys")

    def check(context: Context) -> str:
        _check_s3(context)
        return s3.version()

    return Part(
        name="s3",
        ports={"s3": 19000},
        command=lambda context: s3.command(root, context.ports["s3"]),
        prepare=prepare,
        check=check,
        after=_make_bucket,
        environment=lambda context: s3.environment(*s3.keys(context.data_dir / "s3.keys")),
        url=lambda context: f"http://127.0.0.1:{context.ports['s3']}",
    )


def _external_s3() -> Part:
    return Part(
        name="s3",
        check=_check_s3,
        after=_make_bucket,
        url=lambda context: context.connections().s3_endpoint,
        start_timeout_s=20,
    )


def _check_s3(context: Context) -> str:
    return s3.check(context.connections().s3_endpoint)


def _make_bucket(context: Context) -> None:
    where = context.connections()
    s3.ensure_bucket(where.s3_endpoint, where.s3_access_key, where.s3_secret_key, where.s3_bucket)


# Our own programs


def own_version() -> str:
    """The version of this program."""
    try:
        return importlib.metadata.version("versions")
    except importlib.metadata.PackageNotFoundError:
        return "from source"


def _own_environment(context: Context) -> dict[str, str]:
    return {
        **context.connections().environment(),
        "VERSIONS_DATA_DIR": str(context.data_dir),
        "PYTHONUNBUFFERED": "1",
        # A worker has as many recordings under way as cores: threads of the matrix library would only fight for them.
        "OPENBLAS_NUM_THREADS": "1",
        **memory.KEEPING,
    }


_SOURCE = str(Path(__file__).resolve().parents[2])


def _worker() -> Part:
    def check(context: Context) -> str:
        if not readiness.is_ready(context.data_dir, "worker", context.pid):
            raise NotReadyError("the worker has not announced itself yet")
        return f"versions {own_version()}"

    return Part(
        name="worker",
        needs=("postgres", "temporal", "s3"),
        command=lambda _context: [sys.executable, "-m", "runtime.worker"],
        prepare=lambda context: readiness.withdraw(context.data_dir, "worker"),
        check=check,
        environment=_own_environment,
        inherit=True,
        cwd=_SOURCE,
        # It ends its own children (FFmpeg, Chromium), so it must have the chance to.
        death_signal=signal.SIGTERM,
        start_timeout_s=_OWN_START_TIMEOUT_S,
    )


def _api(settings: Settings) -> Part:
    def check(context: Context) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{context.connections().api_url}/healthz", timeout=3) as answer:
            answer.read()
        if context.pid is not None and not process.listens(context.pid, context.ports["api"]):
            raise NotReadyError("another program answers on its port")
        return f"versions {own_version()}"

    def command(context: Context) -> list[str]:
        return [
            *(sys.executable, "-m", "uvicorn", "--factory", "runtime.api:create_app"),
            *("--host", settings.api_host, "--port", str(context.ports["api"])),
            *("--no-access-log", "--timeout-graceful-shutdown", "8"),
        ]

    return Part(
        name="api",
        needs=("postgres", "temporal", "s3"),
        start_timeout_s=_OWN_START_TIMEOUT_S,
        ports={"api": settings.api_port},
        host=settings.api_host,
        command=command,
        check=check,
        environment=_own_environment,
        inherit=True,
        cwd=_SOURCE,
        url=lambda context: context.connections().api_url,
    )


def _reachable(host: str) -> str:
    """An address that this machine can connect to, for a host to listen on."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _host_of(database_url: str) -> str:
    from sqlalchemy import make_url

    url = make_url(database_url)
    return f"postgresql://{url.host or 'localhost'}:{url.port or 5432}/{url.database or ''}"
