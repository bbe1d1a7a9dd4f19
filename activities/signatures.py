"""The activities as workflows see them: names, messages, nothing that does I/O.

Each function here is a declaration; the implementation of the same name stands in this package and is checked against
it by a test.
"""

from __future__ import annotations

from temporalio import activity

from activities import messages as m


@activity.defn
async def open_crawl_runs(message: m.OpenRunsInput) -> m.OpenRunsResult:
    """Creates the crawl runs of one execution of a campaign, once."""
    raise NotImplementedError


@activity.defn
async def crawl(message: m.CrawlInput) -> m.CrawlResult:
    """Crawls until the frontier of the run is exhausted or the run is stopped."""
    raise NotImplementedError


@activity.defn
async def next_candidates(message: m.NextCandidatesInput) -> m.NextCandidatesResult:
    """Candidates of the run that still have to be ingested."""
    raise NotImplementedError


@activity.defn
async def set_run_state(message: m.RunStateInput) -> str:
    """Records that a crawl run goes on, waits or ended; answers with its state now."""
    raise NotImplementedError


@activity.defn
async def fetch_and_fingerprint(message: m.CandidateInput) -> m.MediaResult:
    """Downloads, probes and fingerprints the audio of a candidate, as far as its source permits."""
    raise NotImplementedError


@activity.defn
async def settle(message: m.CandidateInput) -> m.SettleResult:
    """Asks identity, then publishes, joins, or opens a review case: in one transaction."""
    raise NotImplementedError


@activity.defn
async def ingest_near(message: m.CandidatesInput) -> m.SettledTogether:
    """Fingerprints and settles several candidates whose audio lies on this machine."""
    raise NotImplementedError


@activity.defn
async def settle_silent(message: m.CandidatesInput) -> m.SettledTogether:
    """Settles several candidates without audio, a few in one transaction."""
    raise NotImplementedError


@activity.defn
async def apply_decision(message: m.ApplyDecisionInput) -> m.DecideResult:
    """Carries out a recorded decision, once."""
    raise NotImplementedError


@activity.defn
async def remind_moderators(message: m.CaseInput) -> m.DecideResult:
    """Raises the priority of a case that waits long; tells whether it still waits."""
    raise NotImplementedError


@activity.defn
async def expire_case(message: m.CaseInput) -> m.DecideResult:
    """Ends a case that nobody decided in time."""
    raise NotImplementedError


@activity.defn
async def give_up(message: m.GiveUpInput) -> None:
    """Marks a candidate whose ingest failed for a reason of our own, so that an operator sees it."""
    raise NotImplementedError


@activity.defn
async def identify(message: m.IdentifyInput) -> m.IdentifyResult:
    """Compares a file or a page with the catalog; keeps nothing."""
    raise NotImplementedError
