"""The politeness budget that all workers share: one row per server group, moved on by one statement.

The algorithm is the generic cell rate algorithm (ITU-T I.371) without burst. The database's clock is the only clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from catalog.database import Database

FORGET_AFTER = "1 day"
"""A group that was idle so long takes the next wish as it comes; before, the politest wish stands."""

_RESERVE = text("""
    INSERT INTO politeness_groups AS g (server_group, delay_s, next_slot_at)
    VALUES (:group, :default_delay_s,
            clock_timestamp() + make_interval(secs => CAST(:default_delay_s * :slots AS float8)))
    ON CONFLICT (server_group) DO UPDATE SET
        next_slot_at = greatest(g.next_slot_at, clock_timestamp()) + make_interval(secs => g.delay_s * :slots),
        updated_at = now()
    RETURNING CAST(greatest(extract(epoch FROM new.next_slot_at - clock_timestamp()), 0) AS float8), new.delay_s
""")

_PENALISE = text("""
    INSERT INTO politeness_groups AS g (server_group, delay_s, next_slot_at)
    VALUES (:group, :default_delay_s, clock_timestamp() + make_interval(secs => :seconds))
    ON CONFLICT (server_group) DO UPDATE SET
        next_slot_at = greatest(g.next_slot_at, clock_timestamp() + make_interval(secs => :seconds)),
        updated_at = now()
""")

_CONFIGURE = text(f"""
    INSERT INTO politeness_groups AS g (server_group, delay_s) VALUES (:group, :delay_s)
    ON CONFLICT (server_group) DO UPDATE SET
        delay_s = CASE WHEN g.updated_at < now() - interval '{FORGET_AFTER}' THEN excluded.delay_s
                       ELSE greatest(g.delay_s, excluded.delay_s) END,
        updated_at = now()
    RETURNING g.delay_s
""")  # noqa: S608


@dataclass(frozen=True, slots=True)
class Reservation:
    """``wait_s``: seconds until the first reserved slot; the others follow it, ``delay_s`` seconds apart."""

    wait_s: float
    delay_s: float
    slots: int


class PolitenessRepository:
    """``default_delay_s``: of groups that nobody configured, in seconds."""

    def __init__(self, database: Database, *, default_delay_s: float = 1.0) -> None:
        self._database = database
        self._default_delay_s = default_delay_s

    def reserve(self, group: str, slots: int = 1) -> Reservation:
        """Takes the next ``slots`` slots of the group."""
        with self._database.transaction() as session:
            until_end, delay_s = session.execute(
                _RESERVE, {"group": group, "slots": slots, "default_delay_s": self._default_delay_s}
            ).one()
        return Reservation(max(until_end - delay_s * slots, 0.0), delay_s, slots)

    def penalise(self, group: str, seconds: float) -> None:
        """No slot of the group starts before so many seconds have passed."""
        values = {"group": group, "seconds": max(seconds, 0.0), "default_delay_s": self._default_delay_s}
        with self._database.transaction() as session:
            session.execute(_PENALISE, values)

    def configure(self, group: str, delay_s: float) -> float:
        """The group's delay is at least so long from now on; answers the delay that stands, in seconds."""
        with self._database.transaction() as session:
            return float(session.execute(_CONFIGURE, {"group": group, "delay_s": max(delay_s, 0.0)}).scalar_one())
