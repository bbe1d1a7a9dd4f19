"""What a newer adapter reads in stored pages, beside what is known: the difference, before anything changes.

The items are collected in a temporary table of one connection, so that memory stays bounded and nothing of it remains.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from catalog.repositories.crawl_store import CandidateRow, CrawlRunStore, OutcomeRow
from catalog.repositories.storable import dumps, storable_key

BATCH = 500


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page as it was fetched, and where its body lies. ``url``: after redirects."""

    asked_url: str
    url: str
    kind: str
    context: dict[str, Any]
    status: int | None
    object_key: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Changed:
    """An item that reads differently now: before and after, by field."""

    source_key: str
    title: str
    fields: dict[str, tuple[Any, Any]]


@dataclass(slots=True)
class Difference:
    """Counts are whole; the lists hold the first of each, by source key.

    Attributes:
        coverage: by field, how many items have it: known before, read now.
    """

    new: int = 0
    gone: int = 0
    changed: int = 0
    unchanged: int = 0
    told_less: int = 0
    coverage: dict[str, tuple[int, int]] = field(default_factory=dict)
    changed_fields: dict[str, int] = field(default_factory=dict)
    new_items: list[tuple[str, str]] = field(default_factory=list)
    gone_items: list[tuple[str, str]] = field(default_factory=list)
    changed_items: list[Changed] = field(default_factory=list)


# The newest whole answer of each request: later repetitions refer to its body.
_PAGES = text("""
    SELECT * FROM (
        SELECT DISTINCT ON (s.request_key) f.url AS asked_url, s.url, f.kind, f.context, s.status,
               coalesce(s.body_object_key, s.object_key) AS object_key,
               CASE WHEN s.body_object_key IS NULL THEN s."offset" ELSE s.body_offset END AS "offset",
               CASE WHEN s.body_object_key IS NULL THEN s.length ELSE s.body_length END AS length,
               s.fetched_at
        FROM page_snapshots s
        JOIN crawl_runs r ON r.id = s.crawl_run_id
        JOIN frontier_requests f ON f.crawl_run_id = s.crawl_run_id AND f.request_key = s.request_key
        WHERE r.source = :source AND (CAST(:run AS uuid) IS NULL OR r.id = :run)
          AND coalesce(r.spec ->> 'kind', 'crawl') = 'crawl'
          AND (s.status BETWEEN 200 AND 299 OR s.body_object_key IS NOT NULL)
        ORDER BY s.request_key, s.fetched_at DESC, s.id DESC
    ) newest
    ORDER BY object_key, "offset"
""")

_CREATE = text("""
    CREATE TEMPORARY TABLE reextracted (
        source_key text PRIMARY KEY, url text NOT NULL, item jsonb NOT NULL, digest text NOT NULL,
        availability text NOT NULL
    ) ON COMMIT PRESERVE ROWS
""")

# Of two tellings of one item the fuller one, else the later: as a crawl has it.
_COLLECT = text("""
    INSERT INTO reextracted AS e (source_key, url, item, digest, availability)
    SELECT r.source_key, r.url, r.item, r.digest, r.availability
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS
        r(source_key text, url text, item jsonb, digest text, availability text)
    ON CONFLICT (source_key) DO UPDATE SET
        url = excluded.url, item = excluded.item, digest = excluded.digest, availability = excluded.availability
    WHERE NOT e.item @> excluded.item
""")

_COMPARED = text("""
    SELECT coalesce(e.source_key, c.source_key) AS source_key, e.item AS after, c.item AS before,
           e.digest = c.item_digest AS same, c.item @> e.item AS less
    FROM reextracted e
    FULL JOIN (SELECT * FROM candidates WHERE source = :source) c ON c.source_key = e.source_key
    ORDER BY 1
""")

_COLLECTED = text("SELECT source_key, url, item, digest, availability FROM reextracted ORDER BY source_key")


class Reextraction:
    """One source, within one session, which must keep its connection to the end."""

    def __init__(self, session: Session, source: str, run_id: uuid.UUID | None = None) -> None:
        self._session = session
        self._source = source
        self._run = run_id
        session.execute(_CREATE)

    def pages(self) -> Iterator[StoredPage]:
        """The newest stored answer of each request (of one run, if it was named), object by object."""
        rows = self._session.execute(
            _PAGES, {"source": self._source, "run": self._run}, execution_options={"yield_per": BATCH}
        )
        for row in rows:
            yield StoredPage(
                row.asked_url, row.url, row.kind, row.context, row.status, row.object_key, row.offset, row.length
            )

    def collect(self, items: Sequence[CandidateRow]) -> None:
        """Takes what one page brought."""
        unique = {storable_key(item.source_key): item for item in items}
        rows = [
            {"source_key": key, "url": item.url, "item": item.item, "digest": item.digest,
             "availability": item.availability}
            for key, item in unique.items()
        ]  # fmt: skip
        if rows:
            self._session.execute(_COLLECT, {"rows": dumps(rows)})

    def difference(self, listed: int = 100) -> Difference:
        """What is read now beside the candidates of the source; so many of each kind are listed."""
        result = Difference()
        before_fields: Counter[str] = Counter()
        after_fields: Counter[str] = Counter()
        touched: Counter[str] = Counter()
        rows = self._session.execute(_COMPARED, {"source": self._source}, execution_options={"yield_per": BATCH})
        for row in rows:
            before_fields.update(list(row.before or ()))
            after_fields.update(list(row.after or ()))
            title = str((row.after or row.before).get("title", ""))
            if row.before is None:
                result.new += 1
                _list(result.new_items, (row.source_key, title), listed)
            elif row.after is None:
                result.gone += 1
                _list(result.gone_items, (row.source_key, title), listed)
            elif row.same:
                result.unchanged += 1
            elif row.less:
                # A crawl takes no less than it knows: what is missing now stays.
                result.told_less += 1
                touched.update(name for name in row.before if name not in row.after)
            else:
                result.changed += 1
                fields = {
                    name: (row.before.get(name), row.after.get(name))
                    for name in sorted(row.before.keys() | row.after.keys())
                    if row.before.get(name) != row.after.get(name)
                }
                touched.update(list(fields))
                _list(result.changed_items, Changed(row.source_key, title, fields), listed)
        names = sorted(before_fields.keys() | after_fields.keys())
        result.coverage = {name: (before_fields[name], after_fields[name]) for name in names}
        result.changed_fields = dict(sorted(touched.items()))
        return result

    def apply(self, store: CrawlRunStore) -> Counter[str]:
        """Upserts what was read as a crawl would; counts ``new, changed, unchanged``."""
        done: Counter[str] = Counter()
        rows = self._session.execute(_COLLECTED, execution_options={"yield_per": BATCH})
        for part in rows.partitions(BATCH):
            items = [CandidateRow(row.source_key, row.url, row.item, row.digest, row.availability) for row in part]
            done += store.upsert([OutcomeRow(request_key="", url="", items=items)])
        return done


def _list(listed: list[Any], thing: Any, most: int) -> None:
    if len(listed) < most:
        listed.append(thing)
