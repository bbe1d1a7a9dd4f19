"""The workers of the fleet, as each tells of itself every few seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

FRESH_S = 15.0
"""A worker that told nothing for so long is taken for gone."""
FORGET_AFTER = "1 hour"

_REPORT = text(f"""
    WITH gone AS (DELETE FROM worker_reports WHERE seen_at < now() - interval '{FORGET_AFTER}' AND name <> :name)
    INSERT INTO worker_reports (name, figures) VALUES (:name, CAST(:figures AS jsonb))
    ON CONFLICT (name) DO UPDATE SET figures = excluded.figures, seen_at = now()
""")  # noqa: S608
_WITHDRAW = text("DELETE FROM worker_reports WHERE name = :name")
_LIVING = text("""
    SELECT name, started_at, seen_at, figures FROM worker_reports
    WHERE seen_at > clock_timestamp() - make_interval(secs => :fresh_s) ORDER BY name
""")


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that lives.

    ``figures``: ``rss_bytes``, ``cpu_s``, ``crawls`` (the progress of each by run id) and ``proxies`` (states
    by name).
    """

    name: str
    started_at: datetime
    seen_at: datetime
    figures: Mapping[str, Any]


def report(session: Session, name: str, figures_json: str) -> None:
    """Records what a worker says of itself; rows of workers that are long gone are removed."""
    session.execute(_REPORT, {"name": name, "figures": figures_json})


def withdraw(session: Session, name: str) -> None:
    """A worker ends in order."""
    session.execute(_WITHDRAW, {"name": name})


def living(session: Session, fresh_s: float = FRESH_S) -> list[Worker]:
    """The workers that told something in the last ``fresh_s`` seconds."""
    return [Worker(*row) for row in session.execute(_LIVING, {"fresh_s": fresh_s})]


def crawl_figure(workers: list[Worker], run_id: str, name: str) -> int:
    """A figure of a crawl that is under way, over all workers: a run may have two for a moment after a lost one."""
    return sum(int(worker.figures.get("crawls", {}).get(run_id, {}).get(name, 0)) for worker in workers)
