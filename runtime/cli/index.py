"""`versions index …`: the index of recordings, by which a fingerprint finds its like, and the keys of names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.progress import Progress
from sqlalchemy import update

from catalog.models import RecordingIndexState
from identity.recording import checking
from identity.recording.files import SegmentFiles
from identity.recording.merging import Merger
from identity.rekey import rekey
from runtime.cli import _context, settings
from runtime.cli._output import BadOptionError, console, errors_reported, moment, print_json, table

AsJson = Annotated[bool, typer.Option("--json", help="For a machine.")]

_SAMPLING_BITS = {4: 2, 8: 3}


def register(app: typer.Typer) -> None:
    """Adds ``index`` and its commands."""
    group = typer.Typer(help="How recordings are found by fingerprints, and songs by names.", no_args_is_help=True)
    group.command()(status)
    group.command()(check)
    group.command()(rebuild)
    group.command()(names)
    app.add_typer(group, name="index")


def status(as_json: AsJson = False) -> None:
    """Show what the index consists of: segments, recordings that wait for one, size."""
    with errors_reported(), _context.open_context() as context, context.database.transaction() as session:
        found = checking.status(session, _files())
    if as_json:
        return print_json(asdict(found))
    result = table("segment", "recordings", "postings", "buckets", "made", "here")
    for segment in found.segments:
        result.add_row(
            str(segment["id"]),
            f"{segment['recordings']:,}",
            f"{segment['postings']:,}",
            f"{segment['buckets']:,}",
            moment(segment["created_at"]),
            "file" if segment["file"] else "no",
        )
    if found.segments:
        console().print(result)
    typer.echo(
        f"{found.recordings} recordings, {found.waiting} of them in no segment yet (they are found all the same); "
        f"{found.bytes / 2**20:.1f} MiB, and {found.file_bytes / 2**20:.1f} MiB of files here; "
        f"one term in {found.sampling}; last good check: {moment(found.checked_at) if found.checked_at else 'never'}"
    )
    if found.stale:
        typer.echo("the index is not built yet: a running worker does it, or `versions index rebuild`", err=True)


def check(as_json: AsJson = False) -> None:
    """Compare the index with the record: is every recording findable? Status 1 if one is not.

    Reads everything, about two minutes for a million recordings; nothing waits for it. This host's files of the index
    are compared too.
    """
    with errors_reported(), _context.open_context() as context:
        with _progress("checking", not as_json) as progress, context.database.transaction() as session:
            found = checking.check(session, progress, _files())
        if found.good:
            with context.database.transaction() as session:
                session.execute(update(RecordingIndexState).values(checked_at=datetime.now(UTC)))
    if as_json:
        print_json({**asdict(found), "good": found.good})
    elif found.good:
        typer.echo(
            f"good: {found.recordings} recordings are findable by {found.postings} postings; {found.dead} postings of "
            f"deleted recordings go with the next merge; {found.files} files here hold what their segments hold"
        )
    elif found.stale:
        typer.echo("the index is not built yet: a running worker does it, or `versions index rebuild`")
    if found.unlike and not as_json:
        typer.echo(
            f"files in {_files().folder} that are no copies of their segments: {', '.join(found.unlike)}: remove them, "
            "they are fetched again"
        )
    if found.missing and not as_json:
        names = ", ".join(str(fingerprint_id) for fingerprint_id in found.missing)
        typer.echo(
            f"{found.missing_count} of {found.recordings} recordings are not findable (fingerprints {names}"
            f"{', …' if found.missing_count > len(found.missing) else ''}): `versions index rebuild`"
        )
    if not found.good:
        raise typer.Exit(1)


def rebuild(
    sampling: Annotated[
        int | None,
        typer.Option(
            help="Index one term in 8 (the default), or one in 4: finds more clips of 10 s and speech over music, for "
            "twice the space. Default: as it is.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build the index anew from the recorded fingerprints.

    Searches use the old one until the new one is whole; recordings that are ingested meanwhile are found too.
    """
    with errors_reported():
        if sampling is not None and sampling not in _SAMPLING_BITS:
            raise BadOptionError(f"--sampling {sampling}: 4 or 8")
        bits = None if sampling is None else _SAMPLING_BITS[sampling]
        with _context.open_context() as context:
            merger = Merger(context.database.engine)
            with _progress("building", not as_json) as progress:
                merged = merger.rebuild(bits, progress)
            merger.settle()
    if as_json:
        print_json({"recordings": merged.recordings})
    else:
        typer.echo(f"{merged.recordings} recordings are indexed")


def names(as_json: AsJson = False) -> None:
    """Compute the keys of titles and artists anew, after a release whose notes ask for it.

    Until then names are found less surely where the new release folds them otherwise; nothing else depends on it. It
    may be repeated, interrupted and run beside workers.
    """
    with errors_reported(), _context.open_context() as context, _progress("names", not as_json) as progress:
        found = rekey(context.database, progress)
    if as_json:
        return print_json(asdict(found))
    typer.echo(f"changed: {found.titles} titles, {found.artists} artists' names, {found.candidates} candidates")
    for name in found.clashes:
        typer.echo(f"«{name}» is spelled like another artist now; it keeps its old key: are they one?", err=True)


def _files() -> SegmentFiles:
    return SegmentFiles(settings().segments_dir)


@contextmanager
def _progress(what: str, shown: bool) -> Iterator[Callable[[int, int], None]]:
    with Progress(console=console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
