"""Executions that began with older code go on with this one: recorded histories replay without a difference."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from runtime.temporal import RUNNER, WORKFLOWS

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))


def read(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(path.stem, path.read_text())


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_replays(path: Path) -> None:
    await Replayer(workflows=WORKFLOWS, workflow_runner=RUNNER).replay_workflow(read(path))


def test_every_workflow_has_a_history() -> None:
    names = " ".join(path.stem for path in HISTORIES)
    assert len(HISTORIES) >= 6
    for workflow in ("campaign", "crawl_run", "ingest"):
        assert workflow in names


async def test_a_changed_workflow_is_noticed() -> None:
    """The replay would fail if the code did something else than the history tells."""
    history = read(next(path for path in HISTORIES if path.stem == "ingest_decided"))
    changed = history.to_json().replace('"apply_decision"', '"something_else"')
    with pytest.raises(NondeterminismError):
        await Replayer(workflows=WORKFLOWS, workflow_runner=RUNNER).replay_workflow(
            WorkflowHistory.from_json("changed", changed)
        )
