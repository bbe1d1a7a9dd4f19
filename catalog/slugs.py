"""Readable, stable addresses of songs and artists."""

from __future__ import annotations

import re

from anyascii import anyascii
from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

MAX_LENGTH = 80


def slugify(text: str) -> str:
    """Lower-case Latin words joined by hyphens; ``untitled`` where nothing remains."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"['’`]", "", anyascii(text).lower()))
    return "-".join(words)[:MAX_LENGTH].strip("-") or "untitled"


def free_slug(session: Session, column: InstrumentedAttribute[str], text: str) -> str:
    """The slug of this text, with a number where it is taken. The caller holds the identity lock."""
    base = slugify(text)
    # What is not written yet takes its slug too.
    taken = {new.slug for new in session.new if type(new) is column.class_}
    # Asked apart: it is an index lookup, and the answer is nearly always that the slug is free.
    if session.scalar(select(column).where(column == base)) is None and base not in taken:
        return base
    taken |= set(session.scalars(select(column).where(column.regexp_match(f"^{re.escape(base)}(-[0-9]+)?$"))))
    number = 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"
