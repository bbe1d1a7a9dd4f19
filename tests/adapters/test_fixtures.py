"""Each saved page yields what stands beside it, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.contract import RecordingItem
from tests.adapters.cases import Case, cases


def fields(case: Case, found: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        (f"{kind}[{number}].{name}", value)
        for kind in ("items", "requests")
        for number, thing in enumerate(found[kind])
        for name, value in sorted(thing.items())
    ]


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.adapter}-{case.folder.name}")
def test_saved_page(case: Case) -> None:
    import json

    actual = json.loads(json.dumps(case.actual()))
    assert fields(case, actual) == fields(case, case.expected())
    for item in actual["items"]:
        assert RecordingItem.from_json(item).to_json() is not None
        assert json.loads(json.dumps(RecordingItem.from_json(item).to_json())) == item


def test_there_are_cases_for_each_site_adapter() -> None:
    assert {case.adapter for case in cases()} >= {"website", "website_rendered"}
