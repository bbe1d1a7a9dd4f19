"""`versions up`, `down`, `status`, `doctor`, `logs` and `db`: the embedded stack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from runtime.cli import CommandError, DataDir, settings, use_data_dir
from runtime.connections import Connections
from runtime.embedded import state
from runtime.embedded.inspection import StackReport, as_document, inspect
from runtime.embedded.parts import NAMES
from runtime.embedded.state import PartState
from runtime.embedded.supervisor import Supervisor, stop_stack, tail
from runtime.logging import configure, redact
from runtime.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="For a machine.")]
_START_TIMEOUT_S = 180.0


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(doctor)
    app.command()(logs)
    database = typer.Typer(help="The schema of the database.", no_args_is_help=True)
    database.command("upgrade")(db_upgrade)
    database.command("current")(db_current)
    app.add_typer(database, name="db")


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when all is ready.")] = False,
    only: Annotated[
        str | None, typer.Option(help=f"Parts to run, separated by commas: {', '.join(NAMES)}.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Start the stack, and keep it running until Ctrl-C (or in the background)."""
    use_data_dir(data_dir)
    chosen = [name.strip() for name in only.split(",") if name.strip()] if only else None
    if unknown := [name for name in chosen or [] if name not in NAMES]:
        raise typer.BadParameter(f"there is no part {unknown[0]!r}: choose of {', '.join(NAMES)}", param_hint="--only")
    current = settings()
    if detach:
        _detach(current, chosen)
        return
    console = Console(stderr=True)
    configure(os.environ.get("VERSIONS_LOG_LEVEL", "WARNING"), file=current.data_dir / "logs" / "supervisor.log")
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: ended.set())

    begun = time.monotonic()

    def tell(name: str, part: PartState) -> None:
        if part.state in ("ready", "backoff", "failed"):
            colour = "green" if part.state == "ready" else "red"
            error = f"  {redact(part.error)}" if part.error else ""
            console.print(
                f"[dim]{time.monotonic() - begun:6.1f} s[/dim]  {name:9} [{colour}]{part.state}[/{colour}]",
                end="",
            )
            console.print(error, markup=False, highlight=False, soft_wrap=True)

    supervisor = Supervisor(current, only=chosen, on_change=tell)
    try:
        supervisor.start(_START_TIMEOUT_S, give_up=ended)
        if not ended.is_set():
            _addresses(console, supervisor.connections())
            console.print("Ctrl-C ends it.", style="dim")
        while not ended.wait(1.0):
            if supervisor.wait(0):
                raise CommandError(f"the supervisor ended: see {current.data_dir / 'logs' / 'supervisor.log'}")
    finally:
        supervisor.stop()
    console.print("Stopped.", style="dim")


def _detach(current: Settings, chosen: list[str] | None) -> None:
    log = current.data_dir / "logs" / "up.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CommandError(
            f"the data folder {current.data_dir} cannot be used ({error.strerror}): choose another by --data-dir"
        ) from error
    command = [sys.executable, "-m", "runtime.cli", "up", *(["--only", ",".join(chosen)] if chosen else [])]
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "VERSIONS_DATA_DIR": str(current.data_dir), "PYTHONPATH": os.pathsep.join(paths)}
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=current.data_dir,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_TIMEOUT_S + 10
    while time.monotonic() < deadline:
        known = state.read(current.data_dir)
        if known.supervisor_pid == child.pid and known.state == "ready":
            _addresses(Console(stderr=True), Connections.load(current, need=()))
            child.returncode = 0  # it goes on without us, which is no reason to warn
            return
        if child.poll() is not None:
            lines = tail(log, 1).removeprefix("versions: ")
            raise CommandError(lines or f"the stack does not start: see {log}")
        time.sleep(0.1)
    child.terminate()
    raise CommandError(f"the stack is not ready after {_START_TIMEOUT_S:.0f} s: see {log}")


def _addresses(console: Console, where: Connections) -> None:
    table = Table.grid(padding=(0, 2))
    for name, address in (
        ("Catalog", where.api_url),
        ("API", f"{where.api_url}/docs" if where.api_url else ""),
        ("Temporal", where.temporal_ui_url or where.temporal_address),
        ("Objects", where.s3_endpoint),
    ):
        if address:
            table.add_row(name, address)
    console.print(table)


def down(data_dir: DataDir = None) -> None:
    """Stop the stack, and whatever a killed one left."""
    use_data_dir(data_dir)
    current = settings()
    if stop_stack(current.data_dir):
        typer.echo("Stopped.")
    else:
        typer.echo(f"Nothing ran on {current.data_dir}.")


