"""Redis as `status` and `doctor` show it: in-process, or the external server and whether it answers."""

from __future__ import annotations

import json
from pathlib import Path

from runtime import diagnosis
from runtime.connections import Connections, external
from runtime.embedded.inspection import inspect
from tests.catalog_api.test_shared import RedisServer, redis_server
from tests.runtime.conftest import settings, versions

__all__ = ["redis_server"]


def test_in_process_by_default(tmp_path: Path) -> None:
    report = json.loads(versions(tmp_path, "status", "--json").stdout)
    redis = next(part for part in report["parts"] if part["name"] == "redis")
    assert (redis["state"], redis["external"], redis["healthy"]) == ("in-process", False, True)
    finding = next(each for each in diagnosis.run(settings(tmp_path)) if each.name == "redis")
    assert (finding.level, "REDIS_URL" in finding.detail) == ("ok", True)


def test_one_that_is_away_is_told_and_is_no_error(tmp_path: Path) -> None:
    away = settings(tmp_path, redis_url="redis://:geheim@127.0.0.1:1/0")
    redis = next(part for part in inspect(away).parts if part.name == "redis")
    assert (redis.state, redis.external, redis.healthy) == ("unreachable", True, False)
    assert redis.error
    finding = next(each for each in diagnosis.run(away) if each.name == "redis")
    assert finding.level == "warning"
    assert "geheim" not in f"{redis} {finding}"
    assert not [each for each in diagnosis.run(away) if each.name == "postgres"]


def test_one_that_answers(tmp_path: Path, redis_server: RedisServer) -> None:
    shown = versions(tmp_path, "status", "--json", REDIS_URL=redis_server.url)
    redis = next(part for part in json.loads(shown.stdout)["parts"] if part["name"] == "redis")
    assert redis["healthy"]
    assert redis["version"].startswith("Redis ")
    assert redis["url"] == redis_server.url


def test_it_reaches_the_api_process(tmp_path: Path) -> None:
    known = external(settings(tmp_path, redis_url="redis://host:6379/1"))
    assert Connections(**known).environment()["VERSIONS_REDIS_URL"] == "redis://host:6379/1"
