"""From sound files to proposals, in PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.orm import Session

from catalog.database import Database
from catalog.models import AudioFingerprint, Candidate, Song, Version
from identity.evidence import Proposal, Question, Verdict
from identity.recording.index import SegmentIndex
from identity.recording.items import Items, fingerprint_bytes
from identity.recording.merging import Merger
from identity.recording.service import propose
from media.analysis import analyse
from media.types import AudioFeatures
from tests.identity_recording.test_alignment import damaged, random_items
from tests.media.synth import INSTRUMENTS, encode, render, write_wav

RECORDINGS = 20
COPIES: list[Callable[[Path, Path], Path]] = [
    lambda source, folder: encode(source, folder / "copy.mp3"),
    lambda source, folder: encode(source, folder / "copy.opus"),
    lambda source, folder: encode(source, folder / "copy.m4a", "-af", "volume=1.6"),
    lambda source, folder: encode(source, folder / "trimmed.mp3", before=("-ss", "5.3")),
    lambda source, folder: encode(source, folder / "copy.flac", "-t", "26"),
]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AudioFeatures]:
    """``original N``, ``copy N``, and other renderings of piece 0."""
    root = tmp_path_factory.mktemp("sounds")
    names = list(INSTRUMENTS)

    def original(number: int) -> dict[str, AudioFeatures]:
        folder = root / str(number)
        folder.mkdir()
        path = write_wav(folder / "original.wav", render(number, instrument=names[number % len(names)]))
        copy = COPIES[number % len(COPIES)](path, folder)
        return {f"original {number}": analyse(path), f"copy {number}": analyse(copy)}

    def rendering(change: str) -> dict[str, AudioFeatures]:
        arguments = {"faster": {"tempo": 1.15}, "higher": {"key": 3}, "organ": {"instrument": "organ", "tempo": 0.93}}
        path = write_wav(root / f"{change}.wav", render(0, **({"instrument": names[0]} | arguments[change])))
        return {change: analyse(path)}

    found: dict[str, AudioFeatures] = {}
    with ThreadPoolExecutor(2) as pool:
        for part in pool.map(original, range(RECORDINGS)):
            found |= part
        for part in pool.map(rendering, ("faster", "higher", "organ")):
            found |= part
    return found


def store(
    session: Session, name: str, items: Items, duration_s: float, version_id: uuid.UUID | None
) -> tuple[uuid.UUID, int]:
    """A candidate with an indexed fingerprint: (candidate id, fingerprint id)."""
    candidate = Candidate(
        source="test", source_key=name, url="https://music.test/", item_digest="", version_id=version_id
    )
    session.add(candidate)
    session.flush()
    row = AudioFingerprint(candidate_id=candidate.id, duration_s=duration_s, items=fingerprint_bytes(items))
    session.add(row)
    session.flush()
    SegmentIndex().add(session, row.id, items)
    return candidate.id, row.id


def new_version(session: Session, name: str) -> uuid.UUID:
    song = Song(slug=name, title=name)
    session.add(song)
    session.flush()
    version = Version(song_id=song.id, title=name)
    session.add(version)
    session.flush()
    return version.id


def publish(session: Session, name: str, items: Items, duration_s: float = 100) -> uuid.UUID:
    version_id = new_version(session, name)
    store(session, name, items, duration_s, version_id)
    return version_id


def same(proposals: list[Proposal]) -> list[uuid.UUID | None]:
    return [proposal.version_id for proposal in proposals if proposal.verdict is Verdict.SAME]


def test_copies_are_found_and_nothing_else(database: Database, sounds: dict[str, AudioFeatures]) -> None:
    with database.transaction() as session:
        versions = []
        for number in range(RECORDINGS):
            features = sounds[f"original {number}"]
            versions.append(publish(session, f"piece {number}", features.fingerprint, features.info.duration_s))
        for number in range(RECORDINGS):
            copy = sounds[f"copy {number}"]
            proposals = propose(session, copy.fingerprint, copy.info.duration_s)
            assert same(proposals) == [versions[number]], number
            assert proposals[0].version_id == versions[number]
            assert proposals[0].probability > 0.9
        for change in ("faster", "higher", "organ"):
            rendering = sounds[change]
            assert same(propose(session, rendering.fingerprint, rendering.info.duration_s)) == []


def test_the_evidence_of_a_trimmed_copy(database: Database, sounds: dict[str, AudioFeatures]) -> None:
    original, copy = sounds["original 3"], sounds["copy 3"]
    with database.transaction() as session:
        version_id = publish(session, "piece", original.fingerprint, original.info.duration_s)
        (proposal,) = propose(session, copy.fingerprint, copy.info.duration_s)
    assert (proposal.question, proposal.version_id, proposal.song_id) == (Question.RECORDING, version_id, None)
    assert proposal.alignment is not None
    assert proposal.alignment.offset_s == pytest.approx(5.3, abs=0.2)
    assert proposal.sentence.startswith("Same sound over 2")
    assert "starts 5." in proposal.sentence
    assert "s later" in proposal.sentence
    assert {part.name for part in proposal.parts} == {"bit_error_rate", "overlap", "distinct_share", "duration"}
    assert proposal.evidence()["alignment"]["profile"]


def test_one_proposal_a_version_by_its_best_member(database: Database) -> None:
    items = random_items(1, 100)
    with database.transaction() as session:
        version_id = publish(session, "good", damaged(items, 0.08))
        best, _ = store(session, "better", damaged(items, 0.01, seed=5), 100, version_id)
        # Errors come in bursts: evenly spread ones would leave no item whole, and the index nothing to find.
        half = items.size // 2
        other = publish(session, "doubtful", np.concatenate([items[:half], damaged(items[half:], 0.3)]))
        proposals = propose(session, items, 100)
    assert [(found.version_id, found.verdict) for found in proposals] == [
        (version_id, Verdict.SAME),
        (other, Verdict.REVIEW),
    ]
    assert proposals[0].extra["target_candidate_id"] == str(best)
    assert proposals[0].probability > proposals[1].probability > 0.5


def test_the_worst_member_must_agree_too(database: Database) -> None:
    items = random_items(1, 100)
    with database.transaction() as session:
        version_id = publish(session, "good", damaged(items, 0.02))
        store(session, "other take", random_items(2, 100), 100, version_id)
        (proposal,) = propose(session, items, 100)
    assert proposal.verdict is Verdict.REVIEW
    assert "another source of this version differs" in proposal.sentence
    assert "worst_member" in {part.name for part in proposal.parts}


def test_pending_and_own_fingerprints_are_no_targets(database: Database) -> None:
    items = random_items(1, 60)
    with database.transaction() as session:
        version_id = new_version(session, "piece")
        own, _ = store(session, "own", items, 60, version_id)
        for number in range(60):
            store(session, f"pending {number}", damaged(items, 0.01, seed=number), 60, None)
        assert propose(session, items, 60, exclude_candidate=own) == []
        # However many pending copies there are, the published one is found.
        store(session, "published", damaged(items, 0.03, seed=99), 60, version_id)
        (proposal,) = propose(session, items, 60, exclude_candidate=own)
        assert proposal.verdict is Verdict.SAME


def test_a_short_recording_goes_to_review(database: Database) -> None:
    items = random_items(1, 14)
    with database.transaction() as session:
        publish(session, "jingle", items, 16)
        (proposal,) = propose(session, damaged(items, 0.01), 16)
        assert proposal.verdict is Verdict.REVIEW
        assert "a person should listen" in proposal.sentence
        assert propose(session, items[:50], 8) == []
        assert propose(session, items[:0], 0) == []


def test_deleted_recordings_are_no_targets(database: Database) -> None:
    items = random_items(1, 60)
    with database.transaction() as session:
        version_id = new_version(session, "piece")
        candidates = [
            store(session, str(number), damaged(items, 0.01, seed=number), 60, version_id)[0] for number in range(45)
        ]
    Merger(database.engine).rebuild()
    with database.transaction() as session:
        for candidate_id in candidates[:44]:
            session.delete(session.get_one(Candidate, candidate_id))
        session.flush()
        (proposal,) = propose(session, items, 60)
    assert proposal.extra["target_candidate_id"] == str(candidates[44])


def test_hostile_items_in_the_record(database: Database) -> None:
    dull = np.full(900, 12345, dtype=np.uint32)
    with database.transaction() as session:
        publish(session, "drone", dull, 120)
        publish(session, "nothing", dull[:0], 120)
        assert propose(session, dull, 120) == []
