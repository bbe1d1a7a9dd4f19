"""What is known of a source's pages, read for a crawl and written with each of its commits.

Every function works in the caller's transaction; the commit's lock on the run keeps two writers of a page apart.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from catalog.repositories.storable import dumps, storable_key
from catalog.revisit import Habit, visited

if TYPE_CHECKING:
    from catalog.repositories.crawl_store import OutcomeRow

MAX_ITEMS_KEPT = 10_000
"""Source keys remembered of one page; one that brings more is read in full each time."""
MAX_PATTERN = 500
"""Characters of a URL pattern that is remembered; an index entry holds no more."""
MAX_PATTERNS = 20_000


@dataclass(frozen=True, slots=True)
class KnownRow:
    """A page as the last visit left it; see `catalog.models.PageHistory`. ``items``, ``links``: how many."""

    rule: str
    digest: str
    read_at: datetime
    checked_at: datetime
    due_at: datetime
    etag: str | None
    last_modified: str | None
    lastmod: str | None
    items: int
    links: int
    body_object_key: str | None
    body_offset: int | None
    body_length: int | None
    body_url: str | None
    body_date: str | None


@dataclass(frozen=True, slots=True)
class VisitRow:
    """What a run has to tell of a page.

    Attributes:
        unchanged: what is kept of the page counts as seen again.
        asked: a request was made.
        links: ``{request_key, url, kind, priority, context, deeper}`` of each; None: not kept.
        known_in_a_row: of an unchanged page of a list: handed to the list's next page.
        ends_list: of an unchanged page of a list: the pages that continue the list are not wanted.
        body: where the body lies: object key, offset, length, URL, date.
    """

    rule: str
    unchanged: bool
    asked: bool = True
    etag: str | None = None
    last_modified: str | None = None
    lastmod: str | None = None
    digest: str = ""
    links: Sequence[Mapping[str, Any]] | None = ()
    known_in_a_row: int | None = None
    ends_list: bool = False
    body: tuple[str, int, int, str, str] | None = None


_READ = text("""
    SELECT request_key, rule, digest, read_at, checked_at, due_at, etag, last_modified, lastmod,
           jsonb_array_length(items) AS items, jsonb_array_length(links) AS links,
           body_object_key, body_offset, body_length, body_url, body_date
    FROM page_history
    WHERE source = :source AND request_key = ANY (CAST(:keys AS text[])) AND links IS NOT NULL
""")

_HABITS = text("""
    SELECT request_key, digest, checked_at, visits, changes, observed_s, interval_s
    FROM page_history WHERE source = :source AND request_key = ANY (CAST(:keys AS text[]))
""")

_WRITE_READ = text("""
    INSERT INTO page_history AS h (source, request_key, url, crawl_run_id, rule, etag, last_modified, lastmod, digest,
        items, links, read_at, checked_at, due_at, visits, changes, observed_s, interval_s, body_object_key,
        body_offset, body_length, body_url, body_date)
    SELECT :source, r.request_key, r.url, :run, r.rule, r.etag, r.last_modified, r.lastmod, r.digest,
        r.items, nullif(r.links, 'null'), :now, :now, r.due_at, r.visits, r.changes, r.observed_s, r.interval_s,
        r.body_object_key, r.body_offset, r.body_length, r.body_url, r.body_date
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(request_key text, url text, rule text, etag text,
        last_modified text, lastmod text, digest text, items jsonb, links jsonb, due_at timestamptz, visits int,
        changes int, observed_s float8, interval_s float8, body_object_key text, body_offset int8, body_length int8,
        body_url text, body_date text)
    ON CONFLICT (source, request_key) DO UPDATE SET
        url = excluded.url, crawl_run_id = excluded.crawl_run_id, rule = excluded.rule, etag = excluded.etag,
        last_modified = excluded.last_modified, lastmod = excluded.lastmod, digest = excluded.digest,
        items = excluded.items, links = excluded.links, read_at = excluded.read_at, checked_at = excluded.checked_at,
        due_at = excluded.due_at, visits = excluded.visits, changes = excluded.changes,
        observed_s = excluded.observed_s, interval_s = excluded.interval_s,
        body_object_key = excluded.body_object_key, body_offset = excluded.body_offset,
        body_length = excluded.body_length, body_url = excluded.body_url, body_date = excluded.body_date