def status(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show each part: state, address, version, memory. Status 0 only if all is healthy."""
    use_data_dir(data_dir)
    report = inspect(settings())
    if as_json:
        typer.echo(json.dumps(as_document(report), indent=1))
    else:
        _show(report)
    if not report.healthy:
        raise typer.Exit(1)


def _show(report: StackReport) -> None:
    console = Console()
    if not console.is_terminal:  # a pipe has no width to fit into
        console = Console(width=200)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("Part", "State", "Version", "Address", "PID", "Memory", "Restarts", "Since"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in ("PID", "Memory", "Restarts") else "left")
    for part in report.parts:
        shown = "external" if part.external and part.healthy else part.state
        if part.state == "ready" and not part.healthy:
            shown = "not answering"
        table.add_row(
            part.name,
            f"[{'green' if part.healthy else 'red'}]{shown}",
            part.version or "",
            part.url or (str(part.port) if part.port else ""),
            str(part.pid or ""),
            f"{part.memory_bytes / 2**20:.0f} MB" if part.memory_bytes else "",
            str(part.restarts),
            _ago(part.since),
        )
    console.print(table)
    for part in report.parts:
        if part.error:
            console.print(f"{part.name}: {part.error}", markup=False, highlight=False)
    total = f", {report.memory_bytes / 2**20:.0f} MB with its supervisor" if report.memory_bytes else ""
    console.print(f"The stack on {report.data_dir} is {report.state}{total}.", markup=False, highlight=False)
    if report.state in ("stopped", "killed"):
        console.print("Start it by `versions up`.")


def _ago(since: str | None) -> str:
    if since is None:
        return ""
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{max(0, seconds)} s"


def doctor(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Check everything this program needs, and say what to do about what is missing."""
    from runtime import diagnosis

    use_data_dir(data_dir)
    checks = diagnosis.run(settings())
    if as_json:
        typer.echo(json.dumps([vars(check) for check in checks], indent=1))
    else:
        console = Console()
        for check in checks:
            mark = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "error": "[red]✗[/red]"}[check.level]
            console.print(mark, end=" ")
            console.print(f"{check.name}: {check.detail}", markup=False, highlight=False, soft_wrap=True)
            if check.remedy:
                console.print(f"    → {check.remedy}", markup=False, highlight=False, soft_wrap=True)
    if any(check.level == "error" for check in checks):
        raise typer.Exit(1)


def logs(
    part: Annotated[str, typer.Argument(help=f"{', '.join(NAMES)} or supervisor.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
    data_dir: DataDir = None,
) -> None:
    """Show the log of a part."""
    use_data_dir(data_dir)
    if part not in (*NAMES, "supervisor"):
        raise typer.BadParameter(f"there is no part {part!r}: choose of {', '.join(NAMES)}, supervisor")
    path = settings().data_dir / "logs" / f"{part}.log"
    if not path.exists():
        raise CommandError(f"{part} has no log in {path.parent}: it has not been started there (`versions up`)")
    with path.open(errors="replace") as file:
        file.seek(max(0, path.stat().st_size - 2**20))
        for line in file.read().splitlines()[-lines:] if lines else []:
            typer.echo(redact(line))
        file.seek(0, os.SEEK_END)
        while follow:
            if path.stat().st_size < file.tell():  # it was emptied
                file.seek(0)
            if line := file.readline():
                typer.echo(redact(line.rstrip("\n")))
            else:
                time.sleep(0.3)


def db_upgrade(data_dir: DataDir = None) -> None:
    """Bring the schema to the newest revision."""
    from catalog import migrate

    use_data_dir(data_dir)
    where = Connections.load(settings(), need=["postgres"])
    migrate.upgrade(where.database_url)
    typer.echo(f"The schema is at {migrate.current(where.database_url)}.")


def db_current(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show the schema's revision, and the newest one. Status 1 if they differ."""
    from catalog import migrate

    use_data_dir(data_dir)
    where = Connections.load(settings(), need=["postgres"])
    found, newest = migrate.current(where.database_url), migrate.head()
    if as_json:
        typer.echo(json.dumps({"current": found, "head": newest}))
    else:
        note = "" if found == newest else f"; the newest is {newest}: `versions db upgrade`"
        typer.echo(f"The schema is at {found or 'nothing'}{note}.")
    if found != newest:
        raise typer.Exit(1)
