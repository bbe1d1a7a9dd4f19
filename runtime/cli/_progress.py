"""Progress as a picture for the terminal; the demo and `versions campaign watch` share it."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from catalog.campaigns.progress import Progress, RunProgress
from runtime.cli._output import cell, duration, table

_COUNTS = ("found", "fetched", "fingerprinted", "duplicates", "in_review", "published")
_STYLES = {"finished": "green", "failed": "red", "cancelled": "yellow", "stopped": "yellow", "paused": "yellow"}


def render(progress: Progress, title: str | None = None) -> RenderableType:
    """One row per source, a sum, errors by class, and why a run stands still."""
    result = table(
        "source", "state", *(">" + name.replace("_", " ") for name in _COUNTS), ">errors", ">rate", ">left", title=title
    )
    for run in progress.runs:
        _row(result, run)
    if len(progress.runs) > 1:
        left = [run.time_left_s for run in progress.runs if run.time_left_s is not None]
        result.add_section()
        result.add_row(
            "all",
            "",
            *(str(progress.total(name)) for name in _COUNTS),
            str(sum(progress.errors().values())),
            f"{progress.total('rate_per_s'):.1f}/s",
            duration(max(left)) if left else "–",
            style="bold",
        )
    parts: list[RenderableType] = [result]
    if errors := progress.errors():
        parts.append(Text("errors: " + ", ".join(f"{name} {count}" for name, count in errors.items()), style="red"))
    for run in progress.runs:
        if note := _note(run, progress):
            parts.append(cell(note, "dim", 200))
    return Group(*parts)


def _row(result: Table, run: RunProgress) -> None:
    state = run.state if run.final or not run.crawled else f"{run.state}, crawled"
    result.add_row(
        cell(run.source),
        cell(state, _STYLES.get(run.state, "")),
        *(str(getattr(run, name)) for name in _COUNTS),
        str(sum(run.errors.values())),
        f"{run.rate_per_s:.1f}/s",
        duration(run.time_left_s),
    )


def _note(run: RunProgress, progress: Progress) -> str:
    if run.final:
        return f"{run.source}: {run.reason}" if run.state != "finished" else ""
    notes = []
    if run.state in ("paused", "pending"):
        notes.append(f"{run.state}: {run.reason}" + (f", waits for the {run.waiting_on}" if run.waiting_on else ""))
    if run.requests_waiting and run.next_request_at:
        seconds = (run.next_request_at - progress.taken_at).total_seconds()
        notes.append(f"{run.requests_waiting} requests wait, the next for {duration(max(seconds, 0))}")
    return f"{run.source}: {'; '.join(notes)}" if notes else ""


def follow(
    console: Console,
    read: Callable[[], Progress],
    *,
    title: str | None = None,
    interval_s: float = 0.5,
    patience_s: float | None = None,
) -> Progress:
    """Shows the progress until all runs have ended, and returns the last one.

    ``read`` is asked every ``interval_s``; with ``patience_s``, gives up when no run has appeared by then.
    """
    deadline = None if patience_s is None else time.monotonic() + patience_s
    progress = read()
    with Live(render(progress, title), console=console, auto_refresh=False, transient=False) as live:
        while not progress.finished:
            if not progress.runs and deadline is not None and time.monotonic() > deadline:
                break
            time.sleep(interval_s)
            progress = read()
            live.update(render(progress, title), refresh=True)
    return progress
