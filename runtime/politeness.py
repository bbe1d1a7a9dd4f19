"""The fleet's politeness budget, put together from the settings."""

from __future__ import annotations

from activities.politeness import fleet_budget, fleet_ledger
from activities.redis_politeness import RedisScopes
from catalog.database import Database
from catalog.repositories.politeness import PolitenessRepository
from crawlers.budget.ledger import Ledger, ScopeStore
from crawlers.budget.shared import Proxies, SharedBudget


def scope_store(database: Database, redis_url: str) -> ScopeStore:
    """Where the budget is kept: in Redis where one is configured, else in the database."""
    repository = PolitenessRepository(database)
    return RedisScopes(redis_url, repository) if redis_url else repository


def budget_of(database: Database, redis_url: str = "", proxies: Proxies | None = None) -> SharedBudget:
    """The budget for the engines of this process."""
    return fleet_budget(database, store=scope_store(database, redis_url), proxies=proxies)


def ledger_of(database: Database, redis_url: str = "") -> Ledger:
    """The ledger, for an operator's command."""
    return fleet_ledger(database, scope_store(database, redis_url))
