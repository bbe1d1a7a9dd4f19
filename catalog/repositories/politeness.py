"""The fleet's politeness budget in PostgreSQL: a document per scope (server group or source), and operators' limits.

What the documents mean is `crawlers.budget`'s business; here they are locked, kept, and read for display. The
database's clock is the only clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from catalog.database import Database
from catalog.models import RUN_FINAL_STATES

FORGET_AFTER = "7 days"
"""Scopes that nobody used for so long are removed."""

# Locked in the order of the keys, so that no two transactions wait for each other. The time is read after the locks
# are held. A power cut may lose the last moments of a budget: not worth a disk flush for each.
_LOCK = text("""
    WITH locked AS MATERIALIZED (
        SELECT key, state FROM politeness_scopes WHERE key = ANY (CAST(:keys AS text[])) ORDER BY key FOR UPDATE
    )
    SELECT key, state, CAST(extract(epoch FROM clock_timestamp()) AS float8),
           set_config('synchronous_commit', 'off', true)
    FROM locked
""")

_ADD = text("""
    INSERT INTO politeness_scopes (key) SELECT unnest(CAST(:keys AS text[])) ORDER BY 1 ON CONFLICT DO NOTHING
""")

_SAVE = text("""
    UPDATE politeness_scopes s SET state = r.state, updated_at = now()
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(key text, state jsonb) WHERE s.key = r.key
""")

_MIRROR = text("""
    INSERT INTO politeness_scopes (key, state)
    SELECT r.key, r.state FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(key text, state jsonb)
    ON CONFLICT (key) DO UPDATE SET state = excluded.state, updated_at = now()
""")

_SNAPSHOT = text("""
    SELECT key, state, updated_at, CAST(extract(epoch FROM now()) AS float8) FROM politeness_scopes
    WHERE updated_at > now() - interval '1 day' OR state -> 'breaker' ->> 'state' <> 'closed' ORDER BY key
""")

_GROUP_BUDGETS = text("""
    SELECT key, CAST(coalesce(state ->> 'delay_s', '0') AS float8),
           greatest(CAST(coalesce(state ->> 'next_at', '0') AS float8) - extract(epoch FROM clock_timestamp()), 0)
    FROM politeness_scopes WHERE key = ANY (CAST(:keys AS text[]))
""")

_BREAKERS = text("""
    SELECT key, state -> 'breaker' FROM politeness_scopes
    WHERE key = ANY (CAST(:keys AS text[])) AND state -> 'breaker' ->> 'state' <> 'closed'
""")

_SET_LIMITS = text("""
    INSERT INTO politeness_limits (target, limits) VALUES (:target, CAST(:limits AS jsonb))
    ON CONFLICT (target) DO UPDATE SET limits = excluded.limits, updated_at = now()
""")


@dataclass(frozen=True, slots=True)
class GroupState:
    """The budget of a server group or a source as it stands.

    Attributes:
        kind: ``group`` (one server group), ``host`` (all hosts under a pattern) or ``source``.
        delay_s: between two requests at present, the slow-down included; ``factor``: what that multiplies.
        limits: all limits in force, operator's and campaigns' together (as `crawlers.budget.limits` writes them).
        in_flight, demand, holders: requests out, wanted, and by how many processes.
        requests_today, bytes_today: of the daily budgets.
        penalty_until: nobody asks before; None: no penalty.
    """

    kind: str
    name: str
    delay_s: float
    factor: float
    limits: Mapping[str, Any]
    in_flight: int
    demand: int
    holders: int
    requests_today: int
    bytes_today: int
    penalty_until: datetime | None
    updated_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class BreakerState:
    """The breaker of a source. ``state``: closed, open, half_open, forced_open, forced_closed; ``reason``: a failure
    class or ``operator``; ``next_probe_at``: when one request may try again."""

    source: str
    state: str
    reason: str
    detail: str
    since: datetime | None
    next_probe_at: datetime | None
    trips: int

    @property
    def waiting_on(self) -> str:
        """Who can close it."""
        return "operator" if self.state == "forced_open" else "source"

    @property
    def words(self) -> str:
        """Why it is open, for people."""
        probe = f"; next probe {self.next_probe_at:%Y-%m-%d %H:%M:%S} UTC" if self.next_probe_at else ""
        return f"{self.reason}: {self.detail}{probe}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


WAKE_AFTER_S = 6.0
"""What is woken is due when every worker knows better: limits are read anew each second, a refusal is believed for two,
by the budget and by a crawl."""
_WAKE = text("""
    UPDATE frontier_requests f SET not_before = now() + make_interval(secs => :after_s) FROM crawl_runs r
    WHERE r.id = f.crawl_run_id AND NOT r.state = ANY (CAST(:final AS text[]))
      AND (CAST(:source AS text) IS NULL OR r.source = :source)
      AND f.state = 'queued' AND f.wait_reason IS NOT NULL AND f.not_before > now() + make_interval(secs => :after_s)
    RETURNING 1
