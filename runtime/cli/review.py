"""`versions review …`: what a moderator does with review cases."""

from __future__ import annotations

import dataclasses
import getpass
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from catalog.models import ReviewCase, Song, Version
from moderation import service
from moderation.service import Action, CaseView, ProposalView
from runtime.cli import _context
from runtime.cli._ids import resolve
from runtime.cli._output import BadOptionError, cell, console, duration, errors_reported, moment, print_json, table
from runtime.cli._output import plain as plain_text

Id = Annotated[str, typer.Argument(metavar="ID", help="The case, or the first digits of its id.", show_default=False)]
Note = Annotated[str, typer.Option(help="Why; kept with the decision.")]
Actor = Annotated[str | None, typer.Option("--as", help="Who decides; default: your login name.", show_default=False)]
RowVersion = Annotated[
    int | None,
    typer.Option("--if-version", help="Refuse when the case changed since `show` said this.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="For a machine.")]

_BARS = "▁▂▃▄▅▆▇█"
_SAME, _REVIEW = 0.10, 0.20
"""Bit error rates up to which the picture is green, and yellow."""
STATES = ("open", "decided", "applied", "expired")


def register(app: typer.Typer) -> None:
    """Adds ``review`` and its commands."""
    group = typer.Typer(help="Review cases: what automation leaves to a moderator.", no_args_is_help=True)
    group.command("list")(list_)
    for command in (show, approve, reject, retarget):
        group.command()(command)
    app.add_typer(group, name="review")


def list_(
    state: Annotated[str, typer.Option(help=f"One of: {', '.join(STATES)}.")] = "open",
    source: Annotated[str | None, typer.Option(help="Only this source.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on after the last page.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List cases, the most urgent first."""
    with errors_reported():
        if state not in STATES:
            raise BadOptionError(f"--state {state}: one of {', '.join(STATES)}")
        with _context.open_context() as context, context.database.transaction() as session:
            page = service.list_cases(session, state=state, source=source, cursor=cursor, limit=limit)
    if as_json:
        return print_json(dataclasses.asdict(page))
    out = console()
    if not page.cases:
        return out.print(f"no {state} cases")
    result = table("id", "title", "performer", "source", "reason", "suggestion", "since")
    for case in page.cases:
        result.add_row(
            str(case.id),
            cell(case.item.get("title", ""), limit=40),
            cell(_performers(case), limit=30),
            cell(case.source),
            cell(case.reason),
            cell(case.suggestion_text, limit=60),
            moment(case.opened_at),
        )
    out.print(result)
    if page.next_cursor:
        out.print(f"more: --cursor {page.next_cursor}", soft_wrap=True)


def show(case_id: Id, as_json: AsJson = False) -> None:
    """Show a case: the candidate, what approval would do, and the evidence of every proposal."""
    with errors_reported(), _context.open_context() as context, context.database.transaction() as session:
        case = service.get_case(session, resolve(session, ReviewCase, case_id))
    if as_json:
        print_json(dataclasses.asdict(case))
    else:
        console().print(render_case(case))


def approve(
    case_id: Id, note: Note = "", actor: Actor = None, if_version: RowVersion = None, as_json: AsJson = False
) -> None:
    """Do what the case suggests."""
    with errors_reported():
        _decide(case_id, "approve", note, actor, if_version, as_json)


def reject(
    case_id: Id, note: Note = "", actor: Actor = None, if_version: RowVersion = None, as_json: AsJson = False
) -> None:
    """Keep the candidate out of the catalog."""
    with errors_reported():
        _decide(case_id, "reject", note, actor, if_version, as_json)


def retarget(
    case_id: Id,
    version: Annotated[
        str | None, typer.Option(help="The same recording as this version.", metavar="ID", show_default=False)
    ] = None,
    song: Annotated[
        str | None, typer.Option(help="A new version of this song.", metavar="ID", show_default=False)
    ] = None,
    new_song: Annotated[bool, typer.Option("--new-song", help="A song that nobody knew.")] = False,
    note: Note = "",
    actor: Actor = None,
    if_version: RowVersion = None,
    as_json: AsJson = False,
) -> None:
    """Say what the candidate is: --version, --song or --new-song."""
    with errors_reported():
        if sum((version is not None, song is not None, new_song)) != 1:
            raise BadOptionError("retarget takes exactly one of --version ID, --song ID and --new-song")
        _decide(case_id, "retarget", note, actor, if_version, as_json, version=version, song=song, new_song=new_song)


def _decide(
    case_id: str,
    action: Action,
    note: str,
    actor: str | None,
    row_version: int | None,
    as_json: bool,
    *,
    version: str | None = None,
    song: str | None = None,
    new_song: bool = False,
) -> None:
    with _context.open_context() as context:
        with context.database.transaction() as session:
            case = service.decide(
                session,
                resolve(session, ReviewCase, case_id),
                action=action,
                actor=actor or login(),
                note=note,
                version_id=resolve(session, Version, version) if version is not None else None,
                song_id=resolve(session, Song, song) if song is not None else None,
                new_song=new_song,
                row_version=row_version,
            )
        # Recorded: from here on nothing is lost, whether or not Temporal answers.
        result = None
        try:
            if (client := context.workflow_client) is not None:
                result = context.run(client.decide(str(case.candidate_id), str(case.id)))
        except _context.WorkflowsUnreachableError:
            pass
    if as_json:
        return print_json(
            {
                "case_id": case.id,
                "candidate_id": case.candidate_id,
                "action": action,
                "applied": result is not None,
                "result": dataclasses.asdict(result) if result is not None else None,
            }
        )
    if result is None:
        return typer.echo(f"{case.id}: {action} is recorded; it is applied as soon as a worker runs")
    target = f", version {result.version_id}" if result.version_id else ""
    target += f", song {result.song_id}" if result.song_id else ""
    typer.echo(f"{case.id}: {action} applied; the candidate is {result.state}{target}")


def login() -> str:
    """Who uses this command line, as an actor's name."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        return "cli"


def render_case(case: CaseView) -> RenderableType:
    """All that a case holds, as a picture for the terminal."""
    facts = table("", "")
    facts.show_header = False
    rows: list[tuple[str, Any]] = [
        ("case", f"{case.id} (row version {case.row_version})"),
        ("state", f"{case.state}, opened {moment(case.opened_at)}"),
        ("reason", f"{case.reason}: {case.detail}" if case.detail else case.reason),
        ("title", case.item.get("title", "")),
        ("performer", _performers(case)),
        ("duration", duration(case.duration_s)),
        ("source", f"{case.source} {case.source_key}"),
        ("address", case.url),
        ("approval does", case.suggestion_text),
    ]
    if case.content:
        rows.insert(6, ("sounds like", case.content))
    if case.expires_at:
        rows.insert(2, ("expires", moment(case.expires_at)))
    if case.decision:
        decision = case.decision
        rows.append(("decision", f"{decision.get('action')} by {decision.get('actor')}: {decision.get('note') or '–'}"))
    for name, value in rows:
        facts.add_row(name, cell(value, limit=300))
    parts: list[RenderableType] = [facts]
    for number, proposal in enumerate(case.proposals, 1):
        parts += ["", *_proposal(number, proposal)]
    if not case.proposals:
        parts += ["", Text("no proposals: nothing in the catalog is like it", style="dim")]
    return Group(*parts)


def _proposal(number: int, proposal: ProposalView) -> list[RenderableType]:
    question = "the same recording as" if proposal.question == "recording" else "a version of the song"
    target = f"“{plain_text(proposal.target_title)}”"
    if proposal.target_artists:
        target += f" by {plain_text(proposal.target_artists)}"
    head = Text(f"{number}. {question} {target}: {proposal.probability:.0%}, {proposal.verdict}", style="bold")
    result: list[RenderableType] = [
        head,
        Text(f"   {proposal.version_id or proposal.song_id}", style="dim"),
        cell(f"   {proposal.sentence}", limit=300),
    ]
    parts = proposal.evidence.get("parts") or []
    if parts:
        evidence = table("   evidence", ">distance", ">weight", "note")
        for part in parts:
            distance = float(part.get("distance", 0.0))
            style = "green" if distance <= 0.1 else "yellow" if distance <= 0.5 else "red"
            evidence.add_row(
                cell(f"   {part.get('name', '')}"),
                Text(f"{distance:.2f}", style=style),
                f"{float(part.get('weight', 0.0)):.2f}",
                cell(part.get("note", ""), limit=100),
            )
        result.append(evidence)
    if alignment := proposal.evidence.get("alignment"):
        result += _alignment(alignment, proposal.evidence)
    return result


def _alignment(alignment: dict[str, Any], evidence: dict[str, Any]) -> list[RenderableType]:
    offset, overlap = float(alignment.get("offset_s", 0.0)), float(alignment.get("overlap_s", 0.0))
    words = f"   alignment: its start lies at {offset:+.1f} s, {overlap:.0f} s overlap, "
    words += f"{float(alignment.get('bit_error_rate', 0.0)):.1%} of the bits differ"
    if begins := evidence.get("begins_at_s"):
        words += f"\n   to compare by ear: from {duration(begins.get('candidate'))} of it, "
        words += f"from {duration(begins.get('target'))} of the other"
    for name, what in (("speed_factor", "speed and pitch"), ("tempo_factor", "tempo")):
        if (factor := float(evidence.get(name) or 1.0)) != 1:
            words += f"; {what} times {factor:.3f}"
    result: list[RenderableType] = [Text(words)]
    if picture := profile(alignment.get("profile") or []):
        result.append(Text("   ") + picture)
    return result


def profile(error_rates: list[float], width: int = 100) -> Text:
    """Agreement along the overlap, a bar per window: full where all bits agree, lowest at half of them (chance)."""
    result = Text()
    step = max(1, -(-len(error_rates) // width))
    for start in range(0, len(error_rates), step):
        window = [float(each) for each in error_rates[start : start + step]]
        rate = sum(window) / len(window)
        level = round((1 - min(max(rate, 0.0), 0.5) / 0.5) * (len(_BARS) - 1))
        result.append(_BARS[level], style="green" if rate <= _SAME else "yellow" if rate <= _REVIEW else "red")
    return result


def _performers(case: CaseView) -> str:
    names = [
        str(credit.get("name", ""))
        for credit in case.item.get("credits") or []
        if credit.get("role", "performer") in ("performer", "ensemble")
    ]
    return ", ".join(names)
