"""What needs an operator's word beyond single items: held runs and frozen sources; and the commands to give it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from catalog import availability
from catalog.campaigns import holds
from catalog.models import Campaign, CrawlRun
from runtime.cli import _context, _ids
from runtime.cli._output import errors_reported

Run = Annotated[str, typer.Argument(help="The crawl run's id, or its beginning.", show_default=False)]
Source = Annotated[str, typer.Argument(help="The source's name.", show_default=False)]


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that stands still until an operator acts. ``remedy``: the command."""

    source: str
    reason: str
    detail: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}: {self.detail}; {self.remedy}"


def alerts(session: Session, campaigns: Sequence[Campaign]) -> dict[str, list[Alert]]:
    """What these campaigns wait for, by campaign name."""
    result: dict[str, list[Alert]] = {}
    for campaign in campaigns:
        sources = [entry["source"] for entry in campaign.spec["sources"]]
        found = [
            Alert(run.source, holds.HELD, run.publication_detail, f"`versions campaign release {run.id}`, or `discard`")
            for run in holds.held_runs(session, campaign.id)
        ]
        found += [
            Alert(
                each.source,
                each.reason,
                f"{each.detail}; nothing is retracted",
                f"`versions source thaw {each.source}`",
            )
            for each in availability.frozen_sources(session, sources)
        ]
        if found:
            result[campaign.name] = found
    return result


def release(run: Run) -> None:
    """Take in what a held run found: you have looked, and it is right."""
    with errors_reported(), _context.open_context() as context, context.database.transaction() as session:
        count = holds.release(session, _ids.resolve(session, CrawlRun, run))
    typer.echo(f"{count} items go on their way; a worker takes them up within seconds")


def discard(run: Run) -> None:
    """Throw away what a held run found; the catalog stays as it is, and the next run reads the pages anew."""
    with errors_reported(), _context.open_context() as context, context.database.transaction() as session:
        count = holds.discard(session, _ids.resolve(session, CrawlRun, run))
    typer.echo(f"{count} items discarded")


def thaw(source: Source) -> None:
    """Let removals of a source count again, after much of it seemed to disappear at once."""
    with errors_reported(), _context.open_context() as context, context.database.transaction() as session:
        freeze = availability.thaw(session, source)
    typer.echo(f"{source}: was frozen because {freeze.detail}; what is still gone at the next look counts as removed")
