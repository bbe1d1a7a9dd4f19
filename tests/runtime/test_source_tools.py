"""`versions source new`, `record` and `test` against a local site, as somebody who writes an adapter uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters import contract
from adapters.cases import FIXTURES
from adapters.contract import adapter_names, get_adapter, reload_own_adapters
from runtime.source_tools import recording
from runtime.source_tools.recording import Wanted, record
from tests.crawlers.servers import Server, answer, serving
from tests.replay import Names, Replay
from tests.runtime.conftest import ROOT, versions

PAGE = """<html><body><h1>Калинка</h1><i rel="author">Хор</i><audio src="/audio/1.mp3?token=abcdef123"></audio>
<a href="/songs/2">next</a></body></html>"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def site() -> Iterator[Server]:
    pages = {
        "/songs/1": answer(200, PAGE.encode(), content_type="text/html; charset=utf-8", set_cookie="session=secret1"),
        "/closed/1": answer(200, b"<h1>x</h1>", content_type="text/html"),
        "/robots.txt": answer(200, b"User-agent: *\nDisallow: /closed/\n", content_type="text/plain"),
        "/audio": answer(200, b"ID3\x04\0", content_type="audio/mpeg"),
    }
    with serving(pages) as server:
        yield server


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for one's own adapters, which nobody knows afterwards."""
    folder = tmp_path / "own"
    monkeypatch.setenv("VERSIONS_ADAPTERS", str(folder))
    yield folder
    monkeypatch.delenv("VERSIONS_ADAPTERS")
    reload_own_adapters()
    assert "my_site" not in adapter_names()


@pytest.fixture
def run(own: Path, tmp_path: Path) -> Run:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return versions(tmp_path / "data", "source", *arguments, VERSIONS_ADAPTERS=str(own))

    return command


def test_from_nothing_to_a_tested_source(run: Run, own: Path, site: Server) -> None:
    made = run("new", "my_site", "--url", site.url("/"))
    assert made.returncode == 0, made.stderr
    assert {path.name for path in own.iterdir()} == {"my_site.py", "fixtures", "test_sources.py"}
    assert "my_site" in run("list").stdout
    adapter = own / "my_site.py"
    adapter.write_text(adapter.read_text().replace("delay_s=1.0", "delay_s=0.0"))

    saved = run("record", "my_site", site.url("/songs/1?token=abcdef123"), "--allow-private", site.host)
    assert saved.returncode == 0, saved.stderr + saved.stdout
    assert "1 items, 1 requests" in saved.stdout
    assert "/songs/1: Калинка" in saved.stdout
    case = own / "fixtures" / "my_site" / "1"
    texts = {path.name: path.read_text() for path in case.iterdir()}
    assert set(texts) == {"page.html", "request.json", "expected.json"}
    assert "1 values that look like keys were removed" in saved.stdout
    assert not any("abcdef123" in text or "secret1" in text for text in texts.values())
    assert json.loads(texts["request.json"])["headers"] == {"content-type": "text/html; charset=utf-8"}
    (item,) = json.loads(texts["expected.json"])["items"]
    assert (item["title"], item["credits"][0]["name"]) == ("Калинка", "Хор")
    asked = [headers["user-agent"] for path, headers in site.requests if path.startswith("/songs")]
    assert len(asked) == 1
    assert asked[0].startswith("VersionsBot/")

    assert run("test", "my_site").stdout.split() == ["ok", "my_site/1"]
    adapter.write_text(adapter.read_text().replace("title=title", "title=title.upper()"))
    changed = run("test", "my_site")
    assert changed.returncode == 1
    assert changed.stdout.split() == ["DIFFERENT", "my_site/1", "items[0].title", "-", '"Калинка"', "+", '"КАЛИНКА"']
    (told,) = json.loads(run("test", "my_site", "--json").stdout)
    assert told["differences"] == [{"place": "items[0].title", "expected": "Калинка", "actual": "КАЛИНКА"}]
    assert run("test", "my_site", "--update").returncode == 0
    assert run("test", "my_site").returncode == 0

    again = run("record", "my_site", site.url("/songs/1"), "--allow-private", site.host)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    assert run("record", "my_site", site.url("/songs/1"), "--allow-private", site.host, "--again").returncode == 0
    other = run("record", "my_site", site.url("/songs/1"), "--allow-private", site.host, "--case", "second")
    assert other.returncode == 0
    # The test that `new` wrote runs by itself, in a process of its own.
    hook = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(own)]
    ran = subprocess.run(
        hook, cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "VERSIONS_ADAPTERS": str(own)}
    )
    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr


def test_an_adapter_that_fails_leaves_its_page_to_mend_it_by(run: Run, own: Path, site: Server) -> None:
    run("new", "my_site", "--url", site.url("/"))
    adapter = own / "my_site.py"
    good = adapter.read_text()
    adapter.write_text(good.replace("        try:\n", "        {}['nothing']\n        try:\n", 1))
    saved = run("record", "my_site", site.url("/songs/1"), "--allow-private", site.host)
    assert saved.returncode == 1
    assert "KeyError: 'nothing' (my_site.py:" in saved.stdout
    failed = run("test", "my_site", "--update")
    assert (failed.returncode, "the adapter fails: KeyError" in failed.stdout) == (1, True)
    adapter.write_text(good)
    assert run("test", "my_site").returncode == 1
    assert run("test", "my_site", "--update").returncode == 0
    assert run("test", "my_site").returncode == 0


