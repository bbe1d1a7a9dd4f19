"""From sound to "a possible version": in another key, at another tempo, on another instrument."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from catalog.database import Database
from catalog.models import AudioMelody, Candidate, MatchProposal, Observation, ReviewCase, Version
from identity.evidence import Part, Proposal, Question, Verdict
from identity.melody import embed, qmax, service
from identity.melody.picture import melody_svg
from identity.melody.thresholds import REVIEW_SHARE
from media.chroma import chroma
from media.types import FRAME_SECONDS, Chroma
from moderation import pictures, settlement
from moderation.errors import NoPictureError
from tests.candidates import performance
from tests.identity_melody.conftest import PIECES

Add = Callable[..., Candidate]


def test_a_tone_lies_on_its_pitch_class_in_any_tuning() -> None:
    time = np.arange(11_025 * 20) / 11_025
    for semitones, place in ((0, 9), (3, 0), (8, 5)):
        for cents in (-40, 0, 30):
            tone = sum(np.sin(2 * np.pi * n * 440 * 2 ** ((semitones + cents / 100) / 12) * time) for n in (1, 2))
            found = chroma((8_000 * tone).astype(np.int16))
            assert found.tuning == pytest.approx(cents / 100, abs=0.02)
            assert (found.frames.argmax(axis=1) == place).all()
            assert found.frames.shape == (int(20 / FRAME_SECONDS), 12) or len(found.frames) in (38, 39)


@pytest.mark.parametrize("samples", [0, 100, 4_095, 4_096, 10_000])
def test_next_to_nothing_has_next_to_no_frames(samples: int) -> None:
    found = chroma(np.zeros(samples, dtype=np.int16))
    assert not found.frames.any()
    assert found.tuning == 0
    assert not service.has_melody(found.views)
    assert np.isfinite(embed.embed(found.views)).all()


def test_a_picture_of_nothing_is_a_picture(pieces: list[Chroma]) -> None:
    title = '<script>"&\x00'
    for other in (pieces[1].views, pieces[1].views[:3], pieces[1].views[:0]):
        svg = ElementTree.fromstring(melody_svg(pieces[0].views, other, factor=0.9, semitones=-3, title=title))
        assert "<script>" in (svg.findtext("{*}title") or "")


def test_noise_is_bounded(pieces: list[Chroma]) -> None:
    noise = np.random.default_rng(1).integers(-32_768, 32_767, 11_025 * 60).astype(np.int16)
    found = chroma(noise)
    assert found.frames.dtype == np.uint8
    assert qmax.compare([(embed.at_tempo(found.views, 1), embed.at_tempo(pieces[0].views, 1))])[0].score < 40


def test_the_embedding_knows_neither_key_nor_start(pieces: list[Chroma]) -> None:
    frames = pieces[1].views
    point = embed.embed(frames)
    assert np.linalg.norm(point) == pytest.approx(1, abs=1e-4)
    assert point @ embed.embed(qmax.turned(frames, 5)) > 0.999
    assert point @ embed.embed(frames[12:]) > 0.7
    assert max(point @ embed.embed(other.views) for other in pieces[2:]) < point @ embed.embed(frames[12:])


def test_a_raw_vector_is_the_magnitude_of_the_two_dimensional_transform(pieces: list[Chroma]) -> None:
    played = [embed.at_tempo(pieces[0].views, 1), embed.at_tempo(pieces[1].views, 0.9), np.ones((7, 24), np.float32)]
    found = embed.raw_vectors(played)
    for number, views in enumerate(played[:2]):
        expected = []
        # Of stretches of twice the length the odd frequencies, which are as slow.
        for times, which, share in ((1, slice(17), 1.0), (2, slice(1, 33, 2), embed.DOUBLE_SHARE)):
            length = times * embed.STRETCH
            # Silence follows where one is too short.
            filled = np.pad(views, ((0, max(0, length - len(views))), (0, 0)))
            stretches = np.lib.stride_tricks.sliding_window_view(filled, length, axis=0)[:: embed.STRETCH_STEP]
            both = np.abs(np.fft.fft2(stretches.reshape(-1, 2, 12, length)))
            both[:, :, 0, 0] = 0
            roots = np.sqrt(np.sqrt((both[..., which] ** 2).mean(axis=0))).reshape(2, -1)
            expected.append(share * roots / np.linalg.norm(roots, axis=1, keepdims=True))
        assert np.allclose(found[number], np.hstack(expected) / np.hypot(1, embed.DOUBLE_SHARE), atol=1e-3)
    # What is shorter than a stretch has a vector too, and does not change the others'.
    assert np.allclose(np.linalg.norm(found, axis=2), 1, atol=1e-4)
    assert np.allclose(found[0], embed.raw_vectors(played[:1])[0], atol=1e-5)


def test_a_probe_finds_the_tempo(pieces: list[Chroma], cover: Chroma) -> None:
    likeness = embed.probes(cover.views) @ embed.embed(pieces[0].views)
    # Ours is an eighth faster: it comes nearest when it is slowed down by that.
    assert embed.PROBES[int(np.argmax(likeness))] == pytest.approx(1 / 1.125, abs=0.06)


def slow_qmax(plot: np.ndarray) -> np.ndarray:
    """The paper's recursion, cell by cell."""
    scores = np.zeros(plot.shape)
    for row in range(2, plot.shape[0]):
        for column in range(2, plot.shape[1]):
            cells = [(row - 1, column - 1), (row - 2, column - 1), (row - 1, column - 2)]
            if plot[row, column]:
                scores[row, column] = max(scores[cell] for cell in cells) + 1
            else:
                costs = {True: qmax.ONSET, False: qmax.EXTENSION}
                scores[row, column] = max(0, *(scores[cell] - costs[bool(plot[cell])] for cell in cells))
    return scores


