"""The record of campaigns and their runs."""

from __future__ import annotations

import threading
import uuid

import pytest

from catalog.campaigns import repository
from catalog.campaigns.errors import CampaignBusyError, CampaignNotFoundError, RunNotFoundError
from catalog.database import Database
from tests.campaigns import rows


def test_apply_again_and_changed(database: Database) -> None:
    with database.transaction() as session:
        campaign, change, lines = repository.apply(session, rows.spec())
        assert (change, lines, campaign.revision) == ("created", [], 1)
    with database.transaction() as session:
        campaign, change, lines = repository.apply(session, rows.spec())
        assert (change, lines, campaign.revision) == ("unchanged", [], 1)
    with database.transaction() as session:
        text = rows.TEXT.replace("max_pages: 500", "max_pages: 600").replace("every: 6h", "every: 12h")
        campaign, change, lines = repository.apply(session, rows.spec(text))
        assert (change, campaign.revision) == ("changed", 2)
        assert lines == ["schedule.every: 21600.0 → 43200.0", "sources[talk].limits.max_pages: 500 → 600"]
    with database.transaction() as session:
        assert [each.name for each in repository.list_campaigns(session)] == ["demo"]
        assert repository.get(session, "demo").spec["schedule"]["every"] == 43200.0


def test_a_source_added_and_removed() -> None:
    old = rows.spec().record()
    new = {**old, "sources": old["sources"][:1]}
    lines = repository.difference(old, new)
    assert "- sources[talk].adapter: talk" in lines
    assert all(line.startswith("- sources[talk]") for line in lines)
    assert all(line.startswith("+ sources[talk]") for line in repository.difference(new, old))


def test_unknown_campaign_lists_those_there_are(database: Database) -> None:
    with database.transaction() as session:
        repository.apply(session, rows.spec())
        with pytest.raises(CampaignNotFoundError, match=r"no campaign named 'dmo'; there are: demo"):
            repository.get(session, "dmo")


def test_open_runs_once_per_execution(database: Database) -> None:
    with database.transaction() as session:
        campaign, *_ = repository.apply(session, rows.spec())
    with database.transaction() as session:
        first = repository.open_runs(session, campaign.id, "t1")
        assert [run.source for run in first] == ["pesennik", "talk"]
        assert [run.state for run in first] == ["pending", "pending"]
        run_spec = first[0].spec
        told = {name: value for name, value in run_spec["politeness"].items() if value is not None}
        assert told.items() >= {"delay": 2.0, "concurrency": 3, "robots": True}.items()
        assert run_spec["approval"]["recording"] == "review"
        assert (run_spec["allow_private"], run_spec["campaign"], run_spec["audio"]) == ([], "demo", "store")
    with database.transaction() as session:
        # Another source in between does not slip into an execution that is under way.
        repository.apply(session, rows.spec(rows.TEXT.replace("schedule:", "  - adapter: folder\nschedule:")))
        again = repository.open_runs(session, campaign.id, "t1")
        assert [run.id for run in again] == [run.id for run in first]
        other = repository.open_runs(session, campaign.id, "t2")
        assert [run.source for run in other] == ["pesennik", "talk", "folder"]
    with database.transaction() as session:
        assert repository.triggers(session, campaign.id) == ["t2", "t1"]
        assert [run.id for run in repository.latest_runs(session, campaign.id)] == [run.id for run in other]


def test_two_openers_at_once(database: Database) -> None:
    with database.transaction() as session:
        campaign, *_ = repository.apply(session, rows.spec())
    barrier = threading.Barrier(4)
    seen: list[list[uuid.UUID]] = []

    def open_them() -> None:
        barrier.wait()
        with database.transaction() as session:
            seen.append([run.id for run in repository.open_runs(session, campaign.id, "t")])

    threads = [threading.Thread(target=open_them) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert all(each == seen[0] for each in seen)


def test_states_of_a_run(database: Database) -> None:
    with database.transaction() as session:
        campaign, *_ = repository.apply(session, rows.spec())
        run, other = repository.open_runs(session, campaign.id, "t")
        assert repository.set_run_state(session, run.id, "running", "crawling")
        rows.candidate(session, run.id, "published")
        rows.candidate(session, run.id, "failed", reason="not_audio")
    with database.transaction() as session:
        assert repository.set_run_state(session, run.id, "paused", "asked", waiting_on="operator")
        started = repository.get_run(session, run.id).started_at
        assert started is not None
        repository.set_run_state(session, run.id, "running", "crawling")
        done = repository.finish_run(session, run.id, "finished")
        assert (done.state, done.waiting_on, done.started_at) == ("finished", None, started)
        assert done.counters["candidates"] == {"published": 1, "failed": 1}
    with database.transaction() as session:
        # What is final stays so.
        assert not repository.set_run_state(session, run.id, "running", "again")
        assert repository.finish_run(session, run.id, "failed").state == "finished"
        with pytest.raises(ValueError, match="final"):
            repository.finish_run(session, other.id, "paused")
        with pytest.raises(ValueError, match="under way"):
            repository.set_run_state(session, other.id, "finished", "")
        for call in (
            lambda: repository.set_run_state(session, uuid.uuid4(), "running", ""),
            lambda: repository.finish_run(session, uuid.uuid4(), "finished"),
        ):
            with pytest.raises(RunNotFoundError):
                call()


def test_delete_waits_for_runs_and_apply_brings_back(database: Database) -> None:
    with database.transaction() as session:
        campaign, *_ = repository.apply(session, rows.spec())
        runs = repository.open_runs(session, campaign.id, "t")
    with database.transaction() as session, pytest.raises(CampaignBusyError, match="2 runs"):
        repository.delete(session, "demo")
    with database.transaction() as session:
        for run in runs:
            repository.finish_run(session, run.id, "cancelled")
        repository.delete(session, "demo")
        assert repository.list_campaigns(session) == []
        with pytest.raises(CampaignNotFoundError):
            repository.open_runs(session, campaign.id, "t9")
    with database.transaction() as session:
        again, change, lines = repository.apply(session, rows.spec())
        assert (again.id, change, lines) == (campaign.id, "changed", ["state: deleted → active"])
