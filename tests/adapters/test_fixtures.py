"""Each saved page yields what stands beside it, field by field."""

from __future__ import annotations

import json

import pytest

from adapters.cases import Case, cases, compare
from adapters.contract import RecordingItem, adapter_names, get_adapter


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_saved_page(case: Case) -> None:
    assert case.differences() == []
    for item in case.actual()["items"]:
        assert json.loads(json.dumps(RecordingItem.from_json(item).to_json())) == item


def test_there_are_cases_for_each_adapter_of_pages() -> None:
    of_pages = {name for name in adapter_names() if get_adapter(name).engine in ("http", "browser")}
    assert {case.adapter for case in cases()} >= of_pages


def test_a_difference_names_its_field() -> None:
    (case,) = [case for case in cases("website") if case.folder.name == "recording"]
    expected, actual = case.expected(), case.actual()
    assert expected == actual
    changed = json.loads(json.dumps(expected))
    changed["items"][0]["title"] = "Другое"
    del changed["items"][0]["duration_s"]
    changed["items"].append({"source_key": "x", "title": "y"})
    found = {each.place: (each.expected, each.actual) for each in compare("", changed, actual)}
    assert found["items[0].title"] == ("Другое", actual["items"][0]["title"])
    assert found["items[0].duration_s"] == (None, actual["items"][0]["duration_s"])
    assert found["items[1]"] == ({"source_key": "x", "title": "y"}, None)
    assert len(found) == 3