def test_qmax_is_the_papers() -> None:
    dice = np.random.default_rng(2)
    stack = dice.random((3, 31, 24)) < 0.3
    stack[1] |= np.eye(31, 24, 3, dtype=bool)
    found = qmax.cumulate(stack) / qmax.UNIT
    for number in range(3):
        assert np.allclose(found[number], slow_qmax(stack[number]))
    assert found[1].max() > 15


def test_pairs_of_any_length_are_compared_at_once(pieces: list[Chroma]) -> None:
    ours = embed.at_tempo(pieces[0].views, 1)
    others = [embed.at_tempo(pieces[n].views, 1)[: 110 - 17 * n] for n in range(6)]
    pairs = [(ours[: 110 - 13 * n], other) for n, other in enumerate(others)] + [(other, ours) for other in others]
    together = qmax.compare(pairs)
    alone = [qmax.compare([pair])[0] for pair in pairs]
    assert [m.score for m in together] == [m.score for m in alone]
    assert together[0] == qmax.Match(pytest.approx(110 - qmax.TOGETHER - 1, abs=3), 0)
    assert qmax.compare([(ours[:5], other) for other in others]) == [qmax.Match(0.0, 0)] * 6
    assert qmax.compare([(ours, ours[:5]), (ours, np.zeros_like(ours))]) == [qmax.Match(0.0, 0)] * 2


def test_all_frames_are_compared_only_where_half_of_them_promise_it(pieces: list[Chroma], cover: Chroma) -> None:
    ours = embed.at_tempo(cover.views, 1 / 1.125)
    pairs = [(ours, embed.at_tempo(piece.views, 1)) for piece in pieces]
    asked, all_of_it, half = (qmax.compare(pairs, at_least) for at_least in (0.45, 0.0, 99.0))
    shares = [match.score / qmax.most_moments(*pair) for match, pair in zip(all_of_it, pairs, strict=True)]
    # The cover (three semitones up) is followed through, and says what all frames say; the others are estimates.
    assert shares[0] > REVIEW_SHARE > 0.45 > max(shares[1:])
    assert asked[0] == all_of_it[0]
    assert asked[0].rotation == 9
    assert asked[1:] == half[1:]
    assert half[0].score == pytest.approx(all_of_it[0].score, rel=0.25)
    assert half[0] != all_of_it[0]


def _publish(session: Session, add: Add, key: str, melody: Chroma, **item: object) -> Candidate:
    # Fingerprints tell nothing here: performances of their own.
    candidate = add(session, key, items=performance(zlib.crc32(key.encode())), **item)
    service.record(session, candidate.id, melody, service.find(session, melody.views, exclude=candidate.id))
    session.flush()
    settlement.settle(session, candidate.id)
    return candidate


@pytest.fixture
def catalog(database: Database, add: Add, pieces: list[Chroma]) -> Database:
    with database.transaction() as session:
        for number, piece in enumerate(pieces):
            _publish(session, add, str(number), piece, title=f"Песня {number * 7919}", performer=f"Хор {number}")
    return database


def test_a_cover_under_another_name_is_put_before_a_moderator(catalog: Database, add: Add, cover: Chroma) -> None:
    with catalog.transaction() as session:
        candidate = _publish(session, add, "cover", cover, title="Something else", performer="Organist")
        assert candidate.state == "in_review"
        assert candidate.reason == "possible_song"
        original = session.scalars(select(Candidate).where(Candidate.source_key == "0")).one()
        song_id = session.get_one(Version, original.version_id).song_id
        proposals = session.scalars(select(MatchProposal).where(MatchProposal.candidate_id == candidate.id)).all()
        best = max(proposals, key=lambda each: each.probability)
        assert (best.question, best.verdict, best.song_id) == ("song", "review", song_id)
        found = best.evidence["melody"]
        assert found["candidate_id"] == str(original.id)
        assert found["semitones"] == 3
        assert found["tempo"] == pytest.approx(1.125, abs=0.02)
        assert found["share"] > REVIEW_SHARE
        assert "3 semitones higher" in best.sentence
        assert "faster" in best.sentence
        case = session.scalars(select(ReviewCase)).one()
        assert case.suggestion == {"action": "new_version", "song_id": str(song_id)}
        svg = ElementTree.fromstring(pictures.proposal_picture(session, case.id, 1))
        assert "Something else against Песня 0" in (svg.get("aria-label") or "")
        line = svg.find(".//{*}polyline")
        assert line is not None
        assert len((line.get("points") or "").split()) > 60
        with pytest.raises(NoPictureError, match="there is no 99"):
            pictures.proposal_picture(session, case.id, 99)
        # A second look at it finds the same, and the melody is stored once.
        settlement.settle(session, candidate.id)
        assert session.scalar(select(func.count()).select_from(AudioMelody)) == PIECES + 1


