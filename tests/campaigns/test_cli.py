"""The commands of operators and moderators on a real database; the way to Temporal only records what it is asked."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from activities.messages import CrawlRunProgress, DecideResult
from adapters import contract
from catalog.campaigns import repository
from catalog.database import Database
from catalog.models import ApiKey, Candidate, Decision, MatchProposal, ReviewCase, Song, User, Version
from runtime.cli import _context, campaign, review, token
from runtime.cli._output import plain
from runtime.cli._progress import render
from tests.campaigns import rows
from workflows.client import CampaignRunningError, WorkflowClient


class Website:
    """A real adapter, as far as a campaign asks it."""

    name: ClassVar[str] = "website"
    summary: ClassVar[str] = "for tests"
    engine: ClassVar[contract.Engine] = contract.Engine.HTTP
    url_patterns: ClassVar[tuple[str, ...]] = ()
    politeness: ClassVar[contract.PolitenessDefaults] = contract.PolitenessDefaults(2.0, 3)
    audio_policy: ClassVar[contract.AudioPolicy] = contract.AudioPolicy.FINGERPRINT_ONLY

    def seeds(self, query: contract.SourceQuery) -> Iterable[contract.PageRequest]:
        for seed in query.seeds:
            if not seed.startswith("http"):
                raise ValueError(f"{seed} is not a URL; give an http address")
            yield contract.PageRequest(seed)

    def parse(
        self, page: contract.Page, query: contract.SourceQuery
    ) -> Iterable[contract.RecordingItem | contract.PageRequest]:
        return ()


class RecordingClient:
    """Records what it is asked; `start_campaign` opens runs as the workflow would."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.calls: list[tuple[Any, ...]] = []
        self.final_state: str | None = "finished"
        self.broken: set[str] = set()

    async def start_campaign(self, campaign_id: str) -> str:
        self.calls.append(("start_campaign", campaign_id))
        trigger = str(uuid.uuid4())
        with self.database.transaction() as session:
            if repository.active_runs(session, uuid.UUID(campaign_id)):
                raise CampaignRunningError("the campaign is under way already")
            for run in repository.open_runs(session, uuid.UUID(campaign_id), trigger):
                repository.set_run_state(session, run.id, "running", "crawling")
                if self.final_state:
                    repository.finish_run(session, run.id, self.final_state)
        return trigger

    async def sync_schedule(self, campaign_id: str, name: str, schedule: dict[str, Any] | None, paused: bool) -> None:
        self.calls.append(("sync_schedule", name, schedule, paused))

    async def next_starts(self, campaign_id: str) -> list[str]:
        return ["2031-01-01T00:00:00+00:00"]

    async def _run(self, verb: str, crawl_run_id: str) -> None:
        await asyncio.sleep(0)
        if crawl_run_id in self.broken:
            raise RuntimeError("workflow not found")
        self.calls.append((verb, crawl_run_id))

    async def pause_run(self, crawl_run_id: str) -> None:
        await self._run("pause", crawl_run_id)

    async def resume_run(self, crawl_run_id: str) -> None:
        await self._run("resume", crawl_run_id)

    async def stop_run(self, crawl_run_id: str) -> None:
        await self._run("stop", crawl_run_id)

    async def cancel_run(self, crawl_run_id: str) -> None:
        await self._run("cancel", crawl_run_id)

    async def run_progress(self, crawl_run_id: str) -> CrawlRunProgress | None:
        return None

    async def decide(self, candidate_id: str, case_id: str, timeout_s: float = 10.0) -> DecideResult | None:
        self.calls.append(("decide", candidate_id, case_id))
        return DecideResult("published", version_id="v", song_id="s")


