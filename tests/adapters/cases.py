"""Saved pages beside the adapters, and what is expected of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.contract import Page, PageRequest, RecordingItem, SourceQuery, get_adapter

FIXTURES = Path(__file__).resolve().parents[2] / "adapters" / "fixtures"


@dataclass(frozen=True)
class Case:
    """A folder with ``page.*``, ``request.json`` and ``expected.json``."""

    adapter: str
    folder: Path

    def actual(self) -> dict[str, Any]:
        (saved,) = self.folder.glob("page.*")
        asked = json.loads((self.folder / "request.json").read_text())
        request = PageRequest(asked["url"], asked.get("kind", "page"), 0, asked.get("context", {}))
        page = Page(asked["url"], request, headers=asked.get("headers", {}), body=saved.read_bytes())
        found = list(get_adapter(self.adapter).parse(page, SourceQuery("source", follow=asked.get("follow", ()))))
        return {
            "items": [thing.to_json() for thing in found if isinstance(thing, RecordingItem)],
            "requests": [
                {"url": thing.url, "kind": thing.kind, "context": dict(thing.context)}
                for thing in found
                if isinstance(thing, PageRequest)
            ],
        }

    def expected(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "expected.json").read_text()))


def cases() -> list[Case]:
    """All saved pages."""
    return [Case(path.parent.parent.name, path.parent) for path in sorted(FIXTURES.glob("*/*/request.json"))]
