"""The guide's adapter is a real one."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from adapters import contract
from adapters.contract import Adapter, ExtractionError, Page, PageRequest, RecordingItem, SourceQuery
from runtime.adapters import adapter_facts
from tests.crawlers.servers import answer, serving
from tests.docs.pages import blocks
from tests.runtime.conftest import versions


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
    assert further == PageRequest("https://example.org/api/recordings?page=2", kind="list", continues=True)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_a_page_without_sense_is_said(adapter: Adapter, body: bytes) -> None:
    with pytest.raises(ExtractionError):
        page(adapter, body)


def test_a_bad_seed_is_named(adapter: Adapter) -> None:
    with pytest.raises(ValueError, match="'nonsense' is not a URL"):
        list(adapter.seeds(SourceQuery("s", ["nonsense"])))


RECORDINGS = {
    "recordings": [
        {"id": 7, "title": "Калинка", "performers": ["Хор"], "seconds": 61, "audio": "/audio/7.mp3"},
        {"id": 8, "title": "Светит месяц"},
    ],
    "next": "?page=2",
}


def test_the_guide_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands in their order, its code in between, for a site that is served here."""
    own = tmp_path / "own"
    variables = {"VERSIONS_ADAPTERS": str(own)}
    monkeypatch.setenv("VERSIONS_ADAPTERS", str(own))
    guide = [block for block in blocks("sh", "python") if block.document == "docs/add-a-source.md"]
    commands = [line for block in guide if block.language == "sh" for line in block.text.splitlines()]
    (code,) = [block.text for block in guide if block.language == "python"]
    assert [shlex.split(line)[2] for line in commands] == ["new", "record", "test", "test"]
    body = json.dumps(RECORDINGS, ensure_ascii=False).encode()
    with serving({"/api/recordings": answer(200, body, content_type="application/json")}) as site:
        run = []
        for line in commands:
            words = shlex.split(line.replace("https://example.org", site.url("")))[1:]
            if words[1] == "record":
                words += ["--allow-private", site.host]
            if words[1] == "test" and "--update" in words:
                file = own / "example_collection.py"
                assert "A first guess" in file.read_text(encoding="utf-8")
                file.write_text(code, encoding="utf-8")
            run.append(versions(tmp_path / "data", *words, **variables))
            assert run[-1].returncode == 0, f"{line}: {run[-1].stdout}{run[-1].stderr}"
        new, record, update, test = run
        assert str(own / "example_collection.py") in new.stdout
        assert "0 items" in record.stdout
        assert "items[0]" in update.stdout
        assert test.stdout.split() == ["ok", "example_collection/recordings"]
        expected = json.loads((own / "fixtures/example_collection/recordings/expected.json").read_text())
        assert [item["source_key"] for item in expected["items"]] == ["7", "8"]
        assert expected["items"][0]["title"] == "Калинка"
        assert [request["url"] for request in expected["requests"]] == [site.url("/api/recordings?page=2")]
        # A worker and the checks of campaigns know it by its name.
        contract.reload_own_adapters()
        facts = adapter_facts()["example_collection"]
        assert (facts.engine, facts.audio_policy) == ("http", "fingerprint_only")
        listed = versions(tmp_path / "data", "source", "list", "--json", **variables)
        assert "example_collection" in {each["name"] for each in json.loads(listed.stdout)["adapters"]}
    monkeypatch.delenv("VERSIONS_ADAPTERS")
    contract.reload_own_adapters()
    assert "example_collection" not in contract.adapter_names()


def test_the_guide_names_the_whole_contract() -> None:
    from tests.docs.pages import ROOT

    text = (ROOT / "docs" / "add-a-source.md").read_text(encoding="utf-8")
    for name in (*contract.Adapter.__annotations__, "seeds(query)", "parse(page, query)"):
        assert f"| `{name}` |" in text, name
