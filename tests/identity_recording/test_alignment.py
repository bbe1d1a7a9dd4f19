"""Items, terms and alignment without a database."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.evidence import Verdict
from identity.recording.align import align, align_all
from identity.recording.items import SILENCE, Items, fingerprint_bytes, items_from_bytes
from identity.recording.service import disagreement
from identity.recording.terms import mix32, terms
from identity.recording.verifying import verdict_of
from media.types import ITEM_SECONDS
from tests.media.synth import ffmpeg


def random_items(seed: int, seconds: float = 60) -> Items:
    count = round(seconds / ITEM_SECONDS)
    return np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32)


def damaged(items: Items, rate: float, seed: int = 0) -> Items:
    """With each bit wrong with the given probability."""
    wrong = np.random.default_rng(seed).random((items.size, 32)) < rate
    return items ^ (wrong << np.arange(32)).sum(axis=1).astype(np.uint32)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=50))
def test_items_survive_storage(values: list[int]) -> None:
    items = np.array(values, dtype=np.uint32)
    assert np.array_equal(items_from_bytes(fingerprint_bytes(items)), items)


def test_stored_items_are_little_endian() -> None:
    assert fingerprint_bytes(np.array([1, 2**31], dtype=np.uint32)) == b"\1\0\0\0\0\0\0\x80"
    with pytest.raises(ValueError, match="4 bytes"):
        items_from_bytes(b"12345")


def test_the_silence_hash(tmp_path: Path) -> None:
    raw = tmp_path / "silence"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=11025:cl=mono:d=10", "-f", "chromaprint", "-fp_format", "raw", raw)
    assert set(items_from_bytes(raw.read_bytes()).tolist()) == {int(SILENCE)}


def test_mix32_is_murmurs_finaliser() -> None:
    # fmix32(1) and fmix32(0xFFFFFFFF) of the reference.
    assert mix32(np.array([0, 1, 2**32 - 1], dtype=np.uint32)).tolist() == [0, 0x514E28B7, 0x81F16F39]


@pytest.mark.parametrize("bits", [2, 3])
def test_terms_are_chosen_by_content(bits: int) -> None:
    items = random_items(1, 120)
    whole = terms(items, bits)
    assert whole.dtype == np.uint32
    assert whole.size == pytest.approx(items.size / 2**bits, rel=0.2)
    assert (np.diff(whole.astype(np.int64)) > 0).all()
    assert set(terms(items[300:600], bits).tolist()) < set(whole.tolist())
    assert set(terms(items, bits + 1).tolist()) < set(whole.tolist())
    assert terms(np.full(500, SILENCE), bits).size == 0
    assert terms(items[:0], bits).size == 0


def test_many_are_aligned_as_one_by_one() -> None:
    original = random_items(1)
    targets = [damaged(original, 0.1), random_items(2), original[:40], original[100:], damaged(original, 0.25)[200:]]
    assert align_all(original, targets) == [align(original, target) for target in targets]
    assert [bool(found) for found in align_all(original, targets)] == [True, True, False, True, True]
    assert align_all(original, []) == []


@pytest.mark.parametrize("trim_s", [0, 7.5, 30, -12])
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.15])
def test_a_copy_is_found_at_its_place(trim_s: float, rate: float) -> None:
    original = random_items(1)
    shift = round(trim_s / ITEM_SECONDS)
    copy = original[shift:] if shift >= 0 else np.concatenate([random_items(2)[:-shift], original])
    found = align(damaged(copy, rate), original)
    assert found is not None
    assert found.offset == shift
    assert found.alignment.offset_s == pytest.approx(trim_s, abs=ITEM_SECONDS)
    assert found.alignment.bit_error_rate == pytest.approx(rate, abs=0.01)
    assert found.alignment.overlap_s == pytest.approx(60 - max(0, trim_s), abs=0.2)
    assert len(found.alignment.profile) == pytest.approx(found.alignment.overlap_s / 2, abs=2)


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=30, deadline=None)
def test_different_recordings_differ(one: int, two: int, left: int, right: int) -> None:
    found = align(random_items(one)[left:], random_items(two + 20_000)[right:])
    assert found is None or verdict_of(found.alignment) is None


@given(st.lists(st.sampled_from([0, 1, 7, int(SILENCE)]), max_size=300), st.integers(0, 200))
@settings(max_examples=30, deadline=None)
def test_dull_sound_proves_nothing(values: list[int], length: int) -> None:
    found = align(np.array(values, dtype=np.uint32), np.full(length, 7, dtype=np.uint32))
    assert found is None or verdict_of(found.alignment) is None


def test_silence_is_not_compared() -> None:
    music, silence = random_items(1, 30), np.full(200, SILENCE, dtype=np.uint32)
    padded = np.concatenate([silence, music, silence])
    found = align(padded, np.concatenate([silence, damaged(music, 0.03), silence]))
    assert found is not None
    assert found.alignment.overlap_s == pytest.approx(30, abs=0.2)
    assert found.alignment.distinct_share > 0.9
    assert align(silence, silence) is None


@pytest.mark.parametrize(
    ("seconds", "rate", "expected"),
    [
        (40, 0.05, Verdict.SAME),
        (40, 0.15, Verdict.REVIEW),
        (40, 0.25, Verdict.WEAK),
        (40, 0.35, None),
        (15, 0.05, Verdict.REVIEW),
        (15, 0.15, Verdict.WEAK),
        (8, 0.05, Verdict.REVIEW),
        (6.5, 0.0, None),
    ],
)
def test_verdicts(seconds: float, rate: float, expected: Verdict | None) -> None:
    original = random_items(3, 90)
    start = round(10 / ITEM_SECONDS)
    clip = damaged(original[start : start + round(seconds / ITEM_SECONDS)], rate)
    found = align(clip, original)
    assert (verdict_of(found.alignment) if found else None) == expected


def test_the_profile_shows_where_they_differ() -> None:
    original = random_items(4, 60)
    copy = original.copy()
    half = copy.size // 2
    copy[half:] = damaged(copy[half:], 0.3)
    found = align(copy, original)
    assert found is not None
    profile = found.alignment.profile
    assert max(profile[:14]) == 0
    assert min(profile[-14:]) > 0.2


def test_the_end_does_not_contradict_the_beginning() -> None:
    whole = random_items(5, 100)
    beginning, end = whole[:300], whole[500:]
    first = align(beginning, whole)
    assert first is not None
    assert disagreement(beginning, whole, first, [end]) is None
    assert disagreement(beginning, whole, first, [damaged(whole, 0.05)]) is None


def test_a_different_member_contradicts() -> None:
    whole = random_items(5, 100)
    ours = damaged(whole, 0.05)
    first = align(ours, whole)
    assert first is not None
    # It lies on the member as a doubtful copy does, and on us as a bad one.
    doubtful = damaged(whole, 0.18, seed=9)
    assert disagreement(ours, whole, first, [doubtful]) == pytest.approx(0.21, abs=0.02)
    # A recording whose middle is another take.
    other = whole.copy()
    other[200:] = random_items(77, 100)[200:]
    assert disagreement(ours, whole, first, [other]) is not None
