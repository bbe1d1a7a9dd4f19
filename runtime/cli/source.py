"""`versions source …`: what can be crawled, and how each known source does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from adapters.contract import Adapter, adapter_names, get_adapter
from catalog.models import Candidate, CrawlIncident, CrawlRun
from runtime.cli import _context
from runtime.cli._output import cell, console, errors_reported, moment, print_json, table
from runtime.embedded.state import StackNotRunningError


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source does. ``last_success``: when a run of it last finished; ``errors``: of its newest run, by class."""

    source: str
    adapter: str
    newest_run: str
    newest_run_at: datetime
    last_success: datetime | None
    candidates: dict[str, int]
    errors: dict[str, int]


def register(app: typer.Typer) -> None:
    """Adds ``source`` and its commands."""
    group = typer.Typer(help="Sources: what can be crawled, and how each does.", no_args_is_help=True)
    group.command("list")(list_)
    app.add_typer(group, name="source")


def list_(as_json: Annotated[bool, typer.Option("--json", help="For a machine.")] = False) -> None:
    """List the adapters, and of each source that was crawled: last success, candidates by state, newest errors.

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
        sources = table("source", "adapter", "newest run", "last success", "candidates", "errors of the newest run")
        for state in known:
            sources.add_row(
                cell(state.source),
                cell(state.adapter),
                f"{state.newest_run}, {moment(state.newest_run_at)}",
                moment(state.last_success) or "never",
                cell(_counts(state.candidates)),
                cell(_counts(state.errors)),
            )
        out.print(sources)
    elif known is not None:
        out.print("No source was crawled yet.")


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


def source_states(session: Session) -> list[SourceState]:
    """Every source that has a run, by name: five grouped queries."""
    later = aliased(CrawlRun)
    newer = select(later.id).where(later.source == CrawlRun.source, later.id > CrawlRun.id)
    newest = session.scalars(select(CrawlRun).where(~newer.exists()).order_by(CrawlRun.source)).all()
    success = {
        row[0]: row[1]
        for row in session.execute(
            select(CrawlRun.source, func.max(CrawlRun.finished_at))
            .where(CrawlRun.state == "finished")
            .group_by(CrawlRun.source)
        )
    }
    candidates: dict[str, dict[str, int]] = {}
    for source, state, count in session.execute(
        select(Candidate.source, Candidate.state, func.count())
        .group_by(Candidate.source, Candidate.state)
        .order_by(Candidate.source, Candidate.state)
    ):
        candidates.setdefault(source, {})[state] = count
    ids = [run.id for run in newest]
    errors: dict[Any, dict[str, int]] = {}
    for query in (
        select(CrawlIncident.crawl_run_id, CrawlIncident.failure, func.count())
        .where(CrawlIncident.crawl_run_id.in_(ids), CrawlIncident.final)
        .group_by(CrawlIncident.crawl_run_id, CrawlIncident.failure),
        select(Candidate.crawl_run_id, Candidate.reason, func.count())
        .where(Candidate.crawl_run_id.in_(ids), Candidate.state.in_(("failed", "unavailable")))
        .group_by(Candidate.crawl_run_id, Candidate.reason),
    ):
        for run_id, name, count in session.execute(query):
            of_run = errors.setdefault(run_id, {})
            of_run[name] = of_run.get(name, 0) + count
    return [
        SourceState(
            source=run.source,
            adapter=str(run.spec.get("adapter") or run.source),
            newest_run=run.state,
            newest_run_at=run.started_at or run.created_at,
            last_success=success.get(run.source),
            candidates=candidates.get(run.source, {}),
            errors=dict(sorted(errors.get(run.id, {}).items(), key=lambda pair: (-pair[1], pair[0]))),
        )
        for run in newest
    ]
