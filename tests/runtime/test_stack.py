"""The real PostgreSQL, Temporal and S3 server, by the command line and under SIGKILL."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from minio.deleteobjects import DeleteObject
from temporalio.client import Client, WorkflowExecutionStatus

from catalog.migrate import current, head
from runtime.connections import Connections
from runtime.embedded import postgres, s3, state
from runtime.embedded.parts import default_parts
from runtime.embedded.supervisor import Supervisor
from tests.media.synth import render, write_wav
from tests.runtime.conftest import gone, popen_versions, settings, versions, versions_process, wait_for, web_part

pytestmark = pytest.mark.stack
PARTS = ("postgres", "temporal", "s3")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with a running stack, started and stopped by the command line."""
    folder = tmp_path_factory.mktemp("stack") / "data"
    started = versions(folder, "up", "--detach", "--only", ",".join(PARTS))
    assert started.returncode == 0, started.stderr
    try:
        yield folder
        pids = [part.pid for part in state.read(folder).parts.values()]
        assert None not in pids
        stopped = versions(folder, "down")
        assert (stopped.returncode, stopped.stdout) == (0, "Stopped.\n")
        assert all(gone(pid) for pid in pids)
    finally:
        versions(folder, "down")


def _where(data_dir: Path) -> Connections:
    return Connections.load(settings(data_dir))


def _store(data_dir: Path) -> Any:
    where = _where(data_dir)
    return s3.client(where.s3_endpoint, where.s3_access_key, where.s3_secret_key)


def _ready(data_dir: Path) -> bool:
    return all(part.state == "ready" for part in state.read(data_dir).parts.values())


async def _write(data_dir: Path, name: str) -> None:
    where = _where(data_dir)
    with psycopg.connect(where.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS probe (name text)")
        connection.execute("INSERT INTO probe VALUES (%s)", [name])
    _store(data_dir).put_object("versions", f"probe/{name}", io.BytesIO(name.encode()), len(name))
    client = await Client.connect(where.temporal_address)
    await client.start_workflow("Nobody", id=name, task_queue="nobody")


async def _assert_there(data_dir: Path, name: str) -> None:
    where = _where(data_dir)
    with psycopg.connect(where.database_url) as connection:
        assert connection.execute("SELECT count(*) FROM probe WHERE name = %s", [name]).fetchone() == (1,)
    answer = _store(data_dir).get_object("versions", f"probe/{name}")
    assert answer.read() == name.encode()
    answer.close()
    answer.release_conn()
    client = await Client.connect(where.temporal_address)
    description = await client.get_workflow_handle(name).describe()
    assert description.status is WorkflowExecutionStatus.RUNNING


def test_status_for_machines_and_people(data_dir: Path) -> None:
    shown = versions(data_dir, "status", "--json")
    report = json.loads(shown.stdout)
    assert (shown.returncode, report["healthy"], report["state"]) == (0, True, "ready")
    parts = {part["name"]: part for part in report["parts"]}
    redis = parts.pop("redis")
    assert (redis["state"], redis["healthy"], redis["external"]) == ("in-process", True, False)
    assert set(parts) == set(PARTS)
    assert parts["postgres"]["version"].startswith("PostgreSQL 1")
    assert parts["temporal"]["version"].startswith("Temporal 1")
    assert parts["s3"]["version"].startswith("rclone v1")
    for part in parts.values():
        assert psutil.pid_exists(part["pid"])
        assert 1024 < part["port"] < 65536
        assert part["memory_bytes"] > 2**20
    people = versions(data_dir, "status")
    assert "rclone v1" in people.stdout
    assert f"The stack on {data_dir} is ready" in people.stdout


def test_doctor_finds_all_parts_well(data_dir: Path) -> None:
    shown = versions(data_dir, "doctor", "--json")
    found = {finding["name"]: finding for finding in json.loads(shown.stdout)}
    assert {*PARTS, "Python", "Data folder", "Disk", "FFmpeg", "Chromaprint", "Chromium", "Schema"} <= set(found)
    assert all(found[name]["level"] == "ok" for name in (*PARTS, "Schema"))
    assert all(finding["level"] == "ok" or finding["remedy"] for finding in found.values() if finding["name"] != "Disk")


def test_the_schema_is_migrated(data_dir: Path) -> None:
    assert current(_where(data_dir).database_url) == head()
    shown = versions(data_dir, "db", "current", "--json")
    assert json.loads(shown.stdout) == {"current": head(), "head": head()}


def test_a_second_stack_on_the_same_folder_is_refused(data_dir: Path) -> None:
    for run, arguments in ((versions_process, ["up"]), (versions, ["up", "--detach"])):
        refused = run(data_dir, *arguments)
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"versions: a stack runs on {data_dir} already (pid ")
        assert len(refused.stderr.splitlines()) == 1
    assert _ready(data_dir)


