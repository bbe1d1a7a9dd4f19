"""`versions ingest …`: a person's own music."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from catalog.campaigns import repository
from catalog.campaigns.progress import Progress, campaign_progress
from runtime import ingest as own
from runtime.cli import _context, settings
from runtime.cli._output import BadOptionError, cell, console, errors_reported, print_json, table
from runtime.cli._progress import follow
from runtime.connections import Connections

_START_PATIENCE_S = 120.0
_SHOWN = 200


def register(app: typer.Typer) -> None:
    """Adds ``ingest``."""
    app.command()(ingest)


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Folders (with all below them) or audio files.", metavar="PATH…")],
    name: Annotated[
        str | None, typer.Option(help="The campaign is called ingest-NAME; default: after the folder.")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Believe these tags before those of other sources.")] = False,
    review: Annotated[bool, typer.Option("--review", help="Let a moderator see everything first.")] = False,
    wait: Annotated[bool, typer.Option(help="Show the progress until the end.")] = True,
    up: Annotated[bool, typer.Option("--up", help="Run the stack for the time of this command.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For a machine.")] = False,
) -> None:
    """Take in the music of folders: fingerprint it, find copies, publish the rest. The files stay where they are.

    Ingesting a folder again finds it known and publishes nothing twice. Each folder is a source named after it and a
    digest of its absolute path; the workers must see the files under the same paths. Status 1 unless every run
    finishes; files that cannot be used are listed and are no failure of the command.
    """
    with errors_reported():
        if up and not wait:
            raise BadOptionError("--up --no-wait: the stack would end before the work does; use `versions up`")
        places = own.places(paths)
        label = own.label_of(places, name)
        with _stack(up), _context.open_context() as context:
            client = context.need_workflows()
            with context.database.transaction() as session:
                spec = own.campaign(own.adopt(session, places), label, trust=trust, review=review)
                campaign, _, _ = repository.apply(session, spec)
            trigger = context.run(client.start_campaign(str(campaign.id)))
            if not wait:
                if as_json:
                    return print_json({"campaign": spec.name, "trigger": trigger})
                return typer.echo(f"{spec.name}: started; `versions campaign watch {spec.name}` shows how it goes")

            def read() -> Progress:
                with context.database.transaction() as session:
                    runs = repository.runs_of(session, campaign.id, trigger)
                    return campaign_progress(session, [run.id for run in runs])

            try:
                progress = follow(console(stderr=as_json), read, title=spec.name, patience_s=_START_PATIENCE_S)
            except KeyboardInterrupt:
                later = "it goes on when the stack runs again" if up else "it goes on"
                typer.echo(f"{later}; `versions campaign watch {spec.name}` shows it, `… stop` ends it", err=True)
                raise typer.Exit(130) from None
            with context.database.transaction() as session:
                result = own.outcome(session, [run.run_id for run in progress.runs])
        if as_json:
            print_json({"campaign": spec.name, "trigger": trigger, **result.to_json(), "runs": progress.runs})
        else:
            _print(result)
        if not progress.runs:
            typer.echo("versions: no run was opened; see `versions status` whether a worker runs", err=True)
        if not progress.finished or any(run.state != "finished" for run in progress.runs):
            raise typer.Exit(1)


@contextlib.contextmanager
def _stack(wanted: bool) -> Iterator[None]:
    """The stack for the time of the block, if it is wanted and not running yet."""
    current = settings()
    if not wanted or _running():
        yield
        return
    from runtime.embedded.supervisor import Supervisor

    typer.echo("starting the stack …", err=True)
    with Supervisor(current):
        yield


def _running() -> bool:
    from runtime.embedded.state import StackNotRunningError

    try:
        Connections.load(settings())
    except StackNotRunningError:
        return False
    return True


def _print(result: own.Outcome) -> None:
    out = console()
    sums = table("", "")
    sums.show_header = False
    known = f" ({result.known} known already)" if result.known else ""
    for label, value in (
        ("tracks", f"{result.tracks}{known}"),
        ("new versions", result.new_versions),
        ("copies found", len(result.copies)),
        ("in review", len(result.review)),
        ("errors", len(result.errors)),
        *([("not settled", result.unsettled)] if result.unsettled else []),
    ):
        sums.add_row(label, str(value))
    out.print(sums)
    if result.copies:
        copies = table("copy", "became a source of", "version")
        for each in result.copies[:_SHOWN]:
            copies.add_row(cell(each.source_key), cell(each.title), str(each.version_id))
        out.print(copies)
        _more(len(result.copies))
    for title, problems in (("in review", result.review), ("error", result.errors)):
        if problems:
            rows = table(title, "reason", "what was seen")
            for problem in problems[:_SHOWN]:
                rows.add_row(cell(problem.source_key), cell(problem.reason), cell(problem.detail, limit=120))
            out.print(rows)
            _more(len(problems))
    if result.review:
        out.print("`versions review list` shows what waits for a moderator.")


def _more(count: int) -> None:
    if count > _SHOWN:
        console().print(f"… and {count - _SHOWN} more: --json lists all")
