"""`versions source list`: the adapters there are, and how each source that was crawled does."""

from __future__ import annotations

import json
from pathlib import Path

from catalog.campaigns import repository
from catalog.database import Database
from catalog.models import CrawlIncident
from tests.campaigns import rows
from tests.runtime.conftest import versions


def test_sources_with_their_states(database: Database, database_url: str, tmp_path: Path) -> None:
    with database.transaction() as session:
        campaign, _, _ = repository.apply(session, rows.spec())
        (old, _), (new, _) = (repository.open_runs(session, campaign.id, trigger) for trigger in ("one", "two"))
        repository.finish_run(session, old.id, "finished")
        repository.finish_run(session, new.id, "failed")
        for state in ("published", "published", "in_review"):
            rows.candidate(session, new.id, state, item={"title": "A", "audio_url": "http://a.example/1"})
        rows.candidate(session, new.id, "failed", reason="not_audio")
        new.counters = {"items": 4}
        for run, failure in ((old, "gone"), (new, "timeout"), (new, "not_audio")):
            session.add(CrawlIncident(crawl_run_id=run.id, request_key="k", failure=failure, url="http://a.example/"))
    shown = versions(tmp_path, "source", "list", "--json", VERSIONS_DATABASE_URL=database_url)
    assert shown.returncode == 0, shown.stderr
    report = json.loads(shown.stdout)
    folder = next(each for each in report["adapters"] if each["name"] == "folder")
    assert (folder["engine"], folder["audio_policy"]) == ("files", "fingerprint_only")
    assert folder["summary"]
    pesennik = next(each for each in report["sources"] if each["source"] == "pesennik")
    assert pesennik["newest_run"] == "failed"
    assert pesennik["last_success"] is not None
    assert pesennik["candidates"] == {"failed": 1, "in_review": 1, "published": 2}
    assert pesennik["errors"] == {"not_audio": 2, "timeout": 1}
    assert pesennik["recent_errors"] == {"not_audio": 2, "gone": 1, "timeout": 1}
    assert pesennik["items"] == 4
    assert pesennik["coverage"] == {"title": 1.0, "audio_url": 0.75}
    assert pesennik["waiting"] == []
    talk = next(each for each in report["sources"] if each["source"] == "talk")
    assert (talk["last_success"], talk["candidates"]) == (None, {})
    people = versions(tmp_path, "source", "list", VERSIONS_DATABASE_URL=database_url)
    assert "not_audio 2, gone 1, timeout 1" in people.stdout
    assert "audio_url 75%" in people.stdout
    assert "never" in people.stdout


def test_what_a_source_waits_for(database: Database, database_url: str, tmp_path: Path) -> None:
    with database.transaction() as session:
        campaign, _, _ = repository.apply(session, rows.spec())
        pesennik, talk = repository.open_runs(session, campaign.id, "one")
        pesennik.state, talk.state, talk.reason = "running", "paused", "paused_by_operator"
        for _ in range(3):
            rows.request(session, pesennik.id, not_before=rows.ago(-3600), wait_reason="daily_requests")
    shown = versions(tmp_path, "source", "list", "--json", VERSIONS_DATABASE_URL=database_url)
    states = {each["source"]: each for each in json.loads(shown.stdout)["sources"]}
    (waits,) = states["pesennik"]["waiting"]
    assert (waits["reason"], waits["requests"]) == ("daily_requests", 3)
    assert waits["next_attempt_at"] is not None
    (paused,) = states["talk"]["waiting"]
    assert (paused["reason"], paused["requests"]) == ("paused_by_operator", 0)
    people = versions(tmp_path, "source", "list", VERSIONS_DATABASE_URL=database_url).stdout
    assert "pesennik: waiting: 3 requests: daily_requests" in people
    assert "talk: waiting: the run: paused_by_operator" in people


def test_without_a_stack_the_adapters_are_listed(tmp_path: Path) -> None:
    shown = versions(tmp_path, "source", "list", "--json")
    assert shown.returncode == 0
    report = json.loads(shown.stdout)
    assert {"folder", "website", "website_rendered"} <= {each["name"] for each in report["adapters"]}
    assert report["sources"] is None
    assert "the stack is not running" in shown.stderr
