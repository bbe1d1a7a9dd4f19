"""What audio leaves on its candidate: a fingerprint and a melody, or the reason why not; the worker goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from temporalio.testing import ActivityEnvironment

from activities import messages as m
from activities.ingest import IngestActivities
from activities.resources import Resources
from catalog.database import Database
from catalog.models import AudioFingerprint, AudioMelody, Candidate, Observation
from media.analysis import library_present
from moderation import settlement
from tests.media.synth import RATE, ffmpeg, render, write_wav


async def test_each_file_has_its_own_end(database: Database, add: Callable[..., Candidate], tmp_path: Path) -> None:
    tune = write_wav(tmp_path / "tune.wav", render(1, 30.0))
    write_wav(tmp_path / "silence.wav", np.zeros(20 * RATE))
    write_wav(tmp_path / "short.wav", render(2, 2.0))
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "page.mp3").write_bytes(b"<!doctype html>" + b"<p>gone</p>" * 300)
    ffmpeg("-f", "lavfi", "-i", "color=s=32x32:r=5:d=8", tmp_path / "film.mp4")
    ffmpeg("-f", "lavfi", "-i", "sine=1000:d=20", tmp_path / "tone.wav")
    key = ("-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8")
    ffmpeg("-i", tune, "-c:a", "aac", "-encryption_scheme", "cenc-aes-ctr", *key, tmp_path / "locked.mp4")
    expected = {
        "tune.wav": ("fingerprinted", "new"),
        "tone.wav": ("fingerprinted", "new"),
        "silence.wav": ("failed", "silent"),
        "short.wav": ("failed", "too_short"),
        "empty.mp3": ("failed", "empty_file"),
        "page.mp3": ("failed", "not_audio"),
        "film.mp4": ("failed", "no_audio_stream"),
        "locked.mp4": ("failed", "encrypted"),
    }
    unused: Any = None
    ingest = IngestActivities(Resources(database=database, objects=unused, budget=unused, temporary=tmp_path / "tmp"))
    ids = {}
    with database.transaction() as session:
        for name in expected:
            candidate = add(session, name, audio_url=(tmp_path / name).as_uri())
            candidate.audio_policy = "fingerprint_only"
            ids[name] = candidate.id
    for candidate_id in ids.values():
        for _ in range(2):  # repeating it is harmless
            await ActivityEnvironment().run(ingest.fetch_and_fingerprint, m.CandidateInput(str(candidate_id)))
    with database.transaction() as session:
        found = {name: session.get_one(Candidate, each) for name, each in ids.items()}
        assert {name: (each.state, each.reason) for name, each in found.items()} == expected
        assert all(each.detail for each in found.values() if each.state == "failed")
        heard = set(session.scalars(select(AudioFingerprint.candidate_id)))
        assert heard == {ids["tune.wav"], ids["tone.wav"]}
        melody = session.get_one(AudioMelody, ids["tune.wav"])
        assert len(melody.frames) > 50 * 12
        remarks = session.execute(
            select(Observation.candidate_id, Observation.data).where(Observation.kind == "content")
        )
        assert [(row[0], row[1]["kind"]) for row in remarks] == [(ids["tone.wav"], "tone")]


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