def test_what_a_crawl_would_not_fetch_is_not_recorded(run: Run, own: Path, site: Server) -> None:
    run("new", "my_site")
    private = run("record", "my_site", site.url("/songs/1"))
    assert (private.returncode, "address_blocked" in private.stderr, "allow_private" in private.stderr) == (
        1,
        True,
        True,
    )
    for path, failure in (("/closed/1", "robots_disallowed"), ("/gone", "not_found"), ("/audio", "wrong_type")):
        refused = run("record", "my_site", site.url(path), "--allow-private", site.host)
        assert (refused.returncode, failure in refused.stderr) == (1, True), refused.stderr
    assert not list((own / "fixtures" / "my_site").iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("new", "website"), "an adapter already"),
        (("new", "Bad-Name"), "lower-case letters"),
        (("new", "class"), "lower-case letters"),
        (("new", "contract"), "a meaning of its own"),
        (("new", "test_x"), "a meaning of its own"),
        (("new", "ok_name", "--url", "ftp://x"), "--url"),
        (("record", "no_such", "http://a.example/"), "no source named"),
        (("record", "website", "nonsense"), "not an http or https URL"),
        (("record", "website", "http://a.example/", "--context", "[]"), "--context"),
        (("record", "website", "http://a.example/", "--option", "x"), "--option"),
        (("record", "website", "http://a.example/", "--case", "../x"), "--case"),
        (("record", "youtube", "https://example.org/"), "seeds"),
        (("test", "no_such"), "no source named"),
    ],
)
def test_bad_words_are_named(run: Run, own: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_nothing_is_overwritten(run: Run, own: Path) -> None:
    assert run("new", "my_site").returncode == 0
    text = (own / "my_site.py").read_text()
    (own / "my_site.py").write_text("# mine\n")
    result = run("new", "my_site")
    assert (result.returncode, "is there already" in result.stderr) == (2, True)
    assert (own / "my_site.py").read_text() == "# mine\n"
    (own / "my_site.py").write_text(text)


def test_without_a_place_it_asks_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = versions(tmp_path / "data", "source", "new", "my_site", VERSIONS_ADAPTERS="")
    assert (result.returncode, "--into" in result.stderr) == (2, True)
    made = versions(tmp_path / "data", "source", "new", "my_site", "--into", str(tmp_path / "x"), VERSIONS_ADAPTERS="")
    assert (made.returncode, f"VERSIONS_ADAPTERS={tmp_path / 'x'}" in made.stdout) == (0, True)


def test_a_broken_file_costs_only_itself(run: Run, own: Path) -> None:
    run("new", "my_site")
    (own / "broken.py").write_text("import nothing_of_this_name\n")
    (own / "taken.py").write_text((own / "my_site.py").read_text().replace('"my_site"', '"website"'))
    half = (own / "my_site.py").read_text().replace('"my_site"', '"half_way"')
    (own / "half.py").write_text(half + "\nraise RuntimeError('late')\n")
    listed = run("list", "--json")
    names = {each["name"] for each in json.loads(listed.stdout)["adapters"]}
    assert {"my_site", "website"} <= names
    assert "half_way" not in names
    assert "ModuleNotFoundError" in listed.stderr
    assert "is the name of the adapter in adapters.website" in listed.stderr
    unknown = run("record", "half_way", "http://a.example/")
    assert "RuntimeError: late" in unknown.stderr
    assert run("test").returncode == 1


def test_another_package_brings_adapters(run: Run, own: Path, tmp_path: Path) -> None:
    """An entry point, in a process of its own: they are looked up once."""
    run("new", "my_site")
    package = tmp_path / "package"
    info = package / "others_package-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[versions.adapters]\ntheirs = others_module\nbad = no_such_module\n")
    text = (own / "my_site.py").read_text().replace('"my_site"', '"theirs"')
    (package / "others_module.py").write_text(text)
    code = "from adapters.contract import *; print(adapter_names(), adapter_problems())"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(package)}
    )
    assert "'theirs'" in ran.stdout, ran.stderr
    assert "versions.adapters: bad" in ran.stdout


def test_local_files_are_recorded_too(run: Run, own: Path, tmp_path: Path) -> None:
    table = tmp_path / "songs.csv"
    table.write_text("title,artist\nКалинка,Хор\n")
    source = own.parent / "own" / "my_table.py"
    own.mkdir()
    text = (ROOT / "adapters" / "table_file.py").read_text()
    source.write_text(text.replace('"table_file"', '"my_table"').replace("class TableFile", "class MyTable"))
    saved = run("record", "my_table", str(table))
    assert saved.returncode == 0, saved.stderr + saved.stdout
    assert str(tmp_path) not in (own / "fixtures" / "my_table" / "songs" / "request.json").read_text()
    assert run("test", "my_table").returncode == 0


async def test_a_source_that_yt_dlp_reads_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real names do not resolve here, and their answers come from a recording.
    monkeypatch.setattr(recording, "AddressGuard", lambda _allowed: Names())
    known = FIXTURES / "rutube" / "concert"
    asked = json.loads((known / "request.json").read_text())
    replay = Replay.of(known / "exchanges.json")
    saved = await record(
        get_adapter("rutube"), Wanted(asked["url"]), tmp_path, "concert", user_agent="VersionsBot/0.1", transport=replay
    )
    assert saved.found == json.loads((known / "expected.json").read_text())
    assert json.loads((tmp_path / "concert" / "page.json").read_text()) == json.loads((known / "page.json").read_text())
    assert saved.case.differences() == []


def test_the_adapters_of_the_house_pass(run: Run, own: Path) -> None:
    own.mkdir()
    result = run("test")
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("\nok ") > 35
    assert run("test", "folder").stdout.split() == ["ok", "folder/tagged"]


def test_a_name_is_registered_once() -> None:
    class Impostor:
        name = "website"

    with pytest.raises(ValueError, match="choose another one"):
        contract.register(Impostor)  # type: ignore[type-var]
