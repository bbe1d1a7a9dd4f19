"""The index of recordings: segments of packed postings, and the rows that no segment holds yet.

Kept by `identity.recording`; see docs/decisions/0014-segments.md.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from catalog.models.base import Base

SEGMENT_STATES = ("building", "active", "retired")


class RecordingIndexState(Base):
    """One row: what readers compare with what they remember."""

    __tablename__ = "recording_index"

    sole: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default=text("true"))
    epoch: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Counts the changes of which segments are active; whoever remembers another epoch reads anew."""
    sampling_bits: Mapped[int] = mapped_column(SmallInteger, server_default="3")
    stale: Mapped[bool] = mapped_column(server_default=text("false"))
    """There are fingerprints that were never indexed: answers wait until the index is rebuilt."""
    checked_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("sole", name="sole"),)


class RecordingSegment(Base):
    """Packed postings of many recordings, never changed once active.

    ``building``: being written, seen by nobody; ``active``: read; ``retired``: another holds what it held.
    """

    __tablename__ = "recording_segments"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    key: Mapped[uuid.UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    """Tells it from every other segment, whatever was restored: local copies are named after it."""
    state: Mapped[str] = mapped_column(Text, server_default="building")
    first_id: Mapped[int] = mapped_column(BigInteger)
    last_id: Mapped[int] = mapped_column(BigInteger)
    offset_bits: Mapped[int] = mapped_column(SmallInteger)
    bucket_bits: Mapped[int] = mapped_column(SmallInteger)
    sampling_bits: Mapped[int] = mapped_column(SmallInteger)
    recordings: Mapped[int] = mapped_column(server_default="0")
    postings: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("state IN ('building', 'active', 'retired')", name="state"),
        Index("ix_recording_segments_state", "state"),
    )


class RecordingPostings(Base):
    """A bucket of a segment (see `identity.recording.packing`)."""

    __tablename__ = "recording_postings"

    segment_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    bucket: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class RecordingTerms(Base):
    """The terms of a fingerprint that no segment holds yet. ``terms``: little-endian uint32, sorted."""

    __tablename__ = "recording_terms"

    fingerprint_id: Mapped[int] = mapped_column(
        ForeignKey("audio_fingerprints.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    transaction: Mapped[int] = mapped_column(
        BigInteger, index=True, server_default=text("(pg_current_xact_id()::text)::bigint")
    )
    """Who wrote it: whoever has seen all transactions below a horizon reads on from there."""
    terms: Mapped[bytes] = mapped_column(LargeBinary)
