"""The proof of the one budget: three workers and three engines on one server, judged by the server's own log."""

from __future__ import annotations

import pytest

from benchmarks.politeness_shared import ENGINES, of_worker, trial
from crawlers.browser import find_chromium


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.timeout(400)
def test_three_workers_and_three_engines_keep_one_budget_and_use_it(database_url: str) -> None:
    engines = ENGINES if find_chromium() else ("http", "audio")
    done = trial(database_url, workers=3, engines=engines, delay_s=0.25, concurrency=6, seconds=10.0)
    assert done.wrong == []
    assert len(done.by) == sum(len(of_worker(engines, number)) for number in range(3))  # nobody was left out
    assert done.rate >= 0.9 * done.permitted
