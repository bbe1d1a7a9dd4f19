"""Charts as inline SVG, without scripts: what a value is stands in a tooltip, what a colour means in a legend."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

WIDTH, HEIGHT = 720, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 26
_INNER_WIDTH, _INNER_HEIGHT = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

_BAR = Markup(
    '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
)  # fmt: skip
_GRID = Markup(
    '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
    '<text class="y" x="{}" y="{:.1f}">{}</text>'
)  # fmt: skip
_ROW = Markup(
    '<text class="name" x="170" y="{y}">{name}</text>'
    '<rect class="{style}" x="180" y="{top}" width="{width:.1f}" height="16" rx="2"/>'
    '<text x="{after:.1f}" y="{y}">{value:g}</text>'
)


@dataclass(frozen=True, slots=True)
class Span:
    """A step of the time axis: seconds since the epoch."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Line:
    """A value for each span (None: a gap). ``style``: a class of the page's style sheet; ``dashed``: a limit."""

    name: str
    style: str
    values: Sequence[float | None]
    dashed: bool = False


def stacked(spans: Sequence[Span], parts: Mapping[str, tuple[str, Sequence[float]]], unit: str) -> Markup:
    """Bars over time, one part upon the other.

    Args:
        parts: by name, the first at the bottom: a class of the style sheet, and a value for each span.
    """
    sums = [sum(values[number] for _, values in parts.values()) for number in range(len(spans))]
    axes = _Axes(spans, max(sums, default=0.0), unit)
    drawn = []
    for number, span in enumerate(spans):
        x, width = axes.x(span.start), max(axes.x(span.end) - axes.x(span.start) - 0.6, 0.8)
        below = 0.0
        told = ", ".join(f"{name} {values[number]:g}" for name, (_, values) in parts.items() if values[number])
        for style, values in parts.values():
            if values[number]:
                top, bottom = axes.y(below + values[number]), axes.y(below)
                drawn.append(_BAR.format(style, x, top, width, bottom - top, f"{_clock(span.start, True)}: {told}"))
                below += values[number]
    return axes.drawn(drawn, {name: style for name, (style, values) in parts.items() if any(values)})


def lines(
    spans: Sequence[Span], drawn: Sequence[Line], unit: str, show: Callable[[float], str] = "{:g}".format
) -> Markup:
    """Lines over time through the middle of each span."""
    highest = max((value for line in drawn for value in line.values if value is not None), default=0.0)
    axes = _Axes(spans, highest, unit, show)
    parts = []
    for line in drawn:
        dash = Markup(' stroke-dasharray="5 4"') if line.dashed else ""
        places = [
            None if value is None else (axes.x((span.start + span.end) / 2), axes.y(value))
            for span, value in zip(spans, line.values, strict=True)
        ]
        if line.dashed and places and places[0] is not None and places[-1] is not None:
            places = [(axes.x(spans[0].start), places[0][1]), *places, (axes.x(spans[-1].end), places[-1][1])]
        for run in _runs(places):
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
            parts.append(Markup('<polyline class="{}" points="{}"{}/>').format(line.style, path, dash))
        if not line.dashed:
            parts += [
                Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="2"><title>{}</title></circle>').format(
                    line.style, *place, f"{_clock(span.start, True)}: {line.name} {show(value or 0.0)} {unit}"
                )
                for span, place, value in zip(spans, places, line.values, strict=True)
                if place is not None and len(spans) <= 120
            ]
    return axes.drawn(parts, {line.name: line.style for line in drawn})


def bars(rows: Sequence[tuple[str, float, str]]) -> Markup:
    """Horizontal bars: name, value, class of the style sheet."""
    highest = max((value for _, value, _ in rows), default=0.0) or 1.0
    height = 24 * len(rows) + 4
    drawn = [
        _ROW.format(
            y=24 * number + 18, top=24 * number + 5, name=name, style=style, value=value,
            width=max(value / highest * 440, 1), after=186 + max(value / highest * 440, 1),
        )
        for number, (name, value, style) in enumerate(rows)
    ]  # fmt: skip
    return Markup('<svg class="bars" viewBox="0 0 {} {}" role="img">{}</svg>').format(
        WIDTH, height, Markup("").join(drawn)
    )


class _Axes:
    """Places on the picture, grid and legend."""

    def __init__(
        self, spans: Sequence[Span], highest: float, unit: str, show: Callable[[float], str] = "{:g}".format
    ) -> None:
        self._first, self._last = (spans[0].start, spans[-1].end) if spans else (0.0, 1.0)
        self._step = _nice(highest / 4) if highest > 0 else 1.0
        self._top = self._step * max(math.ceil(highest / self._step - 1e-9), 1)
        self._unit, self._show = unit, show

    def x(self, moment: float) -> float:
        return _LEFT + (moment - self._first) / ((self._last - self._first) or 1.0) * _INNER_WIDTH

    def y(self, value: float) -> float:
        return _TOP + _INNER_HEIGHT * (1 - value / self._top)

    def drawn(self, parts: Sequence[Markup], legend: Mapping[str, str]) -> Markup:
        grid = []
        for number in range(round(self._top / self._step) + 1):
            value = number * self._step
            y = self.y(value)
            grid.append(_GRID.format(_LEFT, WIDTH - _RIGHT, y, y, _LEFT - 6, y + 4, self._show(value)))
        with_day = self._last - self._first > 86_400
        for number in range(5):
            moment = self._first + (self._last - self._first) * number / 4
            anchor = ("start", "middle", "middle", "middle", "end")[number]
            grid.append(
                Markup('<text class="x" text-anchor="{}" x="{:.1f}" y="{}">{}</text>').format(
                    anchor, self.x(moment), HEIGHT - 8, _clock(moment, with_day)
                )
            )
        keys = Markup("").join(
            Markup('<span class="key"><i class="{}"></i>{}</span>').format(style, name)
            for name, style in legend.items()
        )
        return Markup(
            '<div class="legend">{}<span class="unit">{}</span></div><svg viewBox="0 0 {} {}" role="img">{}{}</svg>'
        ).format(keys, self._unit, WIDTH, HEIGHT, Markup("").join(grid), Markup("").join(parts))


def _runs(places: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    """The pieces between gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for place in places:
        if place is None:
            runs.append([])
        else:
            runs[-1].append(place)
    return [run for run in runs if len(run) > 1]


def _nice(value: float) -> float:
    """The next step of the form 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def _clock(moment: float, with_day: bool) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%m-%d %H:%M" if with_day else "%H:%M")
