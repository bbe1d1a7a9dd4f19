"""The network of sites, crawled by two workers of which each is killed: `make network`, in short."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from lxml import html

from crawlers.errors import FailureClass
from examples.network import trial
from examples.network.site import MOST_PAGES, Site
from examples.network.web import sites

ELSEWHERE = {
    FailureClass.PRIVATE,  # these are told of items, see test_classes
    FailureClass.AGE_RESTRICTED,
    FailureClass.ADAPTER_BROKEN,
    FailureClass.BROWSER_MISSING,
    FailureClass.PROXY_FAILED,  # the trial has no proxies: see tests/crawlers/test_proxies.py
    FailureClass.BOT_CHECK,  # it would stop the crawl of its source: see tests/crawlers/test_budget.py
}
"""Classes that no site of the network makes: they come of adapters and engines."""


@pytest.mark.stack
@pytest.mark.slow
@pytest.mark.xdist_group("stack")
def test_two_workers_and_kills(tmp_path: Path) -> None:
    outcome = trial.trial(tmp_path, pages=6, kills=2, rng=random.Random(7))
    assert outcome.wrong == []
    assert outcome.kills == 2
    assert len(outcome.report["sources"]) >= 20
    page = html.parse(str(tmp_path / "report.html"))
    told = {each.get("id").removeprefix("class-") for each in page.xpath("//h3[starts-with(@id, 'class-')]")}
    assert told == expected_classes(sites(6))
    assert len(page.xpath("//p[@class='remedy']")) >= len(told)


def expected_classes(crawled: list[Site]) -> set[str]:
    # What passes when it is asked again is told as well.
    return {name for site in crawled for name in site.expected.failures} | {"server_error"}


def test_the_network_makes_every_class_of_failure() -> None:
    assert expected_classes(sites(3)) == {str(each) for each in set(FailureClass) - ELSEWHERE}


def test_sites_are_many_and_of_their_own() -> None:
    crawled = sites(MOST_PAGES)
    assert len(crawled) >= 20
    titles = [song.title for site in crawled for song in site.songs]
    assert len(set(titles)) == len(titles)
    assert len({site.name for site in crawled}) == len(crawled)


@pytest.mark.parametrize(
    ("moments", "burst"),
    [
        ([0.0, 1.0, 2.0, 3.0], None),
        ([0.0, 0.6, 2.0, 3.0], None),  # within the jitter
        ([0.0, 1.0, 2.0, 2.1, 2.2, 5.0], (4, 2.1)),
    ],
)
def test_bursts_are_seen(moments: list[float], burst: tuple[int, float] | None) -> None:
    assert trial.fastest_burst(moments, 1.0) == burst
