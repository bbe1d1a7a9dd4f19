"""The fleet's budget: the rules of `crawlers.budget` over PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from catalog.database import Database
from catalog.repositories.politeness import PolitenessRepository
from crawlers.budget.ledger import Ledger, ScopeStore, policy_of
from crawlers.budget.limits import BudgetLimits, Policy, parse_windows
from crawlers.budget.shared import Proxies, SharedBudget

POLICY_S = 1.0
"""The operator's limits are read anew after so many seconds."""


class FreshPolicy:
    """The operator's limits, at most `POLICY_S` old. Called from threads."""

    def __init__(self, repository: PolitenessRepository) -> None:
        self._repository = repository
        self._lock = threading.Lock()
        self._known = Policy({})
        self._read_at = float("-inf")

    def __call__(self) -> Policy:
        with self._lock:
            if time.monotonic() - self._read_at > POLICY_S:
                self._known = policy_of(self._repository.limits())
                self._read_at = time.monotonic()
            return self._known


def fleet_ledger(database: Database, store: ScopeStore | None = None) -> Ledger:
    """The ledger of the fleet. ``store``: where scopes are kept; default: in the database, as the limits are."""
    repository = PolitenessRepository(database)
    return Ledger(store or repository, FreshPolicy(repository))


def fleet_budget(
    database: Database, *, store: ScopeStore | None = None, proxies: Proxies | None = None
) -> SharedBudget:
    """The budget that all engines of this process use, one with those of all other processes."""
    return SharedBudget(fleet_ledger(database, store), proxies=proxies)


def budget_limits(politeness: Mapping[str, Any]) -> BudgetLimits:
    """What a campaign's entry wishes of the budget, from its ``politeness`` (None where it says nothing)."""
    timezone = politeness.get("timezone") or "UTC"
    spans = politeness.get("windows") or ()
    return BudgetLimits(
        float(politeness.get("delay") or 0.0),
        politeness.get("concurrency"),
        politeness.get("per_day"),
        politeness.get("bytes_per_day"),
        (parse_windows(spans, timezone),) if spans else (),
        timezone,
    )
