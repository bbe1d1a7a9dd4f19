"""A copy that plays at another speed, tempo or pitch is found again, and the proposal says what was done to it."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable

import imageio_ffmpeg
import numpy as np
import pytest
from sqlalchemy import select, update

from activities.listening import listen_closer
from catalog.database import Database
from catalog.models import AudioFingerprint
from identity.evidence import Proposal, Verdict
from identity.melody.service import Found
from identity.recording.closer import Closer, OtherSpeed, record
from identity.recording.items import fingerprint_bytes, items_from_bytes
from identity.recording.service import other_speed, propose
from identity.recording.tempo import TEMPI, align_at_any_tempo, at_tempo
from media.analysis import analyse, library_present
from media.types import AudioFeatures
from tests.identity_recording.test_alignment import random_items
from tests.identity_recording.test_service import new_version, publish, store
from tests.media.synth import render, write_wav

CHANGES = {
    "faster": "asetrate=44100*1.03,aresample=44100",
    "slower": "asetrate=44100*0.98,aresample=44100",
    "tempo": "atempo=1.03",
    "untouched": "anull",
}


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], AudioFeatures]:
    folder = tmp_path_factory.mktemp("speeds")
    source = write_wav(folder / "original.wav", render(5, 70, instrument="guitar"))
    known = {"original": analyse(source)}

    def get(change: str) -> AudioFeatures:
        if change not in known:
            target = folder / f"{change}.mp3"
            filters = f"aresample=44100,{CHANGES[change]}"
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(source), "-af", filters, str(target)]
            subprocess.run(command, check=True)
            known[change] = analyse(target)
        return known[change]

    return get


def proposed(database: Database, original: AudioFeatures, copy: AudioFeatures) -> tuple[list[Proposal], bool]:
    """What is proposed for the copy, and whether its speed had to be found."""
    with database.transaction() as session:
        publish(session, "piece", original.fingerprint, original.info.duration_s)
        candidate_id, _ = store(session, "copy", copy.fingerprint, copy.info.duration_s, None)
    with database.transaction() as session:
        found = listen_closer(session, copy, Found(), exclude=candidate_id)
        record(session, candidate_id, found)
    with database.transaction() as session:
        proposals = propose(session, copy.fingerprint, copy.info.duration_s, exclude_candidate=candidate_id)
    return proposals, found.speed is not None


@pytest.mark.skipif(not library_present(), reason="libchromaprint is not installed")
@pytest.mark.parametrize(
    ("change", "speed", "words"), [("faster", 1.03, "3.0% faster"), ("slower", 0.98, "2.0% slower")]
)
def test_another_speed_is_the_same_recording(
    database: Database, heard: Callable[[str], AudioFeatures], change: str, speed: float, words: str
) -> None:
    (proposal,), listened = proposed(database, heard("original"), heard(change))
    assert listened
    assert proposal.verdict is Verdict.SAME
    assert proposal.extra["speed_factor"] == pytest.approx(speed, abs=0.006)
    assert words in proposal.sentence
    assert proposal.alignment is not None
    assert proposal.alignment.offset_s == pytest.approx(0, abs=0.6)


@pytest.mark.skipif(not library_present(), reason="libchromaprint is not installed")
def test_little_likeness_of_melody_is_enough_where_the_timbre_agrees(
    database: Database, heard: Callable[[str], AudioFeatures]
) -> None:
    original, copy = heard("original"), heard("slower")
    with database.transaction() as session:
        known, _ = store(
            session, "piece", original.fingerprint, original.info.duration_s, new_version(session, "piece")
        )
        assert original.chroma is not None
        row = session.scalars(select(AudioFingerprint).where(AudioFingerprint.candidate_id == known)).one()
        row.timbre = original.chroma.timbre.tobytes()

    def listened(likeness: float, **near: tuple[uuid.UUID, ...]) -> Closer:
        with database.transaction() as session:
            return listen_closer(session, copy, Found((), likeness, **near))

    found = listened(0.45, compared=(known,))
    assert found.speed is not None
    assert found.speed.speed == pytest.approx(0.98)
    assert found.near == (known,)
    assert listened(0.45) == Closer(copy.chroma and copy.chroma.timbre), "nothing was near at all"
    # Of a recording whose timbre is not known, the likeness of the melody decides as before.
    with database.transaction() as session:
        session.execute(update(AudioFingerprint).values(timbre=None))
    assert listened(0.45, compared=(known,)).speed is None
    assert listened(0.7, compared=(known,), near=(known,)).speed is not None
    # One that sounds otherwise is not listened to at other speeds, however near its melody.
    strange = np.random.default_rng(3).integers(60, 160, (140, 16), dtype=np.uint8)
    with database.transaction() as session:
        session.execute(update(AudioFingerprint).values(timbre=strange.tobytes()))
    assert listened(0.7, compared=(known,), near=(known,)).speed is None


def test_a_speed_is_refined_where_the_likeness_leaves_a_doubt(database: Database) -> None:
    original = random_items(9, 60)
    dice = np.random.default_rng(9)
    # Two or three bits of most items.
    wrong = np.uint32(0b1001) << dice.integers(0, 28, original.size, dtype=np.uint32)
    doubtful = np.where(dice.random(original.size) < 0.9, original ^ wrong ^ (wrong >> 7), original).astype(np.uint32)
    with database.transaction() as session:
        publish(session, "piece", original)
        asked = []

        def again(speed: float, shift: float) -> OtherSpeed:
            asked.append((speed, shift))
            return OtherSpeed(speed, original if shift == 0.5 else doubtful, shift)

        found = other_speed(session, [OtherSpeed(0.97, doubtful, 0.0)], again)
        assert found is not None
        assert (found.speed, found.start_s) == (0.97, 0.5)
        assert asked == [(0.97, 0.25), (0.97, 0.5)], "what is clear needs no more"
        asked.clear()
        assert other_speed(session, [OtherSpeed(0.97, original, 0.0)], again) is not None
        assert asked == []


def test_another_tempo_is_for_review(database: Database, heard: Callable[[str], AudioFeatures]) -> None:
    (proposal,), _ = proposed(database, heard("original"), heard("tempo"))
    assert proposal.verdict is Verdict.REVIEW
    assert proposal.extra["tempo_factor"] == pytest.approx(1.03, abs=0.005)
    assert "its tempo 3." in proposal.sentence or "its tempo 2.9" in proposal.sentence


def test_what_is_known_is_not_listened_to_again(database: Database, heard: Callable[[str], AudioFeatures]) -> None:
    (proposal,), listened = proposed(database, heard("original"), heard("untouched"))
    assert not listened
    assert proposal.verdict is Verdict.SAME
    assert proposal.extra["speed_factor"] == 1


@pytest.mark.parametrize("tempo", [0.945, 0.97, 1.013, 1.06])
def test_a_drift_is_found(tempo: float) -> None:
    # Successive items of music are alike.
    original = np.repeat(random_items(1, 25), 4)
    copy = at_tempo(original, 1 / tempo)[40:]
    found = align_at_any_tempo(copy, original)
    assert found is not None
    assert found.tempo == pytest.approx(tempo, abs=0.004)
    assert found.alignment.bit_error_rate < 0.15
    assert found.alignment.offset_s == pytest.approx(40 * 0.12383 * tempo, abs=0.4)
    assert align_at_any_tempo(random_items(2, 100), original) is None
    assert align_at_any_tempo(original[:50], original) is None
    assert 1.0 not in TEMPI


def test_a_speed_survives_storage() -> None:
    other = OtherSpeed(1.03, random_items(3, 45), 10.0)
    data = other.to_json()
    assert len(data["items"]) < 2_500
    again = OtherSpeed.from_json(data)
    assert (again.speed, again.start_s) == (1.03, 10.0)
    assert fingerprint_bytes(again.items) == fingerprint_bytes(items_from_bytes(fingerprint_bytes(other.items)))
