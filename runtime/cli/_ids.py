"""Ids as people type them: whole, or so much of the beginning as is unique."""

from __future__ import annotations

import re
import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.models import Candidate, CrawlRun, ReviewCase, Song, Version

_MIN_DIGITS = 4


class BadIdError(ValueError):
    """Not an id at all."""

    code = "bad_id"


class AmbiguousIdError(ValueError):
    """Several ids begin like this."""

    code = "ambiguous_id"


class IdNotFoundError(ValueError):
    """No id begins like this."""

    code = "not_found"


def resolve(
    session: Session, model: type[ReviewCase] | type[Version] | type[Song] | type[Candidate] | type[CrawlRun], text: str
) -> uuid.UUID:
    """The id of this model that begins with the text. Raises BadIdError, AmbiguousIdError, IdNotFoundError."""
    what = {"review_cases": "review case", "crawl_runs": "crawl run"}.get(
        model.__tablename__, model.__tablename__.rstrip("s")
    )
    digits = text.strip().lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits) or len(digits) < _MIN_DIGITS:
        raise BadIdError(f"{text!r} is not the id of a {what}: a UUID, or at least its first {_MIN_DIGITS} digits")
    # A range instead of LIKE, so that the primary key's index serves.
    low, high = uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))
    found = session.scalars(select(model.id).where(model.id.between(low, high)).order_by(model.id).limit(6)).all()
    if not found:
        raise IdNotFoundError(f"there is no {what} {text!r}")
    if len(found) > 1:
        shown = ", ".join(map(str, found[:5])) + (" …" if len(found) > 5 else "")
        raise AmbiguousIdError(f"{text!r} may be any {what} of: {shown}; give more digits")
    return found[0]
