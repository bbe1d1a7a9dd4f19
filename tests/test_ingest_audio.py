"""What audio leaves on its candidate: a fingerprint and a melody, or the reason why not; the worker goes on."""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from sqlalchemy import select
from temporalio.testing import ActivityEnvironment

from activities import messages as m
from activities.ingest import MAX_TOGETHER, IngestActivities
from activities.resources import Resources
from catalog.database import Database
from catalog.models import AudioFingerprint, AudioMelody, Candidate, Observation
from identity.melody.service import Found
from identity.recording.closer import Closer
from media.analysis import analyse, library_present
from media.decoder import DECODERS
from moderation import settlement
from tests.media.synth import RATE, encode, ffmpeg, render, write_wav


def bad_and_odd_files(folder: Path) -> dict[str, str | None]:
    """The list of the issue, made here: what each is to end with; None where it is to be heard."""
    tune = write_wav(folder / "tune.wav", render(1, 30.0))
    write_wav(folder / "silence.wav", np.zeros(20 * RATE))
    write_wav(folder / "short.wav", render(2, 2.0))
    (folder / "empty.mp3").touch()
    (folder / "page.mp3").write_bytes(b"<!doctype html>" + b"<p>gone</p>" * 300)
    ffmpeg("-f", "lavfi", "-i", "color=s=32x32:r=5:d=8", folder / "film.mp4")
    ffmpeg("-f", "lavfi", "-i", "sine=1000:d=20", folder / "tone.wav")
    key = ("-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8")
    ffmpeg("-i", tune, "-c:a", "aac", "-encryption_scheme", "cenc-aes-ctr", *key, folder / "locked.mp4")
    whole = encode(write_wav(folder / "second.wav", render(2, 30.0)), folder / "whole.flac")
    (folder / "half.flac").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole.rename(folder / "flac.mp3")
    with (folder / "ten_hours.wav").open("wb") as file:
        file.write(wav_header(36_000 * 8_000, 1, 8_000, 8) + np.random.default_rng(1).bytes(200 * 8_000))
        file.truncate(36_000 * 8_000)
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono:d=7300", "-compression_level", "0", folder / "bomb.flac")
    nan = render(3, 20.0).astype("<f4")
    nan[::7], nan[1::7], nan[2::7] = np.nan, np.inf, -np.inf
    (folder / "nan.wav").write_bytes(wav_header(nan.nbytes, 3, RATE, 32) + nan.tobytes())
    ffmpeg("-i", write_wav(folder / "third.wav", render(4, 20.0)), "-ar", "8000", "-ac", "1", folder / "telephone.wav")
    pan = "pan=5.1|FL=c0|FR=c0|FC=c0|LFE=c0|BL=c0|BR=c0"
    ffmpeg("-i", write_wav(folder / "fourth.wav", render(5, 20.0)), "-ar", "192000", "-af", pan, folder / "studio.flac")
    return {
        "tune.wav": None,
        "tone.wav": None,
        "silence.wav": "silent",
        "short.wav": "too_short",
        "empty.mp3": "empty_file",
        "page.mp3": "not_audio",
        "film.mp4": "no_audio_stream",
        "locked.mp4": "encrypted",
        "half.flac": "truncated",
        "flac.mp3": None,
        "ten_hours.wav": "too_long",
        "bomb.flac": "too_long",
        "nan.wav": None,
        "telephone.wav": None,
        "studio.flac": None,
    }


def wav_header(size: int, coding: int, rate: int, bits: int) -> bytes:
    """Mono. ``coding``: 1 whole numbers, 3 floats."""
    form = struct.pack("<IHHIIHH", 16, coding, 1, rate, rate * bits // 8, bits // 8, bits)
    return b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size)


def most_memory_of_a_decoder_kib() -> int:
    told = [Path(f"/proc/{process.pid}/status").read_text() for process in DECODERS._idle]
    return max(int(status.partition("VmHWM:")[2].split()[0]) for status in told)


async def test_each_file_has_its_own_end(database: Database, add: Callable[..., Candidate], tmp_path: Path) -> None:
    expected = bad_and_odd_files(tmp_path)
    unused: Any = None
    ingest = IngestActivities(Resources(database=database, objects=unused, budget=unused, temporary=tmp_path / "tmp"))
    ids = {}
    with database.transaction() as session:
        for name in expected:
            candidate = add(session, name, audio_url=(tmp_path / name).as_uri())
            candidate.audio_policy = "fingerprint_only"
            ids[name] = candidate.id
    # One whose record is not even there does not keep the others from their ends.
    message = m.CandidatesInput([*map(str, ids.values()), str(uuid.uuid4())])
    for _ in range(2):  # repeating it is harmless
        done = await ActivityEnvironment().run(ingest.ingest_near, message)
        states = {one.candidate_id: one.settled.state for one in done.candidates if one.settled}
        assert set(states) == set(map(str, ids.values()))
        await ActivityEnvironment().run(ingest.fetch_and_fingerprint, m.CandidateInput(str(ids["half.flac"])))
    assert 0 < most_memory_of_a_decoder_kib() < 256 * 1024
    with database.transaction() as session:
        found = {name: session.get_one(Candidate, each) for name, each in ids.items()}
        assert {name: each.reason if each.state == "failed" else None for name, each in found.items()} == expected
        assert {each.state for each in found.values() if each.state != "failed"} <= {"published", "in_review"}
        assert all(each.detail for each in found.values() if each.state == "failed")
        heard = set(session.scalars(select(AudioFingerprint.candidate_id)))
        assert heard == {ids[name] for name, reason in expected.items() if reason is None}
        melody = session.get_one(AudioMelody, ids["tune.wav"])
        assert len(melody.frames) > 50 * 12
        remarks = session.execute(
            select(Observation.candidate_id, Observation.data).where(Observation.kind == "content")
        )
        assert [(row[0], row[1]["kind"]) for row in remarks] == [(ids["tone.wav"], "tone")]


