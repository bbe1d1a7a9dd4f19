"""What sounds alike and what only plays alike; and copies too damaged for a fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from activities.listening import beside_others
from catalog.database import Database
from catalog.models import AudioFingerprint
from identity.evidence import Alignment, Proposal, Verdict
from identity.melody import service as melody
from identity.recording import closer as closer_look
from identity.recording.service import propose
from identity.recording.timbre import Likeness, best_offset_s, likeness, second_verdict, sounding_alike
from identity.thresholds import ALIKE_TIMBRE
from media.analysis import analyse
from media.timbre import BANDS
from media.types import FRAME_SECONDS, AudioFeatures
from tests.identity_recording.test_service import new_version, store
from tests.media.synth import RATE, ffmpeg, render, write_wav

DAMAGES = {
    "equaliser": "bass=g=10,treble=g=-8",
    "telephone": "highpass=300,lowpass=3400,aresample=8000",
    "echoes": "aecho=0.8:0.7:23|37|53|71:0.5|0.4|0.3|0.2,highpass=120,lowpass=7000",
}


@pytest.fixture(scope="module")
def hear(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], AudioFeatures]:
    """``original``, another ``stranger``, one of `DAMAGES`, or ``drums``: the original with something played along."""
    folder = tmp_path_factory.mktemp("timbre")
    music = render(21, 75, instrument="guitar")
    source = write_wav(folder / "original.wav", music)

    def get(name: str) -> AudioFeatures:
        path = folder / f"{name}.wav"
        if name in DAMAGES and not path.exists():
            ffmpeg("-i", source, "-af", f"aresample=44100,{DAMAGES[name]}", path)
        elif name == "drums":
            write_wav(path, music + 0.5 * _beats(len(music)))
        elif name == "stranger":
            write_wav(path, render(22, 75, instrument="guitar"))
        return analyse(path)

    return get


def _beats(count: int) -> np.ndarray:
    seconds = np.arange(count) / RATE
    bang = np.exp(-(seconds % 0.5) / 0.03)
    return np.random.default_rng(1).normal(size=count) * bang * 0.5


def sounds(ours: AudioFeatures, theirs: AudioFeatures, offset_s: float = 0.0) -> Likeness | None:
    assert ours.chroma is not None
    assert theirs.chroma is not None
    return likeness(ours.chroma.timbre, theirs.chroma.timbre, offset_s)


def test_a_filter_is_forgiven_and_another_band_is_not(hear: Callable[[str], AudioFeatures]) -> None:
    original = hear("original")
    for damage in DAMAGES:
        found = sounds(hear(damage), original)
        assert found is not None
        assert found.balance > 0.85, damage
    equalised, drums, stranger = (sounds(hear(name), original) for name in ("equaliser", "drums", "stranger"))
    assert equalised is not None
    assert drums is not None
    assert stranger is not None
    assert equalised.balance > 0.97 > drums.balance
    assert stranger.balance < 0.4


def test_likeness_is_taken_where_they_lie_on_each_other() -> None:
    whole = np.random.default_rng(5).integers(60, 160, (200, BANDS), dtype=np.uint8)
    clip = likeness(whole[50:120], whole, 50 * FRAME_SECONDS)
    assert clip is not None
    assert clip.balance > 0.99, "only its ends were smoothed without what lies around"
    between = likeness(whole[50:120], whole, 50.5 * FRAME_SECONDS)
    assert between is not None
    assert between.balance < 0.95
    slow = np.repeat(whole, 2, axis=0)
    stretched = likeness(whole, slow, 0.0, pace=2.0)
    assert stretched is not None
    assert stretched.balance > 0.8
    assert likeness(whole[:30], whole, 0.0) is None
    assert likeness(whole[:0], whole, 0.0) is None
    flat = np.full((100, BANDS), 90, np.uint8)
    assert likeness(flat, flat, 0.0) == Likeness(0.0, 0.0)


def test_the_offset_of_a_timbre() -> None:
    whole = np.random.default_rng(6).integers(60, 160, (200, BANDS), dtype=np.uint8)
    assert best_offset_s(whole[50:120], whole) == pytest.approx(50 * FRAME_SECONDS)
    assert best_offset_s(whole, whole[50:120]) == pytest.approx(-50 * FRAME_SECONDS)
    assert best_offset_s(whole[100:], whole[:160]) == pytest.approx(100 * FRAME_SECONDS)
    assert best_offset_s(whole[:20], whole) is None


@pytest.mark.parametrize("pace", [0.94, 0.973, 1.0, 1.034])
def test_what_sounds_alike_at_another_tempo(pace: float) -> None:
    dice = np.random.default_rng(8)
    # Levels that move as those of music do: a frame is like the next.
    steps = dice.normal(0, 12, (3, 240, BANDS))
    whole, other, third = np.clip(110 + np.cumsum(steps, axis=1) % 90, 0, 255).astype(np.uint8)
    places = np.arange(int(170 / pace)) * pace + 30
    before = places.astype(int)
    share = (places - before)[:, None]
    copy = np.rint(whole[before] * (1 - share) + whole[before + 1] * share).astype(np.uint8)
    same, strange, short, more = sounding_alike(copy, [whole, other, whole[:20], third])
    assert same > 0.8
    assert max(strange, more) < ALIKE_TIMBRE
    assert short == 0
    assert sounding_alike(copy[:20], [whole]) == [0]
    assert sounding_alike(copy, []) == []


@pytest.mark.parametrize(
    ("rate", "said", "found", "expected"),
    [
        (0.03, Verdict.SAME, Likeness(0.5, 0.5), Verdict.SAME),
        (0.08, Verdict.SAME, Likeness(0.9, 0.9), Verdict.REVIEW),
        (0.08, Verdict.SAME, Likeness(0.99, 0.5), Verdict.SAME),
        (0.08, Verdict.SAME, None, Verdict.SAME),
        (0.15, Verdict.REVIEW, Likeness(0.99, 0.98), Verdict.SAME),
        (0.15, Verdict.REVIEW, Likeness(0.99, 0.5), Verdict.REVIEW),
        (0.05, Verdict.REVIEW, Likeness(1.0, 1.0), Verdict.REVIEW),
        (0.25, Verdict.WEAK, Likeness(0.9, 0.9), Verdict.REVIEW),
        (0.35, None, Likeness(0.9, 0.9), Verdict.REVIEW),
        (0.35, None, Likeness(0.3, 0.3), None),
        (0.25, Verdict.WEAK, Likeness(0.3, 0.3), Verdict.WEAK),
    ],
)
def test_what_timbre_changes(
    rate: float, said: Verdict | None, found: Likeness | None, expected: Verdict | None
) -> None:
    assert second_verdict(said, Alignment(0.0, 60.0, rate, 0.9), found) is expected


def proposed(database: Database, original: AudioFeatures, copy: AudioFeatures) -> list[Proposal]:
    """As ingest does: what is heard is recorded with the candidate, and asked for later."""
    with database.transaction() as session:
        candidate_id, _ = _stored(session, "piece", original, published=True)
        assert original.chroma is not None
        melody.record(session, candidate_id, original.chroma)
        asking, _ = _stored(session, "copy", copy, published=False)
    _, closer = beside_others(database, copy, exclude=asking)
    with database.transaction() as session:
        closer_look.record(session, asking, closer)
    with database.transaction() as session:
        kept = propose(session, copy.fingerprint, copy.info.duration_s, exclude_candidate=asking)
        at_once = propose(session, copy.fingerprint, copy.info.duration_s, exclude_candidate=asking, closer=closer)
    assert kept == at_once
    return kept


def _stored(session, name: str, heard: AudioFeatures, *, published: bool):  # type: ignore[no-untyped-def]
    version_id = new_version(session, name) if published else None
    found = store(session, name, heard.fingerprint, heard.info.duration_s, version_id)
    assert heard.chroma is not None
    session.get_one(AudioFingerprint, found[1]).timbre = heard.chroma.timbre.tobytes()
    return found


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_copies_are_found(database: Database, hear: Callable[[str], AudioFeatures], damage: str) -> None:
    (proposal,) = proposed(database, hear("original"), hear(damage))
    assert proposal.verdict in (Verdict.SAME, Verdict.REVIEW)
    assert proposal.alignment is not None
    assert proposal.alignment.offset_s == pytest.approx(0, abs=0.3)
    if proposal.alignment.bit_error_rate > 0.05:
        assert proposal.extra["timbre"]["likeness"] > 0.85
        assert "timbre" in {part.name for part in proposal.parts}
        assert "timbre" in proposal.sentence


def test_where_the_fingerprint_cannot_say_the_timbre_says_where(
    database: Database, hear: Callable[[str], AudioFeatures]
) -> None:
    original, copy = hear("original"), hear("telephone")
    dice = np.random.default_rng(7)
    # Four bits of ten are wrong: no votes are left.
    wrong = np.packbits(dice.random((copy.fingerprint.size, 32)) < 0.42, axis=1).view("<u4")[:, 0]
    lost = replace(copy, fingerprint=original.fingerprint[: wrong.size] ^ wrong)
    (proposal,) = proposed(database, original, lost)
    assert proposal.verdict is Verdict.REVIEW
    assert proposal.alignment is not None
    assert proposal.alignment.bit_error_rate > 0.35
    assert proposal.alignment.offset_s == pytest.approx(0, abs=0.6)


def test_what_is_played_along_is_no_copy(database: Database, hear: Callable[[str], AudioFeatures]) -> None:
    found = proposed(database, hear("original"), hear("drums"))
    assert [proposal.verdict for proposal in found if proposal.verdict is Verdict.SAME] == []


def test_a_stranger_is_not_proposed(database: Database, hear: Callable[[str], AudioFeatures]) -> None:
    assert proposed(database, hear("original"), hear("stranger")) == []


def test_each_of_many_lengths_is_compared_as_if_alone() -> None:
    dice = np.random.default_rng(9)
    steps = dice.normal(0, 12, (32, 260, BANDS))
    pieces = np.clip(110 + np.cumsum(steps, axis=1) % 90, 0, 255).astype(np.uint8)
    ours = pieces[0, 20:230]
    others = [piece[: int(length)] for piece, length in zip(pieces, dice.integers(30, 261, 32), strict=True)]
    others[0] = pieces[0, 120:]
    others[30] = pieces[0, :90]
    together = sounding_alike(ours, others)
    assert together == pytest.approx([sounding_alike(ours, [other])[0] for other in others], abs=0.002)
    assert min(together[0], together[30]) > 0.9, "before it and after it"
    assert max(each for place, each in enumerate(together) if place not in (0, 30)) < ALIKE_TIMBRE
    assert {each for each, other in zip(together, others, strict=True) if len(other) < 40} == {0}
