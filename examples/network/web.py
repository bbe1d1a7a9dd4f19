"""All sites of the network, and the campaign that crawls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catalog.campaigns.spec import CampaignSpec
from examples.network import hostile, unwell, well
from examples.network.hostile import Dead, Forbidden
from examples.network.site import Site

NAME = "network"
CONCURRENCY = 3


def sites(pages: int) -> list[Site]:
    """Fresh sites that want to be crawled, each with about so many songs."""
    return [make(pages) for make in (*well.SITES, *unwell.SITES, *hostile.SITES)]


def campaign(crawled: list[Site], urls: Mapping[str, str]) -> CampaignSpec:
    """The campaign on these sites, without audio and without a moderator."""
    sources: list[dict[str, Any]] = []
    for site in crawled:
        # No server listens behind the dead one's address.
        url = urls.get(site.name, "http://127.0.0.1:9")
        sources.append(
            {
                "source": site.name,
                "adapter": site.adapter,
                "seeds": [url + seed for seed in site.seeds],
                "audio": "none",
                "politeness": {"delay": site.delay_s, "concurrency": CONCURRENCY},
                **site.settings,
            }
        )
    return CampaignSpec.model_validate(
        {
            "version": 1,
            "name": NAME,
            "allow_private": [*(url for name, url in urls.items() if name != Forbidden.name), "http://127.0.0.1:9"],
            "sources": sources,
            "approval": {"recording": "auto", "song": "auto", "new_song": "auto", "require": ["title"]},
        }
    )


__all__ = ["CONCURRENCY", "NAME", "Dead", "Forbidden", "campaign", "sites"]
