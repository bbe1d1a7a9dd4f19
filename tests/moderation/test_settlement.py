"""From evidence to the catalog: joined, linked, reviewed; in any order; once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from catalog.database import Database
from catalog.models import Candidate, Decision, Event, ReviewCase, Song, SongTitle, Version, VersionSource
from examples.snapshot import Snapshot, take
from moderation import service, settlement
from moderation.errors import BadCursorError, BadDecisionError, CaseChangedError, CaseClosedError, CaseNotFoundError
from tests.candidates import copy_of, performance

Add = Callable[..., Candidate]
LENIENT = {"recording": "auto", "song": "auto", "new_song": "auto", "require": ["title", "duration"]}


def settle(database: Database, key: str) -> settlement.Settled:
    """As the workflow does it: those whose evidence changed are settled again."""
    with database.transaction() as session:
        candidate_id = session.scalars(select(Candidate.id).where(Candidate.source_key == key)).one()
        settled = settlement.settle(session, candidate_id)
    waiting = list(settled.look_again)
    while waiting:
        with database.transaction() as session:
            waiting += settlement.settle(session, waiting.pop()).look_again
    return settled


def snapshot(database: Database) -> Snapshot:
    with database.transaction() as session:
        return take(session)


def test_a_new_song_is_published_once(database: Database, add: Add) -> None:
    with database.transaction() as session:
        add(session, "a", items=performance(1))
    first = settle(database, "a")
    again = settle(database, "a")
    assert first.state == again.state == "published"
    with database.transaction() as session:
        song = session.scalars(select(Song)).one()
        assert (song.title, song.slug) == ("Калинка", "kalinka")
        assert "kalinka" in song.search_text
        assert session.scalar(select(func.count()).select_from(Version)) == 1
        kinds = session.scalars(select(Event.kind).order_by(Event.seq)).all()
        assert kinds == ["song.created", "version.uploaded"]


WORLD: list[dict[str, Any]] = [
    {"key": "a1", "items": performance(1), "trust": 0.9},
    {
        "key": "a2",
        "items": copy_of(performance(1), bit_error_rate=0.04),
        "title": "Kalinka (live) [HD]",
        "performer": "Khor Primera",
        "composer": None,
        "source": "other",
        "trust": 0.4,
    },
    {"key": "b", "items": performance(2), "performer": "Ансамбль Образец", "trust": 0.9},
    {"key": "c", "items": performance(3), "title": "Во поле берёза стояла", "trust": 0.9},
    {"key": "d", "items": performance(4), "title": "Калинка-малинка", "performer": None, "composer": None},
]


@pytest.mark.parametrize("order", [list(o) for o in itertools.permutations(range(5))][::5])
def test_the_order_of_arrival_does_not_matter(database: Database, add: Add, order: list[int]) -> None:
    with database.transaction() as session:
        for number in order:
            add(session, **WORLD[number])
    for number in order:
        settle(database, WORLD[number]["key"])
    found = snapshot(database)
    assert found.partition == {
        frozenset({frozenset({"site:a1", "other:a2"}), frozenset({"site:b"})}),
        frozenset({frozenset({"site:c"})}),
    }
    assert found.review == {"site:d"}
    assert found.described["other:a2"] == ("Калинка", "Калинка", "live", "Хор Примера", "site:a1", 60)
    with database.transaction() as session:
        titles = set(session.scalars(select(SongTitle.title)))
        assert {"Калинка", "Kalinka", "Во поле берёза стояла"} == titles


def test_an_approved_new_song_settles_the_cases_that_bear_its_title(database: Database, add: Add) -> None:
    asks = {"recording": "auto", "song": "auto", "new_song": "review", "require": ["title", "performer", "duration"]}
    with database.transaction() as session:
        add(session, "a", items=performance(1), approval=asks)
        add(session, "same", items=copy_of(performance(1), bit_error_rate=0.03), source="other", approval=asks)
        add(session, "b", items=performance(2), performer="Ансамбль Образец", approval=asks)
        add(session, "c", items=performance(3), title="Во поле берёза стояла", approval=asks)
    for key in ("a", "same", "b", "c"):
        assert settle(database, key).state == "in_review"
    with database.transaction() as session:
        case = session.scalars(select(ReviewCase).join(Candidate).where(Candidate.source_key == "a")).one()
        service.decide(session, case.id, action="approve", actor="m")
        case_id = case.id
    with database.transaction() as session:
        waiting = list(settlement.apply_decision(session, case_id).look_again)
    assert len(waiting) == 2
    for candidate_id in waiting:
        with database.transaction() as session:
            settlement.settle(session, candidate_id)
    found = snapshot(database)
    assert found.partition == {frozenset({frozenset({"site:a", "other:same"}), frozenset({"site:b"})})}
    assert found.review == {"site:c"}


def test_two_uploads_at_the_same_moment_become_one_version(database: Database, add: Add) -> None:
    with database.transaction() as session:
        for number in range(6):
            add(session, f"k{number}", items=copy_of(performance(9), bit_error_rate=0.03, seed=number))
    threads = [threading.Thread(target=settle, args=(database, f"k{number}")) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = snapshot(database)
    assert (found.songs, found.versions, found.sources) == (1, 1, 6)


def test_what_the_source_says_anew_is_described_anew(database: Database, add: Add) -> None:
    with database.transaction() as session:
        add(session, "a", items=performance(1), performer="Хор")
    settle(database, "a")
    with database.transaction() as session:
        candidate = session.scalars(select(Candidate)).one()
        candidate.item = {**candidate.item, "title": "Светит месяц", "year": 1999}
        settlement.set_state(candidate, "discovered", "changed", waiting_on="worker")
    assert settle(database, "a").state == "published"
    with database.transaction() as session:
        assert session.scalars(select(Song.title)).one() == "Светит месяц"
        assert session.scalars(select(Version.release_year)).one() == 1999
        assert session.scalar(select(func.count()).select_from(VersionSource)) == 1


def test_a_copy_waits_for_the_same_recording_in_review(database: Database, add: Add) -> None:
    original, other, copy = performance(1), performance(2), copy_of(performance(1), bit_error_rate=0.04)
    with database.transaction() as session:
        add(session, "other", items=other, composer=None)
        # Another song of that title, or the same? Only a moderator knows.
        add(session, "original", items=original, performer="Другой Хор", composer=None)
        for key in ("copy", "more"):
            add(session, key, title=f"file {key}", performer=None, composer=None, items=copy, approval=LENIENT)
    assert settle(database, "other").state == "published"
    assert settle(database, "original").state == "in_review"
    for key in ("copy", "more"):
        assert settle(database, key).state == "in_review"
    with database.transaction() as session:
        reasons = {row[0]: row[1] for row in session.execute(select(Candidate.source_key, Candidate.reason))}
        case = session.scalars(select(ReviewCase).join(Candidate).where(Candidate.source_key == "original")).one()
        case_id, row_version = case.id, case.row_version
    assert reasons["copy"] == reasons["more"] == "recording_in_review"
    with database.transaction() as session:
        service.decide(session, case_id, action="retarget", actor="m", new_song=True, row_version=row_version)
    with database.transaction() as session:
        look_again = settlement.apply_decision(session, case_id).look_again
    for candidate_id in look_again:
        with database.transaction() as session:
            settlement.settle(session, candidate_id)
    with database.transaction() as session:
        found = {row[0]: row[1] for row in session.execute(select(Candidate.source_key, Candidate.state))}
        titles = set(session.scalars(select(Version.title)))
    assert found == {"other": "published", "original": "published", "copy": "duplicate", "more": "duplicate"}
    assert titles == {"Калинка"}


@pytest.mark.parametrize("action", ["reject", "approve the copy"])
def test_a_copy_goes_on_when_the_other_is_decided(database: Database, add: Add, action: str) -> None:
    original, copy = performance(1), copy_of(performance(1), bit_error_rate=0.04)
    with database.transaction() as session:
        add(session, "other", items=performance(2), composer=None)
        add(session, "original", items=original, performer="Другой Хор", composer=None)
        add(session, "copy", title="file", performer=None, composer=None, items=copy, approval=LENIENT)
    for key in ("other", "original", "copy"):
        settle(database, key)
    decided, verb = ("original", "reject") if action == "reject" else ("copy", "approve")
    with database.transaction() as session:
        case = session.scalars(select(ReviewCase).join(Candidate).where(Candidate.source_key == decided)).one()
        service.decide(session, case.id, action=verb, actor="m", row_version=case.row_version)
        case_id = case.id
    with database.transaction() as session:
        look_again = settlement.apply_decision(session, case_id).look_again
    for candidate_id in look_again:
        with database.transaction() as session:
            settlement.settle(session, candidate_id)
    with database.transaction() as session:
        found = {row[0]: row[1] for row in session.execute(select(Candidate.source_key, Candidate.state))}
    rejected = {"other": "published", "original": "rejected", "copy": "published"}
    assert found == (rejected if action == "reject" else rejected | {"original": "duplicate"})


def test_similar_sound_is_for_a_moderator(database: Database, add: Add) -> None:
    items = performance(1)
    half = items.size // 2
    # Damage comes in bursts: evenly spread it would leave hardly an item whole, and the index nothing to find.
    damaged = np.concatenate([items[:half], copy_of(items[half:], bit_error_rate=0.3)])
    with database.transaction() as session:
        add(session, "a", items=items)
        add(session, "b", items=damaged, performer="Другой хор")
    settle(database, "a")
    settled = settle(database, "b")
    assert settled.state == "in_review"
    with database.transaction() as session:
        case = service.list_cases(session).cases[0]
    assert case.reason == "similar_recording"
    proposal = next(proposal for proposal in case.proposals if proposal.question == "recording")
    assert proposal.evidence["alignment"]["bit_error_rate"] == pytest.approx(0.15, abs=0.02)
    assert case.suggestion["action"] == "new_version", "another performer of the same song is no duplicate"


@pytest.mark.parametrize(("rate", "state"), [(0.0, "duplicate"), (0.06, "in_review")])
def test_a_karaoke_mix_is_no_copy_by_itself(database: Database, add: Add, rate: float, state: str) -> None:
    items = performance(1)
    with database.transaction() as session:
        add(session, "a", items=items)
        add(session, "b", items=copy_of(items, bit_error_rate=rate), title="Калинка (караоке)")
    settle(database, "a")
    assert settle(database, "b").state == state
    if state == "in_review":
        with database.transaction() as session:
            case = service.list_cases(session).cases[0]
        proposal = next(proposal for proposal in case.proposals if proposal.question == "recording")
        assert (proposal.verdict, "this one is called karaoke" in proposal.sentence) == ("review", True)


# -- decisions ------------------------------------------------------------------------------------------


@pytest.fixture
def doubtful(database: Database, add: Add) -> service.CaseView:
    """A case on a recording without performer; the catalog has one song with one version."""
    with database.transaction() as session:
        add(session, "known", items=performance(1))
        add(session, "doubtful", items=performance(2), performer=None)
    settle(database, "known")
    assert settle(database, "doubtful").state == "in_review"
    with database.transaction() as session:
        return service.list_cases(session).cases[0]


def decide(database: Database, case: service.CaseView, **decision: Any) -> settlement.Settled:
    with database.transaction() as session:
        service.decide(session, case.id, actor="moderator", **decision)
    with database.transaction() as session:
        return settlement.apply_decision(session, case.id)


def test_approve_follows_the_suggestion(database: Database, doubtful: service.CaseView) -> None:
    assert doubtful.suggestion_text == "a new version of the song “Калинка”"
    assert decide(database, doubtful, action="approve").state == "published"
    assert snapshot(database).partition == {frozenset({frozenset({"site:known"}), frozenset({"site:doubtful"})})}


def test_reject_keeps_it_out(database: Database, doubtful: service.CaseView) -> None:
    assert decide(database, doubtful, action="reject", note="noise").state == "rejected"
    assert snapshot(database).sources == 1
    assert settle(database, "doubtful").state == "rejected", "it does not come back"


def test_retarget_to_a_version_a_song_or_a_new_song(database: Database, doubtful: service.CaseView) -> None:
    with database.transaction() as session:
        version_id = session.scalars(select(Version.id)).one()
    settled = decide(database, doubtful, action="retarget", version_id=version_id)
    assert (settled.state, settled.version_id) == ("duplicate", version_id)
    assert snapshot(database).partition == {frozenset({frozenset({"site:known", "site:doubtful"})})}


def test_retarget_to_a_new_song(database: Database, doubtful: service.CaseView) -> None:
    assert decide(database, doubtful, action="retarget", new_song=True).state == "published"
    assert snapshot(database).songs == 2
    with database.transaction() as session:
        assert set(session.scalars(select(Song.slug))) == {"kalinka", "kalinka-2"}


def test_a_decision_is_applied_once(database: Database, doubtful: service.CaseView) -> None:
    first = decide(database, doubtful, action="approve")
    with database.transaction() as session:
        again = settlement.apply_decision(session, doubtful.id)
    assert (again.state, again.version_id) == (first.state, first.version_id)
    assert snapshot(database).versions == 2


def test_settle_picks_up_a_decision_that_no_worker_saw(database: Database, doubtful: service.CaseView) -> None:
    with database.transaction() as session:
        service.decide(session, doubtful.id, action="approve", actor="moderator")
    assert settle(database, "doubtful").state == "published"


@pytest.mark.parametrize(
    ("decision", "error"),
    [
        ({"action": "retarget"}, BadDecisionError),
        ({"action": "approve", "new_song": True}, BadDecisionError),
        ({"action": "retarget", "version_id": "01890000-0000-7000-8000-000000000000"}, BadDecisionError),
        ({"action": "approve", "row_version": 99}, CaseChangedError),
    ],
)
def test_a_bad_decision_changes_nothing(
    database: Database, doubtful: service.CaseView, decision: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error), database.transaction() as session:
        service.decide(session, doubtful.id, actor="moderator", **decision)
    with database.transaction() as session:
        assert service.get_case(session, doubtful.id) == doubtful
        assert session.scalar(select(func.count()).select_from(Decision)) == 0


def test_the_second_of_two_moderators_is_told(database: Database, doubtful: service.CaseView) -> None:
    outcomes: list[str] = []

    def moderate(action: Any) -> None:
        try:
            with database.transaction() as session:
                service.decide(session, doubtful.id, action=action, actor=action)
            outcomes.append(action)
        except CaseClosedError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=moderate, args=(action,)) for action in ("approve", "reject")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[1] == "case_closed" or sorted(outcomes)[0] == "case_closed"
    assert len(set(outcomes)) == 2
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Decision)) == 1


def test_no_such_case(database: Database) -> None:
    import uuid

    with pytest.raises(CaseNotFoundError), database.transaction() as session:
        service.get_case(session, uuid.uuid4())


def test_a_target_that_went_away_reopens_the_case(database: Database, doubtful: service.CaseView) -> None:
    with database.transaction() as session:
        service.decide(session, doubtful.id, action="approve", actor="moderator")
        session.execute(Song.__table__.update().values(deleted_at=func.now()))  # type: ignore[attr-defined]
    with database.transaction() as session:
        assert settlement.apply_decision(session, doubtful.id).state == "in_review"
    with database.transaction() as session:
        case = service.get_case(session, doubtful.id)
        assert case.state == "open"
        assert "could not be carried out" in case.detail


def test_two_new_songs_approved_in_one_breath_are_one_song(database: Database, add: Add) -> None:
    reviewed = {"recording": "auto", "song": "auto", "new_song": "review", "require": ["title"]}
    with database.transaction() as session:
        for number in range(2):
            add(session, f"k{number}", items=performance(number), performer=f"Хор {number}", approval=reviewed)
    for number in range(2):
        assert settle(database, f"k{number}").state == "in_review"
    with database.transaction() as session:
        cases = service.list_cases(session).cases
        for case in cases:
            service.decide(session, case.id, action="approve", actor="moderator")
    with database.transaction() as session:
        first = settlement.apply_decision(session, cases[0].id)
    with database.transaction() as session:
        assert settlement.apply_decision(session, cases[1].id).state == "in_review", "it is no new song any more"
    with database.transaction() as session:
        again = service.get_case(session, cases[1].id)
        assert (again.state, again.suggestion) == ("open", {"action": "new_version", "song_id": str(first.song_id)})
    assert decide(database, again, action="approve").state == "published"
    found = snapshot(database)
    assert (found.songs, found.versions) == (1, 2)


def test_expiry_and_reminder(database: Database, doubtful: service.CaseView) -> None:
    with database.transaction() as session:
        settlement.remind(session, doubtful.id)
    with database.transaction() as session:
        assert service.get_case(session, doubtful.id).priority == 1
        assert session.scalars(select(Event.kind).order_by(Event.seq.desc())).first() == "review.overdue"
        assert settlement.expire(session, doubtful.id).state == "rejected"
    with pytest.raises(CaseClosedError), database.transaction() as session:
        service.decide(session, doubtful.id, action="approve", actor="late")


def test_the_queue_is_paged_by_priority_and_age(database: Database, add: Add) -> None:
    with database.transaction() as session:
        for number in range(5):
            add(session, f"k{number}", items=performance(number), performer=None, title=f"Песня номер {number}")
    for number in range(5):
        settle(database, f"k{number}")
    with database.transaction() as session:
        case = session.scalars(select(ReviewCase).order_by(ReviewCase.id.desc())).first()
        assert case is not None
        case.priority = 5
    seen: list[str] = []
    cursor = None
    while True:
        with database.transaction() as session:
            page = service.list_cases(session, cursor=cursor, limit=2)
        seen += [view.source_key for view in page.cases]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ["k4", "k0", "k1", "k2", "k3"]
    with pytest.raises(BadCursorError, match="cursor"), database.transaction() as session:
        service.list_cases(session, cursor="bm9uc2Vuc2U")


def test_whoever_asks_again_hears_whom_to_tell(database: Database, add: Add) -> None:
    """The worker that published may have been killed before it told the cases that wait for this evidence."""
    with database.transaction() as session:
        for number in (4, 0, 2):
            add(session, **WORLD[number])
    for number in (0, 2):
        settle(database, WORLD[number]["key"])
    with database.transaction() as session:
        waiting = session.scalars(select(Candidate.id).where(Candidate.source_key == "d")).one()
        first = session.scalars(select(Candidate.id).where(Candidate.source_key == "a1")).one()
        assert settlement.settle(session, waiting).state == "in_review"
        repeated = settlement.settle(session, first)
        assert (repeated.state, repeated.look_again) == ("published", (waiting,))
        assert repeated.song_id is not None
