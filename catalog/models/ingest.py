"""Candidates on their way into the catalog, the evidence about them, and what was decided."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from catalog.models.base import Base, Keyed, Timestamped
from catalog.models.music import one_of

CANDIDATE_STATES = (
    "discovered",
    "fetched",
    "fingerprinted",
    "matched",
    "in_review",
    "published",
    "duplicate",
    "rejected",
    "unavailable",
    "failed",
)
FINAL_STATES = ("published", "duplicate", "rejected", "unavailable", "failed")


class Candidate(Keyed, Timestamped, Base):
    """An item found by a crawl: the seeds' ingestion job. One row per ``(source, source_key)``, for ever.

    ``reason, since, next_attempt_at, waiting_on`` answer "why is this waiting, since when, who can unblock it?".
    """

    __tablename__ = "candidates"

    source: Mapped[str] = mapped_column(Text)
    source_key: Mapped[str] = mapped_column(Text)
    url: Mapped[str] = mapped_column(Text)
    crawl_run_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("crawl_runs.id"))
    """The newest run that saw it."""
    item: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """The adapter's `RecordingItem`, raw values."""
    item_digest: Mapped[str] = mapped_column(Text)
    normalised: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """What identity made of `item`; the form is `catalog.publishing.Description`."""
    audio_policy: Mapped[str] = mapped_column(Text, server_default="none")
    trust: Mapped[float] = mapped_column(server_default="0.5")

    state: Mapped[str] = mapped_column(Text, server_default="discovered")
    reason: Mapped[str] = mapped_column(Text, server_default="new")
    """A stable code (`new`, `not_audio`, `same_recording`, …)."""
    detail: Mapped[str] = mapped_column(Text, server_default="")
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    next_attempt_at: Mapped[datetime | None]
    waiting_on: Mapped[str | None] = mapped_column(Text)
    """`worker`, `source`, `moderator`, `operator`; null when final."""
    attempts: Mapped[int] = mapped_column(server_default="0")

    metadata_key: Mapped[str | None] = mapped_column(Text)
    """Normalised title, artists and duration (the Rusongs document's hash)."""
    duration_s: Mapped[float | None]
    audio: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    audio_sha256: Mapped[str | None] = mapped_column(Text)
    audio_object: Mapped[str | None] = mapped_column(Text)
    waveform: Mapped[list[Any] | None]
    fetched_at: Mapped[datetime | None]
    version_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("versions.id"), index=True)
    """The version it became a source of."""

    __table_args__ = (
        UniqueConstraint("source", "source_key"),
        Index("ix_candidates_run_state", "crawl_run_id", "state", "id"),
        Index("ix_candidates_state", "state", "since"),
        Index("ix_candidates_metadata_key", "metadata_key"),
        one_of("state", CANDIDATE_STATES, "state"),
    )


class Observation(Keyed, Base):
    """A piece of evidence on a candidate, apart from its status: what was seen, when, by what."""

    __tablename__ = "observations"

    candidate_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index("ix_observations_data", "data", postgresql_using="gin", postgresql_ops={"data": "jsonb_path_ops"}),
    )


class ServiceAnswer(Base):
    """What another service said, so that it is not asked twice. ``key``: of the question, in that service's terms."""

    __tablename__ = "service_answers"

    service: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    answer: Mapped[dict[str, Any]]
    fetched_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AudioFingerprint(Base):
    """A chromaprint fingerprint. ``items``: little-endian uint32, about 8 a second; one per candidate."""

    __tablename__ = "audio_fingerprints"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    candidate_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"), unique=True)
    duration_s: Mapped[float]
    """Of the whole recording; the fingerprint covers its first 120 s."""
    items: Mapped[bytes] = mapped_column(LargeBinary)
    """Kept in the row, which a look-up reads: STORAGE MAIN and toast_tuple_target 4500, by migration 0019."""
    timbre: Mapped[bytes | None] = mapped_column(LargeBinary)
    """How it sounds: sixteen bytes a frame, two frames a second (`media.timbre`); null where that was not taken."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AudioMelody(Base):
    """What a recording plays: its chroma, and where that lies among all melodies. One per candidate.

    ``frames``: twelve bytes (C first) a frame, two frames a second, of the first 120 s; kept, since the audio may not
    be, so that embeddings can be made again. ``leading``: the same of the leading voice; none of what was heard before
    it was listened for. ``tuning``: semitones above 440 Hz, -0.5..0.5.
    """

    __tablename__ = "audio_melodies"

    candidate_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"), primary_key=True)
    frames: Mapped[bytes] = mapped_column(LargeBinary)
    leading: Mapped[bytes | None] = mapped_column(LargeBinary)
    tuning: Mapped[float]
    embedding: Mapped[Any] = mapped_column(HALFVEC(384))
    embedding_version: Mapped[int] = mapped_column(SmallInteger, index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index(
            "ix_audio_melodies_embedding",
            "embedding",
            postgresql_using="hnsw",
            postgresql_ops={"embedding": "halfvec_cosine_ops"},
        ),
    )


class MatchProposal(Keyed, Base):
    """A possible identity of a candidate, with itemised distance.

    ``question``: ``recording`` (same recording as that version?) or ``song`` (a version of that song?).
    ``verdict``: ``same``, ``review``, ``weak``.
    """

    __tablename__ = "match_proposals"

    candidate_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"))
    question: Mapped[str] = mapped_column(Text)
    version_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("versions.id"))
    song_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("songs.id"))
    probability: Mapped[float]
    verdict: Mapped[str] = mapped_column(Text)
    sentence: Mapped[str] = mapped_column(Text)
    """The evidence in one sentence."""
    evidence: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """``{"parts": [{name, value, weight, distance, note}], …}`` and, for recordings, the alignment."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index("ix_match_proposals_candidate", "candidate_id", "question", "probability"),
        one_of("question", ("recording", "song"), "question"),
        one_of("verdict", ("same", "review", "weak"), "verdict"),
    )


class ReviewCase(Keyed, Timestamped, Base):
    """What a moderator sees. At most one open case per candidate.

    ``suggestion``: ``{"action": "attach"|"new_version"|"new_song", "version_id"?, "song_id"?}``: what approval does.
    """

    __tablename__ = "review_cases"

    candidate_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("candidates.id"))
    state: Mapped[str] = mapped_column(Text, server_default="open")
    reason: Mapped[str] = mapped_column(Text)
    """A stable code: `similar_recording`, `possible_song`, `incomplete_metadata`, `untrusted_source`, …"""
    detail: Mapped[str] = mapped_column(Text, server_default="")
    suggestion: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    priority: Mapped[int] = mapped_column(server_default="0")
    reminded_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    row_version: Mapped[int] = mapped_column(server_default="1")

    __table_args__ = (
        Index(
            "uq_review_cases_open", "candidate_id", unique=True, postgresql_where=text("state IN ('open', 'decided')")
        ),
        Index("ix_review_cases_queue", "state", "priority", "id"),
        one_of("state", ("open", "decided", "applied", "expired"), "state"),
    )


class Decision(Keyed, Base):
    """What was decided on a case, by whom, why. Recorded first, applied after; applied at most once."""

    __tablename__ = "decisions"

    case_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("review_cases.id"), unique=True)
    action: Mapped[str] = mapped_column(Text)
    version_id: Mapped[uuid.UUID | None]
    song_id: Mapped[uuid.UUID | None]
    actor: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text, server_default="")
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())
    applied_at: Mapped[datetime | None]
    outcome: Mapped[dict[str, Any] | None] = mapped_column(JSONB)

    __table_args__ = (one_of("action", ("approve", "reject", "retarget"), "action"),)
