"""What is known of pages and sources over many crawl runs: history, trap counts, availability."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from catalog.models.base import Base, Keyed
from catalog.models.music import AVAILABILITIES, one_of


class PageHistory(Base):
    """What is known of a page over all crawl runs of its source: what it said, and how often it changes.

    ``items`` and ``links`` are what it brought when it was last read; they count as seen again while it is unchanged.
    ``links`` null: too many to keep. Times of visits: see `catalog.revisit`.
    """

    __tablename__ = "page_history"

    source: Mapped[str] = mapped_column(Text, primary_key=True)
    request_key: Mapped[str] = mapped_column(Text, primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    crawl_run_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("crawl_runs.id", ondelete="SET NULL"), index=True)
    """The run that read it last."""
    rule: Mapped[str] = mapped_column(Text)
    """Digest of the settings under which it was read."""
    etag: Mapped[str | None] = mapped_column(Text)
    last_modified: Mapped[str | None] = mapped_column(Text)
    lastmod: Mapped[str | None] = mapped_column(Text)
    """What the source's sitemap said at the last visit."""
    digest: Mapped[str] = mapped_column(Text)
    items: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))
    """Source keys."""
    links: Mapped[list[Any] | None]
    """``[{request_key, url, kind, priority, context, deeper}]``."""
    read_at: Mapped[datetime]
    checked_at: Mapped[datetime]
    due_at: Mapped[datetime]
    visits: Mapped[int] = mapped_column(server_default="0")
    changes: Mapped[int] = mapped_column(server_default="0")
    observed_s: Mapped[float] = mapped_column(server_default="0")
    interval_s: Mapped[float] = mapped_column(server_default="0")
    body_object_key: Mapped[str | None] = mapped_column(ForeignKey("stored_objects.key", ondelete="SET NULL"))
    body_offset: Mapped[int | None] = mapped_column(BigInteger)
    body_length: Mapped[int | None] = mapped_column(BigInteger)
    body_url: Mapped[str | None] = mapped_column(Text)
    body_date: Mapped[str | None] = mapped_column(Text)


class TrapCounter(Base):
    """How many pages of one URL pattern brought no item in a crawl run; the memory of its trap detector."""

    __tablename__ = "trap_counters"

    crawl_run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("crawl_runs.id", ondelete="CASCADE"), primary_key=True)
    pattern: Mapped[str] = mapped_column(Text, primary_key=True)
    pages: Mapped[int] = mapped_column(server_default="0")
    reported: Mapped[bool] = mapped_column(server_default=text("false"))


class SourceFreeze(Keyed, Base):
    """Retraction is frozen for a source since ``frozen_at``: too much of it seemed to disappear at once.

    It ends when an operator releases it; the row stays as the record of what happened.
    """

    __tablename__ = "source_freezes"

    source: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)
    frozen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    released_at: Mapped[datetime | None]

    __table_args__ = (
        Index("uq_source_freezes_active", "source", unique=True, postgresql_where=text("released_at IS NULL")),
    )


class AvailabilityCheck(Base):
    """One look at whether a version's source is still there; old rows are pruned by the refresh runs."""

    __tablename__ = "availability_checks"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    version_source_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("version_sources.id", ondelete="CASCADE"), index=True
    )
    source: Mapped[str] = mapped_column(Text)
    crawl_run_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("crawl_runs.id", ondelete="SET NULL"), index=True)
    checked_at: Mapped[datetime]
    verdict: Mapped[str] = mapped_column(Text)
    """An availability."""
    reason: Mapped[str] = mapped_column(Text, server_default="")

    __table_args__ = (
        Index("ix_availability_checks_source", "source", "checked_at"),
        one_of("verdict", AVAILABILITIES, "verdict"),
    )
