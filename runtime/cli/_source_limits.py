"""`versions source limit` and `versions source breaker`: what may be asked of a source, and whether it may at all.

Both take effect in the workers that run, within a few seconds.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any

import typer

from catalog.repositories.politeness import BreakerState, GroupState, PolitenessRepository
from crawlers.budget.limits import (
    UNLIMITED,
    BudgetLimits,
    check_timezone,
    parse_rate,
    parse_size,
    parse_windows,
    rate_text,
)
from runtime.cli import _context
from runtime.cli._output import BadOptionError, cell, console, errors_reported, moment, print_json, table
from runtime.connections import Connections
from runtime.politeness import ledger_of
from runtime.settings import Settings

_Json = Annotated[bool, typer.Option("--json", help="For a machine.")]


class Mode(StrEnum):
    """What the operator makes of a breaker."""

    OPEN = "open"
    CLOSE = "close"
    AUTO = "auto"


def add_to(group: typer.Typer) -> None:
    """Adds the commands to ``versions source``."""
    group.command()(limit)
    group.command()(breaker)


def limit(
    target: Annotated[
        str, typer.Argument(help="A source, or a pattern of hosts such as '*.example.org'; nothing: show all.")
    ] = "",
    rate: Annotated[str, typer.Argument(help="At most so many requests: 30/min, 2/s, 500/h.")] = "",
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests at a time.")] = None,
    per_day: Annotated[int | None, typer.Option(min=1, help="Requests a day.")] = None,
    bytes_per_day: Annotated[str, typer.Option(metavar="SIZE", help="Bytes a day: 500MB, 2GB.")] = "",
    window: Annotated[
        list[str] | None, typer.Option(metavar="HH:MM-HH:MM", help="Only at these hours; may be given again.")
    ] = None,
    timezone: Annotated[str, typer.Option(help="Of the hours and of the day, an IANA name.")] = "",
    clear: Annotated[bool, typer.Option("--clear", help="Remove all limits of this target.")] = False,
    as_json: _Json = False,
) -> None:
    """Limit a source, or all hosts under a pattern together, for all campaigns and workers; or show all limits.

    What is named is set, the rest stays. Workers obey within a few seconds. A campaign can only be politer.
    """
    with errors_reported(), _context.open_context() as context:
        repository = PolitenessRepository(context.database)
        if target:
            key = _key(target)
            known = BudgetLimits.from_json(repository.limits().get(key, {}))
            try:
                wanted = UNLIMITED if clear else _changed(known, rate, bytes_per_day, window, timezone)
            except ValueError as error:
                raise BadOptionError(str(error)) from None
            if not clear:
                wanted = replace(
                    wanted,
                    concurrency=wanted.concurrency if concurrency is None else concurrency,
                    per_day=wanted.per_day if per_day is None else per_day,
                )
            if clear or wanted != known:
                repository.set_limits(key, wanted.to_json())
                kind, _, name = key.partition(":")
                repository.wake(name if kind == "source" else None)
        limits, states, breakers = repository.limits(), repository.snapshot(), repository.breaker_states()
    if as_json:
        return print_json(
            {
                "limits": limits,
                "scopes": [each.to_json() for each in states],
                "breakers": [each.to_json() for each in breakers],
            }
        )
    out = console()
    if limits:
        rows = table("limit of", "rate", ">at once", ">a day", ">bytes a day", "hours")
        for name, stored in limits.items():
            rows.add_row(cell(name), *_limits_row(BudgetLimits.from_json(stored)))
        out.print(rows)
    else:
        out.print("No limits are set: campaigns and adapters alone say how gently.")
    if states:
        out.print()
        out.print(_states_table(states))


def breaker(
    source: Annotated[str, typer.Argument(help="The source; nothing: show all.")] = "",
    mode: Annotated[Mode | None, typer.Argument(help="Force it, or leave it to itself again.")] = None,
    as_json: _Json = False,
) -> None:
    """Show the circuit breakers of the sources: since when, why, and when one request tries again; or force one.

    `open` stops all requests to the source, `close` lets them through whatever happens, `auto` gives it back to its
    rules and closes it.
    """
    with errors_reported(), _context.open_context() as context:
        repository = PolitenessRepository(context.database)
        if source and mode is not None:
            redis_url = Connections.load(Settings(), need=()).redis_url
            ledger_of(context.database, redis_url).force_breaker(source, mode.value)
            repository.wake(source)
        states = [each for each in repository.breaker_states() if source in ("", each.source)]
    if as_json:
        return print_json([each.to_json() for each in states])
    out = console()
    if not states:
        out.print(f"Nothing is known of a source {source!r}." if source else "No source was asked yet.", markup=False)
        return None
    rows = table("source", "breaker", "since", "why", "next probe")
    for state in states:
        rows.add_row(*_breaker_row(state))
    out.print(rows)
    return None


def _key(target: str) -> str:
    if target.startswith(("source:", "host:")):
        return target
    return f"host:{target}" if "*" in target else f"source:{target}"


def _changed(
    known: BudgetLimits, rate: str, bytes_per_day: str, window: list[str] | None, timezone: str
) -> BudgetLimits:
    zone = check_timezone(timezone) if timezone else known.timezone
    windows = known.windows
    if window:
        windows = (parse_windows(window, zone),)
    elif timezone:
        windows = tuple(replace(each, timezone=zone) for each in windows)
    return replace(
        known,
        delay_s=parse_rate(rate) if rate else known.delay_s,
        bytes_per_day=parse_size(bytes_per_day) if bytes_per_day else known.bytes_per_day,
        windows=windows,
        timezone=zone,
    )


def _limits_row(limits: BudgetLimits) -> list[Any]:
    return [
        rate_text(limits.delay_s) if limits.delay_s else "",
        _number(limits.concurrency),
        _number(limits.per_day),
        _number(limits.bytes_per_day),
        cell("; ".join(each.text() for each in limits.windows)),
    ]


def _states_table(states: list[GroupState]) -> Any:
    numbers = (">slowed by", ">at once", ">wanted", ">workers", ">today", ">bytes today")
    rows = table("in use", "rate now", *numbers, "pause until")
    for state in states:
        rows.add_row(
            cell(f"{state.kind}:{state.name}"),
            rate_text(state.delay_s),
            f"{state.factor:.3g}×" if state.factor > 1 else "",
            _of(state.in_flight, state.limits.get("concurrency")),
            str(state.demand),
            str(state.holders),
            _of(state.requests_today, state.limits.get("per_day")),
            _of(state.bytes_today, state.limits.get("bytes_per_day")),
            moment(state.penalty_until),
        )
    return rows


def _breaker_row(state: BreakerState) -> list[Any]:
    style = {"closed": "green", "half_open": "yellow", "open": "red", "forced_open": "red"}.get(state.state, "")
    why = f"{state.reason}: {state.detail}" if state.detail else state.reason
    return [
        cell(state.source),
        cell(state.state, style),
        moment(state.since),
        cell(why, limit=200),
        moment(state.next_probe_at),
    ]


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _of(used: int, most: int | None) -> str:
    return f"{used:,}" if most is None else f"{used:,} of {most:,}"