async def test_a_batch_that_failed_again_and_again_is_taken_apart(database: Database, tmp_path: Path) -> None:
    """A file that kills its worker does not keep the others of its batch from their ends."""
    unused: Any = None
    ingest = IngestActivities(Resources(database=database, objects=unused, budget=unused, temporary=tmp_path))
    message = m.CandidatesInput([str(uuid.uuid4()) for _ in range(3)])
    environment = ActivityEnvironment()
    # It would tell the same of candidates that are not in the record: the batch must not even be looked at.
    ingest._ingest_near = None  # type: ignore[method-assign,assignment]
    environment.info = replace(environment.info, attempt=MAX_TOGETHER + 1)
    done = await environment.run(ingest.ingest_near, message)
    assert [(each.candidate_id, each.settled) for each in done.candidates] == [
        (each, None) for each in message.candidate_ids
    ]


class Counting(asyncio.Semaphore):
    """Counts how often a core was asked for."""

    taken = 0

    async def acquire(self) -> Literal[True]:
        self.taken += 1
        return await super().acquire()


async def test_a_recording_asks_for_a_core_once(
    database: Database, add: Callable[..., Candidate], tmp_path: Path
) -> None:
    """Who asked again for the comparison would wait for all that came after: batches would end together."""
    unused: Any = None
    cores = Counting(1)
    ingest = IngestActivities(Resources(database, unused, unused, tmp_path / "tmp", analysis=cores))
    ids = []
    original = write_wav(tmp_path / "0.wav", render(1, 30.0))
    ffmpeg("-i", original, "-filter:a", f"asetrate={round(RATE * 1.02)},aresample={RATE}", tmp_path / "1.wav")
    with database.transaction() as session:
        for number in range(2):
            candidate = add(session, str(number), audio_url=(tmp_path / f"{number}.wav").as_uri())
            candidate.audio_policy = "fingerprint_only"
            ids.append(str(candidate.id))
    for one in ids:  # the second, a copy at another speed, is listened to closer
        await ActivityEnvironment().run(ingest.ingest_near, m.CandidatesInput([one]))
    assert cores.taken == len(ids)
    with database.transaction() as session:
        assert len(session.scalars(select(AudioFingerprint.id)).all()) == len(ids)


@pytest.mark.skipif(not library_present(), reason="libchromaprint is not installed")
async def test_a_copy_at_another_speed_is_looked_at_closer_and_found(
    database: Database, add: Callable[..., Candidate], tmp_path: Path
) -> None:
    """All the way through the activity: what decides whether other speeds are tried stands there."""
    tune = write_wav(tmp_path / "tune.wav", render(11, 100.0))
    faster = f"asetrate={round(RATE * 1.03)},aresample={RATE}"
    ffmpeg("-i", tune, "-af", faster, tmp_path / "faster.wav")
    unused: Any = None
    ingest = IngestActivities(Resources(database=database, objects=unused, budget=unused, temporary=tmp_path / "tmp"))
    versions = []
    for name, title in (("tune.wav", "Калинка"), ("faster.wav", "audio 17")):
        with database.transaction() as session:
            candidate = add(session, name, title=title, audio_url=(tmp_path / name).as_uri())
            candidate.audio_policy = "fingerprint_only"
            candidate_id = candidate.id
        await ActivityEnvironment().run(ingest.fetch_and_fingerprint, m.CandidateInput(str(candidate_id)))
        with database.transaction() as session:
            versions.append(settlement.settle(session, candidate_id).version_id)
    assert versions[0] is not None
    assert versions[0] == versions[1]


async def test_what_is_heard_again_takes_the_place_of_what_was_heard_before(
    database: Database, add: Callable[..., Candidate], tmp_path: Path
) -> None:
    """Two workers may have heard the same: the second one's account replaces the first's."""
    path = tmp_path / "tone.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=1000:d=20", path)
    unused: Any = None
    ingest = IngestActivities(Resources(database=database, objects=unused, budget=unused, temporary=tmp_path / "tmp"))
    with database.transaction() as session:
        candidate_id = add(session, "tone", audio_url=path.as_uri()).id
    tone = analyse(path)
    near = Closer(near=(uuid.uuid4(),))
    for features, closer in ((tone, near), (replace(tone, content=None), Closer()), (tone, near), (tone, near)):
        ingest._record_audio(candidate_id, features, "0" * 64, None, Found(), closer)
        with database.transaction() as session:
            kinds = session.scalars(select(Observation.kind).where(Observation.candidate_id == candidate_id)).all()
            assert sorted(kinds) == ([] if features.content is None else ["content", "near"])
            assert len(session.scalars(select(AudioFingerprint.id)).all()) == 1
            assert len(session.scalars(select(AudioMelody.candidate_id)).all()) == 1
