"""The durable side of a crawl run: frontier, candidates, incidents, snapshots, counters.

One crawl run has one crawler at a time (Temporal sees to that); should two overlap after a lost heartbeat, both may
fetch a page, but only the first commit of it counts.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from catalog.campaigns.holds import Watch
from catalog.database import Database
from catalog.repositories import crawl_series, page_history
from catalog.repositories.page_history import KnownRow, VisitRow
from catalog.repositories.storable import dumps, storable_key


@dataclass(frozen=True, slots=True)
class FrontierRow:
    """A request of a run. ``attempts``: earlier tries; it also tells a repeated commit from a new one."""

    request_key: str
    url: str
    kind: str = "page"
    context: Mapping[str, Any] = field(default_factory=dict)
    depth: int = 0
    priority: int = 0
    attempts: int = 0
    known: KnownRow | None = None


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """An item as found. ``item``: the adapter's values; ``digest`` changes when they do."""

    source_key: str
    url: str
    item: Mapping[str, Any]
    digest: str
    availability: str = "available"


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """A failure of a request, by class. ``gone``: the page does not exist any more."""

    url: str
    failure: str
    detail: str = ""
    status: int | None = None
    attempts: int = 1
    final: bool = True
    gone: bool = False


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """Where a response lies: bytes ``offset`` to ``offset + length`` of the object.

    ``body``: of one that repeats an earlier response, where that lies (object key, offset, length).
    """

    object_key: str
    offset: int
    length: int
    digest: str
    body: tuple[str, int, int] | None = None


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """What one answered request brought. ``attempts`` as it was taken; ``retry_in_s``: asked again, in seconds.

    ``wait_reason``: it was not sent at all, for this reason; ``waiting_on``: who can change that.
    """

    request_key: str
    url: str
    attempts: int = 0
    status: int | None = None
    items: Sequence[CandidateRow] = ()
    discovered: Sequence[FrontierRow] = ()
    incident: IncidentRow | None = None
    retry_in_s: float | None = None
    snapshot: SnapshotRow | None = None
    bytes_received: int = 0
    latency_s: float = 0.0
    wait_reason: str | None = None
    waiting_on: str | None = None
    server_group: str = ""
    """Whose budget the request took from."""
    depth: int = 0
    visit: VisitRow | None = None
    fruitless: str | None = None
    trap_reported: str | None = None
    left_list: bool = False

    @property
    def skipped(self) -> bool:
        """Whether the page was known to be unchanged, so that nobody was asked."""
        return self.visit is not None and not self.visit.asked


class UnknownCrawlRunError(LookupError):
    """No crawl run has this id."""

    code = "unknown_crawl_run"


_INSERT_FRONTIER = text("""
    INSERT INTO frontier_requests (crawl_run_id, request_key, url, kind, context, depth, priority)
    SELECT :run, r.request_key, r.url, r.kind, r.context, r.depth, r.priority
    FROM ROWS FROM (jsonb_to_recordset(CAST(:rows AS jsonb)) AS
        (request_key text, url text, kind text, context jsonb, depth int, priority int)) WITH ORDINALITY
        AS r(request_key, url, kind, context, depth, priority, n)
    ORDER BY r.n
    ON CONFLICT DO NOTHING
""")

_TAKE = text("""
    SELECT request_key, url, kind, context, depth, priority, attempts
    FROM frontier_requests
    WHERE crawl_run_id = :run AND state = 'queued' AND not_before <= now()
      AND NOT request_key = ANY (CAST(:exclude AS text[]))
    ORDER BY priority DESC, seq
    LIMIT :limit
""")

_NEXT_DUE = text("""
    SELECT CASE
        WHEN EXISTS (SELECT 1 FROM frontier_requests
                     WHERE crawl_run_id = :run AND state = 'queued' AND not_before <= now()) THEN 0.0
        ELSE (SELECT CAST(extract(epoch FROM min(not_before) - now()) AS float8)
              FROM frontier_requests WHERE crawl_run_id = :run AND state = 'queued')
    END
""")

