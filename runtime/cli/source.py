"""`versions source …`: what can be crawled, and how each known source does."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from adapters.contract import Adapter, adapter_names, adapter_problems, get_adapter
from runtime.cli import _checks, _context, _source_limits, _source_tools
from runtime.cli._output import cell, console, errors_reported, moment, plain, print_json, table
from runtime.embedded.state import StackNotRunningError
from runtime.source_health import SourceState, source_states

_ALWAYS = ("source_key", "title", "availability")
"""Fields that every item has."""


def register(app: typer.Typer) -> None:
    """Adds ``source`` and its commands."""
    group = typer.Typer(help="Sources: what can be crawled, and how each does.", no_args_is_help=True)
    group.command("list")(list_)
    _source_tools.add_to(group)
    _source_limits.add_to(group)
    group.command()(_checks.thaw)
    app.add_typer(group, name="source")


def list_(as_json: Annotated[bool, typer.Option("--json", help="For a machine.")] = False) -> None:
    """List the adapters, and of each source that was crawled: last success, items, which fields they have, candidates
    by state, errors of its last runs, and what it waits for.

    Without a database only the adapters are listed.
    """
    adapters = [_facts(get_adapter(name)) for name in adapter_names()]
    known: list[SourceState] | None = None
    with errors_reported():
        try:
            with _context.open_context() as context, context.database.transaction() as session:
                known = source_states(session)
        except StackNotRunningError as error:
            typer.echo(f"versions: {error}; only the adapters are listed", err=True)
    if as_json:
        return print_json({"adapters": adapters, "sources": None if known is None else [asdict(s) for s in known]})
    out = console()
    rows = table("adapter", "engine", "audio", ">delay", ">at once", "robots.txt", "what it reads")
    for each in adapters:
        polite = each["politeness"]
        rows.add_row(
            each["name"],
            each["engine"],
            each["audio_policy"],
            f"{polite['delay_s']:g} s",
            str(polite["concurrency"]),
            "obeyed" if polite["respect_robots"] else "none",
            cell(each["summary"]),
        )
    out.print(rows)
    if known:
        out.print()
        sources = table("source", "adapter", "newest run", "last success", ">items", "candidates", "errors lately")
        for state in known:
            sources.add_row(
                cell(state.source),
                cell(state.adapter),
                f"{state.newest_run}, {moment(state.newest_run_at)}",
                moment(state.last_success) or "never",
                str(state.items),
                cell(_counts(state.candidates)),
                cell(_counts(state.recent_errors)),
            )
        out.print(sources)
        _show_coverage(known)
        for state in known:
            for held in state.waiting:
                what = f"{held.requests} requests" if held.requests else "the run"
                when = f", next {moment(held.next_attempt_at)}" if held.next_attempt_at else ""
                out.print(cell(f"{state.source}: waiting: {what}: {held.reason}; {held.who}{when}", limit=300))
    elif known is not None:
        out.print("No source was crawled yet.")
    for place, why in adapter_problems().items():
        typer.echo(plain(f"adapter not loaded: {place}: {why}", 300), err=True)


def _show_coverage(states: list[SourceState]) -> None:
    """Of each field, the share of the newest run's items that have it: a column per source would not fit."""
    shown = [state for state in states if state.coverage]
    if not shown:
        return
    fields = table("source", "fields of the newest run's items")
    for state in shown:
        told = (f"{name} {share:.0%}" for name, share in state.coverage.items() if name not in _ALWAYS)
        fields.add_row(cell(state.source), cell(", ".join(told), limit=400))
    console().print()
    console().print(fields)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _facts(adapter: Adapter) -> dict[str, Any]:
    return {
        "name": adapter.name,
        "engine": str(adapter.engine),
        "audio_policy": str(adapter.audio_policy),
        "politeness": asdict(adapter.politeness),
        "summary": adapter.summary,
    }
