"""What campaigns must know of the adapters there are."""

from __future__ import annotations

from itertools import islice

from adapters.contract import Adapter, SourceQuery, adapter_names, get_adapter
from catalog.campaigns.files import AdapterFacts
from catalog.campaigns.spec import SourceSpec

_SEEDS_CHECKED = 10_000


def adapter_facts() -> dict[str, AdapterFacts]:
    """Facts of all registered adapters, by name."""
    return {name: facts_of(get_adapter(name)) for name in adapter_names()}


def facts_of(adapter: Adapter) -> AdapterFacts:
    """Facts of one adapter."""

    def check_seeds(source: SourceSpec) -> None:
        query = SourceQuery(source.name, source.seeds, source.search, source.follow, source.options)
        for _ in islice(adapter.seeds(query), _SEEDS_CHECKED):
            pass

    return AdapterFacts(
        name=adapter.name,
        audio_policy=str(adapter.audio_policy),
        engine=str(adapter.engine),
        delay_s=adapter.politeness.delay_s,
        concurrency=adapter.politeness.concurrency,
        respect_robots=adapter.politeness.respect_robots,
        check_seeds=check_seeds,
    )
