"""Wrong links are cut, right ones made, and what a person said stands: all derived, nothing rebuilt."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from catalog.database import Database
from catalog.models import Candidate, Event, IdentityLink, Redirect, ReviewCase, Song, Version, VersionSource
from catalog.publishing import Target
from identity.evidence import Question
from moderation import links, service, settlement
from moderation.errors import BadDecisionError, ForbiddenLinkError, MembersDisagreeError
from tests.candidates import copy_of, performance
from tests.moderation.test_settlement import settle, snapshot
from tests.runtime.conftest import versions

Add = Callable[..., Candidate]
ME = "moderator:anna"


@pytest.fixture
def ids(database: Database, add: Add) -> dict[str, uuid.UUID]:
    """Two songs: Калинка with two versions, one of them with a copy; Берёза with one. Candidates by name."""
    with database.transaction() as session:
        added = {
            "a": add(session, "a", items=performance(1)).id,
            "copy": add(session, "copy", title="audio 7", performer=None, composer=None,
                        items=copy_of(performance(1), bit_error_rate=0.03)).id,
            "b": add(session, "b", performer="Другой Хор", items=performance(2)).id,
            "birch": add(session, "birch", title="Во поле берёза стояла", items=performance(3)).id,
        }  # fmt: skip
    for key in added:
        assert settle(database, key).state in ("published", "duplicate")
    return added


def version_of(database: Database, candidate_id: uuid.UUID) -> uuid.UUID:
    with database.transaction() as session:
        version_id = session.get_one(Candidate, candidate_id).version_id
        assert version_id is not None
        return version_id


def song_of(database: Database, candidate_id: uuid.UUID) -> uuid.UUID:
    with database.transaction() as session:
        return session.get_one(Version, session.get_one(Candidate, candidate_id).version_id).song_id


def kinds_since(database: Database, seq: int) -> list[tuple[str, uuid.UUID]]:
    with database.transaction() as session:
        rows = session.execute(select(Event.kind, Event.entity_id).where(Event.seq > seq).order_by(Event.seq))
        return [(kind, entity) for kind, entity in rows]


def last_event(database: Database) -> int:
    with database.transaction() as session:
        return session.scalars(select(Event.seq).order_by(Event.seq.desc()).limit(1)).one()


def test_links_keep_their_evidence(database: Database, ids: dict[str, uuid.UUID]) -> None:
    with database.transaction() as session:
        made = {link.candidate_id: link for link in session.scalars(select(IdentityLink))}
    assert set(made) == {ids["copy"], ids["b"]}, "what founds a song needs no link"
    copy, b = made[ids["copy"]], made[ids["b"]]
    assert (copy.question, copy.version_id) == ("recording", version_of(database, ids["a"]))
    assert (copy.made_by, copy.reason) == ("automation", "same_recording")
    assert copy.evidence["alignment"]["bit_error_rate"] < 0.05
    assert (b.question, b.song_id, b.reason) == ("song", song_of(database, ids["a"]), "same_song")
    assert "title equal" in b.evidence["sentence"]


def test_a_source_is_cut_and_never_joined_again(database: Database, ids: dict[str, uuid.UUID]) -> None:
    old, song = version_of(database, ids["a"]), song_of(database, ids["a"])
    before = last_event(database)
    with database.transaction() as session:
        new = links.cut_source(session, ids["copy"], actor=ME, note="another take")
    assert version_of(database, ids["copy"]) == new != old
    assert song_of(database, ids["copy"]) == song
    assert ("version.uploaded", new) in kinds_since(database, before)
    assert ("version.updated", old) in kinds_since(database, before)
    with database.transaction() as session:
        sources = session.scalars(select(VersionSource.candidate_id).where(VersionSource.version_id == old)).all()
        assert sources == [ids["a"]]
        ended = session.scalars(select(IdentityLink).where(IdentityLink.ended_at.is_not(None))).one()
        assert (ended.candidate_id, ended.ended_by, ended.ended_reason) == (ids["copy"], ME, "another take")
        assert session.get_one(Candidate, ids["copy"]).state == "published"
        with pytest.raises(ForbiddenLinkError, match="another take"):
            links.merge_versions(session, new, old, actor=ME)
    # Seen anew, as after a change at its source, it is not joined again, for all that it sounds the same.
    with database.transaction() as session:
        candidate = session.get_one(Candidate, ids["copy"])
        source = session.scalars(select(VersionSource).where(VersionSource.candidate_id == ids["copy"])).one()
        session.delete(source)
        candidate.version_id, candidate.state = None, "fingerprinted"
    settled = settle(database, "copy")
    assert settled.version_id != old


def test_what_was_forbidden_can_be_allowed_and_merged_again(database: Database, ids: dict[str, uuid.UUID]) -> None:
    before, old = snapshot(database), version_of(database, ids["a"])
    with database.transaction() as session:
        new = links.cut_source(session, ids["copy"], actor=ME)
    with database.transaction() as session:
        assert links.allow(session, Question.RECORDING, [ids["copy"]], [ids["a"]]) == 1
        links.merge_versions(session, new, old, actor=ME)
    assert snapshot(database) == before
    with database.transaction() as session:
        redirect = session.scalars(select(Redirect)).one()
        assert (redirect.entity, redirect.old_id, redirect.new_id) == ("version", new, old)
        assert session.get_one(Version, new).deleted_at is not None
    assert kinds_since(database, 0)[-1] == ("version.merged", new)


def test_a_version_moves_to_a_song_of_its_own_and_back(database: Database, ids: dict[str, uuid.UUID]) -> None:
    before, song, version = snapshot(database), song_of(database, ids["a"]), version_of(database, ids["b"])
    with database.transaction() as session:
        own = links.move_version(session, version, None, actor=ME, note="another song of that name")
    assert song_of(database, ids["b"]) == own != song
    with database.transaction() as session:
        assert {each.slug for each in session.scalars(select(Song))} >= {"kalinka", "kalinka-2"}
        with pytest.raises(ForbiddenLinkError):
            links.merge_songs(session, own, song, actor=ME)
        with pytest.raises(ForbiddenLinkError):
            links.move_version(session, version, song, actor=ME)
        with pytest.raises(BadDecisionError, match="only version"):
            links.move_version(session, version, None, actor=ME)
    with database.transaction() as session:
        assert links.allow(session, Question.SONG, [ids["b"]], [ids["a"], ids["copy"]]) == 2
        links.move_version(session, version, song, actor=ME)
    assert snapshot(database) == before
    with database.transaction() as session:
        assert session.get_one(Song, own).deleted_at is not None


def test_songs_are_merged_and_the_old_id_leads_on(database: Database, ids: dict[str, uuid.UUID]) -> None:
    birch, song = song_of(database, ids["birch"]), song_of(database, ids["a"])
    with database.transaction() as session:
        links.merge_songs(session, birch, song, actor=ME, note="one song")
    assert song_of(database, ids["birch"]) == song
    with database.transaction() as session:
        assert session.get_one(Song, birch).deleted_at is not None
        found = session.scalars(select(IdentityLink).where(IdentityLink.reason == "merged")).one()
        assert (found.question, found.made_by, found.song_id) == ("song", ME, song)
        assert "bereza" in session.get_one(Song, song).search_text
        # A later candidate with that name is found under the song that is left.
        with pytest.raises(BadDecisionError):
            links.merge_songs(session, birch, song, actor=ME)
    assert kinds_since(database, 0)[-1] == ("song.merged", birch)


def test_a_merge_must_satisfy_the_worst_pair(database: Database, ids: dict[str, uuid.UUID]) -> None:
    one, other = version_of(database, ids["b"]), version_of(database, ids["a"])
    with database.transaction() as session, pytest.raises(MembersDisagreeError, match=r"bit error rate 0\.[45]"):
        links.merge_versions(session, one, other, actor=ME)
    with database.transaction() as session:
        links.merge_versions(session, one, other, actor=ME, anyway=True)
    assert version_of(database, ids["b"]) == other


def test_a_decision_against_somebodys_word_is_given_back(
    database: Database, add: Add, ids: dict[str, uuid.UUID]
) -> None:
    review = {"recording": "review", "song": "review", "new_song": "review"}
    with database.transaction() as session:
        late = add(session, "late", items=copy_of(performance(1), bit_error_rate=0.05), approval=review).id
    settled = settle(database, "late")
    assert settled.case_id is not None
    with database.transaction() as session:
        links.forbid(session, Question.RECORDING, [late], [ids["a"]], ME, "not this one")
        links.forbid(session, Question.RECORDING, [late], [ids["a"]], ME, "said twice")
        case = service.get_case(session, settled.case_id)
        service.decide(
            session, settled.case_id, action="approve", actor="moderator:boris", row_version=case.row_version
        )
    with database.transaction() as session:
        again = settlement.apply_decision(session, settled.case_id)
        assert again.state == "in_review"
        assert "not this one" in session.get_one(ReviewCase, settled.case_id).detail
        with pytest.raises(ForbiddenLinkError):
            links.check_target(session, late, Target("attach", version_id=version_of(database, ids["a"])))


def test_mistakes_change_nothing(database: Database, ids: dict[str, uuid.UUID]) -> None:
    before = snapshot(database)
    version = version_of(database, ids["b"])
    with database.transaction() as session:
        for mistake in (
            lambda: links.cut_source(session, ids["b"], actor=ME),
            lambda: links.cut_source(session, uuid.uuid4(), actor=ME),
            lambda: links.move_version(session, version, song_of(database, ids["b"]), actor=ME),
            lambda: links.move_version(session, uuid.uuid4(), None, actor=ME),
            lambda: links.merge_versions(session, version, version, actor=ME),
            lambda: links.forbid(session, Question.SONG, [version], [version], ME, ""),
        ):
            with pytest.raises(BadDecisionError):
                mistake()
    assert snapshot(database) == before


def test_by_command_line(database: Database, database_url: str, tmp_path: Path, ids: dict[str, uuid.UUID]) -> None:
    def run(*arguments: object) -> str:
        done = versions(tmp_path, "link", *map(str, arguments), DATABASE_URL=database_url)
        assert done.returncode == 0, done.stderr
        return done.stdout

    old = version_of(database, ids["a"])
    shown = json.loads(run("show", old, "--json"))
    assert [source["candidate_id"] for source in shown["sources"]] == [str(ids["a"]), str(ids["copy"])]
    assert shown["links"][0]["reason"] == "same_recording"
    assert "same_recording" in run("show", song_of(database, ids["a"]))
    assert "a version of its own now" in run("cut", ids["copy"], "--note", "no", "--as", ME)
    refused = versions(
        tmp_path, "link", "merge", version_of(database, ids["copy"]).hex, old.hex, DATABASE_URL=database_url
    )
    assert refused.returncode == 1
    assert "versions link allow" in refused.stderr
    assert "may be the same recording again" in run("allow", ids["copy"], ids["a"])
    assert "nothing was forbidden" in run("allow", ids["copy"], ids["a"])
    run("merge", version_of(database, ids["copy"]), old)
    run("forbid", ids["a"], ids["birch"], "--question", "song")
    run("move", version_of(database, ids["b"]), "--new-song")
    run("merge", song_of(database, ids["b"]), song_of(database, ids["birch"]), "--songs")
    assert song_of(database, ids["b"]) == song_of(database, ids["birch"])
    assert versions(tmp_path, "link", "move", old.hex, DATABASE_URL=database_url).returncode == 2