""")

_WRITE_UNCHANGED = text("""
    UPDATE page_history h
    SET checked_at = :now, due_at = r.due_at, visits = r.visits, changes = r.changes, observed_s = r.observed_s,
        interval_s = r.interval_s, lastmod = coalesce(r.lastmod, h.lastmod)
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS
        r(request_key text, lastmod text, due_at timestamptz, visits int, changes int, observed_s float8,
          interval_s float8)
    WHERE h.source = :source AND h.request_key = ANY (CAST(:keys AS text[])) AND h.request_key = r.request_key
""")

_FORGET = text("""
    DELETE FROM page_history WHERE source = :source AND request_key = ANY (CAST(:keys AS text[]))
""")

_QUEUE_AGAIN = text("""
    INSERT INTO frontier_requests (crawl_run_id, request_key, url, kind, context, depth, priority)
    SELECT :run, l.request_key, l.url, l.kind, coalesce(l.context, '{}')
               || CASE WHEN r.known_in_a_row IS NOT NULL AND (coalesce(l.deeper, 1) = 0 OR l.context ? 'newest_first')
                       THEN jsonb_build_object('known_in_a_row', r.known_in_a_row) ELSE '{}' END,
           r.depth + coalesce(l.deeper, 1),
           coalesce(l.priority, 0)
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS
        r(n int, request_key text, depth int, known_in_a_row int, ends_list bool)
    JOIN page_history h ON h.source = :source AND h.request_key = r.request_key
    CROSS JOIN LATERAL ROWS FROM (jsonb_to_recordset(h.links) AS
        (request_key text, url text, kind text, priority int, context jsonb, deeper int)) WITH ORDINALITY
        AS l(request_key, url, kind, priority, context, deeper, place)
    WHERE r.depth + coalesce(l.deeper, 1) <= :max_depth
      AND NOT (r.ends_list AND (coalesce(l.deeper, 1) = 0 OR l.context ? 'newest_first'))
    ORDER BY r.n, l.place
    ON CONFLICT DO NOTHING
""")

_SEE_AGAIN = text("""
    UPDATE candidates c
    SET crawl_run_id = :run, updated_at = now(),
        state = CASE WHEN again.retry THEN 'discovered' ELSE c.state END,
        reason = CASE WHEN again.retry THEN 'retried' ELSE c.reason END,
        detail = CASE WHEN again.retry THEN '' ELSE c.detail END,
        since = CASE WHEN again.retry THEN now() ELSE c.since END,
        next_attempt_at = CASE WHEN again.retry THEN NULL ELSE c.next_attempt_at END,
        waiting_on = CASE WHEN again.retry THEN 'worker' ELSE c.waiting_on END,
        attempts = CASE WHEN again.retry THEN 0 ELSE c.attempts END
    FROM (
        SELECT k.id, k.state IN ('failed', 'unavailable') AND k.reason = ANY (CAST(:retryable AS text[]))
                AND k.crawl_run_id IS DISTINCT FROM :run
                AND coalesce(k.item ->> 'availability', 'available') = 'available' AS retry
        FROM candidates k
        WHERE k.source = :source AND k.source_key IN (
            SELECT jsonb_array_elements_text(h.items) FROM page_history h
            WHERE h.source = :source AND h.request_key = ANY (CAST(:keys AS text[])))
        ORDER BY k.source_key
        FOR UPDATE
    ) again
    WHERE c.id = again.id
    RETURNING 1
