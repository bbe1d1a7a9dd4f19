"""Candidates without audio are settled several in a transaction; one that fails is left to its own workflow."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import select
from temporalio.testing import ActivityEnvironment

from activities import messages as m
from activities.ingest import SETTLED_TOGETHER, IngestActivities
from activities.resources import Resources
from catalog.database import Database
from catalog.models import Candidate, Song


def test_one_that_fails_does_not_take_the_others_with_it(
    database: Database, add: Callable[..., Candidate], tmp_path: Path
) -> None:
    titles = ["Калинка", "Во поле берёза стояла", "Утро", "Вечер", "Ночь", "День", "Река", "Гора"]
    assert len(titles) > SETTLED_TOGETHER
    with database.transaction() as session:
        ids = [str(add(session, title, title=title, composer=f"Автор {title}").id) for title in titles]
    nobody = str(uuid.uuid4())
    asked = [*ids[:2], nobody, *ids[2:]]
    unused: Any = None
    activities = IngestActivities(Resources(database, objects=unused, budget=unused, temporary=tmp_path))
    result = ActivityEnvironment().run(activities.settle_silent, m.CandidatesInput(asked))
    assert [each.candidate_id for each in result.candidates] == asked
    assert [each.candidate_id for each in result.candidates if each.settled is None] == [nobody]
    assert {each.settled.state for each in result.candidates if each.settled} == {"published"}
    with database.transaction() as session:
        assert sorted(session.scalars(select(Song.title))) == sorted(titles)
    again = ActivityEnvironment().run(activities.settle_silent, m.CandidatesInput(ids))
    assert {each.settled.state for each in again.candidates if each.settled} == {"published"}
