"""Temporary folders of killed workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from runtime.embedded import process
from runtime.scratch import own_folder


def test_only_what_killed_workers_left_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        started = int(process.create_time(other.pid) or 0)
        living = tmp_path / f"worker-{other.pid}-{started}"
        # The id of a living process, but of an earlier one that had it.
        reused = tmp_path / f"worker-{other.pid}-{started - 1000}"
        stranger = tmp_path / "somebody-else"
        for folder in (living, reused, stranger):
            (folder / "ingest-1").mkdir(parents=True)
        mine = own_folder(tmp_path)
        assert (living.exists(), reused.exists(), stranger.exists()) == (True, False, True)
        other.kill()
    assert mine.name.startswith(f"worker-{os.getpid()}-")
    (mine / "half").write_text("half")
    assert own_folder(tmp_path) == mine
    assert (mine / "half").exists()
    assert not living.exists()
