"""Users and their API keys."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from catalog.models import ROLES, ApiKey, User

TOKEN_PREFIX = "versions_"  # noqa: S105
"""Lets secret scanners recognise a leaked key."""


class UnknownRoleError(ValueError):
    """There is no such role; the message lists those there are."""

    code = "unknown_role"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def create_user(session: Session, display_name: str, *, role: str = "user", email: str | None = None) -> User:
    """A new account without a password. Raises UnknownRoleError, IntegrityError if name or address is taken."""
    if role not in ROLES:
        raise UnknownRoleError(f"role: {role!r} is unknown; use one of {', '.join(ROLES)}")
    user = User(display_name=display_name, role=role, email=email)
    session.add(user)
    session.flush()
    return user


def find_user(session: Session, display_name: str) -> User | None:
    """The user of this name, unless deleted."""
    return session.scalar(select(User).where(User.display_name == display_name, User.deleted_at.is_(None)))


def create_api_key(session: Session, user: User, name: str, *, valid_for: timedelta | None = None) -> str:
    """A new key; returns its token, which is shown once and stored nowhere."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    expires_at = datetime.now(UTC) + valid_for if valid_for else None
    session.add(ApiKey(user_id=user.id, name=name, token_sha256=_digest(token), expires_at=expires_at))
    session.flush()
    return token


def find_by_token(session: Session, token: str) -> User | None:
    """The user whose key this is; None if it is unknown, revoked, expired or its user was deleted."""
    digest = _digest(token)
    row = session.execute(
        select(User, ApiKey.token_sha256)
        .join(ApiKey, ApiKey.user_id == User.id)
        .where(
            ApiKey.token_sha256 == digest,
            ApiKey.revoked_at.is_(None),
            (ApiKey.expires_at.is_(None)) | (ApiKey.expires_at > func.now()),
            User.deleted_at.is_(None),
        )
    ).one_or_none()
    if row is None or not hmac.compare_digest(row.token_sha256, digest):
        return None
    user: User = row.User
    return user


def revoke(session: Session, user_id: uuid.UUID, name: str) -> int:
    """Revokes a user's keys of this name from now on; returns how many were still valid."""
    ids = session.scalars(
        update(ApiKey)
        .where(ApiKey.user_id == user_id, ApiKey.name == name, ApiKey.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(ApiKey.id)
    )
    return len(ids.all())
