"""Looking without touching: a sample of a campaign's sources for its plan, and a dry run of a whole campaign.

Pages are fetched by the same engines as in a real run, within the same shared politeness budget, which is all that is
used up. See docs/decisions/0012-incremental-crawls.md for why nothing else can change.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from activities.crawl_ports import candidate_row
from activities.crawls import job_of
from activities.politeness import fleet_budget
from adapters.contract import RecordingItem, get_adapter
from catalog.campaigns.errors import CampaignError
from catalog.campaigns.plan import Sample
from catalog.campaigns.repository import run_spec
from catalog.campaigns.spec import CampaignSpec
from catalog.database import Database
from catalog.models import CrawlRun
from catalog.repositories.crawl_store import CandidateRow, tells_less
from crawlers.engines import crawl_with_engine
from crawlers.ephemeral import EphemeralStore, NoSnapshots
from crawlers.ports import CrawlProgress, PolitenessBudget
from crawlers.yt_dlp_parts.accounts import Accounts
from moderation.trial import Finding, Trial, read_only
from runtime.settings import Settings

MAX_ITEMS = 100_000
"""Items held of one source."""
_BATCH = 200


class NoTrialError(CampaignError):
    """This campaign cannot be tried."""

    code = "no_trial"


@dataclass(slots=True)
class SourceTrial:
    """What a look at one source brought. ``left``: requests that are known and were not made."""

    source: str
    requests: int = 0
    bytes: int = 0
    known: int = 0
    left: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    audio_unheard: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values; unchanged items are counted only."""
        listed = [asdict(each) for each in self.findings if each.kind != "unchanged"]
        return {**asdict(self), "findings": listed}


class _Looked:
    """Items as a run would keep them: of two tellings of one item the fuller one, else the later."""

    def __init__(self) -> None:
        self.rows: dict[str, CandidateRow] = {}

    def found(self, items: Sequence[RecordingItem]) -> None:
        for item in items:
            row = candidate_row(item)
            before = self.rows.get(row.source_key)
            if before is None and len(self.rows) >= MAX_ITEMS:
                continue
            if before is None or not tells_less(row.item, before.item):
                self.rows[row.source_key] = row


@dataclass(slots=True)
class _Trial:
    spec: dict[str, Any]
    store: EphemeralStore
    looked: _Looked
    requests: int


async def look(database: Database, settings: Settings, spec: CampaignSpec, pages: int) -> list[_Trial]:
    """Fetches up to so many pages of each source, side by side. Raises NoTrialError."""
    if spec.kind != "crawl":
        raise NoTrialError(
            f"{spec.name} is a refresh campaign: it finds nothing; `versions campaign plan` says its cost"
        )
    budget = fleet_budget(database)
    record = spec.record()
    return list(await asyncio.gather(*(_look(budget, settings, record, entry, pages) for entry in record["sources"])))


async def _look(
    budget: PolitenessBudget, settings: Settings, record: dict[str, Any], entry: dict[str, Any], pages: int
) -> _Trial:
    adapter = get_adapter(entry["adapter"])
    # What is known plays no part: the look is at the site.
    spec = {**run_spec(record, entry), "revisit": None}
    run = CrawlRun(id=uuid.uuid4(), campaign_id=uuid.uuid4(), source=entry["source"], spec=spec)
    job = job_of(run, adapter, settings.user_agent)
    job = replace(job, limits=replace(job.limits, max_pages=min(pages, job.limits.max_pages)))
    looked, progress = _Looked(), CrawlProgress()
    store = EphemeralStore(looked.found)
    await crawl_with_engine(
        job,
        adapter,
        store=store,
        snapshots=NoSnapshots(),
        budget=budget,
        progress=progress,
        stop=asyncio.Event(),
        accounts=Accounts(settings.accounts_dir),
    )
    return _Trial(spec, store, looked, progress.requests)


def sample(database: Database, settings: Settings, spec: CampaignSpec, pages: int) -> dict[str, Sample]:
    """What up to so many pages of each source tell of its size, by source name. Raises NoTrialError."""
    result = {}
    for trial in asyncio.run(look(database, settings, spec, pages)):
        store = trial.store
        mean = store.bytes / store.answered if store.answered else 0.0
        result[trial.spec["source"]] = Sample(store.known, mean, store.answered, store.left == 0)
    return result


def dry_run(database: Database, settings: Settings, spec: CampaignSpec, pages: int) -> list[SourceTrial]:
    """What a run of the campaign would do, source by source. Raises NoTrialError."""
    result = []
    for trial in asyncio.run(look(database, settings, spec, pages)):
        store, rows = trial.store, list(trial.looked.rows.values())
        one = SourceTrial(
            trial.spec["source"],
            requests=trial.requests,
            bytes=store.bytes,
            known=store.known,
            left=store.left,
            failures=dict(sorted(store.failures.items())),
        )
        judge = Trial(one.source, trial.spec["approval"])
        for start in range(0, len(rows), _BATCH):
            with database.transaction() as session:
                read_only(session)
                one.findings += judge.judge(session, rows[start : start + _BATCH])
        one.counts = dict(sorted(Counter(each.kind for each in one.findings).items()))
        if trial.spec["audio"] != "none":
            one.audio_unheard = sum("audio_url" in row.item for row in rows)
        result.append(one)
    return result
