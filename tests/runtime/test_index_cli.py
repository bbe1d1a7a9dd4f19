"""`versions index`: what an operator sees of the index, and how it is mended."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from sqlalchemy import delete
from typer.testing import CliRunner

from catalog.database import Database
from catalog.models import Candidate, RecordingTerms
from runtime.cli import build_app
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
