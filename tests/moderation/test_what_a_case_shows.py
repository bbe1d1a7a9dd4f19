"""A moderator sees all that the evidence of a recording holds, and what the sound seems to be."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from rich.console import Console
from sqlalchemy import select

from catalog.database import Database
from catalog.models import AudioFingerprint, Candidate, Observation
from media.timbre import BANDS
from moderation import service, settlement
from moderation.pictures import proposal_picture
from runtime.cli.review import render_case
from tests.candidates import copy_of, performance


def test_alignment_timbre_and_content_are_shown(database: Database, add: Callable[..., Candidate]) -> None:
    items = performance(1)
    trimmed = copy_of(items, bit_error_rate=0.07)[80:]
    frames = np.random.default_rng(1).integers(60, 160, (240, BANDS), dtype=np.uint8)
    other = np.random.default_rng(2).integers(60, 160, (240, BANDS), dtype=np.uint8)
    with database.transaction() as session:
        known, asking = add(session, "a", items=items), add(session, "b", items=trimmed, performer="Другой хор")
        for candidate, timbre in ((known, frames), (asking, other)):
            of = AudioFingerprint.candidate_id == candidate.id
            session.scalars(select(AudioFingerprint).where(of)).one().timbre = timbre.tobytes()
        data = {"kind": "speech", "sentence": "no notes, pauses 18% of the time"}
        session.add(Observation(candidate_id=asking.id, kind="content", data=data))
        ids = [known.id, asking.id]
    for candidate_id in ids:
        with database.transaction() as session:
            settled = settlement.settle(session, candidate_id)
    assert settled.state == "in_review", "as near as a merge, but another mix"
    with database.transaction() as session:
        case = service.list_cases(session).cases[0]
        number = next(n for n, each in enumerate(case.proposals, 1) if each.question == "recording")
        assert proposal_picture(session, case.id, number).startswith("<svg")
    evidence = case.proposals[number - 1].evidence
    assert evidence["begins_at_s"]["target"] > 9
    assert abs(evidence["timbre"]["likeness"]) < 0.3
    assert evidence["speed_factor"] == 1
    assert {"bit_error_rate", "overlap", "distinct_share", "timbre"} <= {part["name"] for part in evidence["parts"]}
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render_case(case))
    shown = console.export_text()
    for words in (
        "speech, not music: no notes, pauses 18% of the time",
        "of the bits differ",
        "s compared",
        "of the compared sound is distinct",
        "instruments, voices or mix may differ",
        "to compare by ear: from 0:00:00 of it, from 0:00:10 of the other",
    ):
        assert words in shown
