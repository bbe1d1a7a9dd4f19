"""`versions campaign …`: what an operator does with campaigns."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from sqlalchemy.orm import Session

from catalog.campaigns import repository
from catalog.campaigns.files import load
from catalog.campaigns.plan import next_starts
from catalog.campaigns.plan import plan as make_plan
from catalog.campaigns.progress import Progress, WaitingItem, campaign_progress, waiting_items
from catalog.campaigns.report import COUNTS, compare_runs, run_report
from catalog.campaigns.spec import CampaignSpec, Schedule
from catalog.campaigns.watching import Watched, watched
from catalog.models import Campaign
from crawlers.errors import CONSEQUENCES
from media.types import AUDIO_REMEDIES
from runtime.adapters import adapter_facts
from runtime.cli import _checks, _context, _schedules, _trial, _watch
from runtime.cli._output import (
    BadOptionError,
    cell,
    console,
    duration,
    errors_reported,
    moment,
    print_json,
    size,
    table,
)
from runtime.cli._progress import follow, render
from runtime.cli._schedules import ScheduleRow
from runtime.report import render as render_report
from runtime.settings import Settings
from workflows.client import WorkflowClient

File = Annotated[Path, typer.Argument(help="The campaign file (YAML).", show_default=False)]
Name = Annotated[str, typer.Argument(help="The campaign's name.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="A parameter of the file: name=value.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="For a machine.")]
REMEDIES = {str(failure): consequence.remedy for failure, consequence in CONSEQUENCES.items()} | AUDIO_REMEDIES
"""What an operator can do about a failure class, by its code."""
_START_PATIENCE_S = 120.0


def register(app: typer.Typer) -> None:
    """Adds ``campaign`` and its commands."""
    group = typer.Typer(help="Campaigns: what is crawled, how gently, and when.", no_args_is_help=True)
    for command in (validate, plan, apply, start, pause, resume, stop, cancel, show, report, watch, schedules, delete):
        group.command()(command)
    group.command("dry-run")(_trial.dry_run)
    group.command()(_checks.release)
    group.command()(_checks.discard)
    group.command("list")(list_)
    app.add_typer(group, name="campaign")


def validate(file: File, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Check a campaign file; every problem is listed with its place."""
    with errors_reported():
        spec = _load(file, set_)
    if as_json:
        print_json(spec.record())
    else:
        typer.echo(f"{file}: good; {spec.name}, sources: {', '.join(source.name for source in spec.sources)}")


