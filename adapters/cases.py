"""Saved pages beside an adapter, and what is expected of them: the fixtures that test a source without the network.

A case is a folder ``fixtures/ADAPTER/CASE/`` with ``page.*`` (the body as it came), ``request.json`` (what was asked)
and ``expected.json`` (items and requests). They lie beside the file of the adapter. `versions source record` makes
them, `versions source test` compares them; this module is all that a test of one's own needs.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters import _outside
from adapters.contract import ExtractionError, Page, PageRequest, RecordingItem, SourceQuery, get_adapter

FIXTURES = Path(__file__).resolve().parent / "fixtures"
BUG = "bug"
"""Under this name stands what an adapter raised that it must not raise; no expectation ever holds it."""
_MISSING = object()


class BadCaseError(Exception):
    """A fixture cannot be used; the message names the file and the remedy."""

    code = "bad_fixture"


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that is not as expected. ``place``: such as ``items[2].title``; None: there is no such value."""

    place: str
    expected: Any
    actual: Any


@dataclass(frozen=True, slots=True)
class Case:
    """One saved page of an adapter."""

    adapter: str
    folder: Path

    @property
    def name(self) -> str:
        """``ADAPTER/CASE``."""
        return f"{self.adapter}/{self.folder.name}"

    def actual(self) -> dict[str, Any]:
        """What the adapter makes of the page now, as JSON: items, requests, and the error where there is one.

        Raises BadCaseError.
        """
        asked = self._read("request.json")
        saved = sorted(self.folder.glob("page.*"))
        if len(saved) != 1:
            raise BadCaseError(f"{self.folder}: {len(saved)} files named page.*; there must be one")
        if not isinstance(asked, dict) or not isinstance(asked.get("url"), str):
            raise BadCaseError(f"{self.folder / 'request.json'}: `url` is missing")
        request = PageRequest(asked["url"], asked.get("kind", "page"), 0, asked.get("context", {}))
        page = Page(
            str(asked.get("final_url") or asked["url"]),
            request,
            status=asked.get("status", 200),
            headers=asked.get("headers", {}),
            body=saved[0].read_bytes(),
            path=saved[0] if asked.get("file") else None,
        )
        query = SourceQuery(
            asked.get("source", "source"), follow=asked.get("follow", ()), options=asked.get("options", {})
        )
        found = extract(self.adapter, page, query)
        # Where the project lies on this machine is no part of what is expected.
        return _replaced(found, self.folder.resolve().as_uri(), "file:///case") if asked.get("file") else found

    def expected(self) -> dict[str, Any]:
        """What is expected. Raises BadCaseError."""
        found = self._read("expected.json")
        if not isinstance(found, dict):
            raise BadCaseError(f"{self.folder / 'expected.json'}: not a JSON object")
        return {"items": [], "requests": [], **found}

    def differences(self) -> list[Difference]:
        """Field by field. Raises BadCaseError."""
        return list(compare("", self.expected(), self.actual()))

    def accept(self) -> None:
        """Makes what the adapter says now the expectation. Raises BadCaseError where it fails."""
        found = self.actual()
        if BUG in found:
            raise BadCaseError(f"{self.name}: the adapter fails: {found[BUG]}")
        write_json(self.folder / "expected.json", found)

    def _read(self, name: str) -> Any:
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadCaseError(f"{path} is missing: `versions source record` writes it") from None
        except ValueError as error:
            raise BadCaseError(f"{path}: no readable JSON: {error}") from None


def extract(adapter: str, page: Page, query: SourceQuery) -> dict[str, Any]:
    """Items and further requests of a page as JSON values; ``error`` where the adapter says that it cannot read it, and
    `BUG` where it fails."""
    items: list[Any] = []
    requests: list[Any] = []
    result: dict[str, Any] = {"items": items, "requests": requests}
    try:
        for found in get_adapter(adapter).parse(page, query):
            if isinstance(found, RecordingItem):
                items.append(found.to_json())
            else:
                requests.append(_request(found))
    except ExtractionError as error:
        result["error"] = str(error)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        result[BUG] = f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
    # As it would come back from a file: tuples are lists there.
    return dict(json.loads(json.dumps(result, ensure_ascii=False)))


def fixture_folders() -> list[Path]:
    """Where saved pages lie: beside the adapters of this package, and in the user's own folders."""
    return [FIXTURES, *(folder / "fixtures" for folder in _outside.folders())]


def cases(adapter: str | None = None, *folders: Path) -> list[Case]:
    """The saved pages of one adapter or of all, below these folders of fixtures (default: all there are)."""
    found = [path for folder in folders or fixture_folders() for path in sorted(folder.glob("*/*/request.json"))]
    return [Case(path.parent.parent.name, path.parent) for path in found if adapter in (None, path.parent.parent.name)]


def write_json(path: Path, value: Any) -> None:
    """JSON as a person would want to review it."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def compare(place: str, expected: Any, actual: Any) -> Iterator[Difference]:
    """The differences between two JSON values, each with its place below ``place``."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        for name in dict.fromkeys((*expected, *actual)):
            inner = f"{place}.{name}" if place else str(name)
            yield from compare(inner, expected.get(name, _MISSING), actual.get(name, _MISSING))
    elif isinstance(expected, list) and isinstance(actual, list):
        for number in range(max(len(expected), len(actual))):
            yield from compare(
                f"{place}[{number}]",
                expected[number] if number < len(expected) else _MISSING,
                actual[number] if number < len(actual) else _MISSING,
            )
    elif expected is _MISSING or actual is _MISSING or type(expected) is not type(actual) or expected != actual:
        yield Difference(place, None if expected is _MISSING else expected, None if actual is _MISSING else actual)


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list):
        return [_replaced(inner, old, new) for inner in value]
    if isinstance(value, dict):
        return {name: _replaced(inner, old, new) for name, inner in value.items()}
    return value


def _request(found: PageRequest) -> dict[str, Any]:
    result: dict[str, Any] = {"url": found.url, "kind": found.kind, "context": dict(found.context)}
    if found.continues:
        result["continues"] = True
    return result
