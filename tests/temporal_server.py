"""A real Temporal server for the tests of workflows."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator

import pytest
from temporalio.client import Client

from runtime.embedded import temporal
from runtime.temporal import connect
from tests.ports import free_port


@pytest.fixture(scope="session")
def temporal_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("temporal")
    port, ui_port = free_port(), free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(temporal.command(folder / "temporal.db", port, ui_port), stdout=log, stderr=log)
    try:
        asyncio.run(connect(f"127.0.0.1:{port}", "default", timeout_s=60))
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
async def client(temporal_address: str) -> Client:
    return await connect(temporal_address, "default")