""")

_COUNT_FRUITLESS = text("""
    INSERT INTO trap_counters AS t (crawl_run_id, pattern, pages, reported)
    SELECT :run, r.pattern, r.pages, r.reported
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(pattern text, pages int, reported bool)
    ORDER BY r.pattern
    ON CONFLICT (crawl_run_id, pattern) DO UPDATE SET
        pages = t.pages + excluded.pages, reported = t.reported OR excluded.reported
""")

_FRUITLESS = text("""
    SELECT pattern, pages, reported FROM trap_counters WHERE crawl_run_id = :run ORDER BY pages DESC, pattern
    LIMIT :most
""")

_UNCHANGED_ITEMS = text("""
    SELECT c.source_key FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(source_key text, digest text)
    JOIN candidates c ON c.source = :source AND c.source_key = r.source_key AND c.item_digest = r.digest
""")

_KNOWN_PAGES = text("""
    SELECT request_key FROM page_history WHERE source = :source AND request_key = ANY (CAST(:keys AS text[]))
""")

# A run that max_pages cut short leaves requests queued, one that could not read a page of a list leaves that failed:
# behind them lies what nobody has seen.
_WALKED = text("""
    SELECT EXISTS (
        SELECT 1 FROM crawl_runs r
        WHERE r.source = :source AND r.id <> :run AND r.state = 'finished' AND r.crawled_at IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM frontier_requests f WHERE f.crawl_run_id = r.id
                          AND (f.state = 'queued' OR f.state = 'failed' AND f.context ? 'newest_first')))