class World:
    """A campaign file of its own for each test, and the commands."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.client: RecordingClient | None = RecordingClient(database)
        self.unreachable = False
        self.name = f"c-{uuid.uuid4().hex[:8]}"
        self.file = folder / "campaign.yaml"
        self.text = (
            f"version: 1\nname: {self.name}\nparameters: {{site: 'http://a.example'}}\nsources:\n"
            f"  - {{source: {self.name}, adapter: website, seeds: ['${{site}}/']}}\nschedule: {{every: 6h}}\n"
        )
        self.file.write_text(self.text)
        self.app = typer.Typer()
        for module in (campaign, review, token):
            module.register(self.app)

    def open_context(self) -> _context.Context:
        client = self.client

        async def connect() -> WorkflowClient:
            if self.unreachable:
                raise TimeoutError
            assert client is not None
            return client

        return _context.Context(Database(self.database.engine.url.render_as_string(False)), connect if client else None)

    def run(self, *words: str, status: int = 0) -> Result:
        result = CliRunner().invoke(self.app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def applied(self) -> uuid.UUID:
        self.run("campaign", "apply", str(self.file))
        with self.database.transaction() as session:
            return repository.get(session, self.name).id

    def open_run(self) -> uuid.UUID:
        with self.database.transaction() as session:
            found = repository.get(session, self.name)
            run = repository.open_runs(session, found.id, f"t-{self.name}")[0]
            repository.set_run_state(session, run.id, "running", "crawling")
            return run.id


def test_the_context_of_the_settings(
    module_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERSIONS_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("VERSIONS_TEMPORAL_ADDRESS", raising=False)
    monkeypatch.delenv("TEMPORAL_ADDRESS", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("VERSIONS_DATABASE_URL", module_database.engine.url.render_as_string(False))
    with _context.open_context() as context, context.database.transaction() as session:
        assert repository.list_campaigns(session) is not None
        assert context.workflow_client is None
        with pytest.raises(_context.WorkflowsUnreachableError, match="versions up"):
            context.need_workflows()
    monkeypatch.setenv("VERSIONS_TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(_context, "_CONNECT_S", 0.5)
    with _context.open_context() as context, pytest.raises(_context.WorkflowsUnreachableError, match="does not answer"):
        context.need_workflows()


def test_no_database_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERSIONS_DATA_DIR", str(tmp_path))
    for name in ("VERSIONS_DATABASE_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    app = typer.Typer()
    campaign.register(app)
    result = CliRunner().invoke(app, ["campaign", "list"])
    assert result.exit_code == 1
    assert "versions up" in result.stderr


@pytest.fixture
def world(module_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    result = World(module_database, tmp_path)
    contract.load_adapters()
    monkeypatch.setitem(contract._registry, "website", Website)
    monkeypatch.setattr(_context, "open_context", result.open_context)
    return result


def test_validate(world: World) -> None:
    assert "good" in world.run("campaign", "validate", str(world.file)).stdout
    record = world.json("campaign", "validate", str(world.file), "--set", "site=http://b.example")
    source = record["sources"][0]
    assert source["seeds"] == ["http://b.example/"]
    assert (source["audio"], source["politeness"]["delay"]) == ("fingerprint_only", 2.0)


def test_validate_prints_every_problem_with_its_place(world: World) -> None:
    world.file.write_text(world.text.replace("${site}/", "ftp://x").replace("every: 6h", "evry: 6h"))
    result = world.run("campaign", "validate", str(world.file), status=2)
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{world.file}:5:")
    assert "sources[0].seeds[0]: ftp://x is not a URL" in lines[0]
    assert any(
        "schedule.evry: unknown key (allowed: cron, timezone, every); did you mean 'every'?" in each for each in lines
    )
    assert result.stdout == ""


@pytest.mark.parametrize("words", [["--set", "site"], ["--set", "=x"], ["--set", "nope=1"]])
def test_bad_overrides(world: World, words: list[str]) -> None:
    assert "--set" in world.run("campaign", "validate", str(world.file), *words, status=2).stderr


def test_apply_shows_the_change_and_sets_the_schedule(world: World) -> None:
    assert world.json("campaign", "apply", str(world.file))["change"] == "created"
    assert world.json("campaign", "apply", str(world.file))["change"] == "unchanged"
    world.file.write_text(world.text.replace("every: 6h", "cron: 0 3 * * *"))
    result = world.run("campaign", "apply", str(world.file))
    assert "changed, revision 2" in result.stdout
    assert "schedule.cron: None → 0 3 * * *" in result.stdout
    assert world.client is not None
    assert [call[2] for call in world.client.calls] == [
        {"every_s": 21600.0},
        {"every_s": 21600.0},
        {"cron": "0 3 * * *", "timezone": "UTC"},
    ]


def test_apply_without_temporal(world: World) -> None:
    world.client = None
    assert "the schedule is set as soon as" in world.run("campaign", "apply", str(world.file)).stderr
    assert "[workflows_unreachable]" in world.run("campaign", "start", world.name, status=1).stderr


def test_apply_changes_nothing_while_temporal_is_away(world: World) -> None:
    world.unreachable = True
    world.run("campaign", "apply", str(world.file), status=1)
    assert "[campaign_not_found]" in world.run("campaign", "show", world.name, status=2).stderr


def test_plan_changes_nothing(world: World) -> None:
    result = world.json("campaign", "plan", str(world.file))
    assert (result["change"], result["sources"][0]["basis"], result["requests"]) == ("created", "limit", 10_000)
    assert "no earlier run: at most 10000 requests" in world.run("campaign", "plan", str(world.file)).stdout
    world.run("campaign", "show", world.name, status=2)


def test_start_and_wait(world: World) -> None:
    world.applied()
    result = world.json("campaign", "start", world.name, "--wait")
    assert (result["finished"], result["runs"][0]["state"]) == (True, "finished")
    assert world.client is not None
    world.client.final_state = "failed"
    assert "failed" in world.run("campaign", "start", world.name, "--wait", status=1).stdout
    world.client.final_state = None
    world.run("campaign", "start", world.name)
    assert "[campaign_running]" in world.run("campaign", "start", world.name, status=1).stderr


@pytest.mark.parametrize(("verb", "state"), [("pause", "paused"), ("stop", "active"), ("cancel", "active")])
def test_control(world: World, verb: str, state: str) -> None:
    world.applied()
    run_id = world.open_run()
    assert world.client is not None
    world.client.calls.clear()
    world.run("campaign", verb, world.name)
    assert (verb, str(run_id)) in world.client.calls
    synced = [call for call in world.client.calls if call[0] == "sync_schedule"]
    assert synced == ([("sync_schedule", world.name, {"every_s": 21600.0}, True)] if verb == "pause" else [])
    assert world.json("campaign", "show", world.name)["state"] == state
    if verb == "pause":
        world.run("campaign", "resume", world.name)
        assert world.client.calls[-2:] == [
            ("sync_schedule", world.name, {"every_s": 21600.0}, False),
            ("resume", str(run_id)),
        ]


def test_control_tells_which_run_failed(world: World) -> None:
    world.applied()
    run_id = world.open_run()
    assert world.client is not None
    world.client.broken.add(str(run_id))
    result = world.run("campaign", "stop", world.name, status=1)
    assert f"({run_id}): stop failed: workflow not found" in result.stderr


@pytest.mark.parametrize("verb", ["start", "pause", "resume", "stop", "cancel", "show", "report", "watch", "delete"])
def test_an_unknown_campaign(world: World, verb: str) -> None:
    result = world.run("campaign", verb, "nope", status=2)
    assert "no campaign named 'nope'" in result.stderr
    assert "[campaign_not_found]" in result.stderr


def test_show_tells_what_waits_and_who_can_unblock_it(world: World) -> None:
    world.applied()
    run_id = world.open_run()
    with world.database.transaction() as session:
        row = rows.candidate(
            session,
            run_id,
            "in_review",
            item={"title": "[red]Ка\x1b[31mтюша"},
            waiting_on="moderator",
            reason="similar",
        )
        case = rows.review_case(session, row)
        rows.request(session, run_id, not_before=rows.ago(-60))
    text = world.run("campaign", "show", world.name).stdout
    assert "[red]Ка[31mтюша" in text  # markup and escape sequences from the web are only text
    assert "\x1b" not in text
    assert f"a moderator: `versions review show {case.id}`" in text
    assert "the site: it is asked again by itself" in text
    assert "2031-01-01" in text
    data = world.json("campaign", "show", world.name)
    assert [each["kind"] for each in data["waiting"]] == ["run", "requests", "candidate"]
    assert data["runs"][0]["in_review"] == 1
    assert "[bad_cursor]" in world.run("campaign", "show", world.name, "--cursor", "x", status=2).stderr
    assert world.name in world.run("campaign", "list").stdout
    assert world.name in [each["name"] for each in world.json("campaign", "list")]


def test_report_and_watch(world: World) -> None:
    world.applied()
    assert "has no runs yet" in world.run("campaign", "watch", world.name).stdout
    assert "[run_not_found]" in world.run("campaign", "report", world.name, status=2).stderr
    run_id = world.open_run()
    with world.database.transaction() as session:
        rows.incident(session, run_id, "gone", status=410)
    once = world.run("campaign", "watch", world.name, "--once").stdout
    assert "gone ×1: Nothing to do" in once
    assert "no worker tells of itself" in once
    assert "2031-01-01" in once  # the next start stands in the same view
    everything = world.json("campaign", "watch", "--once")
    assert world.name in [source["campaign"] for source in everything["sources"]]
    assert world.name in [row["campaign"] for row in everything["schedules"]]
    with world.database.transaction() as session:
        repository.finish_run(session, run_id, "finished")
    assert "finished" in world.run("campaign", "watch", world.name).stdout
    (line,) = world.run("campaign", "watch", world.name, "--json").stdout.splitlines()
    assert json.loads(line)["sources"][0]["errors"][0]["name"] == "gone"
    text = world.run("campaign", "report", world.name).stdout
    assert "gone ×1: Nothing to do: the site says" in text
    assert "(410, attempts 1)" in text
    data = world.json("campaign", "report", world.name, "--compare", f"t-{world.name}")
    assert data["incidents"] == {"gone": 1}
    assert data["compared"]["sources"][0]["broke"] == []
    assert world.json("campaign", "report", str(run_id))["trigger"] == data["trigger"]
    assert "[run_not_found]" in world.run("campaign", "report", str(uuid.uuid4()), status=2).stderr
    page = world.file.with_name("report.html")
    world.run("campaign", "report", world.name, "--html", str(page))
    assert "Nothing to do: the site says" in page.read_text()
    nowhere = world.run("campaign", "report", world.name, "--html", "/nowhere/x.html", status=2)
    assert "--html /nowhere/x.html: No such file" in nowhere.stderr


def test_a_stream_has_a_document_a_line_until_the_runs_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.applied()
    run_id = world.open_run()
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            with world.database.transaction() as session:
                repository.finish_run(session, run_id, "finished")

    monkeypatch.setattr("runtime.cli._watch.time.sleep", sleep)
    lines = world.run("campaign", "watch", world.name, "--json", "--interval", "0.5").stdout.splitlines()
    assert [json.loads(line)["finished"] for line in lines] == [False, False, True]
    assert looks == [0.5, 0.5]


def test_schedules_of_all_campaigns(world: World) -> None:
    world.applied()
    (row,) = [row for row in world.json("campaign", "schedules") if row["campaign"] == world.name]
    assert row["starts"] == ["2031-01-01T00:00:00+00:00"]
    assert row["from_record"] is False
    world.unreachable = True
    (row,) = [row for row in world.json("campaign", "schedules") if row["campaign"] == world.name]
    assert row["from_record"] is True
    assert len(row["starts"]) == 3
    assert "(computed)" in world.run("campaign", "schedules").stdout


def test_delete(world: World) -> None:
    world.applied()
    run_id = world.open_run()
    assert "[campaign_busy]" in world.run("campaign", "delete", world.name, status=1).stderr
    with world.database.transaction() as session:
        repository.finish_run(session, run_id, "stopped")
    world.run("campaign", "delete", world.name)
    assert world.client is not None
    assert world.client.calls[-1] == ("sync_schedule", world.name, None, False)
    world.run("campaign", "show", world.name, status=2)


# -- reviews -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def case_id(world: World) -> uuid.UUID:
    world.applied()
    run_id = world.open_run()
    with world.database.transaction() as session:
        song = Song(slug=f"s-{world.name}", title="Катюша")
        session.add(song)
        session.flush()
        version = Version(song_id=song.id, title="Катюша")
        session.add(version)
        session.flush()
        row = rows.candidate(
            session, run_id, "in_review", item={"title": "Katyusha", "credits": [{"name": "Хор", "role": "performer"}]}
        )
        session.add(
            MatchProposal(
                candidate_id=row.id,
                question="recording",
                version_id=version.id,
                probability=0.87,
                verdict="review",
                sentence="Most bits agree.",
                evidence={
                    "parts": [{"name": "bits", "distance": 0.15, "weight": 1.0, "note": "in the grey band"}],
                    "alignment": {
                        "offset_s": 12.5,
                        "overlap_s": 60.0,
                        "bit_error_rate": 0.15,
                        "profile": [0.0, 0.15, 0.5],
                    },
                },
            )
        )
        case = rows.review_case(session, row)
        case.suggestion = {"action": "attach", "version_id": str(version.id)}
        session.flush()
        return case.id


def test_review_list_and_show(world: World, case_id: uuid.UUID) -> None:
    listed = world.json("review", "list", "--source", "pesennik")
    assert str(case_id) in [each["id"] for each in listed["cases"]]
    assert str(case_id) in world.run("review", "list").stdout
    assert world.run("review", "list", "--source", "nobody").stdout == "no open cases\n"
    text = world.run("review", "show", case_id.hex[:31]).stdout
    for words in ("Katyusha", "Хор", "87%", "bits", "0.15", "in the grey band", "+12.5 s", "█▆▁"):
        assert words in text
    assert world.json("review", "show", str(case_id))["proposals"][0]["probability"] == 0.87


def test_review_ids(world: World, case_id: uuid.UUID) -> None:
    with world.database.transaction() as session:
        run_id = session.get_one(Candidate, session.get_one(ReviewCase, case_id).candidate_id).crawl_run_id
        assert run_id is not None
        rows.review_case(session, rows.candidate(session, run_id, "in_review"))
    # Keys begin with the time: cases of one minute share their first digits.
    assert "[ambiguous_id]" in world.run("review", "show", case_id.hex[:6], status=2).stderr
    assert "[bad_id]" in world.run("review", "show", "xyz", status=2).stderr
    assert "[bad_id]" in world.run("review", "show", "01", status=2).stderr
    assert "[not_found]" in world.run("review", "show", "ffffffff", status=2).stderr
    assert "[bad_cursor]" in world.run("review", "list", "--cursor", "x", status=2).stderr
    assert "[bad_option]" in world.run("review", "list", "--state", "x", status=2).stderr


def test_approve_records_and_then_asks_the_workflow(world: World, case_id: uuid.UUID) -> None:
    result = world.run("review", "approve", str(case_id), "--note", "same take", "--as", "anna")
    assert "the candidate is published, version v, song s" in result.stdout
    with world.database.transaction() as session:
        decision = session.query(Decision).filter_by(case_id=case_id).one()
        assert (decision.action, decision.actor, decision.note) == ("approve", "anna", "same take")
        candidate_id = session.get_one(ReviewCase, case_id).candidate_id
    assert world.client is not None
    assert world.client.calls[-1] == ("decide", str(candidate_id), str(case_id))
    assert "[case_closed]" in world.run("review", "reject", str(case_id), status=1).stderr


@pytest.mark.parametrize("away", ["none", "unreachable"])
def test_a_decision_is_kept_while_temporal_is_away(world: World, case_id: uuid.UUID, away: str) -> None:
    if away == "none":
        world.client = None
    world.unreachable = True
    assert "is recorded; it is applied" in world.run("review", "reject", str(case_id)).stdout
    assert world.json("review", "show", str(case_id))["state"] == "decided"


def test_retarget(world: World, case_id: uuid.UUID) -> None:
    shown = world.json("review", "show", str(case_id))
    for words in ([], ["--new-song", "--song", "0190"], ["--version", "zz"], ["--song", "ffffffff"]):
        world.run("review", "retarget", str(case_id), *words, status=2)
    changed = world.run("review", "retarget", str(case_id), "--new-song", "--if-version", "9", status=1)
    assert "[case_changed]" in changed.stderr
    assert world.json("review", "show", str(case_id))["row_version"] == shown["row_version"]
    target = shown["proposals"][0]["version_id"]
    result = world.json("review", "retarget", str(case_id), "--version", target)
    assert (result["action"], result["applied"]) == ("retarget", True)
    with world.database.transaction() as session:
        assert str(session.query(Decision).filter_by(case_id=case_id).one().version_id) == target


# -- tokens and text ---------------------------------------------------------------------------------------------------


def test_tokens(world: World) -> None:
    accounts = pytest.importorskip("catalog.repositories.accounts")
    word = world.json("token", "create", "--role", "moderator", "--name", world.name)["token"]
    with world.database.transaction() as session:
        assert accounts.find_by_token(session, word).role == "moderator"
    listed = world.run("token", "list").stdout
    assert world.name in listed
    assert word not in listed
    assert "[bad_option]" in world.run("token", "create", "--role", "admin", "--name", world.name, status=2).stderr
    assert world.json("token", "revoke", "--name", world.name)["revoked"] == 1
    with world.database.transaction() as session:
        assert accounts.find_by_token(session, word) is None


def test_token_list_and_bad_options(world: World) -> None:
    with world.database.transaction() as session:
        user = User(display_name=world.name, role="operator")
        session.add(user)
        session.flush()
        session.add(ApiKey(user_id=user.id, name="desk", token_sha256=uuid.uuid4().hex))
    mine = [each for each in world.json("token", "list") if each["name"] == world.name]
    assert [(each["role"], each["key"], each["revoked_at"]) for each in mine] == [("operator", "desk", None)]
    assert "[bad_option]" in world.run("token", "create", "--role", "king", "--name", "x", status=2).stderr
    assert "[bad_option]" in world.run("token", "create", "--name", "x", "--valid-for", "soon", status=2).stderr


def test_text_from_the_web_is_only_text() -> None:
    assert plain("a\x1b[2Jb\u202ec\nd") == "a[2Jbc d"
    assert plain("x" * 100, 10) == "x" * 9 + "…"


def test_the_picture_of_progress_shows_sums(world: World) -> None:
    from catalog.campaigns.progress import campaign_progress

    with world.database.transaction() as session:
        text = rows.TEXT.replace("demo", world.name)
        found = repository.apply(session, rows.spec(text))[0]
        for run in repository.open_runs(session, found.id, "t"):
            rows.candidate(session, run.id, "published")
        picture = render(campaign_progress(session, found.id))
    out = Console(width=160, record=True, file=io.StringIO())
    out.print(picture)
    total = next(line for line in out.export_text().splitlines() if line.startswith("all"))
    assert total.split()[1] == "2"
