"""One dataclass per message between workflows, activities and clients. Ids travel, never rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CONTROL_QUEUE = "control"
MEDIA_QUEUE = "media"


def crawl_queue(adapter: str) -> str:
    """The task queue of the crawls of one adapter."""
    return f"crawl-{adapter}"


USUAL_URGENCY = 3
"""Temporal's priority of what says none; 1 goes first, 5 last."""


@dataclass
class CampaignInput:
    """``trigger_key``: names this execution; empty: the workflow's own run id (a schedule's start)."""

    campaign_id: str
    trigger_key: str = ""


@dataclass
class OpenRunsInput:
    campaign_id: str
    trigger_key: str


@dataclass
class OpenedRun:
    """``urgency``: see `catalog.campaigns.urgency`."""

    crawl_run_id: str
    source: str
    adapter: str
    urgency: int = USUAL_URGENCY


@dataclass
class OpenRunsResult:
    campaign: str = ""
    runs: list[OpenedRun] = field(default_factory=list)


@dataclass
class CampaignResult:
    runs: dict[str, str] = field(default_factory=dict)
    """Final state by crawl run id."""


@dataclass
class CrawlRunInput:
    """The fields after ``children_per_execution`` carry the state over a continue-as-new.

    ``urgency``: Temporal's priority of the run and, inherited, of all that it starts.
    """

    crawl_run_id: str
    source: str
    adapter: str
    campaign: str = ""
    urgency: int = USUAL_URGENCY
    window: int = 16
    children_per_execution: int = 1000
    crawled: bool = False
    paused: bool = False
    ingested: int = 0
    parked: int = 0


@dataclass
class CrawlInput:
    crawl_run_id: str


@dataclass
class CrawlResult:
    """``complete``: the frontier is exhausted (else the crawl was stopped from outside, or rests).

    ``rest_s``: nothing is due for so many seconds; the crawl left its place and is to be called again then.
    """

    complete: bool
    pages: int = 0
    items: int = 0
    rest_s: float | None = None


@dataclass
class NextCandidatesInput:
    """``exclude``: candidates whose ingest is under way; ``wait_s``: how long to wait for some during the crawl.

    ``silent``: so many without audio may come beyond the limit, since they are settled together.
    """

    crawl_run_id: str
    limit: int
    silent: int = 0
    exclude: list[str] = field(default_factory=list)
    wait_s: float = 15.0


@dataclass
class CandidateRef:
    """``needs_audio``: its audio is to be fetched before identity can be asked; ``near``: it lies on this machine."""

    candidate_id: str
    needs_audio: bool
    near: bool = False


@dataclass
class NextCandidatesResult:
    """``crawled``: the crawl was over before the question was asked, so that an empty answer is final."""

    candidates: list[CandidateRef] = field(default_factory=list)
    crawled: bool = False


@dataclass
class RunStateInput:
    """``state``: one of `catalog.models.RUN_STATES`; a final one ends the run, `cancelled` discards what it found."""

    crawl_run_id: str
    state: str
    reason: str
    waiting_on: str | None = None


@dataclass
class IngestInput:
    candidate_id: str
    needs_audio: bool
    source: str = ""


@dataclass
class CandidateInput:
    candidate_id: str


@dataclass
class GiveUpInput:
    candidate_id: str
    detail: str


@dataclass
class MediaResult:
    """``outcome``: `ready` (go on to identity), or `settled` (the candidate is final)."""

    outcome: str


@dataclass
class SettleResult:
    """``state``: the candidate's new state; ``case_id`` and the timers only when it is in review.

    ``look_again``: candidates in review whose evidence has changed by this publication.
    """

    state: str
    case_id: str | None = None
    remind_after_s: float | None = None
    expire_after_s: float | None = None
    look_again: list[str] = field(default_factory=list)


@dataclass
class CandidatesInput:
    candidate_ids: list[str] = field(default_factory=list)


@dataclass
class SettledCandidate:
    """``settled``: None where it could not be settled here and now: a workflow of its own is to try again."""

    candidate_id: str
    settled: SettleResult | None = None


@dataclass
class SettledTogether:
    candidates: list[SettledCandidate] = field(default_factory=list)


@dataclass
class ApplyDecisionInput:
    case_id: str


@dataclass
class DecideInput:
    """The `decide` update: a decision on this case stands in PostgreSQL and is to be applied."""

    case_id: str


@dataclass
class DecideResult:
    state: str
    version_id: str | None = None
    song_id: str | None = None
    look_again: list[str] = field(default_factory=list)


@dataclass
class CaseInput:
    case_id: str


@dataclass
class IdentifyInput:
    """A page or an audio file on the web, or an uploaded object, which is deleted afterwards; ``name``: of its file."""

    url: str = ""
    object_key: str = ""
    name: str = ""


@dataclass
class IdentifyResult:
    """``answers``: `activities.identify.Answer` as JSON; ``problem``: code, detail and remedy where there is none."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    problem: dict[str, str] | None = None


@dataclass
class CrawlRunProgress:
    """Answer of the `progress` query."""

    state: str
    crawled: bool
    in_flight: int
    ingested: int
    parked: int
