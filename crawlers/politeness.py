"""The politeness budget of one process, for tools that crawl without a fleet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from crawlers.budget.ledger import Ledger, no_policy
from crawlers.budget.limits import Policy
from crawlers.budget.shared import SharedBudget


class MemoryStore:
    """A `crawlers.budget.ledger.ScopeStore` in a dict."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def transact(self, keys: Sequence[str], change: Callable[[dict[str, dict[str, Any]], float], None]) -> None:
        """Calls ``change`` with the documents of these keys and the time, and keeps what it made of them."""
        with self._lock:
            documents = {key: self.documents.get(key, {}) for key in keys}
            change(documents, time.time())
            self.documents.update(documents)


class MemoryBudget(SharedBudget):
    """A `crawlers.ports.PolitenessBudget` of one process. ``policy``: an operator's limits."""

    def __init__(self, policy: Callable[[], Policy] = no_policy) -> None:
        super().__init__(Ledger(MemoryStore(), policy))