def test_different_pieces_are_no_versions_of_each_other(catalog: Database) -> None:
    with catalog.transaction() as session:
        assert session.scalars(select(Observation)).all() == []
        assert session.scalars(select(Candidate.state).distinct()).all() == ["published"]


def test_a_copy_is_no_further_proposal(catalog: Database, add: Add, pieces: list[Chroma]) -> None:
    with catalog.transaction() as session:
        original = session.scalars(select(Candidate).where(Candidate.source_key == "3")).one()
        song_id = session.get_one(Version, original.version_id).song_id
        copy = add(session, "copy")
        service.record(session, copy.id, pieces[3], service.find(session, pieces[3].views, exclude=copy.id))
        session.flush()
        same = Proposal(Question.RECORDING, 1.0, Verdict.SAME, "Same sound", version_id=original.version_id)
        assert service.propose(session, copy.id, [same]) == [same]
        alone = service.propose(session, copy.id, [])
        assert [(each.song_id, each.verdict) for each in alone] == [(song_id, Verdict.REVIEW)]
        # What names say of the same song stands, with the melody beside it.
        part = Part("title", 0.0, 1.0, "equal")
        names = Proposal(Question.SONG, 0.99, Verdict.SAME, "Title equal", (part,), song_id=song_id)
        [both] = service.propose(session, copy.id, [names])
        assert (both.verdict, both.probability) == (Verdict.SAME, 0.99)
        assert both.sentence.startswith("Title equal; The same melody")
        assert [each.name for each in both.parts] == ["title", "melody"]
        assert "melody" in both.evidence()


def test_what_is_gone_is_not_proposed(catalog: Database, add: Add, cover: Chroma) -> None:
    with catalog.transaction() as session:
        candidate = add(session, "cover")
        service.record(session, candidate.id, cover, service.find(session, cover.views, exclude=candidate.id))
        session.flush()
        assert service.propose(session, candidate.id, [])
        original = session.scalars(select(Candidate).where(Candidate.source_key == "0")).one()
        session.execute(update(Version).where(Version.id == original.version_id).values(deleted_at=func.now()))
        assert service.propose(session, candidate.id, []) == []
        session.execute(update(Candidate).where(Candidate.id == original.id).values(state="rejected", version_id=None))
        assert original.id not in {
            m.candidate_id for m in service.find(session, cover.views, exclude=candidate.id).matches
        }


def test_embeddings_of_an_older_kind_are_made_again(catalog: Database, cover: Chroma) -> None:
    with catalog.transaction() as session:
        before = session.scalar(select(AudioMelody.embedding).limit(1))
        session.execute(update(AudioMelody).values(embedding_version=0, embedding=[0.5] * embed.DIMENSIONS))
        assert service.nearest(session, cover.views) == []
        assert [service.refresh(session, 4), service.refresh(session, 4), service.refresh(session, 4)] == [4, 2, 0]
        session.flush()
        assert service.nearest(session, cover.views)
        session.expire_all()
        again = session.scalars(select(AudioMelody.embedding)).all()
        assert any(np.allclose(each, before, atol=1e-3) for each in again)


def test_the_index_answers(catalog: Database, cover: Chroma, pieces: list[Chroma]) -> None:
    with catalog.transaction() as session:
        exact = [near.candidate_id for near in service.nearest(session, cover.views)]
        session.execute(text("SET LOCAL enable_seqscan = off"))
        session.execute(text("SET LOCAL enable_sort = off"))
        assert [near.candidate_id for near in service.nearest(session, cover.views)] == exact
        assert len(exact) == PIECES
        plan = "\n".join(
            session.scalars(
                text(
                    "EXPLAIN SELECT candidate_id FROM audio_melodies "
                    "ORDER BY embedding <=> CAST(:probe AS halfvec(384)) LIMIT 5"
                ),
                {"probe": str(embed.embed(pieces[0].views).tolist())},
            )
        )
        assert "ix_audio_melodies_embedding" in plan


def test_a_candidate_without_sound_costs_no_comparison(database: Database, add: Add) -> None:
    with database.transaction() as session:
        candidate = add(session, "silent")
        assert settlement.settle(session, candidate.id).state == "published"
        assert session.scalar(select(Observation.id)) is None


def test_another_speed_hardly_changes_the_likeness(catalog: Database, cover: Chroma, pieces: list[Chroma]) -> None:
    """What decides whether other speeds are tried: a recording is like itself, and like no other."""
    with catalog.transaction() as session:
        assert service.find(session, pieces[3].views).may_be_altered
        strange = np.roll(pieces[3].views[::-1].copy(), 37, axis=0)
        rng = np.random.default_rng(5)
        assert not service.find(session, rng.permutation(strange)).may_be_altered
        assert service.find(session, strange[:8]).may_be_altered, "without a melody nothing is ruled out"
