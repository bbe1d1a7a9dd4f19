"""Which of several runs goes first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from catalog import availability
from catalog.campaigns import repository, urgency
from catalog.database import Database
from tests.campaigns import rows
from tests.factories import Factory


def test_a_backfill_waits_and_what_deletes_fast_goes_first(database: Database) -> None:
    with database.transaction() as session:
        campaign, *_ = repository.apply(session, rows.spec())
        first, other = repository.open_runs(session, campaign.id, "t1")
        assert urgency.of_run(session, first) == 4, "a first crawl brings what has been there for years"
        first.crawled_at = datetime.now(UTC)
        session.flush()
        again = repository.open_runs(session, campaign.id, "t2")[0]
        assert urgency.of_run(session, again) == 3
        assert urgency.of_run(session, other) == 4, "another source's crawl says nothing of it"

        make = Factory(session)
        version = make.version(make.song("Song"))
        for number in range(20):
            source = make.source(version, source=first.source, rank=number, vanished=int(number < 3))
            source.created_at = datetime.now(UTC) - timedelta(days=40)
        session.flush()
        assert availability.vanish_rate(session, first.source) * 86_400 * 30 > 0.03
        assert urgency.of_run(session, again) == 2


def test_haste_has_bounds() -> None:
    a_month = 30 * 86_400.0
    assert [urgency.haste(share / a_month) for share in (0.0, 0.016, 0.05, 0.2, 50.0)] == [0, 0, 1, 2, 2]
