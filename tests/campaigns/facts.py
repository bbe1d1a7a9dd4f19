"""Adapters as a campaign sees them."""

from __future__ import annotations

from catalog.campaigns.files import AdapterFacts
from catalog.campaigns.spec import SourceSpec


def only_http(source: SourceSpec) -> None:
    for seed in source.seeds:
        if not seed.startswith("http"):
            raise ValueError(f"{seed} is not a URL; give an http address")


FACTS = {
    "website": AdapterFacts("website", "store", "http", delay_s=2.0, concurrency=3, check_seeds=only_http),
    "talk": AdapterFacts("talk", "fingerprint_only", "yt_dlp"),
    "folder": AdapterFacts("folder", "store", "files", delay_s=0.0, concurrency=1),
}
