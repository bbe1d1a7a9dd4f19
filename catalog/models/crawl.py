"""Campaigns, crawl runs, the frontier, snapshots and the politeness budget."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from catalog.models.base import Base, Keyed, Timestamped
from catalog.models.music import one_of

RUN_STATES = ("pending", "running", "paused", "stopping", "stopped", "cancelled", "finished", "failed")
RUN_FINAL_STATES = ("stopped", "cancelled", "finished", "failed")


PUBLICATION_STATES = ("open", "probation", "held", "released", "discarded")


class Campaign(Keyed, Timestamped, Base):
    """What an operator wants. ``spec``: the checked campaign file with its parameters filled in."""

    __tablename__ = "campaigns"

    name: Mapped[str] = mapped_column(Text, unique=True)
    spec: Mapped[dict[str, Any]]
    revision: Mapped[int] = mapped_column(server_default="1")
    state: Mapped[str] = mapped_column(Text, server_default="active")
    deleted_at: Mapped[datetime | None]

    __table_args__ = (one_of("state", ("active", "paused", "deleted"), "state"),)


class CrawlRun(Keyed, Timestamped, Base):
    """One execution of a campaign on one source.

    ``trigger_key`` names the execution of the campaign (a Temporal run id); one crawl run per source of it.
    """

    __tablename__ = "crawl_runs"

    campaign_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("campaigns.id"))
    trigger_key: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    spec: Mapped[dict[str, Any]]
    """The source's entry of the campaign, with defaults filled in."""
    state: Mapped[str] = mapped_column(Text, server_default="pending")
    reason: Mapped[str] = mapped_column(Text, server_default="new")
    waiting_on: Mapped[str | None] = mapped_column(Text)
    next_attempt_at: Mapped[datetime | None]
    crawled_at: Mapped[datetime | None]
    """When the frontier was exhausted."""
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    counters: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """requests, pages, items, new, changed, unchanged, bytes, retries, failures by class; kept by the store."""
    publication: Mapped[str] = mapped_column(Text, server_default="open")
    """Whether what it finds may be taken in: see `catalog.campaigns.holds`."""
    publication_detail: Mapped[str] = mapped_column(Text, server_default="")
    """Why not, for people."""

    __table_args__ = (
        Index("uq_crawl_runs_trigger", "campaign_id", "trigger_key", "source", unique=True),
        Index("ix_crawl_runs_state", "state"),
        one_of("state", RUN_STATES, "state"),
        one_of("publication", PUBLICATION_STATES, "publication"),
    )


class FrontierRequest(Base):
    """A request of a crawl run; it stays after it was answered, so that it is not asked twice."""

    __tablename__ = "frontier_requests"

    crawl_run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("crawl_runs.id", ondelete="CASCADE"), primary_key=True)
    request_key: Mapped[str] = mapped_column(Text, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, Identity())
    url: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    context: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    depth: Mapped[int] = mapped_column(server_default="0")
    priority: Mapped[int] = mapped_column(server_default="0")
    state: Mapped[str] = mapped_column(Text, server_default="queued")
    attempts: Mapped[int] = mapped_column(server_default="0")
    not_before: Mapped[datetime] = mapped_column(server_default=func.now())
    wait_reason: Mapped[str | None] = mapped_column(Text)
    """Why the politeness budget gave no permit, and ``waiting_on``: who can change that; None otherwise."""
    waiting_on: Mapped[str | None] = mapped_column(Text)
    status: Mapped[int | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "ix_frontier_queue",
            "crawl_run_id",
            text("priority DESC"),
            "seq",
            postgresql_where=text("state = 'queued'"),
        ),
        one_of("state", ("queued", "done", "failed"), "state"),
    )


class CrawlIncident(Base):
    """A URL of a run that ended badly, by failure class."""

    __tablename__ = "crawl_incidents"

    crawl_run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("crawl_runs.id", ondelete="CASCADE"), primary_key=True)
    request_key: Mapped[str] = mapped_column(Text, primary_key=True)
    failure: Mapped[str] = mapped_column(Text, primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    status: Mapped[int | None]
    detail: Mapped[str] = mapped_column(Text, server_default="")
    attempts: Mapped[int] = mapped_column(server_default="1")
    final: Mapped[bool] = mapped_column(server_default=text("true"))
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class StoredObject(Base):
    """An object of the object store. The row is written before the object, so that no object is ever unknown.

    ``state``: ``pending`` until something refers to it; a sweep removes what stays pending.
    """

    __tablename__ = "stored_objects"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger, server_default="0")
    state: Mapped[str] = mapped_column(Text, server_default="pending")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        one_of("kind", ("audio", "warc"), "kind"),
        one_of("state", ("pending", "kept"), "state"),
    )


class PageSnapshot(Keyed, Base):
    """Where the stored response of a URL lies."""

    __tablename__ = "page_snapshots"

    crawl_run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("crawl_runs.id", ondelete="CASCADE"))
    request_key: Mapped[str] = mapped_column(Text)
    url: Mapped[str] = mapped_column(Text)
    status: Mapped[int | None]
    object_key: Mapped[str] = mapped_column(ForeignKey("stored_objects.key"))
    offset: Mapped[int] = mapped_column(BigInteger)
    length: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(Text)
    fetched_at: Mapped[datetime] = mapped_column(server_default=func.now())
    body_object_key: Mapped[str | None] = mapped_column(ForeignKey("stored_objects.key"))
    """Of a response that repeats an earlier one: where that lies, with ``body_offset`` and ``body_length``."""
    body_offset: Mapped[int | None] = mapped_column(BigInteger)
    body_length: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (Index("uq_page_snapshots_request", "crawl_run_id", "request_key", unique=True),)


class PolitenessScope(Base):
    """The budget of one scope, shared by all engines and workers: ``group:HOST:PORT``, ``host:PATTERN`` or
    ``source:NAME``. ``state``: as `crawlers.budget.scope` writes it."""

    __tablename__ = "politeness_scopes"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    state: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    # Written many times a second: with free room in each page, an update moves no index entry.
    __table_args__ = ({"postgresql_with": {"fillfactor": "40"}},)


class PolitenessLimit(Base):
    """What the operator permits at most: ``target`` is ``source:NAME`` or ``host:PATTERN``."""

    __tablename__ = "politeness_limits"

    target: Mapped[str] = mapped_column(Text, primary_key=True)
    limits: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
