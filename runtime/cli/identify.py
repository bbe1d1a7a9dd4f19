"""`versions identify FILE_OR_URL`: what the catalog has that this may be."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from catalog.database import Database
from crawlers.errors import FetchError
from crawlers.ports import NotNow
from identity.evidence import content_words
from media.types import AudioError
from runtime.cli import CommandError, _context, settings
from runtime.cli._output import cell, console, duration, errors_reported, print_json, table
from runtime.cli.review import AsJson, profile

if TYPE_CHECKING:
    from activities.identify import Answer


def register(app: typer.Typer) -> None:
    """Adds ``identify``."""
    app.command()(identify)


def identify(
    target: Annotated[
        str, typer.Argument(metavar="FILE_OR_URL", help="An audio file, or the address of a page or an audio file.")
    ],
    allow_private: Annotated[
        list[str] | None, typer.Option(help="host:port of a server in a private network that may be asked.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a recording is: the same recording as a version, or of the same song, best first, with the evidence.

    Nothing is kept. Status 1 when the file or page cannot be used.
    """
    # The engines take a second to import, which no other command should pay.
    from activities.identify import problem_of

    with errors_reported(), _context.open_context() as context:
        try:
            answers = context.run(_ask(context.database, target, _file(target), tuple(allow_private or ())))
        except (FetchError, AudioError, NotNow, ValueError) as error:
            problem = problem_of(error)
            raise CommandError(f"{problem['code']}: {problem['detail'].rstrip('.')}; {problem['remedy']}") from error
    if as_json:
        return print_json([asdict(answer) for answer in answers])
    out = console()
    if not answers:
        out.print("no recording was found there")
    for answer in answers:
        for line in render(answer):
            out.print(line)


def _file(target: str) -> Path | None:
    """The file that is meant, None for an address. Raises ValueError where there is no such file."""
    path = Path(target).expanduser().absolute()
    if path.is_file():
        return path
    if "://" in target:
        return None
    raise ValueError(f"there is no file {target!r}")


async def _ask(database: Database, target: str, path: Path | None, allow_private: tuple[str, ...]) -> list[Answer]:
    from activities.identify import identify_file, identify_url
    from activities.politeness import fleet_budget
    from activities.resources import Resources
    from crawlers.yt_dlp_parts.accounts import Accounts

    own = settings()
    budget = fleet_budget(database)
    with tempfile.TemporaryDirectory(prefix="versions-identify-") as folder:
        nothing: Any = None
        resources = Resources(
            database=database,
            objects=nothing,
            budget=budget,
            temporary=Path(folder),
            user_agent=own.user_agent,
            max_audio_seconds=own.max_audio_seconds,
            analysis=asyncio.Semaphore(os.cpu_count() or 1),
            accounts=Accounts(own.accounts_dir),
        )
        try:
            if path is not None:
                return await identify_file(resources, path)
            return await identify_url(resources, target, allow_private=allow_private)
        finally:
            await budget.close()


def render(answer: Answer) -> list[RenderableType]:
    """An answer for people."""
    performers = ", ".join(credit["name"] for credit in answer.item.get("credits", ()))
    head = Text(str(answer.item.get("title", ""))[:200], style="bold")
    head.append(f" · {performers}" if performers else "", style="")
    head.append(f" · {duration(answer.item.get('duration_s'))}", style="dim")
    lines: list[RenderableType] = [head]
    if answer.note:
        lines.append(Text(f"  {answer.note}", style="yellow"))
    if heard := (answer.audio or {}).get("content"):
        lines.append(Text(f"  {content_words(heard['kind'], heard['sentence'])}", style="yellow"))
    if answer.known:
        lines.append(cell(f"  known already: version {answer.known['version_id']} of «{answer.known['title']}»"))
    if not answer.proposals:
        return [*lines, Text("  nothing in the catalog is like it", style="dim"), ""]
    listed = table(">", "the same", "title", "artists", "verdict", ">probability", "why")
    pictures: list[Text] = []
    for number, found in enumerate(answer.proposals, 1):
        style = {"same": "green", "review": "yellow"}.get(found["verdict"], "dim")
        listed.add_row(
            str(number),
            found["question"],
            cell(found.get("title", ""), limit=40),
            cell(", ".join(found.get("artists", ())), limit=40),
            Text(found["verdict"], style=style),
            f"{found['probability']:.2f}",
            cell(found["sentence"], limit=300),
        )
        if picture := profile((found["evidence"].get("alignment") or {}).get("profile") or []):
            pictures.append(Text(f"  {number}. ") + picture)
    return [*lines, listed, *pictures, ""]