async def test_each_killed_part_comes_back_with_its_data(data_dir: Path) -> None:
    await _write(data_dir, "before-the-kills")
    for name in PARTS:
        before = state.read(data_dir).parts[name]
        assert before.pid is not None
        os.kill(before.pid, signal.SIGKILL)

        def back(name: str = name, restarts: int = before.restarts) -> bool:
            part = state.read(data_dir).parts[name]
            return part.state == "ready" and part.restarts > restarts

        wait_for(back)
        assert state.read(data_dir).parts[name].port == before.port
        await _assert_there(data_dir, "before-the-kills")


async def test_a_killed_supervisor_is_recovered_by_the_next(data_dir: Path) -> None:
    await _write(data_dir, "before-the-supervisor")
    before = state.read(data_dir)
    assert before.supervisor_pid is not None
    os.kill(before.supervisor_pid, signal.SIGKILL)
    if not sys.platform.startswith("linux"):
        assert json.loads(versions(data_dir, "status", "--json").stdout)["state"] == "killed"
    else:
        wait_for(lambda: all(gone(part.pid) for part in before.parts.values()))
    assert versions(data_dir, "db", "current").stderr == "versions: the stack is not running: `versions up`\n"
    started = versions(data_dir, "up", "--detach", "--only", ",".join(PARTS))
    assert started.returncode == 0, started.stderr
    after = state.read(data_dir)
    assert after.ports == before.ports
    assert all(gone(part.pid) for part in before.parts.values())
    await _assert_there(data_dir, "before-the-supervisor")