_LOCK_RUN = text("SELECT counters FROM crawl_runs WHERE id = :run FOR UPDATE")

_ANSWER = text("""
    UPDATE frontier_requests f
    SET state = r.state, status = CASE WHEN r.wait_reason IS NULL THEN r.status ELSE f.status END,
        attempts = f.attempts + CASE WHEN r.wait_reason IS NULL THEN 1 ELSE 0 END,
        wait_reason = r.wait_reason, waiting_on = r.waiting_on,
        not_before = CASE WHEN r.state = 'queued' THEN now() + make_interval(secs => r.retry_in_s)
                     ELSE f.not_before END,
        finished_at = CASE WHEN r.state = 'queued' THEN NULL ELSE now() END
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS
        r(request_key text, attempts int, state text, status int, retry_in_s float8, wait_reason text, waiting_on text)
    WHERE f.crawl_run_id = :run AND f.request_key = ANY (CAST(:keys AS text[])) AND f.request_key = r.request_key
      AND f.state = 'queued' AND f.attempts = r.attempts
    RETURNING f.request_key
""")

# What a known candidate becomes when a crawl sees it again:
# - changed: it starts over, but keeps the version it belongs to. One in review keeps its case and shows the new values.
# - unchanged, failed for a passing reason, and another run: it is tried again.
# - told with fewer values than are known (a list that links to the page of the item): not a change.
# - told to be unavailable: what was known of it stays known; the source has no more to tell. Of a published one a
#   crawl's word is not enough: refresh campaigns look twice.
# - unchanged otherwise: it stays as it is, and belongs to the newest run that saw it.
# An equal digest with other values: the site moved, and the new addresses are taken.
_NO_NEWS = "(c.item @> excluded.item OR (excluded.state = 'unavailable' AND c.state IN ('published', 'duplicate')))"
_TOLD_LESS = f"(c.item_digest <> excluded.item_digest AND {_NO_NEWS})"
_CHANGED = f"(c.item_digest <> excluded.item_digest AND NOT {_NO_NEWS})"
_MERGED = """CASE WHEN excluded.state <> 'unavailable' THEN excluded.item
    -- A title that is only the key says that none was told.
    ELSE c.item || excluded.item || CASE WHEN excluded.item ->> 'title' = excluded.source_key
                                         THEN jsonb_build_object('title', c.item -> 'title') ELSE '{}' END END"""
_RESTART = f"""(({_CHANGED} AND c.state <> 'in_review')
    OR (c.state IN ('failed', 'unavailable') AND c.reason = ANY (CAST(:retryable AS text[]))
        AND c.crawl_run_id IS DISTINCT FROM excluded.crawl_run_id))"""
