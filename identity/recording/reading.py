"""How stored recordings are read: a statement of the caller's, which the index sends together with its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, TypeVar

import psycopg

T = TypeVar("T")


@dataclass(frozen=True)
class Source(Generic[T]):
    """Where targets are read.

    Attributes:
        columns: SQL expressions of what is read: the fingerprint's id, its items (bytes), and others.
        types: the SQL type of each of the others.
        rest: ``FROM …`` and what follows it but for order and limit; fingerprints that are asked for are the rows of
            ``wanted (id, place)``.
        make: makes a target of a row.
        parameters: of the statement, named; not ``wanted`` or ``most``.
    """

    columns: str
    types: tuple[str, ...]
    rest: str
    make: Callable[..., T]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def beside(self, *queries: str) -> str:
        """One statement: these, each of four columns (kind, bigint, bigint, bytea), and what is read, as kind 2."""
        return _union(self.columns, self.types, self.rest, queries)

    def asking(self, ids: Iterable[int], most: int) -> dict[str, Any]:
        """The statement's parameters: the first so many of these that are targets, in this order."""
        # PostgreSQL's text form is made faster than the driver's binary one, and has one type, whatever is in it.
        return {**self.parameters, "wanted": f"{{{','.join(map(str, ids))}}}", "most": str(most)}

    def made(self, rows: list[Sequence[Any]], ids: Sequence[int]) -> list[T]:
        """Targets from rows of `beside`, in the order of ``ids``."""
        if len(rows) > 1:
            place = {each: number for number, each in enumerate(ids)}
            rows = sorted(rows, key=lambda row: place[row[1]])
        return [self.make(row[1], row[3], *row[4:]) for row in rows]

    def read(self, connection: psycopg.Connection[Any], ids: Sequence[int], most: int) -> list[T]:
        """The first so many of these fingerprints that are targets, in this order."""
        if not ids or most < 1:
            return []
        with connection.cursor(binary=True) as cursor:
            return self.made(cursor.execute(self.beside(), self.asking(ids, most)).fetchall(), ids)


WANTED = "FROM unnest(%(wanted)s::bigint[]) WITH ORDINALITY AS wanted (id, place)"
"""Begins a `Source.rest`."""


@cache
def _union(columns: str, types: tuple[str, ...], rest: str, queries: tuple[str, ...]) -> str:
    # A number between the id and the rest, as the other queries have.
    first, others = columns.split(", ", 1)
    query = f"(SELECT 2, {first}, 0::bigint, {others} {rest} ORDER BY wanted.place LIMIT %(most)s::bigint)"
    nothing = "".join(f", NULL::{each}" for each in types)
    padded = [f"SELECT padded.*{nothing} FROM ({each}) AS padded" for each in queries]  # noqa: S608 - all of it is written here and by callers, values are parameters
    return " UNION ALL ".join([*padded, query])
