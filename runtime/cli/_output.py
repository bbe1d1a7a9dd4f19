"""How commands speak: JSON for machines, tables for people, errors in one line with a code's exit status."""

from __future__ import annotations

import dataclasses
import json
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_BAD_INPUT = {
    "bad_campaign_file",
    "bad_cursor",
    "bad_decision",
    "bad_id",
    "ambiguous_id",
    "bad_option",
    "bad_source",
    "no_audio_files",
    "campaign_not_found",
    "case_not_found",
    "run_not_found",
    "unknown_role",
    "not_found",
}
"""Codes of errors that the caller's own words caused: exit status 2; all others end with 1."""


class BadOptionError(ValueError):
    """An option's value makes no sense; the message names the option and what is allowed."""

    code = "bad_option"


@contextmanager
def errors_reported() -> Iterator[None]:
    """Turns an error that was worded for people into one line on standard error and an exit status."""
    try:
        yield
    except Exception as error:
        code = getattr(error, "code", None)
        if not isinstance(code, str):
            raise
        for line in str(error).splitlines():
            typer.echo(line if code == "bad_campaign_file" else f"versions: {plain(line, 2000)} [{code}]", err=True)
        raise typer.Exit(2 if code in _BAD_INPUT else 1) from None


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=json_value))


def json_value(value: Any) -> Any:
    """What `json.dumps` does not know by itself: times, ids, dataclasses. Raises TypeError."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(type(value).__name__)


def console(*, stderr: bool = False) -> Console:
    """A console on the present standard output or error; wide where nobody looks, so that nothing is cut in a pipe."""
    result = Console(highlight=False, stderr=stderr)
    return result if result.is_terminal else Console(highlight=False, width=200, stderr=stderr)


def plain(value: object, limit: int = 80) -> str:
    """Text from the web for a terminal: no control characters, no bidirectional overrides, one line, bounded."""
    text = "".join(
        " " if each in "\n\r\t" else each
        for each in str(value)
        if each in "\n\r\t" or unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Co")
    )
    return text if len(text) <= limit else text[: limit - 1] + "…"


def cell(value: object, style: str = "", limit: int = 80) -> Text:
    """A table cell that shows untrusted text as it is: no markup."""
    return Text(plain(value, limit), style=style)


def table(*columns: str, title: str | None = None) -> Table:
    """A table; columns that begin with ``>`` are numbers."""
    result = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in columns:
        result.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left")
    return result


def moment(value: datetime | None) -> str:
    """A time in UTC."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value else ""


def duration(seconds: float | None) -> str:
    """``1:02:03``; a dash where it is unknown."""
    return "–" if seconds is None else str(timedelta(seconds=round(seconds)))


def size(count: float | None) -> str:
    """Bytes in binary units."""
    if count is None:
        return "unknown"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