_UPSERT_CANDIDATES = text(f"""
    INSERT INTO candidates AS c (source, source_key, url, crawl_run_id, item, item_digest, audio_policy, trust,
                                 state, reason, waiting_on)
    SELECT :source, r.source_key, r.url, :run, r.item, r.digest, :audio_policy, :trust,
           CASE WHEN r.availability = 'available' THEN 'discovered' ELSE 'unavailable' END,
           CASE WHEN r.availability = 'available' THEN 'new' ELSE r.availability END,
           CASE WHEN r.availability = 'available' THEN 'worker' END
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS
        r(source_key text, url text, item jsonb, digest text, availability text)
    ORDER BY r.source_key
    ON CONFLICT (source, source_key) DO UPDATE SET
        crawl_run_id = excluded.crawl_run_id,
        url = CASE WHEN {_TOLD_LESS} THEN c.url ELSE excluded.url END,
        item = CASE WHEN {_TOLD_LESS} THEN c.item ELSE {_MERGED} END,
        item_digest = CASE WHEN {_TOLD_LESS} THEN c.item_digest ELSE excluded.item_digest END,
        audio_policy = excluded.audio_policy,
        trust = excluded.trust,
        updated_at = now(),
        state = CASE WHEN {_RESTART} THEN excluded.state ELSE c.state END,
        reason = CASE WHEN NOT {_RESTART} THEN c.reason
                      WHEN excluded.state = 'unavailable' THEN excluded.reason
                      WHEN {_CHANGED} THEN 'changed' ELSE 'retried' END,
        detail = CASE WHEN {_RESTART} THEN '' ELSE c.detail END,
        since = CASE WHEN {_RESTART} THEN now() ELSE c.since END,
        next_attempt_at = CASE WHEN {_RESTART} THEN NULL ELSE c.next_attempt_at END,
        waiting_on = CASE WHEN {_RESTART} THEN excluded.waiting_on ELSE c.waiting_on END,
        attempts = CASE WHEN {_RESTART} THEN 0 ELSE c.attempts END
    RETURNING CASE WHEN old.id IS NULL THEN 'new'
                   WHEN old.item_digest <> new.item_digest THEN 'changed'
                   ELSE 'unchanged' END
""")  # noqa: S608

_UPSERT_INCIDENTS = text("""
    INSERT INTO crawl_incidents (crawl_run_id, request_key, failure, url, status, detail, attempts, final)
    SELECT :run, r.request_key, r.failure, r.url, r.status, r.detail, r.attempts, r.final
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS
        r(request_key text, failure text, url text, status int, detail text, attempts int, final bool)
    ON CONFLICT (crawl_run_id, request_key, failure) DO UPDATE SET
        url = excluded.url, status = excluded.status, detail = excluded.detail, attempts = excluded.attempts,
        final = excluded.final, seen_at = now()
""")

_UPSERT_SNAPSHOTS = text("""
    INSERT INTO page_snapshots (crawl_run_id, request_key, url, status, object_key, "offset", length, digest,
                                body_object_key, body_offset, body_length)
    SELECT :run, r.request_key, r.url, r.status, r.object_key, r."offset", r.length, r.digest,
           r.body_object_key, r.body_offset, r.body_length
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS
        r(request_key text, url text, status int, object_key text, "offset" int8, length int8, digest text,
          body_object_key text, body_offset int8, body_length int8)
    ON CONFLICT (crawl_run_id, request_key) DO UPDATE SET
        url = excluded.url, status = excluded.status, object_key = excluded.object_key, "offset" = excluded."offset",
        length = excluded.length, digest = excluded.digest, fetched_at = now(),
        body_object_key = excluded.body_object_key, body_offset = excluded.body_offset,
        body_length = excluded.body_length
""")

_BODY = ("body_object_key", "body_offset", "body_length")
_KEEP_OBJECTS = text("UPDATE stored_objects SET state = 'kept' WHERE key = ANY (CAST(:keys AS text[]))")

_ADD_OBJECT = text("""
    INSERT INTO stored_objects (key, kind, size) VALUES (:key, :kind, :size)
    ON CONFLICT (key) DO UPDATE SET size = excluded.size
""")

_SET_COUNTERS = text("UPDATE crawl_runs SET counters = CAST(:counters AS jsonb), updated_at = now() WHERE id = :run")


