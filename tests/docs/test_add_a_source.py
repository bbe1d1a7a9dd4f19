"""The guide's adapter is a real one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters import contract
from adapters.contract import Adapter, ExtractionError, Page, PageRequest, RecordingItem, SourceQuery
from tests.docs.pages import blocks


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Adapter:
    contract.load_adapters()
    monkeypatch.setattr(contract, "_registry", dict(contract._registry))
    (block,) = [block for block in blocks("python") if block.document == "docs/add-a-source.md"]
    names: dict[str, Any] = {"__name__": "adapters.example_collection"}
    exec(compile(block.text, block.place, "exec"), names)  # the code stands in our own document
    return contract.get_adapter("example_collection")


def page(adapter: Adapter, body: object) -> list[RecordingItem | PageRequest]:
    (request,) = adapter.seeds(SourceQuery("s", ["https://example.org/api/recordings"]))
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return list(adapter.parse(Page(request.url, request, body=text), SourceQuery("s")))


def test_it_keeps_the_contract(adapter: Adapter) -> None:
    assert isinstance(adapter, Adapter)
    found = page(
        adapter,
        {
            "recordings": [
                {
                    "id": 7,
                    "title": "Калинка",
                    "performers": ["Хор"],
                    "seconds": 61,
                    "audio": "https://example.org/7.mp3",
                },
                {"id": 8, "title": "Светит месяц"},
            ],
            "next": "?page=2",
        },
    )
    first, second, further = found
    assert isinstance(first, RecordingItem)
    assert (first.source_key, first.url, first.credits[0].name) == ("7", "https://example.org/recordings/7", "Хор")
    assert isinstance(second, RecordingItem)
    assert second.credits == ()
    assert further == PageRequest("https://example.org/api/recordings?page=2", kind="list")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_a_page_without_sense_is_said(adapter: Adapter, body: bytes) -> None:
    with pytest.raises(ExtractionError):
        page(adapter, body)


def test_a_bad_seed_is_named(adapter: Adapter) -> None:
    with pytest.raises(ValueError, match="'nonsense' is not a URL"):
        list(adapter.seeds(SourceQuery("s", ["nonsense"])))


def test_the_guide_names_the_whole_contract() -> None:
    from tests.docs.pages import ROOT

    text = (ROOT / "docs" / "add-a-source.md").read_text(encoding="utf-8")
    for name in (*contract.Adapter.__annotations__, "seeds(query)", "parse(page, query)"):
        assert f"| `{name}` |" in text, name
