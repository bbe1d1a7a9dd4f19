"""Opaque cursors, bound to the list they come from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import uuid
from collections.abc import Sequence
from typing import Any

from catalog_api.problems import ApiError, FieldProblem

FORMAT = 1
_MAX_LENGTH = 2000


def _scope_digest(scope: Sequence[Any]) -> str:
    text = json.dumps(scope, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()


def encode(scope: Sequence[Any], key: Sequence[Any]) -> str:
    """A cursor that goes on after ``key``. ``scope``: the endpoint with its filters and sort.

    It is bound, not signed: it grants nothing that the list does not show anyway.
    """
    text = json.dumps([FORMAT, _scope_digest(scope), *key], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _bad(reason: str) -> ApiError:
    remedy = "start again without a cursor, and follow `next` with the same filters and sort"
    problem = FieldProblem(field="query.cursor", message=reason, remedy=remedy)
    return ApiError(400, "bad_cursor", f"query.cursor: {reason}: {remedy}", errors=[problem])


def decode(scope: Sequence[Any], cursor: str | None, types: Sequence[type]) -> list[Any] | None:
    """The key in a cursor of this scope; None for no cursor.

    Args:
        types: what the parts of the key must be: `str` or `uuid.UUID`.

    Raises ApiError ``bad_cursor`` on anything that was not made by `encode` for the same scope.
    """
    if cursor is None:
        return None
    try:
        if len(cursor) > _MAX_LENGTH:
            raise ValueError("too long")
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        parts = json.loads(raw)
        if not isinstance(parts, list) or len(parts) != 2 + len(types):
            raise ValueError("another shape")
    except (ValueError, binascii.Error, RecursionError):
        raise _bad("this is not one of our cursors") from None
    if parts[:1] != [FORMAT]:
        raise _bad("this cursor is of another format")
    if parts[1] != _scope_digest(scope):
        raise _bad("this cursor belongs to another list")
    key: list[Any] = []
    for part, kind in zip(parts[2:], types, strict=True):
        if not isinstance(part, str) or "\x00" in part:
            raise _bad("this is not one of our cursors")
        try:
            key.append(uuid.UUID(part) if kind is uuid.UUID else part)
        except ValueError:
            raise _bad("this is not one of our cursors") from None
    return key