class CrawlRunStore:
    """The store of one crawl run; every method is one transaction.

    Args:
        audio_policy, trust: stand on each candidate of this run; trust in 0..1.
        retryable: reason codes of failed candidates that a new run tries again.
        max_depth: links that an unchanged page is known to have are followed no deeper.
        bounds: seconds; the least and the most time to a page's next visit.
        watch: judges the run after each commit.
    """

    def __init__(
        self,
        database: Database,
        crawl_run_id: str | uuid.UUID,
        *,
        source: str,
        audio_policy: str = "none",
        trust: float = 0.5,
        retryable: Sequence[str] = (),
        max_depth: int = 1000,
        bounds: tuple[float, float] = (3600.0, 30 * 86_400.0),
        watch: Watch | None = None,
    ) -> None:
        self._database = database
        self._run = uuid.UUID(str(crawl_run_id))
        self._source = source
        self._retryable = list(retryable)
        self._max_depth = max_depth
        self._bounds = bounds
        self._watch = watch
        self._candidate = {
            "source": source,
            "audio_policy": audio_policy,
            "trust": trust,
            "retryable": self._retryable,
        }

    def seed(self, requests: Sequence[FrontierRow]) -> None:
        """Adds requests in this order; those already known to the run stay as they are."""
        if requests:
            with self._database.transaction() as session:
                self._insert_frontier(session, requests)

    def take(self, limit: int, exclude: Sequence[str] = ()) -> list[FrontierRow]:
        """Up to ``limit`` due requests, highest priority first, then oldest. They stay queued until committed."""
        with self._database.transaction() as session:
            taken = session.execute(_TAKE, {"run": self._run, "limit": limit, "exclude": list(exclude)}).all()
            known = page_history.read(session, self._source, [row.request_key for row in taken])
            return [
                FrontierRow(key, url, kind, context, depth, priority, attempts, known.get(key))
                for key, url, kind, context, depth, priority, attempts in taken
            ]

    def next_due_in_s(self) -> float | None:
        """Seconds until a queued request is due; None when there is none."""
        with self._database.transaction() as session:
            due = session.execute(_NEXT_DUE, {"run": self._run}).scalar_one()
            return None if due is None else max(float(due), 0.0)

    def add_object(self, key: str, *, kind: str, size: int) -> None:
        """Announces an object before it is written to the object store; it is pending until a commit refers to it."""
        with self._database.transaction() as session:
            session.execute(_ADD_OBJECT, {"key": key, "kind": kind, "size": size})

    def commit(self, outcomes: Sequence[OutcomeRow]) -> None:
        """Persists all outcomes in one transaction.

        An outcome whose request is not queued with these ``attempts`` was committed before and is passed over whole,
        so that a repeated commit changes nothing. Raises UnknownCrawlRunError.
        """
        if not outcomes:
            return
        with self._database.transaction() as session:
            # The lock orders the commits of a run, and the counters are ours until the end.
            counters = session.execute(_LOCK_RUN, {"run": self._run}).scalar_one_or_none()
            if counters is None:
                raise UnknownCrawlRunError(f"crawl_run_id: no crawl run {self._run}")
            by_key = {outcome.request_key: outcome for outcome in outcomes}
            answered = session.execute(
                _ANSWER,
                {
                    "run": self._run,
                    "keys": list(by_key),
                    "rows": dumps([_answer(outcome) for outcome in by_key.values()]),
                },
            ).scalars()
            fresh = {key: by_key[key] for key in answered}
            if not fresh:
                return
            accepted = [outcome for key, outcome in by_key.items() if key in fresh and outcome.wait_reason is None]
            if not accepted:
                return
            self._insert_frontier(session, [row for outcome in accepted for row in outcome.discovered])
            verdicts = self._upsert_candidates(session, accepted)
            verdicts.update(self._see_again(session, accepted))
            self._insert_incidents(session, accepted)
            self._insert_snapshots(session, accepted)
            page_history.record(session, self._source, self._run, accepted, self._bounds)
            page_history.count_fruitless(session, self._run, accepted)
            counters = self._complete(session, add_counters(counters, accepted, verdicts), accepted)
            session.execute(_SET_COUNTERS, {"run": self._run, "counters": dumps(counters)})
            if asked := [outcome for outcome in accepted if not outcome.skipped]:
                crawl_series.record(session, self._run, asked)
            if self._watch is not None:
                self._watch.after_commit(session, self._run, counters)

    def upsert(self, outcomes: Sequence[OutcomeRow]) -> Counter[str]:
        """Takes in the items of these outcomes alone, as `commit` would; counts ``new, changed, unchanged``."""
        with self._database.transaction() as session:
            return self._upsert_candidates(session, outcomes)

    def _complete(
        self, session: Session, counters: Mapping[str, Any], outcomes: Sequence[OutcomeRow]
    ) -> Mapping[str, Any]:
        """For stores of other kinds of runs: what else belongs to this commit; returns the run's counters."""
        return counters

    def _see_again(self, session: Session, outcomes: Sequence[OutcomeRow]) -> Counter[str]:
        """What unchanged pages brought when they were read counts as seen by this run."""
        again = [outcome for outcome in outcomes if outcome.visit is not None and outcome.visit.unchanged]
        if not again:
            return Counter()
        page_history.queue_links_again(session, self._source, self._run, again, self._max_depth)
        return Counter(
            seen_again=page_history.see_items_again(session, self._source, self._run, again, self._retryable)
        )

    def _insert_frontier(self, session: Session, requests: Sequence[FrontierRow]) -> None:
        # Pages of a site link to the same pages: each request goes over the wire once.
        unique: dict[str, FrontierRow] = {}
        for request in requests:
            unique.setdefault(request.request_key, request)
        rows = [
            {
                "request_key": request.request_key,
                "url": request.url,
                "kind": request.kind,
                "context": dict(request.context),
                "depth": request.depth,
                "priority": request.priority,
            }
            for request in unique.values()
        ]
        if rows:
            session.execute(_INSERT_FRONTIER, {"run": self._run, "rows": dumps(rows)})

    def _upsert_candidates(self, session: Session, outcomes: Sequence[OutcomeRow]) -> Counter[str]:
        # One statement may not touch a row twice: of equal keys in a batch the last wins, unless it tells less.
        found: dict[str, dict[str, Any]] = {}
        for item in (item for outcome in outcomes for item in outcome.items):
            key = storable_key(item.source_key)
            if key in found and tells_less(item.item, found[key]["item"]):
                continue
            found[key] = {
                "source_key": key,
                "url": item.url,
                "item": item.item,
                "digest": item.digest,
                "availability": item.availability,
            }
        if not found:
            return Counter()
        rows = dumps(list(found.values()))
        return Counter(
            session.execute(_UPSERT_CANDIDATES, {**self._candidate, "run": self._run, "rows": rows}).scalars()
        )

    def _insert_incidents(self, session: Session, outcomes: Sequence[OutcomeRow]) -> None:
        rows = [
            {
                "request_key": outcome.request_key,
                "failure": outcome.incident.failure,
                "url": outcome.incident.url,
                "status": outcome.incident.status,
                "detail": outcome.incident.detail[:2000],
                "attempts": outcome.incident.attempts,
                "final": outcome.incident.final and outcome.retry_in_s is None,
            }
            for outcome in outcomes
            if outcome.incident is not None
        ]
        if rows:
            session.execute(_UPSERT_INCIDENTS, {"run": self._run, "rows": dumps(rows)})

    def _insert_snapshots(self, session: Session, outcomes: Sequence[OutcomeRow]) -> None:
        rows = [
            {
                "request_key": outcome.request_key,
                "url": outcome.url,
                "status": outcome.status,
                "object_key": outcome.snapshot.object_key,
                "offset": outcome.snapshot.offset,
                "length": outcome.snapshot.length,
                "digest": outcome.snapshot.digest,
                **dict(zip(_BODY, outcome.snapshot.body or (), strict=False)),
            }
            for outcome in outcomes
            if outcome.snapshot is not None
        ]
        if rows:
            session.execute(_KEEP_OBJECTS, {"keys": sorted({str(row["object_key"]) for row in rows})})
            session.execute(_UPSERT_SNAPSHOTS, {"run": self._run, "rows": dumps(rows)})


