"""Frontier, candidates and budget on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import text

from activities.crawl_ports import PostgresCrawlStore, WarcSnapshotStore
from adapters.contract import Availability, PageRequest, RecordingItem
from catalog.database import Database
from catalog.repositories.crawl_store import CrawlRunStore, FrontierRow, OutcomeRow, UnknownCrawlRunError, dumps
from crawlers import warc
from crawlers.errors import FailureClass
from crawlers.ports import Incident, NotNow, PageOutcome, QueuedRequest, SnapshotRecord


def rows(database: Database, statement: str, **values: Any) -> list[dict[str, Any]]:
    with database.transaction() as session:
        return [dict(row) for row in session.execute(text(statement), values).mappings()]


def run_id(database: Database, source: str = "site") -> str:
    with database.transaction() as session:
        campaign = session.execute(
            text("INSERT INTO campaigns (name, spec) VALUES (:name, '{}') RETURNING id"), {"name": str(uuid.uuid4())}
        ).scalar_one()
        return str(
            session.execute(
                text(
                    "INSERT INTO crawl_runs (campaign_id, trigger_key, source, spec)"
                    " VALUES (:campaign, 't', :source, '{}') RETURNING id"
                ),
                {"campaign": campaign, "source": source},
            ).scalar_one()
        )


def open_store(database: Database, run: str | None = None, **options: Any) -> PostgresCrawlStore:
    options.setdefault("source", "site")
    return PostgresCrawlStore(CrawlRunStore(database, run or run_id(database), **options))


def request(name: str, *, priority: int = 0, **options: Any) -> QueuedRequest:
    return QueuedRequest(name, PageRequest(f"http://a/{name}", "page", priority, {"n": name}), **options)


def item(key: str, title: str = "Катюша", **options: Any) -> RecordingItem:
    return RecordingItem(source_key=key, title=title, url=f"http://a/{key}", **options)


async def find(store: PostgresCrawlStore, *items: RecordingItem, page: str = "page") -> None:
    """One page that brought these items."""
    await store.seed([request(page)])
    (taken,) = await store.take(1, [])
    await store.commit([PageOutcome(taken, status=200, items=items)])


def candidate(database: Database, key: str = "k") -> dict[str, Any]:
    (row,) = rows(database, "SELECT * FROM candidates WHERE source_key = :key", key=key)
    return row


def set_state(database: Database, state: str, reason: str, key: str = "k") -> None:
    with database.transaction() as session:
        session.execute(
            text(
                "UPDATE candidates SET state = :state, reason = :reason, waiting_on = NULL, attempts = 3,"
                " detail = 'old' WHERE source_key = :key"
            ),
            {"state": state, "reason": reason, "key": key},
        )


async def test_frontier_order_exclusion_and_round_trip(database: Database) -> None:
    store = open_store(database)
    assert await store.next_due_in_s() is None
    await store.seed([request("a"), request("b", priority=5, depth=2), request("c"), request("a")])
    await store.seed([request("a", priority=9)])
    assert await store.next_due_in_s() == 0.0
    taken = await store.take(10, [])
    assert [queued.request_key for queued in taken] == ["b", "a", "c"]
    assert taken[0] == request("b", priority=5, depth=2)
    assert [queued.request_key for queued in await store.take(10, ["b", "c"])] == ["a"]
    assert [queued.request_key for queued in await store.take(1, [])] == ["b"]


async def test_runs_do_not_see_each_other(database: Database) -> None:
    first, second = open_store(database), open_store(database)
    await first.seed([request("a")])
    assert await second.take(5, []) == []


async def test_outcomes_move_the_frontier(database: Database) -> None:
    run = run_id(database)
    store = open_store(database, run)
    await store.seed([request("ok"), request("bad"), request("later")])
    ok, bad, later = await store.take(9, [])
    failed = Incident("bad", "http://a/bad", FailureClass.GONE, "HTTP 410", 410)
    limited = Incident("later", "http://a/later", FailureClass.RATE_LIMITED, "HTTP 429", 429, final=False)
    await store.commit(
        [
            PageOutcome(
                ok, 200, items=[item("k")], discovered=[request("ok"), request("new", depth=1)], bytes_received=10,
                latency_s=0.5,
            ),
            PageOutcome(bad, 410, incident=failed, bytes_received=5, latency_s=1.5),
            PageOutcome(later, 429, incident=limited, retry_in_s=60),
        ]
    )  # fmt: skip
    states = rows(database, "SELECT request_key, state, attempts, status FROM frontier_requests ORDER BY seq")
    assert [tuple(row.values()) for row in states] == [
        ("ok", "done", 1, 200), ("bad", "failed", 1, 410), ("later", "queued", 1, 429), ("new", "queued", 0, None),
    ]  # fmt: skip
    assert [(queued.request_key, queued.depth) for queued in await store.take(9, [])] == [("new", 1)]
    assert await store.next_due_in_s() == 0.0
    (new,) = await store.take(9, [])
    await store.commit([PageOutcome(new, 200)])
    due = await store.next_due_in_s()
    assert due is not None
    assert 30 < due <= 60
    incidents = rows(database, "SELECT request_key, failure, status, final FROM crawl_incidents ORDER BY 1")
    assert [tuple(row.values()) for row in incidents] == [
        ("bad", "gone", 410, True), ("later", "rate_limited", 429, False),
    ]  # fmt: skip
    (counters,) = rows(database, "SELECT counters FROM crawl_runs WHERE id = :run", run=run)
    assert counters["counters"] == {
        "requests": 4, "pages": 2, "items": 1, "new": 1, "changed": 0, "unchanged": 0, "bytes": 15, "retries": 1,
        "discovered": 2, "latency_sum_s": 2.0, "latency_max_s": 1.5, "failures": {"gone": 1},
        "statuses": {"200": 2, "410": 1, "429": 1}, "latency": [2, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0],
        "read_items": 1, "fields": {"availability": 1, "source_key": 1, "title": 1, "url": 1},
    }  # fmt: skip


async def test_a_postponed_request_keeps_its_attempts_and_says_why(database: Database) -> None:
    run = run_id(database)
    store = open_store(database, run)
    await store.seed([request("a"), request("b")])
    a, b = await store.take(2, [])
    wait = NotNow(60.0, "daily_requests", "schedule")
    await store.commit([PageOutcome(a, postponed=wait, retry_in_s=60.0), PageOutcome(b, status=200)])
    assert await store.take(2, []) == []
    assert 55 < (await store.next_due_in_s() or 0) <= 60
    (row,) = rows(database, "SELECT attempts, wait_reason, waiting_on FROM frontier_requests WHERE request_key = 'a'")
    assert row == {"attempts": 0, "wait_reason": "daily_requests", "waiting_on": "schedule"}
    (counters,) = rows(database, "SELECT counters FROM crawl_runs WHERE id = :run", run=run)
    assert (counters["counters"]["requests"], counters["counters"]["retries"]) == (1, 0)
    rows(database, "UPDATE frontier_requests SET not_before = now() RETURNING 1")
    (again,) = await store.take(2, [])
    await store.commit([PageOutcome(again, status=200)])
    (row,) = rows(database, "SELECT attempts, wait_reason FROM frontier_requests WHERE request_key = 'a'")
    assert row == {"attempts": 1, "wait_reason": None}


async def test_a_repeated_commit_changes_nothing(database: Database) -> None:
    store = open_store(database)
    await store.seed([request("a"), request("b")])
    a, b = await store.take(9, [])
    broken = Incident("b", "http://a/b", FailureClass.TIMEOUT, final=False)
    outcomes = [
        PageOutcome(a, 200, items=[item("k")], discovered=[request("c")], bytes_received=1),
        PageOutcome(b, None, incident=broken, retry_in_s=0.0),
    ]
    tables = ("frontier_requests", "candidates", "crawl_incidents", "crawl_runs", "crawl_buckets")

    def state() -> list[Any]:
        return [rows(database, f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]

    await store.commit(outcomes)
    before = state()
    await store.commit(outcomes)
    assert state() == before
    # Two crawlers of a run that overlap: both fetched b, one answer counts.
    (_, again) = sorted(await store.take(9, []), key=lambda queued: queued.attempts)
    assert (again.request_key, again.attempts) == ("b", 1)
    await asyncio.gather(*(store.commit([PageOutcome(again, 200, items=[item("x")])]) for _ in range(4)))
    (run,) = rows(database, "SELECT counters FROM crawl_runs")
    assert (run["counters"]["requests"], run["counters"]["items"], run["counters"]["new"]) == (3, 2, 2)


async def test_an_outcome_of_a_failed_transaction_leaves_nothing(database: Database) -> None:
    raw = CrawlRunStore(database, run_id(database), source="site")
    raw.seed([FrontierRow("a", "http://a/")])
    bad: Any = OutcomeRow("a", "http://a/", discovered=[FrontierRow("b", "http://a/b", depth="deep")])  # type: ignore[arg-type]
    with pytest.raises(Exception, match="deep"):
        raw.commit([bad])
    assert [row.attempts for row in raw.take(9)] == [0]


async def test_new_and_unavailable_candidates(database: Database) -> None:
    store = open_store(database, audio_policy="store", trust=0.9)
    await find(store, item("k"), item("gone", availability=Availability.REMOVED), item("k", "Катюша, 2"))
    row = candidate(database)
    assert (row["state"], row["reason"], row["waiting_on"]) == ("discovered", "new", "worker")
    assert (row["audio_policy"], row["trust"], row["url"]) == ("store", 0.9, "http://a/k")
    assert RecordingItem.from_json(row["item"]) == item("k", "Катюша, 2")
    assert row["item_digest"] == item("k", "Катюша, 2").digest()
    gone = candidate(database, "gone")
    assert (gone["state"], gone["reason"], gone["waiting_on"]) == ("unavailable", "removed", None)


async def test_a_second_run_finds_all_known(database: Database) -> None:
    await find(open_store(database), item("k"), item("open"))
    set_state(database, "published", "auto_approved")
    before = candidate(database)
    second = run_id(database)
    await find(open_store(database, second), item("k"), item("open"))
    after = candidate(database)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"crawl_run_id", "updated_at"}
    opened = candidate(database, "open")
    assert (opened["state"], str(opened["crawl_run_id"])) == ("discovered", second)
    (run,) = rows(database, "SELECT counters FROM crawl_runs WHERE id = :run", run=second)
    assert (run["counters"]["new"], run["counters"]["changed"], run["counters"]["unchanged"]) == (0, 0, 2)


async def test_a_changed_item_starts_over_and_keeps_its_version(database: Database) -> None:
    await find(open_store(database), item("k"))
    with database.transaction() as session:
        song = session.execute(text("INSERT INTO songs (slug, title) VALUES ('s', 's') RETURNING id")).scalar_one()
        version = session.execute(
            text("INSERT INTO versions (song_id, title) VALUES (:song, 'v') RETURNING id"), {"song": song}
        ).scalar_one()
        session.execute(text("UPDATE candidates SET version_id = :version"), {"version": version})
    set_state(database, "published", "auto_approved")
    await find(open_store(database), item("k", "Катюша (live)"))
    row = candidate(database)
    assert (row["state"], row["reason"], row["waiting_on"], row["attempts"], row["detail"]) == (
        "discovered", "changed", "worker", 0, "",
    )  # fmt: skip
    assert row["version_id"] == version
    await find(open_store(database), item("k", availability=Availability.PRIVATE))
    row = candidate(database)
    assert (row["state"], row["reason"], row["waiting_on"]) == ("unavailable", "private", None)


async def test_a_list_that_tells_less_is_not_a_change(database: Database) -> None:
    full = item("k", album="Песни", duration_s=120.0)
    run = run_id(database)
    await find(open_store(database, run), item("k"))
    await find(open_store(database, run), full, item("k"), page="own")
    assert candidate(database)["item_digest"] == full.digest()
    set_state(database, "published", "auto_approved")
    second = run_id(database)
    await find(open_store(database, second), item("k"))
    await find(open_store(database, second), full, page="own")
    row = candidate(database)
    assert (row["state"], row["item_digest"], row["item"]["album"]) == ("published", full.digest(), "Песни")
    (counted,) = rows(database, "SELECT counters FROM crawl_runs WHERE id = :run", run=second)
    assert (counted["counters"]["changed"], counted["counters"]["unchanged"]) == (0, 2)


async def test_a_site_that_moved_is_unchanged_and_found_at_its_new_address(database: Database) -> None:
    def at(host: str, **options: Any) -> RecordingItem:
        return RecordingItem("k", "Катюша", url=f"http://{host}/k", audio_url=f"http://{host}/k.mp3", **options)

    await find(open_store(database), at("127.0.0.1:8001"))
    set_state(database, "published", "auto_approved")
    await find(open_store(database), at("127.0.0.1:9002"))
    row = candidate(database)
    assert (row["state"], row["url"]) == ("published", "http://127.0.0.1:9002/k")
    assert row["item"]["audio_url"] == "http://127.0.0.1:9002/k.mp3"


async def test_one_in_review_keeps_its_case_and_shows_the_new_values(database: Database) -> None:
    await find(open_store(database), item("k"))
    set_state(database, "in_review", "possible_song")
    await find(open_store(database), item("k", "Катюша (live)"))
    row = candidate(database)
    assert (row["state"], row["reason"], row["item"]["title"]) == ("in_review", "possible_song", "Катюша (live)")


@pytest.mark.parametrize(("reason", "expected"), [("timeout", "discovered"), ("not_audio", "failed")])
async def test_passing_failures_are_tried_again_by_the_next_run_only(
    reason: str, expected: str, database: Database
) -> None:
    run = run_id(database)
    await find(open_store(database, run), item("k"))
    set_state(database, "failed", reason)
    await find(open_store(database, run, retryable=["timeout"]), item("k"), page="page2")
    assert candidate(database)["state"] == "failed"
    await find(open_store(database, retryable=["timeout"]), item("k"))
    row = candidate(database)
    assert (row["state"], row["reason"]) == (expected, "retried" if expected == "discovered" else reason)


async def test_what_the_web_holds_can_be_stored(database: Database) -> None:
    nasty = item("nul\x00key", "NUL \x00, surrogate \ud800, backslash \\u0000, quote ' and \u2028")
    long = item("x" * 5000)
    await find(open_store(database), nasty, long, item("n", duration_s=float("nan")))
    stored = {row["source_key"]: row["item"] for row in rows(database, "SELECT source_key, item FROM candidates")}
    assert stored["nulkey"]["title"] == "NUL , surrogate ?, backslash \\u0000, quote ' and \u2028"
    assert max(len(key) for key in stored) == 500
    assert stored["n"]["duration_s"] is None
    assert dumps({"a": "\\u0000"}) == '{"a":"\\\\u0000"}'


async def test_unknown_run(database: Database) -> None:
    store = open_store(database, str(uuid.uuid4()))
    with pytest.raises(UnknownCrawlRunError):
        await store.commit([PageOutcome(request("a"))])


async def test_snapshots(database: Database) -> None:
    class Objects:
        def __init__(self) -> None:
            self.stored: dict[str, bytes] = {}

        def put_bytes(self, key: str, data: bytes, content_type: str) -> None:
            (row,) = rows(database, "SELECT * FROM stored_objects WHERE key = :key", key=key)
            assert (row["kind"], row["state"], row["size"]) == ("warc", "pending", len(data))
            self.stored[key] = data

    run = run_id(database)
    raw, objects = CrawlRunStore(database, run, source="site"), Objects()
    snapshots = WarcSnapshotStore(raw, objects, source="site", crawl_run_id=run)
    assert await snapshots.write([]) == []
    refs = await snapshots.write([SnapshotRecord(f"http://a/{n}", 200, {}, b"page %d" % n) for n in range(3)])
    store = PostgresCrawlStore(raw)
    await store.seed([request(str(n)) for n in range(3)])
    await store.commit(
        [PageOutcome(queued, 200, snapshot=ref) for queued, ref in zip(await store.take(9, []), refs, strict=True)]
    )
    (row,) = rows(database, "SELECT key, state FROM stored_objects")
    assert row["state"] == "kept"
    assert row["key"].startswith("warc/site/2")
    assert row["key"].endswith(".warc.gz")
    for place in rows(database, "SELECT * FROM page_snapshots"):
        data = objects.stored[place["object_key"]][place["offset"] : place["offset"] + place["length"]]
        assert warc.read_record(data).body == f"page {place['request_key']}".encode()


async def test_what_is_known_of_an_item_outlives_it(database: Database) -> None:
    gone = item("a", "a", availability=Availability.REMOVED, availability_detail="HTTP 404")
    first = open_store(database)
    await find(first, item("a", "Катюша", duration_s=185.0))
    second = open_store(database, run_id(database))
    await find(second, gone)
    (row,) = rows(database, "SELECT state, reason, item FROM candidates")
    assert (row["state"], row["reason"]) == ("unavailable", "removed")
    assert (row["item"]["title"], row["item"]["duration_s"]) == ("Катюша", 185.0)
    assert (row["item"]["availability"], row["item"]["availability_detail"]) == ("removed", "HTTP 404")
    third = open_store(database, run_id(database))
    await find(third, item("a", "Катюша", duration_s=185.0))
    (row,) = rows(database, "SELECT state, reason, item FROM candidates")
    assert (row["state"], row["reason"], row["item"]["availability"]) == ("discovered", "changed", "available")
    assert "availability_detail" not in row["item"]


async def test_a_crawl_alone_takes_no_publication_back(database: Database) -> None:
    await find(open_store(database), item("a"))
    rows(database, "UPDATE candidates SET state = 'published', reason = 'approved', waiting_on = NULL RETURNING id")
    before = rows(database, "SELECT state, reason, item, item_digest FROM candidates")
    await find(open_store(database, run_id(database)), item("a", "a", availability=Availability.PRIVATE))
    assert rows(database, "SELECT state, reason, item, item_digest FROM candidates") == before
