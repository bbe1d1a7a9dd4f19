"""Held runs and frozen sources on the command line: shown where the operator looks, released by a command."""

from __future__ import annotations

import json
import uuid

import pytest
import typer
from typer.testing import CliRunner

from catalog.campaigns import holds, repository
from catalog.database import Database
from catalog.models import CrawlRun, SourceFreeze
from runtime.cli import _context, campaign, source
from tests.campaigns import rows


@pytest.fixture
def run_id(database: Database, monkeypatch: pytest.MonkeyPatch) -> uuid.UUID:
    monkeypatch.setattr(
        _context, "open_context", lambda: _context.Context(Database(database.engine.url.render_as_string(False)), None)
    )
    with database.transaction() as session:
        recorded, _, _ = repository.apply(session, rows.spec())
        run = repository.open_runs(session, recorded.id, "t")[0]
        rows.candidate(session, run.id, waiting_on="worker")
        rows.candidate(session, run.id, state="published")
        holds.hold(session, run.id, ["21 items, usually 60"])
        session.add(SourceFreeze(source="pesennik", reason="mass_disappearance", detail="12 of 30 sources seem gone"))
        return run.id


def invoke(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    campaign.register(app)
    source.register(app)
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_an_operator_sees_what_stands_still_and_releases_it(database: Database, run_id: uuid.UUID) -> None:
    for command in (("campaign", "list"), ("campaign", "show", "demo")):
        status, text = invoke(*command)
        assert status == 0, text
        assert "held_for_check: 21 items, usually 60" in text
        assert f"versions campaign release {run_id}" in text
        assert "12 of 30 sources seem gone" in text
        assert "versions source thaw pesennik" in text
    shown = json.loads(invoke("campaign", "show", "demo", "--json")[1])
    assert [alert["reason"] for alert in shown["alerts"]] == ["held_for_check", "mass_disappearance"]
    status, text = invoke("campaign", "report", "demo")
    assert "publication held: 21 items, usually 60" in text
    assert invoke("campaign", "release", str(run_id)) == (
        0,
        "1 items go on their way; a worker takes them up within seconds\n",
    )
    status, text = invoke("campaign", "release", str(run_id))
    assert status == 1
    assert "nothing is held" in text
    status, text = invoke("source", "thaw", "pesennik")
    assert status == 0, text
    status, text = invoke("source", "thaw", "pesennik")
    assert status == 1
    assert "not frozen" in text
    assert "held_for_check" not in invoke("campaign", "list")[1]


def test_what_is_held_can_be_thrown_away(database: Database, run_id: uuid.UUID) -> None:
    assert invoke("campaign", "discard", str(run_id)) == (0, "1 items discarded\n")
    with database.transaction() as session:
        assert session.get_one(CrawlRun, run_id).publication == "discarded"
