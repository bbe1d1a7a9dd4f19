"""The supervisor on tiny real programs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.connections import Connections
from runtime.embedded import ports, process, readiness, s3, state, supervisor
from runtime.embedded.parts import Context, FatalPartError, NotReadyError, Part, default_parts
from runtime.embedded.state import PartState, StackError, StackNotRunningError, StackRunningError, StackState
from runtime.embedded.supervisor import Supervisor, recover
from tests.ports import free_port
from tests.runtime.conftest import gone, script_part, settings, wait_for, web_part

SLEEP = "import time; time.sleep(600)"


def test_parts_start_in_the_order_of_their_needs_and_stop_in_reverse(data_dir: Path) -> None:
    seen: list[tuple[str, str]] = []
    parts = [web_part("top", free_port(), needs=("base",)), web_part("base", free_port())]
    stack = Supervisor(settings(data_dir), parts=parts, on_change=lambda name, part: seen.append((name, part.state)))
    stack.start(30)
    pids = [part.pid for part in stack.snapshot().values()]
    stack.stop()
    assert seen.index(("base", "ready")) < seen.index(("top", "preparing"))
    assert seen.index(("top", "stopped")) < seen.index(("base", "stopped"))
    assert all(gone(pid) for pid in pids)
    after = state.read(data_dir)
    assert (after.state, after.supervisor_pid, after.connections) == ("stopped", None, {})
    assert (data_dir / "stack.json").stat().st_mode & 0o777 == 0o600


def test_a_killed_part_comes_back_on_its_port(data_dir: Path) -> None:
    with Supervisor(settings(data_dir), parts=[web_part("web", free_port())]) as stack:
        before = stack.snapshot()["web"]
        assert before.pid is not None
        os.kill(before.pid, signal.SIGKILL)
        wait_for(lambda: (now := stack.snapshot()["web"]).state == "ready" and now.pid not in (None, before.pid))
        after = stack.snapshot()["web"]
        assert (after.port, after.restarts) == (before.port, 1)


def test_a_taken_port_is_replaced_and_the_replacement_remembered(data_dir: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        assert not ports.is_free(taken)
        with Supervisor(settings(data_dir), parts=[web_part("web", taken)]) as stack:
            first = stack.snapshot()["web"].port
            assert first not in (None, taken)
    with Supervisor(settings(data_dir), parts=[web_part("web", taken)]) as stack:
        assert stack.snapshot()["web"].port == first


def test_who_needs_a_part_that_moved_is_told_the_new_port(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 1.0)  # time to take the port
    parts = [web_part("base", free_port()), web_part("top", free_port(), needs=("base",))]
    with Supervisor(settings(data_dir), parts=parts) as stack:
        base, top = stack.snapshot()["base"], stack.snapshot()["top"]
        assert base.pid is not None
        assert base.port is not None
        with socket.socket() as squatter:
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            os.kill(base.pid, signal.SIGKILL)
            wait_for(lambda: _bound(squatter, base.port or 0), 5)
            squatter.listen()
            wait_for(
                lambda: (
                    stack.snapshot()["base"].state == "ready"
                    and stack.snapshot()["base"].port != base.port
                    and stack.snapshot()["top"].state == "ready"
                    and stack.snapshot()["top"].pid != top.pid
                )
            )


def _bound(squatter: socket.socket, port: int) -> bool:
    try:
        squatter.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def test_a_part_that_keeps_dying_is_reported_with_the_end_of_its_log(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.01)
    broken = Part(
        name="broken",
        command=lambda _context: [sys.executable, "-c", "raise SystemExit('no postgresql://me:geheim@host today')"],
        check=_never,
    )
    stack = Supervisor(settings(data_dir), parts=[broken])
    with pytest.raises(StackError, match=r"broken does not start.*status 1.*me:\*\*\*@host today"):
        stack.start(30)
    assert state.read(data_dir).parts["broken"].restarts > supervisor.DEATHS_PER_MINUTE
    # Everything is given free again.
    with Supervisor(settings(data_dir), parts=[script_part("other", SLEEP)]):
        pass


def _never(_context: Context) -> str:
    raise NotReadyError("never")


def test_what_cannot_work_is_said_at_once(data_dir: Path) -> None:
    def prepare(_context: Context) -> None:
        raise FatalPartError("the disk is made of cheese")

    with pytest.raises(StackError, match="part does not start: the disk is made of cheese"):
        Supervisor(settings(data_dir), parts=[script_part("part", SLEEP, prepare=prepare)]).start(30)


def test_a_part_that_is_never_ready_is_ended(data_dir: Path) -> None:
    mute = Part(name="mute", command=lambda _context: [sys.executable, "-c", SLEEP], check=_never, start_timeout_s=0.5)
    with pytest.raises(StackError, match="mute does not start: not ready after 0 s: never"):
        Supervisor(settings(data_dir), parts=[mute]).start(30)
    assert state.read(data_dir).parts["mute"].pid is None


def test_two_supervisors_do_not_share_a_data_folder(data_dir: Path) -> None:
    with Supervisor(settings(data_dir), parts=[script_part("part", SLEEP)]) as stack:
        pid = stack.snapshot()["part"].pid
        with pytest.raises(StackRunningError, match=rf"already \(pid {os.getpid()}\).*versions down"):
            Supervisor(settings(data_dir), parts=[script_part("part", SLEEP)]).start(30)
        assert stack.snapshot()["part"].pid == pid


def test_what_ignores_sigterm_is_killed_with_its_children(data_dir: Path) -> None:
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); print(child.pid, flush=True); time.sleep(600)"
    )
    log = data_dir / "logs" / "stubborn.log"
    with Supervisor(settings(data_dir), parts=[script_part("stubborn", stubborn, stop_grace_s=0.5)]):
        wait_for(lambda: log.read_text().strip())
        child = int(log.read_text())
        assert not gone(child)
    wait_for(lambda: gone(child))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent-death signal is Linux's")
def test_parts_do_not_outlive_a_killed_supervisor(data_dir: Path) -> None:
    program = (
        "import time; from pathlib import Path; from tests.runtime.conftest import *\n"
        f"Supervisor = __import__('runtime.embedded.supervisor', fromlist=['x']).Supervisor\n"
        f"Supervisor(settings(Path({str(data_dir)!r})), parts=[script_part('part', {SLEEP!r})]).start(30)\n"
        "time.sleep(600)"
    )
    runner = subprocess.Popen([sys.executable, "-c", program])
    wait_for(lambda: state.read(data_dir).state == "ready")
    pid = state.read(data_dir).parts["part"].pid
    assert not gone(pid)
    runner.kill()
    runner.wait()
    wait_for(lambda: gone(pid))
    assert not state.read(data_dir).supervisor_alive()
    with pytest.raises(StackNotRunningError, match="not running: `versions up`"):
        Connections.load(settings(data_dir))
    with Supervisor(settings(data_dir), parts=[script_part("part", SLEEP)]) as stack:
        assert stack.snapshot()["part"].state == "ready"


def test_leftovers_are_stopped_and_strangers_left_alone(data_dir: Path) -> None:
    data_dir.mkdir()
    command = [sys.executable, "-c", SLEEP]
    ours, stranger, other = (subprocess.Popen(command, start_new_session=True) for _ in range(3))
    try:
        known = StackState(
            parts={
                "ours": PartState(pid=ours.pid, create_time=process.create_time(ours.pid), command=command),
                "reused": PartState(pid=stranger.pid, create_time=1.0, command=command),
                "different": PartState(
                    pid=other.pid, create_time=process.create_time(other.pid), command=["x", "--something", "else"]
                ),
            }
        )
        assert recover(known) == ["ours"]
        assert ours.wait(5) == -signal.SIGTERM
        assert (stranger.poll(), other.poll()) == (None, None)
    finally:
        for child in (ours, stranger, other):
            child.kill()
            child.wait()


def test_logs_are_bounded(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_BYTES", 20_000)
    monkeypatch.setattr(supervisor, "_LOG_CHECK_S", 0.05)
    chatter = "import time\nwhile True: print('x' * 999, flush=True); time.sleep(0.002)"
    folder = data_dir / "logs"
    with Supervisor(settings(data_dir), parts=[script_part("chatter", chatter)]):
        wait_for((folder / "chatter.log.1").exists)
        wait_for(lambda: 0 < (folder / "chatter.log").stat().st_size < 20_000)


def test_a_damaged_state_file_is_no_obstacle(data_dir: Path) -> None:
    data_dir.mkdir()
    for damaged in ("", "{", "[]", '{"format": 1, "parts": {"x": 3}}', '{"format": 99}'):
        (data_dir / "stack.json").write_text(damaged)
        assert state.read(data_dir) == StackState()


def test_readiness_is_bound_to_the_process(tmp_path: Path) -> None:
    assert not readiness.is_ready(tmp_path, "worker", os.getpid())
    readiness.announce(tmp_path)
    assert readiness.is_ready(tmp_path, "worker", os.getpid())
    assert not readiness.is_ready(tmp_path, "worker", os.getpid() + 1)
    assert not readiness.is_ready(tmp_path, "worker", None)
    readiness.withdraw(tmp_path)
    assert not readiness.is_ready(tmp_path, "worker", os.getpid())


def test_keys_asked_for_at_once_are_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _number: s3.keys(tmp_path / "s3.keys"), range(64)))
    assert len(set(made)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s3.keys"]


def test_only_with_a_missing_need_is_refused(data_dir: Path) -> None:
    with pytest.raises(StackError, match="worker needs postgres"):
        Supervisor(settings(data_dir), only=["worker"])
    outside = settings(data_dir, temporal_address="10.0.0.1:7233", s3_endpoint="https://s3.example.org")
    assert [part.name for part in default_parts(outside, ["postgres", "worker"])] == [
        *("postgres", "temporal", "s3", "worker")
    ]


def test_children_learn_the_addresses_of_external_parts(data_dir: Path) -> None:
    outside = settings(
        data_dir,
        database_url="postgresql://u:p@db/x",
        temporal_address="t:7233",
        temporal_namespace="music",
        s3_endpoint="s3.example.org:9000",
        s3_access_key="a",
        s3_secret_key="b",
    )
    loaded = Connections.load(outside)
    assert loaded.environment() == {
        "VERSIONS_DATABASE_URL": "postgresql://u:p@db/x",
        "VERSIONS_TEMPORAL_ADDRESS": "t:7233",
        "VERSIONS_TEMPORAL_NAMESPACE": "music",
        "VERSIONS_S3_ENDPOINT": "http://s3.example.org:9000",
        "VERSIONS_S3_ACCESS_KEY": "a",
        "VERSIONS_S3_SECRET_KEY": "b",
        "VERSIONS_S3_BUCKET": "versions",
    }
    assert "u:p" not in repr(loaded)