def test_no_secret_is_in_command_lines_or_logs_or_status(data_dir: Path) -> None:
    where = _where(data_dir)
    password = (data_dir / "postgres" / "postgres.password").read_text().strip()
    secrets = [password, where.s3_secret_key, where.s3_access_key]
    assert password in where.database_url
    supervisor = psutil.Process(state.read(data_dir).supervisor_pid)
    family = [supervisor, *supervisor.children(recursive=True)]
    assert len(family) >= 4
    seen = " ".join(" ".join(member.cmdline()) for member in family)
    seen += " ".join(path.read_text(errors="replace") for path in (data_dir / "logs").iterdir())
    seen += versions(data_dir, "status", "--json").stdout + versions(data_dir, "doctor").stdout
    assert not [secret for secret in secrets if secret in seen]
    for path in (data_dir / "s3.keys", data_dir / "postgres" / "postgres.password", data_dir / "stack.json"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_object_store_bears_concurrency(data_dir: Path) -> None:
    store = _store(data_dir)

    def read(key: str, **part: int) -> bytes:
        answer = store.get_object("versions", key, **part)
        try:
            return bytes(answer.read())
        finally:
            answer.close()
            answer.release_conn()

    def work(number: int) -> None:
        content = bytes([number % 251]) * (10 if number % 3 else 1_000_000) + b"0123456789"
        key = f"concurrent/{number % 5}/{number}.opus"
        store.put_object("versions", key, io.BytesIO(content), len(content), content_type="audio/ogg")
        assert read(key) == content
        assert read(key, offset=len(content) - 7, length=4) == b"3456"
        assert store.stat_object("versions", key).size == len(content)
        store.put_object("versions", key, io.BytesIO(b"again"), 5)
        assert read(key) == b"again"
        names = {entry.object_name for entry in store.list_objects("versions", f"concurrent/{number % 5}/")}
        assert key in names
        if number % 2:
            store.remove_object("versions", key)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    left = {entry.object_name for entry in store.list_objects("versions", "concurrent/", recursive=True)}
    assert left == {f"concurrent/{number % 5}/{number}.opus" for number in range(0, 40, 2)}
    assert list(store.remove_objects("versions", [DeleteObject(name) for name in left])) == []
    assert not list(store.list_objects("versions", "concurrent/", recursive=True))
    large = os.urandom(11 << 20)
    store.put_object("versions", "large", io.BytesIO(large), -1, part_size=5 << 20)
    assert read("large") == large
    store.remove_object("versions", "large")


def test_an_external_database_leaves_the_embedded_one_out(tmp_path: Path, database_url: str) -> None:
    data_dir = tmp_path / "data"
    outside = settings(data_dir, database_url=database_url)
    parts = [*default_parts(outside, ["postgres"]), web_part("top", 18080, needs=("postgres",))]
    with Supervisor(outside, parts=parts) as stack:
        part = stack.snapshot()["postgres"]
        assert (part.state, part.external, part.pid) == ("ready", True, None)
        assert stack.connections().database_url == database_url
        # Another process that was not told the address finds it through the stack.
        assert Connections.load(settings(data_dir), need=["postgres"]).database_url == database_url
    assert not (data_dir / "postgres").exists()


def test_a_stack_whose_servers_are_all_elsewhere_takes_music_in(data_dir: Path, tmp_path: Path) -> None:
    where = _where(data_dir)
    outside = {
        "DATABASE_URL": where.database_url,
        "TEMPORAL_ADDRESS": where.temporal_address,
        "S3_ENDPOINT": where.s3_endpoint,
        "S3_ACCESS_KEY": where.s3_access_key,
        "S3_SECRET_KEY": where.s3_secret_key,
        "S3_BUCKET": "elsewhere",
    }
    music = tmp_path / "music"
    music.mkdir()
    write_wav(music / "sound.wav", render(70, 30))
    mine = tmp_path / "data"
    started = versions(mine, "up", "--detach", "--only", "postgres,temporal,s3,worker", **outside)
    assert started.returncode == 0, started.stderr
    try:
        parts = json.loads(versions(mine, "status", "--json", **outside).stdout)["parts"]
        assert {part["name"] for part in parts if part["external"]} == {"postgres", "temporal", "s3"}
        taken = versions_process(mine, "ingest", str(music), "--json", **outside)
        assert taken.returncode == 0, taken.stderr
        assert json.loads(taken.stdout)["new_versions"] == 1
    finally:
        versions(mine, "down", **outside)
    store = _store(data_dir)
    assert store.bucket_exists("elsewhere")
    assert not [name for name in ("postgres", "temporal", "s3") if (mine / name).exists()]


def test_an_external_database_that_does_not_answer_is_named(tmp_path: Path) -> None:
    url = "postgresql://me:geheim@127.0.0.1:9/x"
    refused = versions(tmp_path / "data", "status", DATABASE_URL=url)
    assert refused.returncode == 1
    shown = versions(tmp_path / "data", "doctor", DATABASE_URL=url)
    assert shown.returncode == 1
    assert "postgresql://127.0.0.1:9/x" in shown.stdout
    assert "geheim" not in shown.stdout + shown.stderr + refused.stdout + refused.stderr


def test_a_half_made_cluster_and_a_reused_process_id_are_no_obstacles(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    cluster = data_dir / "postgres" / "data"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("18\n")
    (cluster / "base").mkdir()
    plain = settings(data_dir)
    with Supervisor(plain, only=["postgres"]) as stack:
        pid = stack.snapshot()["postgres"].pid
        assert pid is not None
    stranger = subprocess.Popen(["sleep", "600"], cwd="/", **postgres.as_server_user())
    try:
        port = state.read(data_dir).ports["postgres"]
        (cluster / "postmaster.pid").write_text(f"{stranger.pid}\n{cluster}\n1\n{port}\n\n127.0.0.1\n0 0\nready\n")
        with Supervisor(plain, only=["postgres"]) as stack:
            assert stack.snapshot()["postgres"].restarts == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_mistakes_are_one_line_and_usage_is_status_2(tmp_path: Path) -> None:
    assert versions(tmp_path, "up", "--only", "postgre").returncode == 2
    assert versions(tmp_path, "frobnicate").returncode == 2
    nothing = versions(tmp_path, "db", "upgrade")
    assert (nothing.returncode, nothing.stderr) == (1, "versions: the stack is not running: `versions up`\n")
    assert "Traceback" in versions_process(tmp_path, "db", "upgrade", VERSIONS_DEBUG="1").stderr
    assert versions(tmp_path, "down").stdout == f"Nothing ran on {tmp_path}.\n"
    assert "has no log" in versions(tmp_path, "logs", "s3").stderr
    blocked = tmp_path / "file"
    blocked.write_text("")
    refused = versions(blocked / "data", "up", "--detach", "--only", "s3")
    assert refused.returncode == 1
    assert "choose another by --data-dir" in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_foreground_form_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    stack = popen_versions(tmp_path, "up", "--only", "s3")
    try:
        wait_for(lambda: state.read(tmp_path).state == "ready")
        pid = state.read(tmp_path).parts["s3"].pid
        assert not gone(pid)
        stack.send_signal(number)
        _, errors = stack.communicate(timeout=30)
    finally:
        stack.kill()
    assert (stack.returncode, errors.splitlines()[-1]) == (0, "Stopped.")
    assert gone(pid)
    assert state.read(tmp_path).state == "stopped"