def plan(
    file: Annotated[Path, typer.Argument(help="The campaign file (YAML), or the name of one that was applied.")],
    set_: Overrides = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Fetch so many pages of each source, politely, and keep nothing."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a campaign would cost and change; nothing is done."""
    with errors_reported():
        spec = _load(file, set_) if file.suffix or file.exists() or set_ else None
        with _context.open_context() as context:
            spec = spec or CampaignSpec.model_validate(_get(context, str(file)).spec)
            samples = {}
            if sample is not None:
                # Only then: the engines take a second to import.
                from runtime.trial import sample as take_sample

                samples = take_sample(context.database, Settings(), spec, sample)
            with context.database.transaction() as session:
                result = make_plan(session, spec, samples)
    if as_json:
        return print_json(result.to_json())
    out = console()
    sources = table("source", "adapter", ">requests", ">size", ">at least", "basis")
    for each in result.sources:
        sources.add_row(
            cell(each.source),
            cell(each.adapter),
            str(each.requests),
            size(each.bytes),
            duration(each.hours * 3600),
            each.note,
        )
    out.print(sources)
    out.print(f"applying it: {result.change}")
    _print_lines(result.difference)
    if any(each.basis == "limit" for each in result.sources):
        out.print("Nothing is known of some sources yet; `--sample 20` asks so many pages of each.", highlight=False)
    for each in result.sources:
        if each.changes or each.since_last:
            out.print(cell(f"{each.source} since its last run:"))
            _print_lines([*each.changes, *each.since_last])
    if result.next_starts:
        out.print("next starts (UTC): " + ", ".join(map(moment, result.next_starts)))


def apply(file: File, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Check a campaign file, record it, and set its schedule."""
    with errors_reported():
        spec = _load(file, set_)
        with _context.open_context() as context:
            # Connected first: without Temporal nothing is recorded whose schedule could not be set.
            client = context.workflow_client
            with context.database.transaction() as session:
                campaign, change, lines = repository.apply(session, spec)
            if client is not None:
                context.run(_sync_schedule(client, campaign))
    if as_json:
        return print_json(
            {"campaign": campaign.name, "change": change, "revision": campaign.revision, "difference": lines}
        )
    typer.echo(f"{campaign.name}: {change}, revision {campaign.revision}")
    _print_lines(lines)
    if spec.schedule is not None and client is None:
        typer.echo("the schedule is set as soon as a Temporal server runs: `versions up`", err=True)


def start(
    name: Name,
    wait: Annotated[bool, typer.Option("--wait", help="Show the progress until the end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="As `campaign dry-run`: start nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start one execution now. With --wait, status 1 unless every run finishes."""
    if dry_run:
        return _trial.dry_run(name, as_json=as_json)
    with errors_reported(), _context.open_context() as context:
        campaign = _get(context, name)
        trigger = context.run(context.need_workflows().start_campaign(str(campaign.id)))
        if not wait:
            if as_json:
                return print_json({"campaign": name, "trigger": trigger})
            return typer.echo(f"{name}: started; `versions campaign watch {name}` shows how it goes")
        progress = _follow(context, campaign, trigger, quiet=as_json)
        if as_json:
            print_json({"campaign": name, "trigger": trigger, **progress.to_json()})
        if not progress.runs:
            typer.echo("versions: no run was opened; see `versions status` whether a worker runs", err=True)
        if not progress.finished or any(run.state != "finished" for run in progress.runs):
            raise typer.Exit(1)


def pause(name: Name) -> None:
    """Pause the schedule and all runs; what is in flight is finished."""
    _control(name, "pause")


def resume(name: Name) -> None:
    """Go on where `pause` stopped."""
    _control(name, "resume")


def stop(name: Name) -> None:
    """End all runs and keep what was found."""
    _control(name, "stop")


def cancel(name: Name) -> None:
    """End all runs and discard what was found and is not published."""
    _control(name, "cancel")


def delete(name: Name) -> None:
    """Remove the campaign and its schedule; its runs and what they found stay."""
    with errors_reported(), _context.open_context() as context:
        client = context.workflow_client
        with context.database.transaction() as session:
            campaign = repository.delete(session, name)
        if client is not None:
            context.run(client.sync_schedule(str(campaign.id), campaign.name, None, False))
    typer.echo(f"{name}: deleted")


def list_(as_json: AsJson = False) -> None:
    """List the campaigns."""
    with errors_reported(), _context.open_context() as context, context.database.transaction() as session:
        entries = [
            (campaign, repository.latest_runs(session, campaign.id)) for campaign in repository.list_campaigns(session)
        ]
        alerts = _checks.alerts(session, [campaign for campaign, _ in entries])
    if as_json:
        return print_json(
            [{**_summary(campaign, runs), "alerts": alerts.get(campaign.name, [])} for campaign, runs in entries]
        )
    result = table("name", "state", ">revision", "sources", "schedule", "last started", "runs")
    for campaign, runs in entries:
        summary = _summary(campaign, runs)
        started = [run.started_at for run in runs if run.started_at]
        result.add_row(
            cell(campaign.name),
            campaign.state,
            str(campaign.revision),
            cell(", ".join(summary["sources"])),
            cell(_schedules.text_of(campaign)),
            moment(min(started, default=None)),
            cell(", ".join(f"{run.source} {run.state}" for run in runs)),
        )
    console().print(result)
    for name, found in alerts.items():
        _print_alerts(name, found)


def show(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, max=500, help="So many waiting items.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on after the last page.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Show runs, counts, next starts, and for everything that waits: for what, since when, who can unblock it."""
    with errors_reported(), _context.open_context() as context:
        with context.database.transaction() as session:
            campaign = repository.get(session, name)
            alerts = _checks.alerts(session, [campaign]).get(name, [])
            progress = campaign_progress(session, campaign.id)
            waiting = waiting_items(session, campaign.id, limit, cursor)
        starts = _next_starts(context, campaign)
    if as_json:
        return print_json(
            {
                "name": campaign.name,
                "state": campaign.state,
                "revision": campaign.revision,
                "spec": campaign.spec,
                "next_starts": starts,
                "runs": progress.to_json()["runs"],
                "alerts": alerts,
                "waiting": waiting.items,
                "next_cursor": waiting.next_cursor,
            }
        )
    out = console()
    out.print(cell(f"{campaign.name}: {campaign.state}, revision {campaign.revision}, {_schedules.text_of(campaign)}"))
    _print_alerts(name, alerts)
    if starts:
        out.print("next starts: " + ", ".join(starts[:3]))
    out.print(render(progress) if progress.runs else "no runs yet")
    out.print(_waiting_table(waiting.items) if waiting.items else "nothing waits")
    if waiting.next_cursor:
        out.print(f"more: --cursor {waiting.next_cursor}", soft_wrap=True)


def _print_alerts(name: str, alerts: list[_checks.Alert]) -> None:
    for alert in alerts:
        console().print(cell(f"{name}: {alert}", "bold red", 500), soft_wrap=True)


def report(
    name: Annotated[str, typer.Argument(help="The campaign's name, or the id of a crawl run.", show_default=False)],
    trigger: Annotated[
        str | None, typer.Option(help="Which execution; default: the newest.", show_default=False)
    ] = None,
    compare: Annotated[
        str | None, typer.Option(help="Show what changed since this execution.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write it as one HTML file with charts.", dir_okay=False, show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report one execution: counts, every bad URL with its remedy, durations, what waits for whom."""
    with errors_reported():
        with _context.open_context() as context, context.database.transaction() as session:
            campaign, of_run = _campaign_or_run(session, name)
            result = run_report(session, campaign.id, trigger or of_run, REMEDIES)
            difference = compare_runs(session, campaign.id, compare, result["trigger"]) if compare else None
        if html is not None:
            _write(html, render_report(result))
    if as_json:
        return print_json({**result, "compared": difference} if difference else result)
    if html is not None:
        return typer.echo(f"{html}: written")
    _print_report(result)
    if difference:
        _print_comparison(difference)


def _campaign_or_run(session: Session, name: str) -> tuple[Campaign, str | None]:
    """The campaign of this name; or of this run, and the key of the run's execution."""
    try:
        run = repository.get_run(session, uuid.UUID(name))
    except ValueError:
        return repository.get(session, name), None
    return session.get_one(Campaign, run.campaign_id), run.trigger_key


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadOptionError(f"--html {path}: {error.strerror}") from None


def watch(
    name: Annotated[
        str | None, typer.Argument(help="The campaign's name; without it all that is under way.", show_default=False)
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="For a machine: one document a line.")] = False,
) -> None:
    """Show sources while they are crawled: answers, latencies, queues, budgets, errors, and the next starts.

    With NAME it ends with the runs; without, it goes on until Ctrl-C.
    """
    with errors_reported(), _context.open_context() as context:
        campaign = _get(context, name) if name else None

        def read() -> tuple[Watched, list[ScheduleRow]]:
            with context.database.transaction() as session:
                seen = watched(session, [campaign.id] if campaign else (), REMEDIES)
            return seen, [row for row in _schedules.read(context) if campaign is None or row.campaign == name]

        if once:
            seen, schedules = read()
            if as_json:
                return print_json(_watch.document(seen, schedules))
            return console().print(_watch.render(seen, schedules, name))
        if campaign is not None and not read()[0].sources:
            return typer.echo(f"{name} has no runs yet: `versions campaign start {name}`")
        try:
            if as_json:
                _watch.stream(read, interval_s=interval, for_ever=campaign is None)
            else:
                _watch.follow(console(), read, title=name, interval_s=interval, for_ever=campaign is None)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def schedules(as_json: AsJson = False) -> None:
    """List all campaigns by their next start."""
    with errors_reported(), _context.open_context() as context:
        rows = _schedules.read(context)
    if as_json:
        return print_json(rows)
    console().print(_schedules.render(rows) if rows else "no campaigns yet: `versions campaign apply FILE`")


def _load(file: Path, overrides: list[str] | None) -> CampaignSpec:
    values = {}
    for each in overrides or []:
        key, separator, value = each.partition("=")
        if not separator or not key.strip():
            raise BadOptionError(f"--set {each}: write it as name=value")
        values[key.strip()] = value
    return load(file, values, adapter_facts())


def _get(context: _context.Context, name: str) -> Campaign:
    with context.database.transaction() as session:
        return repository.get(session, name)


async def _sync_schedule(client: WorkflowClient, campaign: Campaign) -> None:
    schedule = campaign.spec.get("schedule")
    message = Schedule.model_validate(schedule).message() if schedule else None
    await client.sync_schedule(str(campaign.id), campaign.name, message, campaign.state == "paused")


def _control(name: str, verb: str) -> None:
    with errors_reported(), _context.open_context() as context:
        _get(context, name)
        client = context.need_workflows()
        with context.database.transaction() as session:
            # The record first: the reconciler repeats towards Temporal what is lost on the way.
            campaign = repository.get(session, name)
            if verb in ("pause", "resume"):
                campaign = repository.set_state(session, name, "paused" if verb == "pause" else "active")
            runs = repository.active_runs(session, campaign.id)
        call = {
            "pause": client.pause_run,
            "resume": client.resume_run,
            "stop": client.stop_run,
            "cancel": client.cancel_run,
        }[verb]

        async def all_of_them() -> list[BaseException | None]:
            if verb in ("pause", "resume"):
                await _sync_schedule(client, campaign)
            return await asyncio.gather(*(call(str(run.id)) for run in runs), return_exceptions=True)

        outcomes = context.run(all_of_them())
        failed = 0
        for run, outcome in zip(runs, outcomes, strict=True):
            if outcome is None:
                typer.echo(f"{run.source}: {verb} asked")
            else:
                failed += 1
                typer.echo(f"versions: {run.source} ({run.id}): {verb} failed: {outcome}", err=True)
        schedule = "" if verb in ("stop", "cancel") else f", the campaign is {campaign.state}"
        typer.echo(f"{name}: {len(runs) - failed} runs{schedule}")
        if failed:
            raise typer.Exit(1)


def _read(context: _context.Context, campaign: Campaign, trigger: str | None) -> Progress:
    with context.database.transaction() as session:
        if trigger is None:
            return campaign_progress(session, campaign.id)
        return campaign_progress(session, [run.id for run in repository.runs_of(session, campaign.id, trigger)])


def _follow(context: _context.Context, campaign: Campaign, trigger: str | None, quiet: bool = False) -> Progress:
    out = console()
    out.quiet = quiet
    try:
        return follow(out, lambda: _read(context, campaign, trigger), title=campaign.name, patience_s=_START_PATIENCE_S)
    except KeyboardInterrupt:
        typer.echo(f"it goes on; `versions campaign watch {campaign.name}` shows it again", err=True)
        raise typer.Exit(130) from None


def _next_starts(context: _context.Context, campaign: Campaign) -> list[str]:
    """What Temporal says, else what the schedule says."""
    schedule = campaign.spec.get("schedule")
    if not schedule or campaign.state != "active":
        return []
    try:
        if (client := context.workflow_client) is not None:
            return context.run(client.next_starts(str(campaign.id)))
    except _context.WorkflowsUnreachableError:
        pass
    return [each.isoformat() for each in next_starts(Schedule.model_validate(schedule))]


def _summary(campaign: Campaign, runs: list[Any]) -> dict[str, Any]:
    return {
        "id": campaign.id,
        "name": campaign.name,
        "state": campaign.state,
        "revision": campaign.revision,
        "sources": [source["source"] for source in campaign.spec["sources"]],
        "schedule": campaign.spec.get("schedule"),
        "runs": [{"id": run.id, "source": run.source, "state": run.state, "trigger": run.trigger_key} for run in runs],
    }


def _waiting_table(items: list[WaitingItem]) -> RenderableType:
    result = table("waiting", "source", "state", "reason", "since", "next attempt", "who can unblock it")
    for item in items:
        what = f"{item.count} requests" if item.kind == "requests" else item.what
        reason = f"{item.reason}: {item.detail}" if item.detail and item.kind == "candidate" else item.reason
        result.add_row(
            cell(what, limit=48),
            cell(item.source),
            cell(item.state),
            cell(reason, limit=48),
            moment(item.since),
            moment(item.next_attempt_at),
            cell(item.who, limit=100),
        )
    return result


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        console().print(cell("  " + line, limit=500), soft_wrap=True)


def _print_report(result: dict[str, Any]) -> None:
    out = console()
    state = "finished" if result["finished"] else "under way"
    out.print(cell(f"{result['campaign']}, {result['trigger']}: {state}, {duration(result['duration_s'])}", limit=200))
    counts = table("source", "state", *(">" + name.replace("_", " ") for name in COUNTS), ">requests", ">size", ">took")
    for source in result["sources"]:
        counts.add_row(
            cell(source["source"]),
            cell(source["state"]),
            *(str(source["counts"][name]) for name in COUNTS),
            str(source["requests"]["done"] + source["requests"]["failed"]),
            size(source["requests"]["bytes"]),
            duration(source["duration_s"]),
        )
    out.print(counts)
    for source in result["sources"]:
        publication, looks = source["publication"], source["availability"]
        if publication["detail"]:
            out.print(
                cell(f"{source['source']}: publication {publication['state']}: {publication['detail']}", "bold", 500)
            )
        if looks:
            said = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in looks.items())
            out.print(cell(f"{source['source']}: sources looked at: {said}", limit=300))
        for each in source["incidents"]:
            out.print(cell(f"{source['source']}: {each['class']} ×{each['count']}: {each['remedy']}", "bold", 300))
            for url in each["urls"][:20]:
                status = url["status"] or "no answer"
                end = "" if url["final"] else ", asked again"
                out.print(
                    cell(f"  {url['url']} ({status}, attempts {url['attempts']}{end}) {url['detail']}", limit=400),
                    soft_wrap=True,
                )
        for each in source["candidates"]:
            out.print(
                cell(
                    f"{source['source']}: {each['state']}, {each['reason']} ×{each['count']}: {each['remedy']}",
                    "bold",
                    300,
                )
            )
            for item in each["items"][:20]:
                out.print(cell(f"  {item['title']} {item['url']} {item['detail']}", limit=400), soft_wrap=True)


def _print_comparison(result: dict[str, Any]) -> None:
    out = console()
    out.print(cell(f"since {result['before']}:", "bold", 200))
    for source in result["sources"]:
        if "only_in" in source:
            out.print(cell(f"  {source['source']}: only {source['only_in']}"))
            continue
        changed = [f"{name} {old} → {new}" for name, (old, new, change) in source["counts"].items() if change]
        out.print(cell(f"  {source['source']}: {', '.join(changed) or 'the same counts'}", limit=300))
        for word in ("broke", "mended"):
            for each in source[word]:
                out.print(cell(f"    {word}: {each['class']} {each['url']}", limit=400), soft_wrap=True)
        _print_lines([f"  {line}" for line in source["settings"]])


__all__ = ["register"]
