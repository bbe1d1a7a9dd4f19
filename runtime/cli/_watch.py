"""Sources while they are crawled, as a picture for the terminal and as a stream for machines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from catalog.campaigns.watching import SourceWatch, Watched
from runtime.cli._output import cell, duration, json_value, moment, size, table
from runtime.cli._progress import render as render_progress
from runtime.cli._schedules import ScheduleRow
from runtime.cli._schedules import render as render_schedules

_STATE_STYLES = {"finished": "green", "failed": "red", "paused": "yellow"}
_SHOWN_GROUPS = 5
_SHOWN_ERRORS = 6


def render(seen: Watched, schedules: list[ScheduleRow] | None = None, title: str | None = None) -> RenderableType:
    """Progress of the items, then of the requests source by source, errors with remedies, and the next starts."""
    parts: list[RenderableType] = []
    if seen.sources:
        parts += [render_progress(seen.progress, title), Text(), _requests(seen), *_notes(seen)]
    else:
        parts.append(Text("nothing is under way", style="dim"))
    if not seen.workers:
        parts.append(Text("no worker tells of itself: `versions status`", style="red"))
    if schedules:
        parts += [Text(), render_schedules(schedules)]
    return Group(*parts)


def _requests(seen: Watched) -> RenderableType:
    result = table(
        "source", "answers/min", ">p50", ">p95", ">due", ">waits", ">turn", ">in flight", ">rate", ">bytes/s",
        "budget used", "breaker",
    )  # fmt: skip
    for source in seen.sources:
        statuses = ", ".join(f"{status} ×{count}" for status, count in source.statuses.items()) or "–"
        result.add_row(
            cell(source.progress.source),
            cell(statuses, _status_style(source.statuses), 60),
            _milliseconds(source.latency_p50_s),
            _milliseconds(source.latency_p95_s),
            str(source.queue.due),
            str(source.queue.queued - source.queue.due),
            str(source.queue.turn),
            str(source.queue.in_flight),
            f"{source.requests_per_s:.1f}/s",
            size(source.bytes_per_s),
            cell(_budget(source)),
            cell(source.breaker.state if source.breaker else "–", "red" if _is_open(source) else ""),
        )
    return result


def _notes(seen: Watched) -> list[RenderableType]:
    notes: list[RenderableType] = []
    for source in seen.sources:
        name = source.progress.source
        if source.breaker is not None and _is_open(source):
            since = moment(source.breaker.since)
            notes.append(
                cell(f"{name}: breaker {source.breaker.state} since {since}: {source.breaker.reason}", "red", 300)
            )
        if source.publication is not None and source.publication.state == "held":
            ask = f"`versions campaign release {source.progress.run_id}`, or `discard`"
            notes.append(cell(f"{name}: publication held: {source.publication.detail}; {ask}", "bold red", 500))
        for reason, what in source.queue.waiting.items():
            due = (what["next_attempt_at"] - seen.taken_at).total_seconds()
            notes.append(
                cell(f"{name}: {what['count']} wait ({reason}), the next for {duration(max(due, 0))}", "dim", 200)
            )
        for use in source.groups[:_SHOWN_GROUPS] if len(source.groups) > 1 else ():
            notes.append(cell(f"{name}: {use.server_group} {_use(use.used, use.requests_per_min)}", "dim", 200))
        for each in source.daily:
            used = f"{each.used:,} of {each.limit:,} {each.unit} today"
            notes.append(cell(f"{name}: {used} ({each.scope})", "yellow" if each.used >= each.limit else "dim", 200))
        for error in source.errors[:_SHOWN_ERRORS]:
            remedy = f": {error.remedy}" if error.remedy else ""
            notes.append(cell(f"{name}: {error.name} ×{error.count}{remedy}", "red", 300))
    resting = [proxy for proxy in seen.proxies if proxy.state != "fit"]
    if resting:
        names = ", ".join(f"{proxy.name} ({proxy.state}, {proxy.worker})" for proxy in resting)
        notes.append(cell(f"proxies: {len(resting)} of {len(seen.proxies)} rest: {names}", "yellow", 500))
    return notes


def _budget(source: SourceWatch) -> str:
    limited = [use for use in source.groups if use.used is not None]
    if not limited:
        return "no delay" if source.groups else "–"
    fullest = max(limited, key=lambda use: use.used or 0.0)
    text = _use(fullest.used, fullest.requests_per_min)
    return f"{text} of {fullest.allowed_per_min:g}/min" + (f" (+{len(limited) - 1})" if len(limited) > 1 else "")


def _use(share: float | None, per_min: float) -> str:
    return f"{per_min:g}/min" if share is None else f"{share:.0%}"


def _is_open(source: SourceWatch) -> bool:
    return source.breaker is not None and source.breaker.state != "closed"


def _status_style(statuses: Mapping[str, int]) -> str:
    worst = max((status for status in statuses if status.isdigit()), default="")
    return "red" if "none" in statuses or worst >= "500" else "yellow" if worst >= "400" else ""


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.0f} ms"


def follow(
    console: Console,
    read: Callable[[], tuple[Watched, list[ScheduleRow]]],
    *,
    title: str | None,
    interval_s: float,
    for_ever: bool,
) -> Watched:
    """Shows it until all runs have ended, or (``for_ever``) until it is interrupted; returns the last one.

    Where the terminal cannot redraw, a picture is printed when something changed.
    """
    seen, schedules = read()
    if not console.is_terminal or console.is_dumb_terminal:
        shown: object = None
        while True:
            if (state := [(s.progress, s.queue.queued) for s in seen.sources]) != shown:
                console.print(render(seen, schedules, title))
                shown = state
            if _over(seen, for_ever):
                return seen
            time.sleep(max(interval_s, 2.0))
            seen, schedules = read()
    with Live(render(seen, schedules, title), console=console, auto_refresh=False) as live:
        while not _over(seen, for_ever):
            began = time.monotonic()
            seen, schedules = read()
            # A large run takes longer to count: the picture may not cost more than a tenth of a core.
            took = time.monotonic() - began
            live.update(render(seen, schedules, title), refresh=True)
            time.sleep(max(interval_s, 10 * took))
    return seen


def stream(read: Callable[[], tuple[Watched, list[ScheduleRow]]], *, interval_s: float, for_ever: bool) -> Watched:
    """One JSON document a line, until all runs have ended or for ever."""
    while True:
        seen, schedules = read()
        typer.echo(json.dumps(document(seen, schedules), ensure_ascii=False, default=json_value))
        if _over(seen, for_ever):
            return seen
        time.sleep(interval_s)


def document(seen: Watched, schedules: list[ScheduleRow]) -> dict[str, Any]:
    """What `--json` tells."""
    return {**seen.to_json(), "schedules": schedules}


def _over(seen: Watched, for_ever: bool) -> bool:
    return not for_ever and (not seen.sources or seen.progress.finished)