""")


def read(session: Session, source: str, request_keys: Sequence[str]) -> dict[str, KnownRow]:
    """What is known of these requests, by key; those whose links are not kept are as good as unknown."""
    if not request_keys:
        return {}
    rows = session.execute(_READ, {"source": source, "keys": list(request_keys)})
    return {row[0]: KnownRow(*row[1:]) for row in rows}


def record(
    session: Session,
    source: str,
    run: uuid.UUID,
    outcomes: Sequence[OutcomeRow],
    bounds: tuple[float, float],
    now: datetime | None = None,
) -> None:
    """Writes what the outcomes tell of their pages. ``bounds``: seconds to a next visit, least and most.

    A page that is gone is forgotten: were it back some day, it would be new.
    """
    now = now or datetime.now(UTC)
    visits = {each.request_key: each for each in outcomes if each.visit is not None}
    gone = [each.request_key for each in outcomes if each.incident is not None and each.incident.gone]
    if gone:
        session.execute(_FORGET, {"source": source, "keys": gone})
    # What needed no request is not a visit: it says nothing new of the page.
    looked_at = [key for key, each in visits.items() if each.visit is not None and each.visit.asked]
    if not looked_at:
        return
    habits = {row[0]: row for row in session.execute(_HABITS, {"source": source, "keys": looked_at})}
    read_rows, unchanged_rows = [], []
    for key in looked_at:
        outcome = visits[key]
        visit = outcome.visit
        assert visit is not None
        before = habits.get(key)
        habit = visited(
            None if before is None else Habit(before.visits, before.changes, before.observed_s, before.interval_s),
            changed=before is not None and not visit.unchanged and before.digest != visit.digest,
            after_s=0.0 if before is None else (now - before.checked_at).total_seconds(),
            min_s=bounds[0],
            max_s=bounds[1],
        )
        row: dict[str, Any] = {
            "request_key": key,
            "lastmod": visit.lastmod,
            "due_at": (now + timedelta(seconds=habit.interval_s)).isoformat(),
            "visits": habit.visits,
            "changes": habit.changes,
            "observed_s": habit.observed_s,
            "interval_s": habit.interval_s,
        }
        if visit.unchanged:
            unchanged_rows.append(row)
            continue
        items = list(dict.fromkeys(storable_key(item.source_key) for item in outcome.items))
        body = visit.body or (None, None, None, None, None)
        row |= {
            "url": outcome.url,
            "rule": visit.rule,
            "etag": visit.etag,
            "last_modified": visit.last_modified,
            "digest": visit.digest,
            "items": items[:MAX_ITEMS_KEPT],
            "links": None if visit.links is None or len(items) > MAX_ITEMS_KEPT else list(visit.links),
            **dict(zip(("body_object_key", "body_offset", "body_length", "body_url", "body_date"), body, strict=True)),
        }
        read_rows.append(row)
    if read_rows:
        session.execute(_WRITE_READ, {"source": source, "run": run, "now": now, "rows": dumps(read_rows)})
    if unchanged_rows:
        keys = [row["request_key"] for row in unchanged_rows]
        session.execute(_WRITE_UNCHANGED, {"source": source, "keys": keys, "now": now, "rows": dumps(unchanged_rows)})


def queue_links_again(
    session: Session, source: str, run: uuid.UUID, outcomes: Sequence[OutcomeRow], max_depth: int
) -> None:
    """The links that these unchanged pages are known to have enter the frontier."""
    rows = [
        {
            "n": number,
            "request_key": outcome.request_key,
            "depth": outcome.depth,
            "known_in_a_row": None if outcome.visit is None else outcome.visit.known_in_a_row,
            "ends_list": outcome.visit is not None and outcome.visit.ends_list,
        }
        for number, outcome in enumerate(outcomes)
    ]
    session.execute(_QUEUE_AGAIN, {"source": source, "run": run, "rows": dumps(rows), "max_depth": max_depth})


def see_items_again(
    session: Session, source: str, run: uuid.UUID, outcomes: Sequence[OutcomeRow], retryable: Sequence[str]
) -> int:
    """The items that these unchanged pages are known to have belong to this run; returns how many.

    As when a page is read again: what failed for a passing reason is tried again.
    """
    keys = [outcome.request_key for outcome in outcomes]
    seen = session.execute(_SEE_AGAIN, {"source": source, "run": run, "keys": keys, "retryable": list(retryable)})
    return len(seen.all())


def count_fruitless(session: Session, run: uuid.UUID, outcomes: Sequence[OutcomeRow]) -> None:
    """Adds the pages that brought no item to their URL patterns."""
    pages = Counter(each.fruitless for each in outcomes if each.fruitless and len(each.fruitless) <= MAX_PATTERN)
    reported = {each.trap_reported for each in outcomes if each.trap_reported}
    patterns = {*pages, *(pattern for pattern in reported if len(pattern) <= MAX_PATTERN)}
    if patterns:
        rows = [{"pattern": each, "pages": pages[each], "reported": each in reported} for each in patterns]
        session.execute(_COUNT_FRUITLESS, {"run": run, "rows": dumps(rows)})


def fruitless(session: Session, run: uuid.UUID) -> dict[str, tuple[int, bool]]:
    """The fruitless pages of a run by URL pattern, and whether that was reported; the most fruitless patterns."""
    rows = session.execute(_FRUITLESS, {"run": run, "most": MAX_PATTERNS})
    return {pattern: (pages, reported) for pattern, pages, reported in rows}


def unchanged_items(session: Session, source: str, digests: Mapping[str, str]) -> set[str]:
    """Those of these items (source key, digest) that are known as they are."""
    rows = [{"source_key": storable_key(key), "digest": digest} for key, digest in digests.items()]
    known = set(session.execute(_UNCHANGED_ITEMS, {"source": source, "rows": dumps(rows)}).scalars())
    return {key for key in digests if storable_key(key) in known}


def known_pages(session: Session, source: str, request_keys: Sequence[str]) -> set[str]:
    """Those of these requests that have a history."""
    return set(session.execute(_KNOWN_PAGES, {"source": source, "keys": list(request_keys)}).scalars())


def list_was_walked(session: Session, source: str, run: uuid.UUID) -> bool:
    """Whether an earlier run of the source read its lists to their end."""
    return bool(session.execute(_WALKED, {"source": source, "run": run}).scalar_one())
