"""The circuit breaker of a source: it opens when the site fends us off, and one probe of the whole fleet closes it.

States: ``closed`` (all is well), ``open`` (nobody asks until ``next_probe_at``), ``half_open`` (one probe is under
way), and what the operator may force: ``forced_open``, ``forced_closed``. All thresholds stand here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from crawlers.errors import FailureClass

BUCKET_S = 10.0
BUCKETS = 6
"""Outcomes are counted in buckets; together they are the sliding window (a minute)."""
BOT_CHECKS = 1
"""So many pages that ask whether we are a robot open the breaker: asking on makes it worse."""
AUTH_AFTER_SUCCESS = 3
"""So many refusals for want of a session, where the source answered before: the session's limit is reached."""
BURST = 20
"""So many failures of one class within the window, and at least `BURST_SHARE` of all outcomes."""
BURST_SHARE = 0.6
BURST_CLASSES = frozenset(
    (
        FailureClass.RATE_LIMITED,
        FailureClass.FORBIDDEN,
        FailureClass.TIMEOUT,
        FailureClass.CONNECTION,
        FailureClass.SERVER_ERROR,
    )
)
COOL_DOWN_S = 60.0
"""The first; each probe that fails doubles it, up to `MAX_COOL_DOWN_S`."""
MAX_COOL_DOWN_S = 6 * 3600.0
PROBE_S = 120.0
"""A probe that has told nothing for so long is lost (a killed worker), and another may be sent."""
ROBUST_AFTER_S = 3600.0
"""A breaker that was closed for so long begins with the first cool-down again."""

_PROBE_SAYS_NOTHING = frozenset((FailureClass.ROBOTS_DISALLOWED, FailureClass.ADDRESS_BLOCKED))
_PROBE_FAILS = BURST_CLASSES | {FailureClass.BOT_CHECK, FailureClass.AUTH_REQUIRED}


@dataclass(slots=True)
class Breaker:
    """The breaker of one source; times are seconds since 1970 by the store's clock.

    Attributes:
        reason: the failure class that opened it, or ``operator``; ``detail``: in words.
        since: when it took its state.
        trips: how often it opened without a long good time in between.
        probe: who is probing, and until when that is believed.
        counts: outcomes by bucket and failure class (``ok`` for answers).
        answered: whether the source has ever given a usable answer.
    """

    state: str = "closed"
    reason: str = ""
    detail: str = ""
    since: float = 0.0
    trips: int = 0
    next_probe_at: float = 0.0
    probe: str = ""
    probe_until: float = 0.0
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    answered: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Breaker:
        """The inverse of `to_json`."""
        return cls(**{name: data[name] for name in cls.__slots__ if name in data})

    def blocked_s(self, now: float) -> float:
        """Seconds for which nobody is to ask (0.0: ask, or probe)."""
        if self.state == "forced_open":
            return MAX_COOL_DOWN_S
        if self.state == "open":
            return max(self.next_probe_at - now, 0.0)
        if self.state == "half_open":
            return max(self.probe_until - now, 0.0)
        return 0.0

    def wants_probe(self, now: float) -> bool:
        """Whether the next permit is to be the probe."""
        return self.state in ("open", "half_open") and self.blocked_s(now) <= 0

    def begin_probe(self, who: str, now: float) -> None:
        """``who`` sends the one probe."""
        self._become("half_open", now)
        self.probe, self.probe_until = who, now + PROBE_S

    def probed(self, who: str, failure: FailureClass | None, sent: bool, now: float) -> None:
        """What the probe brought. ``sent`` False: it never went out, and another may."""
        if self.state != "half_open" or self.probe != who:
            return
        self.probe = ""
        if not sent or failure in _PROBE_SAYS_NOTHING:
            self.next_probe_at = now
            self._become("open", now)
        elif failure in _PROBE_FAILS:
            self._open(str(failure), f"the probe ended as {failure}", now)
        else:
            self.counts = {}
            self.next_probe_at = 0.0
            self.reason, self.detail = "", ""
            self._become("closed", now)

    def count(self, outcomes: Mapping[str, int], now: float) -> None:
        """Takes outcomes by failure class (``ok`` for answers) into the window, and opens where that is too much."""
        bucket = str(int(now // BUCKET_S))
        oldest = int(now // BUCKET_S) - BUCKETS
        self.counts = {name: each for name, each in self.counts.items() if int(name) > oldest}
        if self.state == "closed":
            into = self.counts.setdefault(bucket, {})
            for name, count in outcomes.items():
                into[name] = into.get(name, 0) + count
            self._judge(now)
        self.answered = self.answered or outcomes.get("ok", 0) > 0

    def force(self, mode: str, now: float) -> None:
        """``open``, ``close`` or ``auto``, as the operator says."""
        self.counts = {}
        self.probe = ""
        if mode == "auto":
            self.reason, self.detail, self.trips = "", "", 0
            self._become("closed", now)
        else:
            self.reason, self.detail = "operator", "set by the operator"
            self._become("forced_open" if mode == "open" else "forced_closed", now)

    def _judge(self, now: float) -> None:
        total: dict[str, int] = {}
        for each in self.counts.values():
            for name, count in each.items():
                total[name] = total.get(name, 0) + count
        if total.get(FailureClass.BOT_CHECK, 0) >= BOT_CHECKS:
            self._open(FailureClass.BOT_CHECK, "the site asks whether we are a robot", now)
        elif self.answered and total.get(FailureClass.AUTH_REQUIRED, 0) >= AUTH_AFTER_SUCCESS:
            self._open(FailureClass.AUTH_REQUIRED, "the session seems to be used up: it answered before", now)
        else:
            everything = sum(total.values())
            for failure in BURST_CLASSES:
                count = total.get(failure, 0)
                if count >= BURST and count >= BURST_SHARE * everything:
                    self._open(failure, f"{count} of {everything} outcomes within a minute were {failure}", now)
                    return

    def _open(self, reason: str, detail: str, now: float) -> None:
        if self.state == "closed" and now - self.since > ROBUST_AFTER_S:
            self.trips = 0
        cool_down_s = min(COOL_DOWN_S * 2.0 ** min(self.trips, 30), MAX_COOL_DOWN_S)
        self.trips += 1
        self.reason, self.detail = str(reason), detail
        self.next_probe_at = now + cool_down_s
        self.counts = {}
        self._become("open", now)

    def _become(self, state: str, now: float) -> None:
        if state != self.state and not (state == "half_open" or (self.state == "half_open" and state == "open")):
            self.since = now
        self.state = state
