"""`versions source limit` and `versions source breaker`, and how what they do is seen elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from activities.crawls import job_of
from activities.politeness import fleet_ledger
from adapters.contract import get_adapter
from catalog.campaigns import repository
from catalog.campaigns.files import CampaignFileError
from catalog.campaigns.progress import waiting_items
from catalog.campaigns.watching import watched
from catalog.database import Database
from catalog.repositories.politeness import PolitenessRepository
from crawlers.budget.limits import BudgetLimits, parse_windows
from tests.campaigns import rows
from tests.runtime.conftest import versions


def test_limits_are_set_shown_and_cleared(database: Database, database_url: str, tmp_path: Path) -> None:
    def source(*words: str) -> Any:
        return versions(tmp_path, "source", *words, VERSIONS_DATABASE_URL=database_url)

    assert "No limits are set" in source("limit").stdout
    done = source(
        "limit", "youtube", "30/min", "--concurrency", "2", "--per-day", "5000", "--bytes-per-day", "2GB",
        "--window", "22:00-06:00", "--timezone", "Europe/Moscow",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "30/min" in done.stdout
    assert "22:00-06:00 Europe/Moscow" in done.stdout
    windows = (parse_windows(["22:00-06:00"], "Europe/Moscow"),)
    limits = PolitenessRepository(database)
    assert BudgetLimits.from_json(limits.limits()["source:youtube"]) == BudgetLimits(
        2.0, 2, 5000, 2_000_000_000, windows, "Europe/Moscow"
    )
    # What is named is set, the rest stays.
    assert source("limit", "youtube", "1/s").returncode == 0
    assert BudgetLimits.from_json(limits.limits()["source:youtube"]).per_day == 5000
    assert source("limit", "*.googlevideo.com", "--concurrency", "4").returncode == 0
    shown = json.loads(source("limit", "--json").stdout)
    assert shown["limits"]["host:*.googlevideo.com"] == {"concurrency": 4}
    assert source("limit", "youtube", "--clear").returncode == 0
    assert set(limits.limits()) == {"host:*.googlevideo.com"}
    for wrong in (["youtube", "fast"], ["youtube", "--window", "night"], ["youtube", "--timezone", "Moscow"]):
        failed = source("limit", *wrong)
        assert failed.returncode == 2
        assert "[bad_option]" in failed.stderr


def test_a_breaker_is_shown_and_forced(database: Database, database_url: str, tmp_path: Path) -> None:
    def source(*words: str) -> Any:
        return versions(tmp_path, "source", *words, VERSIONS_DATABASE_URL=database_url)

    assert "No source was asked yet" in source("breaker").stdout
    opened = source("breaker", "pesennik", "open")
    assert opened.returncode == 0, opened.stderr
    assert "forced_open" in opened.stdout
    (state,) = json.loads(source("breaker", "--json").stdout)
    assert (state["source"], state["state"], state["reason"]) == ("pesennik", "forced_open", "operator")
    assert state["since"]
    with database.transaction() as session:
        campaign, _, _ = repository.apply(session, rows.spec())
        run, _ = repository.open_runs(session, campaign.id, "one")
        repository.set_run_state(session, run.id, "running", "crawling")
        rows.candidate(session, run.id)
        session.flush()
        items = [each for each in waiting_items(session, campaign.id).items if each.source == "pesennik"]
        assert {each.kind for each in items} == {"run", "candidate"}
        assert {(each.reason, each.waiting_on) for each in items} == {("breaker_open", "operator")}
        assert all("breaker pesennik auto" in each.who for each in items)
        breaker = watched(session, [campaign.id], {}).sources[0].breaker
        assert breaker is not None
        assert breaker.state == "forced_open"
    assert "closed" in source("breaker", "pesennik", "auto").stdout
    with database.transaction() as session:
        assert "breaker_open" not in {each.reason for each in waiting_items(session, campaign.id).items}


def test_an_open_breaker_says_when_it_probes(database: Database) -> None:
    ledger = fleet_ledger(database)
    with database.transaction() as session:
        campaign, _, _ = repository.apply(session, rows.spec())
        run, _ = repository.open_runs(session, campaign.id, "one")
        repository.set_run_state(session, run.id, "running", "crawling")
    from crawlers.budget.ledger import Ask
    from crawlers.budget.scope import Usage

    ledger.exchange("worker", [Ask("a:80", "pesennik", usage=Usage(outcomes={"ok": 5, "bot_check": 1}))])
    with database.transaction() as session:
        item = waiting_items(session, campaign.id).items[0]
    assert (item.reason, item.waiting_on) == ("breaker_open", "source")
    assert "robot" in item.detail
    assert item.next_attempt_at is not None


CAMPAIGN = """\
version: 1
name: gentle
sources:
  - source: site
    adapter: website
    seeds: ["http://a.example/"]
    politeness: {per_day: 100, bytes_per_day: 1000000, windows: ["22:00-06:00"], timezone: Europe/Moscow, weight: 2, group: domain}
"""  # noqa: E501


def test_a_campaign_can_be_politer(database: Database) -> None:
    with database.transaction() as session:
        campaign, _, _ = repository.apply(session, rows.spec(CAMPAIGN))
        (run,) = repository.open_runs(session, campaign.id, "one")
        job = job_of(run, get_adapter("website"), "Bot/1")
    windows = (parse_windows(["22:00-06:00"], "Europe/Moscow"),)
    assert job.budget == BudgetLimits(0.0, None, 100, 1_000_000, windows, "Europe/Moscow")
    assert job.claim().limits.delay_s == job.delay_s > 0
    assert (job.weight, job.group_by) == (2.0, "domain")


@pytest.mark.parametrize("text", ["windows: [night]", 'windows: ["10:00-10:00"]', "timezone: Moscow", "per_day: 0"])
def test_what_a_campaign_cannot_say(text: str) -> None:
    with pytest.raises(CampaignFileError, match="politeness"):
        rows.spec(CAMPAIGN.partition("    politeness")[0] + f"    politeness: {{{text}}}\n")
