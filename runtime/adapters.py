"""What the checks of campaign files know of the adapters."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from adapters.contract import Adapter, SourceQuery, adapter_names, get_adapter
from catalog.campaigns.files import AdapterFacts
from catalog.campaigns.spec import SourceSpec

_SEEDS_CHECKED = 10_000


def adapter_facts() -> dict[str, AdapterFacts]:
    """All adapters, by name."""
    return {name: _facts(get_adapter(name)) for name in adapter_names()}


def _facts(adapter: Adapter) -> AdapterFacts:
    polite = adapter.politeness
    return AdapterFacts(
        adapter.name,
        str(adapter.audio_policy),
        str(adapter.engine),
        polite.delay_s,
        polite.concurrency,
        polite.respect_robots,
        _seed_check(adapter),
    )


def _seed_check(adapter: Adapter) -> Callable[[SourceSpec], None]:
    def check(entry: SourceSpec) -> None:
        query = SourceQuery(entry.name, entry.seeds, entry.search, entry.follow, entry.options)
        for _ in islice(adapter.seeds(query), _SEEDS_CHECKED):
            pass

    return check
