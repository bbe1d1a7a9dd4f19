"""A new source: the file of its adapter, a folder for its saved pages, and a test of them."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from adapters import _outside
from adapters.contract import adapter_names

_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")
_TEMPLATE = Path(__file__).with_name("adapter.py.template")
_TEST = '''"""Each saved page of the sources in this folder still yields what stands beside it. Run it with pytest."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.cases import Case, cases


@pytest.mark.parametrize("case", cases(None, Path(__file__).parent / "fixtures"), ids=lambda case: case.name)
def test_saved_page(case: Case) -> None:
    assert case.differences() == []
'''


class BadSourceError(ValueError):
    """A source cannot be made like this; the message says what is wrong and what would do."""

    code = "bad_source"


def home(into: Path | None) -> Path:
    """The folder for a new adapter: as told, the first of the user's own, or that of a checkout of the project.

    Raises BadSourceError.
    """
    if into is not None:
        return into.expanduser().absolute()
    if own := _outside.folders():
        return own[0]
    checkout = Path.cwd() / "adapters"
    if (checkout / "contract.py").is_file():
        return checkout
    raise BadSourceError(
        f"where shall it live? Name a folder with --into, and in {_outside.VARIABLE}, so that it is found"
    )


def create(name: str, url: str | None, into: Path | None) -> list[Path]:
    """Writes the files of a new source and returns them. Raises BadSourceError; nothing is ever overwritten."""
    _check_name(name)
    site = _site(url)
    folder = home(into)
    adapter, saved = folder / f"{name}.py", folder / "fixtures" / name
    if adapter.exists() or saved.exists():
        raise BadSourceError(f"name: {adapter if adapter.exists() else saved} is there already; nothing was changed")
    text = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=name,
        title="".join(part.capitalize() for part in name.split("_")),
        site=site,
        host=urlsplit(site).netloc,
    )
    saved.mkdir(parents=True)
    adapter.write_text(text, encoding="utf-8")
    written = [adapter, saved]
    # The project's own tests find the saved pages beside its adapters; a folder of one's own gets a test of its own.
    if not (folder / "contract.py").exists():
        test = folder / "test_sources.py"
        if not test.exists():
            test.write_text(_TEST, encoding="utf-8")
            written.append(test)
    return written


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise BadSourceError(
            f"name: {name!r} will not do: lower-case letters, digits and _, beginning with a letter, at most 40"
        )
    if name in adapter_names():
        raise BadSourceError(f"name: {name!r} is an adapter already; choose another one")
    if name in ("contract", "cases", "fixtures", "conftest") or name.startswith("test_"):
        raise BadSourceError(f"name: {name!r} has a meaning of its own here; choose another one")


def _site(url: str | None) -> str:
    if url is None:
        return "https://example.org"
    try:
        split = urlsplit(url)
        if split.scheme in ("http", "https") and split.hostname and "@" not in split.netloc:
            return f"{split.scheme}://{split.netloc}"
    except ValueError:
        pass
    raise BadSourceError(f"--url: {url!r} is not an http or https URL")
