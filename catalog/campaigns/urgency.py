"""Which runs go first where several wait for the same workers.

What will be gone soon is fetched first, and what is new goes before what has been there for years: a first crawl of a
source brings its whole past, later ones what was added since.
"""

from __future__ import annotations

import math

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from catalog import availability
from catalog.campaigns import thresholds
from catalog.models import CrawlRun

USUAL = 3
"""In the middle of 1, which goes first, to 5."""


def of_run(session: Session, run: CrawlRun) -> int:
    """1 (first) to 5 (last): by how fast the source deletes, and whether this is its first crawl."""
    return max(1, min(5, USUAL - haste(availability.vanish_rate(session, run.source)) + _is_backfill(session, run)))


def haste(rate: float) -> int:
    """Steps ahead for a source of which so many a second vanish: 0, 1 or 2."""
    in_a_month = 1 - math.exp(-rate * 30 * 86_400)
    return sum(in_a_month >= share for share in thresholds.HASTY_SHARES)


def _is_backfill(session: Session, run: CrawlRun) -> bool:
    crawled = exists().where(CrawlRun.source == run.source, CrawlRun.id != run.id, CrawlRun.crawled_at.is_not(None))
    return not session.scalar(select(crawled))
