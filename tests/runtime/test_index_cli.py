"""`versions index`: what an operator sees of the index, and how it is mended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete
from typer.testing import CliRunner

from catalog.database import Database
from catalog.models import Candidate, RecordingTerms
from runtime.cli import build_app
from runtime.index_keeper import IndexKeeper
from runtime.settings import Settings
from tests.candidates import performance


@pytest.fixture
def run(
    database: Database, database_url: str, add: Callable[..., Candidate], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    with database.transaction() as session:
        for seed in range(3):
            add(session, str(seed), items=performance(seed))
    monkeypatch.setenv("VERSIONS_DATABASE_URL", database_url)

    def call(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(build_app(), ["index", *words])
        return result.exit_code, result.output

    return call


def test_status_check_and_rebuild(run: Callable[..., tuple[int, str]], database: Database) -> None:
    code, shown = run("status")
    assert (code, "3 of them in no segment yet" in shown, "one term in 8" in shown) == (0, True, True)
    assert run("check")[0] == 0
    with database.transaction() as session:
        session.execute(delete(RecordingTerms))
    code, shown = run("check")
    assert code == 1
    assert "3 of 3 recordings are not findable" in shown
    assert "versions index rebuild" in shown
    code, shown = run("check", "--json")
    assert (code, json.loads(shown)["missing_count"]) == (1, 3)
    assert run("rebuild", "--sampling", "4")[0] == 0
    code, shown = run("check")
    assert (code, "good: 3 recordings" in shown) == (0, True)
    code, shown = run("status", "--json")
    status = json.loads(shown)
    assert (status["waiting"], status["sampling"], status["stale"]) == (0, 4, False)
    assert [segment["recordings"] for segment in status["segments"]] == [3]
    assert status["checked_at"]


def test_a_sampling_that_is_none(run: Callable[..., tuple[int, str]]) -> None:
    code, shown = run("rebuild", "--sampling", "5")
    assert code == 2
    assert "--sampling 5: 4 or 8" in shown


def test_files_of_this_host_are_shown_and_checked(
    run: Callable[..., tuple[int, str]], database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERSIONS_DATA_DIR", str(tmp_path))
    folder = Settings().segments_dir
    assert run("rebuild")[0] == 0
    assert json.loads(run("status", "--json")[1])["segments"][0]["file"] is None

    async def keep() -> None:
        keeping = asyncio.create_task(IndexKeeper(database, folder).run_for_ever(0.01))
        while not list(folder.glob("*.segment")):
            await asyncio.sleep(0.01)
        keeping.cancel()

    asyncio.run(keep())
    (file,) = folder.glob("*.segment")
    status = json.loads(run("status", "--json")[1])
    assert [segment["file"] for segment in status["segments"]] == [file.name]
    assert status["file_bytes"] == file.stat().st_size
    code, shown = run("check")
    assert (code, "1 files here hold what their segments hold" in shown) == (0, True)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.unlink()
    file.write_bytes(data)
    code, shown = run("check")
    assert code == 1
    assert file.name in shown.replace("\n", "")
    assert "not findable" not in shown
