"""The durable side of a refresh run: the frontier as in any run, and looks at sources instead of candidates."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import availability
from catalog.availability import Bounds, Look
from catalog.database import Database
from catalog.models import FrontierRequest
from catalog.repositories.crawl_store import CrawlRunStore, OutcomeRow

_VERDICTS = {
    "not_found": "removed",
    "gone": "removed",
    "private": "private",
    "geo_blocked": "geo_blocked",
    "age_restricted": "age_restricted",
    "auth_required": "auth_required",
}
"""What a failed request says of the item behind it; all other failures say nothing."""
ITEM_MISSING = "item_missing"
"""The page is there and can be read, and the item is not on it."""


class RefreshRunStore(CrawlRunStore):
    """Commits outcomes as its base does, but what pages bring changes no candidate.

    Args:
        keys_in: the name under which a request's context lists the source keys that it tells of.
    """

    def __init__(
        self, database: Database, crawl_run_id: str | uuid.UUID, *, source: str, bounds: Bounds, keys_in: str
    ) -> None:
        super().__init__(database, crawl_run_id, source=source)
        self._bounds_of_looks = bounds
        self._keys_in = keys_in

    def is_seeded(self) -> bool:
        """Whether an earlier attempt has chosen what to look at."""
        with self._database.transaction() as session:
            query = select(FrontierRequest.seq).where(FrontierRequest.crawl_run_id == self._run)
            return session.scalar(query.limit(1)) is not None

    def _upsert_candidates(self, session: Session, outcomes: Sequence[OutcomeRow]) -> Counter[str]:
        return Counter()

    def _see_again(self, session: Session, outcomes: Sequence[OutcomeRow]) -> Counter[str]:
        return Counter()

    def _complete(
        self, session: Session, counters: Mapping[str, Any], outcomes: Sequence[OutcomeRow]
    ) -> Mapping[str, Any]:
        keys = [outcome.request_key for outcome in outcomes]
        contexts = {
            row.request_key: row.context
            for row in session.execute(
                select(FrontierRequest.request_key, FrontierRequest.context).where(
                    FrontierRequest.crawl_run_id == self._run, FrontierRequest.request_key.in_(keys)
                )
            )
        }
        looks = [
            look
            for outcome in outcomes
            for look in looks_of(outcome, contexts.get(outcome.request_key, {}).get(self._keys_in, ()))
        ]
        done = availability.record(session, self._source, looks, self._bounds_of_looks, run_id=self._run)
        done.update(counters.get("looks", {}))
        return {**counters, "looks": dict(sorted(done.items()))}


def looks_of(outcome: OutcomeRow, source_keys: Sequence[str]) -> list[Look]:
    """What an answered request says of these items; nothing while it is to be asked again."""
    if outcome.retry_in_s is not None:
        return []
    if outcome.incident is not None:
        verdict = _VERDICTS.get(outcome.incident.failure, "unknown")
        return [Look(key, verdict, outcome.incident.failure) for key in source_keys]
    if outcome.visit is not None and outcome.visit.unchanged:
        return [Look(key, "available", "not_modified") for key in source_keys]
    found = {item.source_key: item.availability for item in outcome.items}
    return [Look(key, found[key], "") if key in found else Look(key, "removed", ITEM_MISSING) for key in source_keys]
