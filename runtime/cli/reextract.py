"""`versions reextract`: the present adapters over stored pages."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.models import CrawlRun
from media.store import ObjectStore
from runtime.cli import _context, _ids
from runtime.cli._output import cell, console, errors_reported, print_json, table
from runtime.connections import Connections
from runtime.reextract import Reextracted, reextract, sources_of
from runtime.settings import Settings

LISTED = 20


def register(app: typer.Typer) -> None:
    """Adds ``reextract``."""
    app.command("reextract")(reextract_)


def open_objects() -> ObjectStore:
    """The object store of this invocation. Raises StackNotRunningError."""
    there = Connections.load(Settings(), need=("postgres", "s3"))
    return ObjectStore(there.s3_endpoint, there.s3_access_key, there.s3_secret_key, there.s3_bucket)


def reextract_(
    target: Annotated[str, typer.Argument(help="A campaign or a source.", show_default=False)],
    run: Annotated[
        str | None,
        typer.Option(help="Only the pages of this crawl run: its id, or the beginning of it.", show_default=False),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Take in what was read, as from a crawl.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For a machine.")] = False,
) -> None:
    """Read the stored pages again with the adapters as they are now, and show the difference to what is known.

    Nothing changes without --apply; with it, what reads differently is taken in as if it had just been crawled.
    """
    with errors_reported(), _context.open_context() as context:
        objects = open_objects()
        with context.database.transaction() as session:
            run_id = _ids.resolve(session, CrawlRun, run) if run else None
            sources = [session.get_one(CrawlRun, run_id).source] if run_id else sources_of(session, target)
        results = [reextract(context.database, objects, source, run_id=run_id, apply=apply) for source in sources]
    if as_json:
        return print_json([result.to_json() for result in results])
    for result in results:
        _print(result)


def _print(result: Reextracted) -> None:
    out, found = console(), result.difference
    counts = table("source", ">pages", ">new", ">changed", ">gone", ">told less", ">unchanged", ">unreadable")
    counts.add_row(
        cell(result.source),
        *map(
            str, (result.pages, found.new, found.changed, found.gone, found.told_less, found.unchanged, result.failed)
        ),
    )
    out.print(counts)
    fields = table("field", ">known", ">read now", ">differs in")
    for name, (before, after) in found.coverage.items():
        fields.add_row(cell(name), str(before), str(after), str(found.changed_fields.get(name, 0)))
    out.print(fields)
    for word, items in (("new", found.new_items), ("gone", found.gone_items)):
        for key, title in items[:LISTED]:
            out.print(cell(f"{word}: {title} ({key})", limit=300), soft_wrap=True)
    for item in found.changed_items[:LISTED]:
        said = "; ".join(f"{name}: {before!r} → {after!r}" for name, (before, after) in item.fields.items())
        out.print(cell(f"changed: {item.title} ({item.source_key}): {said}", limit=500), soft_wrap=True)
    for url, why in result.failures[:LISTED]:
        out.print(cell(f"unreadable: {url}: {why}", "bold", 400), soft_wrap=True)
    if result.applied is not None:
        done = ", ".join(f"{count} {name}" for name, count in result.applied.items())
        out.print(f"taken in: {done}; a worker goes on with them within seconds")
    else:
        out.print("nothing was changed; --apply takes it in")
