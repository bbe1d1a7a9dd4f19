"""A look-up reads and aligns what stands out; nothing that is the same recording is passed over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.database import Database
from identity.recording.align import align, align_alike
from identity.recording.index import SegmentIndex
from identity.recording.items import SILENCE, Items, items_from_bytes
from identity.recording.reading import WANTED, Source
from identity.recording.terms import mix32, sampling_mask, terms
from identity.recording.verifying import FEW_SINGLES, few_of, look_up
from identity.thresholds import FEW_TERMS, SAME_BIT_ERROR_RATE, VERIFIED_CANDIDATES
from media.types import ITEM_SECONDS
from tests.identity_recording.test_alignment import damaged, random_items
from tests.identity_recording.test_index import store


@dataclass(frozen=True)
class Stored:
    fingerprint_id: int
    items: Items


def reading(asked: list[int]) -> Source[Stored]:
    """From the record; ``asked`` gets the ids of what was read."""

    def make(fingerprint_id: int, data: bytes) -> Stored:
        asked.append(fingerprint_id)
        return Stored(fingerprint_id, items_from_bytes(data))

    return Source("stored.id, stored.items", (), f"{WANTED} JOIN audio_fingerprints AS stored USING (id)", make)


def copy(items: Items, seed: int) -> Items:
    """Its errors come in bursts, as those of real copies do: two thirds of the seconds are heard well."""
    bad = np.repeat(np.random.default_rng(seed).random(items.size // 8 + 1) < 0.35, 8)[: items.size]
    return np.where(bad, damaged(items, 0.12, seed), items)


def stranger(seed: int, items: Items) -> Items:
    """Another recording that shares one item with this one, among the few that are asked first."""
    first = few_of(terms(items, 2))
    chosen = items[np.isin(mix32(items), first)]
    result = random_items(seed, 100)
    result[seed % result.size] = chosen[seed % chosen.size]
    return result


@given(st.integers(0, 100), st.sampled_from([15, 30, 60, 120, 600]))
@settings(max_examples=20, deadline=None)
def test_few_terms_are_chosen_by_content(seed: int, seconds: int) -> None:
    items = random_items(seed, seconds)
    found = terms(items, 2)
    few = few_of(found)
    assert set(few.tolist()) <= set(found.tolist())
    assert few.size == found.size or FEW_TERMS <= few.size <= 4 * FEW_TERMS
    again = few_of(terms(np.roll(items, 50), 2))
    assert np.array_equal(few, again)


@pytest.mark.parametrize("trim_s", [0, 7.5, -12])
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.05])
def test_the_short_way_leads_to_the_same_place(trim_s: float, rate: float) -> None:
    original = random_items(1)
    shift = round(trim_s / ITEM_SECONDS)
    cut = original[shift:] if shift >= 0 else np.concatenate([random_items(2)[:-shift], original])
    assert align_alike(damaged(cut, rate), original) == align(damaged(cut, rate), original) is not None


def test_the_short_way_ends_where_nothing_is_shared() -> None:
    silence = np.full(300, SILENCE)
    assert align_alike(random_items(1), random_items(2)) is None
    assert align_alike(silence, silence) is None
    assert align_alike(random_items(1)[:40], random_items(1)) is None


def test_all_copies_are_compared_and_no_stranger(database: Database) -> None:
    original = random_items(1, 100)
    with database.transaction() as session:
        strangers = {store(session, stranger(seed, original)) for seed in range(100, 130)}
        copies = {store(session, copy(original, seed)) for seed in range(5)}
        # A clip of 25 s and one that starts elsewhere.
        copies |= {store(session, copy(original, 7)[200:400]), store(session, copy(original, 8)[300:])}
        shared = dict(SegmentIndex().search(session, original, 100))
        assert strangers & set(shared) == strangers
        asked: list[int] = []
        compared = look_up(session, SegmentIndex(), copy(original, 9), reading(asked))
        assert set(asked) == copies
        assert len(asked) == len(copies)
        rates = [aligned.alignment.bit_error_rate for _, aligned in compared if aligned]
        assert len(rates) == len(copies)
        assert max(rates) <= SAME_BIT_ERROR_RATE


def test_on_a_miss_all_that_share_anything_are_compared(database: Database) -> None:
    unknown = random_items(1, 100)
    with database.transaction() as session:
        strangers = {store(session, stranger(seed, unknown)) for seed in range(100, 100 + VERIFIED_CANDIDATES)}
        asked: list[int] = []
        compared = look_up(session, SegmentIndex(), unknown, reading(asked))
        assert set(asked) == strangers == {target.fingerprint_id for target, _ in compared}
        assert not any(aligned for _, aligned in compared)


def test_where_many_share_a_term_by_chance_only_those_that_share_more_are_compared(database: Database) -> None:
    unknown = random_items(1, 100)
    with database.transaction() as session:
        for seed in range(100, 101 + FEW_SINGLES):
            store(session, stranger(seed, unknown))
        # Of this one whole seconds are heard, but hardly any of the terms.
        damaged_copy = damaged(unknown, 0.15)
        chosen = unknown[np.isin(mix32(unknown), terms(unknown, 3))]
        damaged_copy[np.isin(unknown, chosen[:2])] = chosen[:2]
        wanted = store(session, damaged_copy)
        asked: list[int] = []
        compared = look_up(session, SegmentIndex(), unknown, reading(asked))
        assert asked == [wanted]
        assert compared[0][1] is not None


def test_more_is_read_where_what_shares_most_is_no_target(database: Database) -> None:
    original = random_items(1, 100)
    with database.transaction() as session:
        near = [store(session, copy(original, seed)) for seed in range(VERIFIED_CANDIDATES + 5)]
        far = store(session, damaged(original, 0.12))
        source = Source(
            "stored.id, stored.items",
            (),
            f"{WANTED} JOIN audio_fingerprints AS stored USING (id) WHERE stored.id <> ALL (%(others)s)",
            lambda fingerprint_id, data: Stored(fingerprint_id, items_from_bytes(data)),
            {"others": near},
        )
        (compared,) = look_up(session, SegmentIndex(), original, source)
        assert compared[0].fingerprint_id == far


def test_a_copy_without_any_of_the_few_terms_is_found(database: Database) -> None:
    original = random_items(1, 100)
    # A long speech before it gives all of the few terms but those that are damaged here.
    few = (mix32(original) & sampling_mask(4)) == 0
    other = np.concatenate([random_items(2, 200), np.where(few, original ^ np.uint32(1), original)])
    assert not np.intersect1d(few_of(terms(other, 2)), terms(original, 2)).size
    with database.transaction() as session:
        wanted = store(session, original)
        (compared,) = look_up(session, SegmentIndex(), other, reading([]))
    assert compared[0].fingerprint_id == wanted
    assert compared[1] is not None
    assert compared[1].alignment.bit_error_rate < 0.01
