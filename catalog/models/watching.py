"""What operators watch: the course of crawl runs in time, and the workers of the fleet."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from catalog.models.base import Base


class CrawlBucket(Base):
    """What a crawl run did from ``started_at`` on, ``width_s`` seconds long (see `catalog.repositories.crawl_series`).

    ``statuses``, ``failures`` and ``groups`` count requests by HTTP status (``none``: no answer), by failure class
    (those asked again included) and by server group; ``latency`` counts them by the bounds of `LATENCY_BOUNDS_S`.
    """

    __tablename__ = "crawl_buckets"

    crawl_run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("crawl_runs.id", ondelete="CASCADE"), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(primary_key=True)
    width_s: Mapped[int] = mapped_column(server_default="60")
    requests: Mapped[int] = mapped_column(server_default="0")
    pages: Mapped[int] = mapped_column(server_default="0")
    items: Mapped[int] = mapped_column(server_default="0")
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    statuses: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    failures: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    groups: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    latency: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))


class WorkerReport(Base):
    """A worker process, as it told last. ``name``: ``host:pid``; ``figures``: see `activities.worker_reports`."""

    __tablename__ = "worker_reports"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    figures: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
