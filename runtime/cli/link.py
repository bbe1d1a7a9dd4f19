"""`versions link …`: why things are joined, and how a person puts that right."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from catalog.models import LINK_QUESTIONS, Candidate, IdentityLink, Song, Version, VersionSource
from identity.evidence import Question
from moderation import links
from runtime.cli import _context
from runtime.cli._ids import IdNotFoundError, resolve
from runtime.cli._output import BadOptionError, cell, console, errors_reported, moment, print_json, table
from runtime.cli.review import Actor, AsJson, Note, login

SourceId = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A source's candidate id (see `show`), or its first digits.")
]
VersionId = Annotated[str, typer.Argument(metavar="VERSION", help="A version's id, or its first digits.")]
AskedOf = Annotated[str, typer.Option("--question", help=f"One of: {', '.join(LINK_QUESTIONS)}.")]


def register(app: typer.Typer) -> None:
    """Adds ``link`` and its commands."""
    group = typer.Typer(
        help="Links between sources, versions and songs: see why, cut, move, merge.", no_args_is_help=True
    )
    for command in (show, cut, move, merge, forbid, allow):
        group.command()(command)
    app.add_typer(group, name="link")


def show(
    entity: Annotated[str, typer.Argument(metavar="ID", help="A version or a song, or the first digits of its id.")],
    as_json: AsJson = False,
) -> None:
    """Show what was linked to a version or a song: when, by whom, on what evidence, and what was cut again."""
    with errors_reported(), _context.open_context() as context, context.database.transaction() as session:
        try:
            version_ids = [resolve(session, Version, entity)]
        except IdNotFoundError:
            song_id = resolve(session, Song, entity)
            version_ids = list(session.scalars(select(Version.id).where(Version.song_id == song_id)))
        sources = session.execute(
            select(VersionSource.version_id, VersionSource.candidate_id, VersionSource.source, VersionSource.source_key)
            .where(VersionSource.version_id.in_(version_ids))
            .order_by(VersionSource.version_id, VersionSource.rank)
        ).all()
        rows = _links(session, version_ids)
    if as_json:
        return print_json(
            {
                "sources": [
                    {"version_id": s[0], "candidate_id": s[1], "source": s[2], "source_key": s[3]} for s in sources
                ],
                "links": [_json(row) for row in rows],
            }
        )
    out = console()
    listed = table("version", "candidate", "source")
    for version_id, candidate_id, source, key in sources:
        listed.add_row(str(version_id), str(candidate_id), cell(f"{source} {key}", limit=60))
    out.print(listed)
    told = table("since", "the same", "candidate", "by", "why", "evidence", "ended")
    for row in rows:
        told.add_row(
            moment(row.created_at),
            row.question,
            str(row.candidate_id),
            cell(row.made_by),
            cell(row.reason),
            cell(row.evidence.get("sentence", ""), limit=60),
            cell(f"{moment(row.ended_at)} by {row.ended_by}: {row.ended_reason}" if row.ended_at else "", limit=60),
        )
    out.print(told)


def _links(session: Session, version_ids: list[Any]) -> list[IdentityLink]:
    of_candidates = select(Candidate.id).where(Candidate.version_id.in_(version_ids))
    query = select(IdentityLink).where(
        or_(IdentityLink.version_id.in_(version_ids), IdentityLink.candidate_id.in_(of_candidates))
    )
    return list(session.scalars(query.order_by(IdentityLink.id)))


def _json(row: IdentityLink) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in IdentityLink.__table__.columns}


def cut(source: SourceId, note: Note = "", actor: Actor = None) -> None:
    """Make a source, which is another recording, a version of its own; it is never joined with the rest again."""
    with errors_reported(), _context.open_context() as context, context.database.transaction() as session:
        candidate_id = resolve(session, Candidate, source)
        version_id = links.cut_source(session, candidate_id, actor=actor or login(), note=note)
    typer.echo(f"{candidate_id}: a version of its own now, {version_id}")


def move(
    version: VersionId,
    to: Annotated[str | None, typer.Option(metavar="SONG", help="The song it is of.", show_default=False)] = None,
    new_song: Annotated[bool, typer.Option("--new-song", help="It is of a song that nobody knew.")] = False,
    note: Note = "",
    actor: Actor = None,
) -> None:
    """Say of which song a version is; it is never linked with the old one again."""
    with errors_reported():
        if (to is None) != new_song:
            raise BadOptionError("move takes exactly one of --to SONG and --new-song")
        with _context.open_context() as context, context.database.transaction() as session:
            version_id = resolve(session, Version, version)
            target = resolve(session, Song, to) if to is not None else None
            song_id = links.move_version(session, version_id, target, actor=actor or login(), note=note)
    typer.echo(f"{version_id}: a version of {song_id} now")


def merge(
    loser: Annotated[str, typer.Argument(metavar="LOSER", help="Its id will lead to the winner.")],
    winner: Annotated[str, typer.Argument(metavar="WINNER", help="Its id stays.")],
    songs: Annotated[bool, typer.Option("--songs", help="The ids are songs, not versions.")] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also when two sources of the versions sound different.")
    ] = False,
    note: Note = "",
    actor: Actor = None,
) -> None:
    """Say that two versions are one recording, or that two songs (--songs) are one."""
    with errors_reported(), _context.open_context() as context, context.database.transaction() as session:
        model = Song if songs else Version
        ids = resolve(session, model, loser), resolve(session, model, winner)
        if songs:
            links.merge_songs(session, *ids, actor=actor or login(), note=note)
        else:
            links.merge_versions(session, *ids, actor=actor or login(), note=note, anyway=anyway)
    typer.echo(f"{ids[0]} is {ids[1]} now")


def forbid(
    one: SourceId, other: SourceId, question: AskedOf = "recording", note: Note = "", actor: Actor = None
) -> None:
    """Say that two sources are not the same recording, or not the same song: they are never joined."""
    with errors_reported(), _context.open_context() as context, context.database.transaction() as session:
        ids = resolve(session, Candidate, one), resolve(session, Candidate, other)
        links.forbid(session, _question(question), [ids[0]], [ids[1]], actor or login(), note)
    typer.echo(f"{ids[0]} and {ids[1]}: never the same {question}")


def allow(one: SourceId, other: SourceId, question: AskedOf = "recording") -> None:
    """Take back what `forbid`, `cut` or `move` said of two sources."""
    with errors_reported(), _context.open_context() as context, context.database.transaction() as session:
        ids = resolve(session, Candidate, one), resolve(session, Candidate, other)
        count = links.allow(session, _question(question), [ids[0]], [ids[1]])
    typer.echo(f"{ids[0]} and {ids[1]} may be the same {question} again" if count else "nothing was forbidden")


def _question(name: str) -> Question:
    if name not in LINK_QUESTIONS:
        raise BadOptionError(f"--question {name}: one of {', '.join(LINK_QUESTIONS)}")
    return Question(name)
