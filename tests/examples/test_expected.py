"""The expected end agrees with what the sites hold."""

from __future__ import annotations

from collections import Counter

from adapters.contract import VersionKind
from crawlers.errors import FailureClass
from examples.expected import EXPECTED, key_of
from examples.music.repertoire import RENDITIONS
from examples.sites.world import BROKEN, FONOTEKA, OFFERS, PESENNIK, TROUBLES, offers_of, paths_of, romanise


def test_counts() -> None:
    assert len(EXPECTED.songs) >= 12
    assert EXPECTED.version_count >= 36
    sources = Counter(len(version) for song in EXPECTED.songs.values() for version in song)
    assert sources[3] >= 2
    assert EXPECTED.source_count == sum(not offer.doubtful for offer in OFFERS)
    assert 4 <= len(EXPECTED.review) <= 6
    assert len(paths_of(FONOTEKA)) <= 55
    copies = [o for o in OFFERS if o.source == FONOTEKA and o.rendition.key in {p.key for p in offers_of(PESENNIK)}]
    assert len(copies) >= 24
    assert {offer.encoding.codec for offer in copies} == {"mp3", "opus", "aac", "flac"}


def test_every_key_is_used_once() -> None:
    keys = [key_of(offer) for offer in (*OFFERS, *BROKEN)]
    assert len(set(keys)) == len(keys)
    ends = [key for song in EXPECTED.songs.values() for version in song for key in version]
    assert sorted([*ends, *EXPECTED.review, *EXPECTED.failed]) == sorted(keys)


def test_only_the_doubtful_name_no_performer() -> None:
    assert {key_of(o) for o in (*OFFERS, *BROKEN) if not o.performer} == EXPECTED.review
    assert all(" - " not in o.title for o in OFFERS if o.doubtful)


def test_words_are_those_of_the_contracts() -> None:
    assert {trouble.failure for trouble in TROUBLES} <= set(FailureClass)
    assert {rendition.kind for rendition in RENDITIONS} <= set(VersionKind)
    for source in (PESENNIK, FONOTEKA):
        assert {"not_found", "gone", "broken_markup", "redirect_loop", "too_large", "robots_disallowed"} <= set(
            EXPECTED.failures[source].values()
        )
        assert len(EXPECTED.recovered[source]) == 2
    assert set(EXPECTED.failed.values()) == {"not_audio", "empty_file", "too_large", "address_blocked"}


def test_trimmed_copies_overlap_enough() -> None:
    assert all(offer.duration_s > 25 for offer in OFFERS)
    assert any(offer.encoding.trim_start >= 4 for offer in OFFERS)


def test_romanisation() -> None:
    assert [romanise("Щи, Яхонт", scheme) for scheme in range(3)] == ["Shchi, Yakhont", "Shhi, Jahont", "Schi, Iahont"]


def _good() -> dict[str, object]:
    incidents = {(s, p.replace("*", "2027/01"), f) for s, paths in EXPECTED.failures.items() for p, f in paths.items()}
    return {
        "partition": EXPECTED.partition,
        "review": EXPECTED.review,
        "failed": EXPECTED.failed,
        "incidents": incidents,
    }


def test_no_difference_to_itself() -> None:
    assert EXPECTED.differences(**_good()) == []  # type: ignore[arg-type]


def test_each_kind_of_difference_is_told() -> None:
    one, two, *rest = EXPECTED.partition
    joined = {**_good(), "partition": [one | two, *rest]}
    assert len(EXPECTED.differences(**joined)) == 3  # type: ignore[arg-type]
    assert EXPECTED.differences(**{**_good(), "review": []})[0].startswith("not in review")  # type: ignore[arg-type]
    assert len(EXPECTED.differences(**{**_good(), "failed": {}})) == len(EXPECTED.failed)  # type: ignore[arg-type]
    none = EXPECTED.differences(**{**_good(), "incidents": []})  # type: ignore[arg-type]
    assert len(none) == len(TROUBLES)
    extra = {*_good()["incidents"], (PESENNIK, "/", "timeout"), (PESENNIK, "/zapisi/krug", "gone")}  # type: ignore[misc]
    assert len(EXPECTED.differences(**{**_good(), "incidents": extra})) == 2  # type: ignore[arg-type]
