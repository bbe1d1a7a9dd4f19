"""`versions source new`, `record` and `test`: a new source in minutes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters import _outside
from adapters.cases import BUG, BadCaseError, Case, cases
from adapters.contract import UnknownAdapterError, adapter_names, adapter_problems, get_adapter, reload_own_adapters
from runtime.cli import settings
from runtime.cli._output import BadOptionError, console, errors_reported, plain
from runtime.source_tools.scaffold import create

Name = Annotated[str, typer.Argument(help="The adapter's name.")]
_SHOWN = 300


def add_to(group: typer.Typer) -> None:
    """Adds the commands to ``versions source``."""
    group.command("new")(new)
    group.command("record")(record_)
    group.command("test")(compare)


def new(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and _.")],
    url: Annotated[str | None, typer.Option("--url", help="The site, for the first guess.")] = None,
    into: Annotated[
        Path | None,
        typer.Option("--into", help="Folder of your own adapters (default: the first of VERSIONS_ADAPTERS)."),
    ] = None,
) -> None:
    """Make a new source: an adapter to begin with, a folder for its saved pages, and a test of them.

    Nothing that exists is overwritten. Inside a checkout of the project it joins the adapters there.
    """
    reload_own_adapters()
    with errors_reported():
        written = create(name, url, into)
    for path in written:
        typer.echo(f"{path}{'/' if path.is_dir() else ''}")
    reload_own_adapters()
    if name not in adapter_names():
        typer.echo(f"It is found once {_outside.VARIABLE} names its folder: {_outside.VARIABLE}={written[0].parent}")
    typer.echo(f"Next: versions source record {name} URL, then write `parse`, then versions source test {name}")


def record_(
    name: Name,
    url: Annotated[str, typer.Argument(help="The page; for adapters of files, a path.")],
    case: Annotated[
        str | None, typer.Option("--case", help="What the saved page is called (default: from the URL).")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="What the adapter is to expect there (default: as if it were a seed).")
    ] = None,
    context: Annotated[str, typer.Option("--context", help="A JSON object that travels with the request.")] = "{}",
    option: Annotated[
        list[str] | None, typer.Option("--option", help="NAME=VALUE, an option of the adapter; VALUE may be JSON.")
    ] = None,
    follow: Annotated[list[str] | None, typer.Option("--follow", help="An expression of URLs to follow.")] = None,
    allow_private: Annotated[
        list[str] | None, typer.Option("--allow-private", help="HOST:PORT of a local site that may be fetched.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Replace a case of this name.")] = False,
) -> None:
    """Save a page, with what the adapter makes of it, as a fixture.

    The page is fetched once, as a crawl would: robots.txt, the address guard, limits. Cookies and keys are not saved.
    """
    # Only now: the engines take most of a second to import.
    from runtime.source_tools.recording import LARGE_BYTES, Wanted, fixtures_of, record

    reload_own_adapters()
    with errors_reported():
        try:
            adapter = get_adapter(name)
        except UnknownAdapterError as error:
            raise BadOptionError(str(error)) from None
        wanted = Wanted(
            url, kind, _json_object("--context", context), _options(option or ()), follow or (), allow_private or ()
        )
        folder = fixtures_of(adapter, _outside.folders())
        saved = asyncio.run(record(adapter, wanted, folder, case, user_agent=settings().user_agent, again=again))
    found = saved.found
    typer.echo(
        f"{saved.case.folder}/: {saved.size} bytes, {len(found['items'])} items, {len(found['requests'])} requests"
    )
    for item in found["items"][:5]:
        typer.echo(plain(f"  {item['source_key']}: {item['title']} ({', '.join(sorted(item))})", _SHOWN))
    if saved.hidden:
        typer.echo(f"{saved.hidden} values that look like keys were removed from the URL and the page")
    if saved.size > LARGE_BYTES:
        typer.echo("a large page: cut it down to what matters, then `versions source test --update`")
    if "error" in found:
        typer.echo(plain(f"the adapter says: {found['error']}", _SHOWN))
    if BUG in found:
        typer.echo(
            plain(f"the adapter fails: {found[BUG]}; mend it, then `versions source test {name} --update`", _SHOWN)
        )
        raise typer.Exit(1)


def compare(
    name: Annotated[str | None, typer.Argument(help="One adapter; without it all.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Make what the adapters say now the expectation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For a machine.")] = False,
) -> None:
    """Compare what adapters make of their saved pages with what is expected, field by field.

    Status 1 on a difference. With --update the expectation is written anew: look at it before you keep it.
    """
    reload_own_adapters()
    with errors_reported():
        if name is not None and name not in adapter_names():
            raise BadOptionError(_unknown(name))
    results = [_result(case, update) for case in cases(name)]
    bad = [each for each in results if each["problem"] or (each["differences"] and not update)]
    if as_json:
        typer.echo(json.dumps(results, ensure_ascii=False, indent=2))
    else:
        _show(results, name, update)
    for place, why in adapter_problems().items():
        typer.echo(plain(f"not loaded: {place}: {why}", _SHOWN), err=True)
    if bad or (adapter_problems() and name is None):
        raise typer.Exit(1)


def _unknown(name: str) -> str:
    try:
        get_adapter(name)
    except UnknownAdapterError as error:
        return str(error)
    return name


def _result(case: Case, update: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"case": case.name, "folder": str(case.folder), "differences": [], "problem": None}
    try:
        if update and not (case.folder / "expected.json").exists():
            case.accept()
        differences = case.differences()
        result["differences"] = [
            {"place": each.place, "expected": each.expected, "actual": each.actual} for each in differences
        ]
        if differences and update:
            case.accept()
    except BadCaseError as error:
        result["problem"] = str(error)
    except UnknownAdapterError as error:
        result["problem"] = f"saved pages of no adapter: {error}"
    return result


def _show(results: list[dict[str, Any]], name: str | None, update: bool) -> None:
    out = console()
    for each in results:
        differences, problem = each["differences"], each["problem"]
        state = "problem" if problem else ("updated" if update else "DIFFERENT") if differences else "ok"
        out.print(f"{state:9} {each['case']}", markup=False)
        if problem:
            out.print(f"  {plain(problem, _SHOWN)}", markup=False)
        for difference in differences:
            out.print(f"  {difference['place']}", markup=False)
            out.print(f"    - {_value(difference['expected'])}", markup=False, style="red")
            out.print(f"    + {_value(difference['actual'])}", markup=False, style="green")
    if not results:
        who = f"{name} has" if name else "there are"
        out.print(f"{who} no saved pages; `versions source record` makes them", markup=False)


def _value(value: Any) -> str:
    return "nothing" if value is None else plain(json.dumps(value, ensure_ascii=False), _SHOWN)


def _json_object(option: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadOptionError(f"{option}: no readable JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadOptionError(f"{option}: {text!r} is not a JSON object")
    return value


def _options(pairs: list[str] | tuple[()]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise BadOptionError(f"--option: {pair!r} is not NAME=VALUE")
        try:
            result[name] = json.loads(text)
        except ValueError:
            result[name] = text
    return result
