"""``make bench``: measures, prints a table, and writes ``benchmarks/results.json`` and the table of its README.

``--only NAME`` measures one figure (or all of one module) and leaves the others of the file as they are.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks import _figures
from benchmarks._figures import Figure


class Measuring(Protocol):
    """A module that measures. ``FIGURES``: the names of what `measure` returns."""

    FIGURES: tuple[str, ...]
    measure: Callable[[], list[Figure]]


def discover() -> dict[str, Measuring]:
    """The measuring modules of this package by name."""
    found = {}
    for info in pkgutil.iter_modules(benchmarks.__path__):
        if not info.name.startswith("_"):
            module = importlib.import_module(f"benchmarks.{info.name}")
            if hasattr(module, "FIGURES"):
                found[info.name] = cast(Measuring, module)
    return found


def chosen(modules: dict[str, Measuring], only: str | None) -> dict[str, Measuring]:
    """All, or the one of this name or with a figure of this name. Raises LookupError."""
    if only is None:
        return modules
    result = {name: module for name, module in modules.items() if only == name or only in module.FIGURES}
    if not result:
        names = sorted({*modules, *(figure for module in modules.values() for figure in module.FIGURES)})
        raise LookupError(f"no figure named {only!r}; there are: {', '.join(names)}")
    return result


def table(rows: list[dict[str, Any]]) -> Table:
    """The figures for a person."""
    result = Table(title="Benchmarks", show_lines=True)
    for name in ("figure", "ours", "reference", "ratio", "goal", "met"):
        result.add_column(name, justify="right" if name in ("ours", "ratio", "goal") else "left")
    for row in rows:
        met = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[row["met"]]
        goal = "" if row["goal"] is None else f"{'≤' if row['reference_name'] == 'limit' else '≥'} {row['goal']:g}"
        reference = f"{_number(row['reference'])}  [dim]{row['reference_name']}[/]"
        result.add_row(
            row["name"], f"{_number(row['ours'])} {row['unit']}", reference, f"{row['ratio']:.2f}", goal, met
        )
    return result


def _number(value: float) -> str:
    """Shares with their decimals, rates and counts with one."""
    return f"{value:.4g}" if abs(value) <= 1 else f"{value:,.1f}"


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``python -m benchmarks``; the status tells of errors, not of goals."""
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", metavar="NAME", help="one figure")
    parser.add_argument("--results", type=Path, default=_figures.RESULTS, help="default: benchmarks/results.json")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        modules = chosen(discover(), options.only)
    except LookupError as error:
        console.print(f"[red]bench:[/] {error}", highlight=False)
        return 2
    measured: list[Figure] = []
    for name, module in modules.items():
        with console.status(f"measuring {name} …"):
            measured += module.measure()
        # After each, so that a long run that is cut off leaves what it has.
        rows = _figures.merge(measured, _figures.read(options.results))
        _figures.write(rows, options.results)
        if options.results == _figures.RESULTS:
            _figures.write_readme(rows)
    names = {figure.name for figure in measured}
    shown = [row for row in rows if row["name"] in names]
    console.print(table(shown))
    for row in shown:
        console.print(f"[bold]{row['name']}[/]: {row['detail']}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
