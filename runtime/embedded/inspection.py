"""What state the stack of a data folder is in, asked from outside."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr
from redis.exceptions import RedisError

from runtime.connections import secret
from runtime.embedded import process, redis, state
from runtime.embedded.parts import Context, Part, default_parts
from runtime.logging import redact
from runtime.settings import Settings


@dataclass(frozen=True)
class PartReport:
    """One part, as `status` shows it. ``memory_bytes``: resident, descendants included, shared pages counted once;
    ``since``: UTC, ISO 8601; ``error``: why it is not healthy."""

    name: str
    state: str
    healthy: bool
    external: bool
    version: str | None
    pid: int | None
    port: int | None
    url: str | None
    memory_bytes: int | None
    restarts: int
    since: str | None
    error: str | None


@dataclass(frozen=True)
class StackReport:
    """The whole stack; ``state``: starting, ready, stopping, stopped, or killed (its supervisor is gone)."""

    state: str
    data_dir: str
    supervisor_pid: int | None
    memory_bytes: int
    parts: list[PartReport]

    @property
    def healthy(self) -> bool:
        """True if it runs and every part of it answers."""
        return self.state == "ready" and all(part.healthy for part in self.parts)


def inspect(settings: Settings, parts: Sequence[Part] | None = None) -> StackReport:
    """Asks all parts at once; takes a few seconds at most."""
    known = state.read(settings.data_dir)
    alive = known.supervisor_alive()
    if alive:
        settings = _as_supervised(settings, known)
    candidates = list(parts) if parts is not None else default_parts(settings)
    if known.parts and alive:
        candidates = [part for part in candidates if part.name in known.parts]

    def look(part: Part) -> PartReport:
        seen = known.parts.get(part.name, state.PartState(external=part.command is None, state="stopped"))
        return _report(settings, known, part, seen, alive)

    with ThreadPoolExecutor(max_workers=max(1, len(candidates))) as pool:
        reports = list(pool.map(look, candidates))
    if parts is None:
        reports.append(_redis(known.connections.get("redis_url", "") if alive else secret(settings.redis_url)))
    own = process.memory_bytes_alone(known.supervisor_pid) if alive and known.supervisor_pid else 0
    return StackReport(
        state=known.state if alive or known.state == "stopped" else "killed",
        data_dir=str(settings.data_dir),
        supervisor_pid=known.supervisor_pid if alive else None,
        memory_bytes=own + sum(report.memory_bytes or 0 for report in reports),
        parts=reports,
    )


def _redis(url: str) -> PartReport:
    """Redis is never started by us; without one the API's processes do with their own memory."""
    found = PartReport("redis", "in-process", True, False, None, None, None, None, None, 0, None, None)
    if not url:
        return found
    shown = redact(url)
    try:
        version = redis.check(url)
    except (RedisError, OSError, ValueError) as problem:
        error = redact(str(problem) or repr(problem)).strip().splitlines()[0]
        return replace(found, state="unreachable", healthy=False, external=True, url=shown, error=error)
    return replace(found, state="ready", external=True, url=shown, version=version)


def _as_supervised(settings: Settings, known: state.StackState) -> Settings:
    """The settings with the external addresses that the running supervisor was started with, whatever ours say."""
    changes: dict[str, Any] = {"database_url": None, "temporal_address": None, "s3_endpoint": None}
    outside = {name for name, part in known.parts.items() if part.external}
    where = known.connections
    if "postgres" in outside:
        changes["database_url"] = SecretStr(where["database_url"])
    if "temporal" in outside:
        changes |= {name: where[name] for name in ("temporal_address", "temporal_namespace")}
    if "s3" in outside:
        changes |= {name: where[name] for name in ("s3_endpoint", "s3_bucket")}
        changes |= {name: SecretStr(where[name]) for name in ("s3_access_key", "s3_secret_key")}
    return settings.model_copy(update=changes)


def _report(
    settings: Settings, known: state.StackState, part: Part, seen: state.PartState, supervised: bool
) -> PartReport:
    found = process.find(seen.pid, seen.create_time, seen.command)
    version, error, url = None, seen.error, seen.url
    if found is not None or (seen.external and part.command is None):
        context = Context(settings, known.ports if known.connections else {}, seen.pid)
        try:
            url = url or part.url(context)
            version, error = part.check(context), None
        except Exception as problem:
            error = redact(str(problem) or repr(problem)).strip().splitlines()[0]
    shown = seen.state
    if not seen.external and found is None and shown in ("ready", "starting"):
        shown = "dead" if supervised else "stopped"
    elif found is not None and not supervised:
        shown = "left over"
    return PartReport(
        name=part.name,
        state=shown,
        healthy=version is not None and (supervised or seen.external),
        external=seen.external,
        version=version,
        pid=found.pid if found else None,
        port=seen.port,
        url=redact(url) if url else None,
        memory_bytes=process.memory_bytes(found.pid) if found else None,
        restarts=seen.restarts,
        since=datetime.fromtimestamp(seen.since, UTC).isoformat(timespec="seconds") if seen.since else None,
        error=error if version is None else None,
    )


def as_document(report: StackReport) -> dict[str, Any]:
    """The report for `--json`."""
    return {**_plain(report), "healthy": report.healthy, "parts": [_plain(part) for part in report.parts]}


def _plain(value: StackReport | PartReport) -> dict[str, Any]:
    return dict(vars(value))