_COUNTED = ("requests", "pages", "items", "new", "changed", "unchanged", "bytes", "retries", "discovered")
_COUNTED_IF_ANY = ("not_modified", "skipped", "seen_again", "read_items", "lists_left")


def add_counters(
    counters: Mapping[str, Any], outcomes: Sequence[OutcomeRow], verdicts: Mapping[str, int]
) -> dict[str, Any]:
    """The run's counters with these outcomes added.

    Keys: requests, pages, items, new, changed, unchanged, bytes, retries, discovered, latency_sum_s, latency_max_s,
    ``failures``, a count of final failures by class, ``statuses``, a count of answers by HTTP status, and ``latency``,
    a histogram over `crawl_series.LATENCY_BOUNDS_S`.

    Where there were unchanged pages: ``not_modified``, those that were asked; ``skipped``, those that needed no request
    and so count neither as requests nor as pages; ``seen_again``, their items, which are among ``items`` and
    ``unchanged`` too. Where there were items: ``read_items``, those read from pages, and ``fields``, how many of them
    had each field. ``lists_left``: lists that were left at what is known.
    """
    result = dict(counters)
    failures = Counter(result.get("failures", {}))
    fields = Counter(result.get("fields", {}))
    added: Counter[str] = Counter()
    for outcome in outcomes:
        final = outcome.retry_in_s is None
        unchanged = outcome.visit is not None and outcome.visit.unchanged
        added["requests"] += not outcome.skipped
        added["skipped"] += outcome.skipped
        added["not_modified"] += unchanged and not outcome.skipped
        added["pages"] += outcome.incident is None and final and not outcome.skipped
        added["items"] += len(outcome.items)
        added["read_items"] += len(outcome.items)
        added["lists_left"] += outcome.left_list
        fields.update(name for item in outcome.items for name in item.item)
        added["discovered"] += len(outcome.discovered)
        added["bytes"] += outcome.bytes_received
        added["retries"] += not final
        if outcome.incident is not None and final and outcome.incident.final:
            failures[outcome.incident.failure] += 1
    added.update(verdicts)
    added["items"] += verdicts.get("seen_again", 0)
    added["unchanged"] += verdicts.get("seen_again", 0)
    for name in _COUNTED:
        result[name] = int(result.get(name, 0)) + added[name]
    statuses = Counter(result.get("statuses", {}))
    statuses.update(
        crawl_series.NO_ANSWER if each.status is None else str(each.status) for each in outcomes if not each.skipped
    )
    result["statuses"] = dict(statuses)
    answered = [outcome.latency_s for outcome in outcomes if outcome.status is not None]
    result["latency"] = crawl_series.add_latencies(result.get("latency", ()), answered)
    for name in _COUNTED_IF_ANY:
        if added[name]:
            result[name] = int(result.get(name, 0)) + added[name]
    latencies = [outcome.latency_s for outcome in outcomes]
    result["latency_sum_s"] = round(float(result.get("latency_sum_s", 0.0)) + sum(latencies), 6)
    result["latency_max_s"] = round(max(float(result.get("latency_max_s", 0.0)), *latencies), 6)
    result["failures"] = dict(failures)
    if fields:
        result["fields"] = dict(sorted(fields.items()))
    return result


def tells_less(item: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether all values of ``item`` are those of ``known``."""
    return all(name in known and known[name] == value for name, value in item.items())


def _answer(outcome: OutcomeRow) -> dict[str, Any]:
    if outcome.retry_in_s is not None:
        state = "queued"
    else:
        state = "failed" if outcome.incident is not None and outcome.incident.final else "done"
    return {
        "request_key": outcome.request_key,
        "attempts": outcome.attempts,
        "state": state,
        "status": outcome.status,
        "retry_in_s": max(outcome.retry_in_s or 0.0, 0.0),
        "wait_reason": outcome.wait_reason,
        "waiting_on": outcome.waiting_on,
    }
