"""Candidates as a crawl would leave them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from catalog.models import AudioFingerprint, Campaign, Candidate, CrawlRun
from identity.recording.index import SegmentIndex
from identity.recording.items import Items, fingerprint_bytes


def performance(seed: int, seconds: float = 60.0) -> Items:
    """The fingerprint of a recording that is like no other."""
    return np.random.default_rng(seed).integers(0, 2**32, int(seconds / 0.12383), dtype=np.uint32)


def copy_of(items: Items, *, bit_error_rate: float, seed: int = 1) -> Items:
    """The same recording, as another upload would sound: random bits flipped."""
    flips = np.random.default_rng(seed).random((len(items), 32)) < bit_error_rate
    return items ^ np.packbits(flips, axis=1, bitorder="little").view(np.uint32).ravel()


@pytest.fixture
def add(make_run: Callable[..., CrawlRun]) -> Callable[..., Candidate]:
    def build(
        session: Session,
        key: str,
        *,
        title: str = "Калинка",
        performer: str | None = "Хор Примера",
        composer: str | None = "русская народная",
        items: Items | None = None,
        duration: float = 60.0,
        source: str = "site",
        trust: float = 0.5,
        approval: dict[str, Any] | None = None,
        **item: Any,
    ) -> Candidate:
        credits = [
            {"name": name, "role": role} for name, role in ((performer, "performer"), (composer, "composer")) if name
        ]
        content = {"source_key": key, "title": title, "credits": credits, "duration_s": duration, **item}
        run = make_run(session, source, approval)
        candidate = Candidate(
            source=source,
            source_key=key,
            url=f"https://site.example/{key}",
            item=content,
            item_digest=str(hash(str(content))),
            trust=trust,
            duration_s=duration,
            crawl_run_id=run.id,
            state="fingerprinted" if items is not None else "discovered",
            audio_sha256=None if items is None else hashlib.sha256(fingerprint_bytes(items)).hexdigest(),
            audio={"codec": "mp3", "bit_rate": 128000},
        )
        session.add(candidate)
        session.flush()
        if items is not None:
            fingerprint = AudioFingerprint(
                candidate_id=candidate.id, duration_s=duration, items=fingerprint_bytes(items)
            )
            session.add(fingerprint)
            session.flush()
            SegmentIndex().add(session, fingerprint.id, items)
        return candidate

    return build


@pytest.fixture
def make_run() -> Callable[..., CrawlRun]:
    def build(session: Session, source: str, approval: dict[str, Any] | None) -> CrawlRun:
        campaign = Campaign(name=f"c-{uuid.uuid4().hex[:8]}", spec={})
        session.add(campaign)
        session.flush()
        auto = {"recording": "auto", "song": "auto", "new_song": "auto", "require": ["title", "performer", "duration"]}
        run = CrawlRun(
            campaign_id=campaign.id,
            trigger_key="t",
            source=source,
            spec={"approval": approval or auto},
            state="finished",
        )
        session.add(run)
        session.flush()
        return run

    return build
