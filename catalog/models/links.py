"""Why things are joined: links with their evidence, and what must never be joined."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from catalog.models.base import Base, Keyed

LINK_QUESTIONS = ("recording", "song")


class IdentityLink(Keyed, Base):
    """A candidate was joined to a version (``recording``), or the version it founded to a song (``song``).

    A link that ended stays, with who ended it and why. What founded a version or a song needs no link.
    """

    __tablename__ = "identity_links"

    question: Mapped[str] = mapped_column(Text)
    candidate_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"))
    version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("versions.id"))
    song_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("songs.id"))
    """Of a ``song`` link."""
    made_by: Mapped[str] = mapped_column(Text)
    """``automation``, or who decided."""
    reason: Mapped[str] = mapped_column(Text)
    evidence: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """The proposal that was followed: probability, verdict, sentence, parts."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None] = mapped_column(Text)
    ended_reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index("ix_identity_links_candidate_id", "candidate_id", "question"),
        Index("ix_identity_links_version_id", "version_id"),
        Index("ix_identity_links_song_id", "song_id"),
    )


class MustNotLink(Base):
    """Somebody said that two candidates are not the same recording, or not the same song. ``first_id < second_id``."""

    __tablename__ = "must_not_links"

    question: Mapped[str] = mapped_column(Text, primary_key=True)
    first_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"), primary_key=True)
    second_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"), primary_key=True)
    actor: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("first_id < second_id", name="order"),
        Index("ix_must_not_links_second_id", "second_id"),
    )
