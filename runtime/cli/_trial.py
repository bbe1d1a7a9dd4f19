"""`versions campaign dry-run`, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.campaigns import repository
from catalog.campaigns.spec import CampaignSpec
from runtime.cli import _context
from runtime.cli._output import cell, console, errors_reported, print_json, size, table
from runtime.settings import Settings

if TYPE_CHECKING:
    from runtime.trial import SourceTrial

KINDS = ("new", "changed", "duplicate", "review", "unavailable", "unchanged")
LISTED = 20
Pages = Annotated[int, typer.Option(min=1, max=100_000, help="So many pages of each source at most.")]
Output = Annotated[
    Path | None, typer.Option(help="Write the whole report as JSON.", dir_okay=False, show_default=False)
]


def dry_run(
    name: Annotated[str, typer.Argument(help="The campaign's name.", show_default=False)],
    pages: Pages = 200,
    output: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="For a machine.")] = False,
) -> None:
    """Crawl without keeping anything: what would be new, changed, a duplicate, or put before a moderator, and why.

    Adapters and identity are real, and so is politeness; audio is not fetched, and nothing is written.
    """
    with errors_reported(), _context.open_context() as context:
        with context.database.transaction() as session:
            spec = CampaignSpec.model_validate(repository.get(session, name).spec)
        from runtime.trial import dry_run as try_it

        trials = try_it(context.database, Settings(), spec, pages)
    report = {"campaign": name, "pages": pages, "sources": [each.to_json() for each in trials]}
    if output is not None:
        output.write_text(json.dumps(report, ensure_ascii=False, indent=1, default=str) + "\n", encoding="utf-8")
    if as_json:
        return print_json(report)
    for trial in trials:
        _print(trial)


def _print(trial: SourceTrial) -> None:
    out = console()
    counts = table("source", ">requests", ">size", *(">" + kind for kind in KINDS), ">not asked")
    counts.add_row(
        cell(trial.source),
        str(trial.requests),
        size(trial.bytes),
        *(str(trial.counts.get(kind, 0)) for kind in KINDS),
        str(trial.left),
    )
    out.print(counts)
    for failure, count in trial.failures.items():
        out.print(cell(f"{trial.source}: {failure} ×{count}", "bold"))
    for kind in KINDS[:-1]:
        found = [each for each in trial.findings if each.kind == kind]
        for each in found[:LISTED]:
            said = "; ".join(part for part in (each.reason, each.of, each.detail) if part)
            out.print(cell(f"{kind}: {each.title} {each.url} ({said})", limit=500), soft_wrap=True)
        if len(found) > LISTED:
            out.print(f"{kind}: {len(found) - LISTED} more; --json or --output has them all")
    if trial.audio_unheard:
        out.print(f"{trial.audio_unheard} items have audio: whether it is known is found by a real run only")
