"""Users and their API keys."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from catalog.models.base import Base, Keyed, Timestamped
from catalog.models.music import one_of

ROLES = ("user", "contributor", "artist", "moderator", "operator", "admin")


class User(Keyed, Timestamped, Base):
    """A person or a program with an account."""

    __tablename__ = "users"

    email: Mapped[str | None] = mapped_column(Text, unique=True)
    display_name: Mapped[str] = mapped_column(Text, unique=True)
    password_hash: Mapped[str | None] = mapped_column(Text)
    auth_provider: Mapped[str] = mapped_column(Text, server_default="local")
    role: Mapped[str] = mapped_column(Text, server_default="user")
    preferences: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    deleted_at: Mapped[datetime | None]

    __table_args__ = (one_of("role", ROLES, "role"),)


class ApiKey(Keyed, Timestamped, Base):
    """A bearer token. Only its SHA-256 is stored; the token itself has 256 random bits."""

    __tablename__ = "api_keys"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(Text)
    token_sha256: Mapped[str] = mapped_column(Text, unique=True)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
