"""Time-outs and retries of the activities, one per sort. Retries of requests belong to the engines, not to these."""

from __future__ import annotations

from datetime import timedelta

from temporalio.common import RetryPolicy

# A database or a worker that is away comes back: wait for it for ever, but ask politely.
PATIENT = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=10)
)

DATABASE_TIMEOUT = timedelta(seconds=15)
"""One transaction. Also how long a killed worker's step stays unnoticed."""

SETTLE_TIMEOUT = timedelta(minutes=5)
"""A window of candidates, one transaction each; it heartbeats after each."""

MEDIA_TIMEOUT = timedelta(minutes=30)
CRAWL_TIMEOUT = timedelta(days=30)
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
"""How long a killed worker's crawl, download or wait stays unnoticed."""

POLL_TIMEOUT = timedelta(seconds=40)

IDENTIFY_TIMEOUT = timedelta(minutes=2)
"""Somebody waits for the answer."""

EVENTS_PER_EXECUTION = 15_000
"""A history is continued as new well before Temporal's limit of 51,200 events."""