""")


class PolitenessRepository:
    """A `crawlers.budget.ledger.ScopeStore`, the operator's limits, and what there is to see."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transact(self, keys: Sequence[str], change: Callable[[dict[str, dict[str, Any]], float], None]) -> None:
        """Calls ``change`` with the documents of these keys and the time, and keeps what it made of them."""
        with self._database.transaction() as session:
            rows = session.execute(_LOCK, {"keys": list(keys)}).all()
            if len(rows) < len(keys):
                session.execute(_ADD, {"keys": list(keys)})
                rows = session.execute(_LOCK, {"keys": list(keys)}).all()
            documents = {key: state for key, state, *_ in rows}
            change(documents, max(row[2] for row in rows))
            changed = [{"key": key, "state": state} for key, state in documents.items()]
            session.execute(_SAVE, {"rows": json.dumps(changed)})

    def read(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The documents of these keys as they are kept here."""
        statement = text("SELECT key, state FROM politeness_scopes WHERE key = ANY (CAST(:keys AS text[]))")
        with self._database.transaction() as session:
            return {row[0]: row[1] for row in session.execute(statement, {"keys": list(keys)})}

    def mirror(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        """Keeps a copy of documents whose record is elsewhere, for display and for the day when that is lost."""
        rows = json.dumps([{"key": key, "state": documents[key]} for key in sorted(documents)])
        with self._database.transaction() as session:
            session.execute(_MIRROR, {"rows": rows})

    def limits(self) -> dict[str, dict[str, Any]]:
        """What the operator set, by target (``source:NAME``, ``host:PATTERN``)."""
        with self._database.transaction() as session:
            rows = session.execute(text("SELECT target, limits FROM politeness_limits ORDER BY target"))
            return {row[0]: row[1] for row in rows}

    def set_limits(self, target: str, limits: Mapping[str, Any]) -> None:
        """Replaces the limits of a target; empty ones are removed."""
        with self._database.transaction() as session:
            if limits:
                session.execute(_SET_LIMITS, {"target": target, "limits": json.dumps(dict(limits))})
            else:
                session.execute(text("DELETE FROM politeness_limits WHERE target = :target"), {"target": target})

    def wake(self, source: str | None = None) -> int:
        """Requests that the budget sent back (of this source, or all) are due in `WAKE_AFTER_S`: the operator changed
        what they wait for. How many."""
        with self._database.transaction() as session:
            return len(
                session.execute(
                    _WAKE, {"source": source, "final": list(RUN_FINAL_STATES), "after_s": WAKE_AFTER_S}
                ).all()
            )

    def snapshot(self) -> list[GroupState]:
        """All scopes that were used within a day, by key."""
        return [_group_state(*row) for row in self._documents() if row[1]]

    def breaker_states(self) -> list[BreakerState]:
        """The breaker of each known source, open ones first."""
        states = [
            _breaker_state(key[7:], state.get("breaker", {}))
            for key, state, *_ in self._documents()
            if key.startswith("source:") and state
        ]
        return sorted(states, key=lambda each: (each.state == "closed", each.source))

    def sweep(self) -> int:
        """Removes scopes that were idle for `FORGET_AFTER`; how many."""
        with self._database.transaction() as session:
            gone = session.execute(
                text(
                    "DELETE FROM politeness_scopes WHERE updated_at < now() - CAST(:age AS interval) "
                    "AND coalesce(state -> 'breaker' ->> 'state', 'closed') = 'closed' RETURNING 1"
                ),
                {"age": FORGET_AFTER},
            )
            return len(gone.all())

    def _documents(self) -> list[tuple[str, dict[str, Any], datetime, float]]:
        with self._database.transaction() as session:
            return [(row[0], row[1], row[2], row[3]) for row in session.execute(_SNAPSHOT)]


def group_budgets(session: Session, groups: Collection[str]) -> dict[str, tuple[float, float]]:
    """By server group (``host:port``): its present delay, and the time until the next start, both in seconds."""
    rows = session.execute(_GROUP_BUDGETS, {"keys": [f"group:{group}" for group in groups]})
    return {key[6:]: (float(delay_s), round(float(wait_s), 2)) for key, delay_s, wait_s in rows}


def open_breakers(session: Session, sources: Collection[str]) -> dict[str, BreakerState]:
    """Those of these sources that nobody may ask now, because their breaker is open."""
    rows = session.execute(_BREAKERS, {"keys": [f"source:{source}" for source in sources]})
    states = (_breaker_state(key[7:], breaker) for key, breaker in rows)
    return {each.source: each for each in states if each.state in ("open", "half_open", "forced_open")}


def _group_state(key: str, state: Mapping[str, Any], updated_at: datetime, now: float) -> GroupState:
    kind, _, name = key.partition(":")
    known = {name: lease for name, lease in state.get("leases", {}).items() if lease["until"] > now}
    leases = known.values()
    limits = state.get("limits", {})
    return GroupState(
        kind=kind,
        name=name,
        delay_s=float(state.get("delay_s", 0.0)),
        factor=float(state.get("factor", 1.0)),
        limits=limits,
        in_flight=sum(lease["in_flight"] for lease in leases),
        demand=sum(lease["demand"] for lease in leases),
        holders=len({name.partition("|")[0] for name in known}),
        requests_today=int(state.get("requests", 0)),
        bytes_today=int(state.get("bytes", 0)),
        penalty_until=_moment(state.get("penalty_until", 0.0)) if state.get("penalty_until", 0.0) > now else None,
        updated_at=updated_at,
    )


def _breaker_state(source: str, breaker: Mapping[str, Any]) -> BreakerState:
    state = breaker.get("state", "closed")
    return BreakerState(
        source=source,
        state=state,
        reason=breaker.get("reason", ""),
        detail=breaker.get("detail", ""),
        since=_moment(breaker.get("since", 0.0)),
        next_probe_at=_moment(breaker.get("next_probe_at", 0.0)) if state in ("open", "half_open") else None,
        trips=int(breaker.get("trips", 0)),
    )


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
