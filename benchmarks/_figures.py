"""What a benchmark tells: one figure beside its reference, and the file they are kept in."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
README = Path(__file__).with_name("README.md")
_BEGIN, _END = "<!-- figures -->", "<!-- /figures -->"


@dataclass(frozen=True, slots=True)
class Figure:
    """``ratio``: ours to the reference; ``met``: whether it keeps the goal, None where there is no goal.

    ``detail``: how it was measured, the single rounds, and the cause where a goal is not met.
    """

    name: str
    unit: str
    ours: float
    reference: float
    reference_name: str
    ratio: float
    goal: float | None
    met: bool | None
    detail: str


def at_least(
    name: str,
    unit: str,
    rounds: Sequence[tuple[float, float]],
    *,
    reference_name: str,
    goal: float | None,
    detail: str,
) -> Figure:
    """A figure of which more is better. ``rounds``: (ours, reference) of one round each, taken in turns.

    The ratio is the median of the rounds' ratios: what disturbs the machine for a while disturbs both sides of a round.
    """
    ratios = [ours / reference for ours, reference in rounds]
    ratio = round(statistics.median(ratios), 3)
    single = ", ".join(f"{ours:.1f}/{reference:.1f}" for ours, reference in rounds)
    return Figure(
        name,
        unit,
        round(statistics.median(ours for ours, _ in rounds), 1),
        round(statistics.median(reference for _, reference in rounds), 1),
        reference_name,
        ratio,
        goal,
        None if goal is None else ratio >= goal,
        f"{detail}; rounds (ours/reference): {single}",
    )


def at_most(name: str, unit: str, ours: float, limit: float, *, detail: str) -> Figure:
    """A figure that must stay under a limit."""
    ratio = round(ours / limit, 3)
    return Figure(name, unit, round(ours, 1), round(limit, 1), "limit", ratio, 1.0, ratio <= 1.0, detail)


def cheaper(
    name: str, unit: str, ours: float, reference: float, *, reference_name: str, goal: float | None, detail: str
) -> Figure:
    """A cost of which less is better; the ratio tells how many times ours the reference costs."""
    ratio = round(reference / ours, 3)
    met = None if goal is None else ratio >= goal
    return Figure(name, unit, round(ours, 2), round(reference, 2), reference_name, ratio, goal, met, detail)


def merge(figures: Iterable[Figure], known: Iterable[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """The figures as they stand in the file: new ones in place of old ones of the same name, by name."""
    merged = {row["name"]: row for row in known} | {figure.name: asdict(figure) for figure in figures}
    return [merged[name] for name in sorted(merged)]


def read(path: Path = RESULTS) -> list[dict[str, Any]]:
    """The figures of the file; none if there is no file."""
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return found


def write(rows: list[dict[str, Any]], path: Path = RESULTS) -> None:
    """Writes the file."""
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=2) + "\n")


def write_readme(rows: list[dict[str, Any]], path: Path = README) -> None:
    """Puts the figures between the marks of the README."""
    head, _, rest = path.read_text().partition(_BEGIN)
    tail = rest.partition(_END)[2]
    lines = ["| figure | ours | reference | ratio | goal | met |", "|---|---:|---|---:|---:|---|"]
    for row in rows:
        sign = "≤" if row["reference_name"] == "limit" else "≥"
        goal = "" if row["goal"] is None else f"{sign} {row['goal']:g}"
        met = {True: "yes", False: "no", None: ""}[row["met"]]
        reference = f"{row['reference']:g} ({row['reference_name']})"
        ours = f"{row['ours']:g} {row['unit']}"
        lines.append(f"| `{row['name']}` | {ours} | {reference} | {row['ratio']:.2f} | {goal} | {met} |")
    lines += ["", *(f"- `{row['name']}`: {row['detail']}." for row in rows)]
    path.write_text("\n".join([head + _BEGIN, *lines, _END + tail]))
