"""What follows from an answer or a failure: the same for every engine that asks sites."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime

from adapters.contract import ExtractionError, XmlBombError
from crawlers.classify import Backoff
from crawlers.errors import CONSEQUENCES, FailureClass, FetchError
from crawlers.ports import CrawlLimits, CrawlProgress, Incident, QueuedRequest

_MAX_DETAIL = 500


def too_deep(queued: QueuedRequest, limits: CrawlLimits) -> FetchError | None:
    """Why a request is not even sent, where its depth is the reason."""
    if queued.depth <= limits.max_depth:
        return None
    return FetchError(FailureClass.TOO_DEEP, f"depth {queued.depth}, limits.max_depth is {limits.max_depth}")


def retry_in_s(queued: QueuedRequest, error: FetchError, limits: CrawlLimits, backoff: Backoff) -> float | None:
    """When a failed request is sent again, in seconds; None: not in this run. What the site asks for wins."""
    attempt = queued.attempts + 1
    if not CONSEQUENCES[error.failure].retry or attempt >= limits.max_attempts:
        return None
    return backoff.delay_s(attempt) if error.retry_after_s is None else error.retry_after_s


def failure_of_parse(problem: Exception, status: int | None = None) -> FetchError:
    """What it means that an adapter's ``parse`` raised this."""
    if isinstance(problem, XmlBombError):
        return FetchError(FailureClass.XML_BOMB, str(problem)[:_MAX_DETAIL], status=status)
    if isinstance(problem, ExtractionError):
        return FetchError(FailureClass.BROKEN_MARKUP, str(problem)[:_MAX_DETAIL], status=status)
    return FetchError(FailureClass.ADAPTER_BROKEN, _last_line(problem), status=status)


def incident(
    progress: CrawlProgress, queued: QueuedRequest, error: FetchError, *, final: bool, attempts: int | None = None
) -> Incident:
    """The incident of a failed request; a final one is counted. ``attempts``: default, this one and those before."""
    if final:
        progress.failures[error.failure.value] = progress.failures.get(error.failure.value, 0) + 1
    return Incident(
        queued.request_key,
        queued.request.url,
        error.failure,
        detail=error.detail[:_MAX_DETAIL],
        status=error.status,
        attempts=queued.attempts + 1 if attempts is None else attempts,
        final=final,
    )


def fetched_now() -> str:
    """This moment, as a snapshot is dated."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _last_line(error: Exception) -> str:
    """The exception and where it was raised, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return traceback.format_exception_only(error)[-1].strip()[:400] + place
