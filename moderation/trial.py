"""What would happen with items, were they crawled now: identity is asked and policy rules, and nothing is written.

Audio is not fetched: a recording that only sounds like another one is found by a real run alone.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from catalog.models import Candidate, Song, Version
from catalog.repositories.crawl_store import CandidateRow, tells_less
from catalog.repositories.storable import dumps, storable_key
from identity.subject import subject_from_item
from moderation.policy import ApprovalPolicy, decide
from moderation.settlement import find_proposals

Kind = Literal["new", "changed", "unchanged", "duplicate", "review", "unavailable"]
SAME_IN_TRIAL = "same_in_this_run"


@dataclass(frozen=True, slots=True)
class Finding:
    """What would become of an item.

    Attributes:
        kind: ``new`` (a version of its own), ``changed`` (known, and told differently now), ``unchanged``,
            ``duplicate`` (a further source of ``of``), ``review`` (a moderator would be asked, at least if no audio
            speaks), ``unavailable``.
        reason: a stable code, as a candidate would have; detail: for people.
        of: the version or song it would belong to, by title and id.
        fields: of a changed one: before and after, by field.
    """

    kind: Kind
    source_key: str
    title: str
    url: str
    reason: str = ""
    detail: str = ""
    of: str = ""
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


def read_only(session: Session) -> None:
    """From here on PostgreSQL refuses every change in this transaction."""
    session.execute(text("SET TRANSACTION READ ONLY"))


class Trial:
    """Judges the items of one source. Those of one trial are compared with each other by their metadata."""

    def __init__(self, source: str, approval: Mapping[str, Any] | None) -> None:
        self._source = source
        self._policy = ApprovalPolicy.from_spec(approval)
        self._seen: dict[str, str] = {}

    def judge(self, session: Session, rows: Sequence[CandidateRow]) -> list[Finding]:
        """What would become of these items; the session is read only."""
        # As the database would give them back: its JSON knows no tuples.
        rows = [replace(row, item=json.loads(dumps(row.item))) for row in rows]
        keys = [storable_key(row.source_key) for row in rows]
        query = select(Candidate).where(Candidate.source == self._source, Candidate.source_key.in_(keys))
        known = {each.source_key: each for each in session.scalars(query)}
        return [self._judge(session, row, known.get(key)) for row, key in zip(rows, keys, strict=True)]

    def _judge(self, session: Session, row: CandidateRow, known: Candidate | None) -> Finding:
        title = str(row.item.get("title", ""))

        def finding(kind: Kind, reason: str = "", detail: str = "", of: str = "", **more: Any) -> Finding:
            return Finding(kind, row.source_key, title, row.url, reason, detail, of, **more)

        if known is not None and (known.item_digest == row.digest or tells_less(row.item, known.item)):
            return finding("unchanged", known.reason)
        if row.availability != "available":
            return finding("unavailable", row.availability, str(row.item.get("availability_detail", "")))
        if known is not None:
            fields = difference(known.item, row.item)
            of = _version(session, known.version_id) if known.version_id else ""
            return finding("changed", known.state, ", ".join(fields), of, fields=fields)
        subject = subject_from_item(row.item)
        if subject.complete:
            twin = self._seen.setdefault(subject.metadata_key, title)
            if twin is not title:
                # As identity has it: names alone never join two recordings.
                return finding("review", SAME_IN_TRIAL, f"title, artists and length of «{twin}»")
        candidate = Candidate(
            id=uuid.uuid4(), source=self._source, source_key=row.source_key, url=row.url, item=dict(row.item)
        )
        proposals = find_proposals(session, candidate, subject)
        ruling = decide(self._policy, subject.missing, proposals)
        target = ruling.target
        of = _version(session, target.version_id) if target.version_id else _song(session, target.song_id)
        if not ruling.automatic:
            return finding("review", ruling.reason, ruling.detail, of)
        return finding("duplicate" if target.action == "attach" else "new", ruling.reason, ruling.detail, of)


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields that differ, in order of their names: the value before and after, None where there is none."""
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }


def _version(session: Session, version_id: uuid.UUID) -> str:
    version = session.get(Version, version_id)
    return f"version «{version.title}» {version_id}" if version else str(version_id)


def _song(session: Session, song_id: uuid.UUID | None) -> str:
    song = session.get(Song, song_id) if song_id else None
    return f"song «{song.title}» {song_id}" if song else ""
