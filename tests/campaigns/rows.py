"""Rows as a crawl leaves them."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from catalog.campaigns.files import load_text
from catalog.campaigns.spec import CampaignSpec
from catalog.models import AudioFingerprint, Candidate, CrawlIncident, FrontierRequest, ReviewCase
from tests.campaigns.facts import FACTS

_numbers = itertools.count()

TEXT = """\
version: 1
name: demo
sources:
  - {source: pesennik, adapter: website, seeds: ["http://a.example/"], politeness: {delay: 2s}}
  - {adapter: talk, search: [катюша], limits: {max_pages: 500}}
schedule: {every: 6h}
"""


def spec(text: str = TEXT) -> CampaignSpec:
    return load_text(text, "c.yaml", {}, FACTS)


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def candidate(session: Session, run_id: uuid.UUID, state: str = "discovered", **values: Any) -> Candidate:
    key = f"k{next(_numbers)}"
    values.setdefault("since", ago(3600))
    values.setdefault("item", {"title": f"Песня {key}"})
    row = Candidate(
        source="pesennik",
        source_key=key,
        url=f"http://a.example/{key}",
        crawl_run_id=run_id,
        item_digest="x",
        state=state,
        **values,
    )
    session.add(row)
    session.flush()
    return row


def fingerprint(session: Session, row: Candidate) -> None:
    session.add(AudioFingerprint(candidate_id=row.id, duration_s=10.0, items=b"\0\0\0\0"))


def request(session: Session, run_id: uuid.UUID, state: str = "queued", **values: Any) -> str:
    key = f"r{next(_numbers)}"
    session.add(
        FrontierRequest(
            crawl_run_id=run_id, request_key=key, url=f"http://a.example/{key}", kind="page", state=state, **values
        )
    )
    session.flush()
    return key


def incident(session: Session, run_id: uuid.UUID, failure: str, key: str | None = None, **values: Any) -> str:
    key = key or f"i{next(_numbers)}"
    session.add(
        CrawlIncident(crawl_run_id=run_id, request_key=key, failure=failure, url=f"http://a.example/{key}", **values)
    )
    session.flush()
    return key


def review_case(session: Session, row: Candidate) -> ReviewCase:
    case = ReviewCase(candidate_id=row.id, reason="similar_recording")
    session.add(case)
    session.flush()
    return case
