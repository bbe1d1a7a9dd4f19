"""Nothing is left out, links lead somewhere, examples load, generated parts are current."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from catalog.campaigns.files import load
from catalog.models import Candidate
from catalog.models.ingest import CANDIDATE_STATES
from crawlers.errors import FailureClass
from docs.generate import generated
from runtime.adapters import adapter_facts
from runtime.settings import Settings
from tests.docs.pages import ROOT, Block, blocks, documents, prose, tracked_files

OPERATOR = (ROOT / "docs" / "operator.md").read_text(encoding="utf-8")
ROOMS = (
    "adapters",
    "crawlers",
    "media",
    "identity",
    "moderation",
    "catalog",
    "activities",
    "workflows",
    "catalog_api",
    "runtime",
)
CAMPAIGNS = [block for block in blocks("yaml") if "sources:" in block.text]


@pytest.mark.parametrize("block", CAMPAIGNS, ids=lambda block: block.place)
def test_a_shown_campaign_loads(block: Block, tmp_path: Path) -> None:
    # The folder adapter looks whether its seeds are there.
    text = block.text.replace("/home/me/Music", str(tmp_path))
    file = tmp_path / "campaign.yaml"
    file.write_text(text, encoding="utf-8")
    assert load(file, {}, adapter_facts()).sources


def test_campaigns_are_shown_at_all() -> None:
    assert len(CAMPAIGNS) >= 4


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "campaigns").glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_campaign_loads(path: Path) -> None:
    assert load(path, {}, adapter_facts()).name == path.stem


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_are_there(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{path.name}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{path.name}: {target}: there are {sorted(anchors(file))}"


def test_pictures_are_small() -> None:
    for path in (ROOT / "docs" / "images").iterdir():
        assert path.stat().st_size <= 250_000, path.name


def test_generated_parts_are_current() -> None:
    stale = [path.name for path, text in generated().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, f"run `make docs`: {stale}"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    assert f"| `VERSIONS_{name.upper()}`" in OPERATOR
    alias = Settings.model_fields[name].validation_alias
    for other in getattr(alias, "choices", ()):
        assert f"`{other}`" in OPERATOR


@pytest.mark.parametrize("failure", FailureClass)
def test_every_failure_class_is_documented(failure: FailureClass) -> None:
    assert f"| `{failure}` |" in OPERATOR


@pytest.mark.parametrize("state", CANDIDATE_STATES)
def test_every_candidate_state_is_documented(state: str) -> None:
    assert Candidate.__table__.c.state is not None
    assert f"| `{state}` |" in OPERATOR


def test_reasons_and_codes_that_code_gives_are_documented() -> None:
    ruling = (ROOT / "moderation" / "policy.py").read_text(encoding="utf-8")
    moderator = (ROOT / "docs" / "moderator.md").read_text(encoding="utf-8")
    for reason in re.findall(r'Ruling\(False, suggestion, "(\w+)"', ruling):
        assert f"`{reason}`" in moderator, reason
    consumer = (ROOT / "docs" / "consumer.md").read_text(encoding="utf-8")
    api = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "catalog_api").rglob("*.py"))
    codes = re.findall(r'(?:ApiError\(\s*|respond\(\s*request, |fail\()\d{3},\s*"(\w+)"', api)
    assert len(codes) > 8
    for code in codes:
        assert f"`{code}`" in consumer, code


def test_every_module_of_the_rooms_says_what_it_is() -> None:
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            if text := path.read_text(encoding="utf-8").strip():
                assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)
    for dependency in [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]:
        line = next(line for line in text.splitlines() if f'"{dependency}"' in line)
        assert re.search(r"#\s*\S+", line), f"{dependency} has no reason"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements.bootstrap.lock"])
def test_the_lock_file_is_hashed_and_names_no_index(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*-(i|f|-index|-extra|-find|-trusted)", text, re.MULTILINE)
    for pin in re.findall(r"^[a-z0-9].*$", text, re.MULTILINE):
        assert "==" in pin, pin
        assert pin.rstrip().endswith("\\"), f"{pin} has no hash"


def test_no_machine_paths() -> None:
    # Spelled in pieces, so that this file is not its own finding.
    places = ("/wor" + "k/", "/roo" + "t/", r"/home/(?!me/|someone/)[a-z]+/", "/Use" + "rs/[a-z]")
    forbidden = re.compile("|".join(places))
    for path in tracked_files():
        if path.suffix in (".png", ".ico") or path.suffix == ".lock":
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = forbidden.search(text)
        assert found is None, f"{path.relative_to(ROOT)}: {found[0] if found else ''}"
