"""A moderator's decision on its whole way: API, PostgreSQL, Temporal, publication. All parts are real."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select
from temporalio.client import Client
from temporalio.worker import Worker

from activities import messages as m
from activities.ingest import IngestActivities
from activities.politeness import fleet_budget
from activities.resources import Resources
from catalog.database import Database
from catalog.models import Candidate, Decision, ReviewCase, Version
from catalog.repositories.accounts import create_api_key, create_user
from catalog_api.app import create_app
from media.store import ObjectStore
from moderation import service
from runtime.reconciler import Reconciler
from runtime.temporal import RUNNER, WORKFLOWS, TemporalWorkflowClient
from tests.candidates import performance
from workflows.ingest import IngestWorkflow
from workflows.names import ingest_workflow_id

NOWHERE = ObjectStore("127.0.0.1:9", "none", "none", "none")
"""Nothing of this touches audio."""


@contextlib.asynccontextmanager
async def worker(client: Client, database: Database) -> AsyncIterator[None]:
    resources = Resources(database, NOWHERE, fleet_budget(database), Path("/nonexistent"))
    ingest = IngestActivities(resources)
    activities = [ingest.settle, ingest.apply_decision, ingest.remind_moderators, ingest.expire_case]
    with ThreadPoolExecutor(8) as threads:
        async with Worker(
            client,
            task_queue=m.CONTROL_QUEUE,
            workflows=WORKFLOWS,
            workflow_runner=RUNNER,
            activities=activities,
            activity_executor=threads,
        ):
            yield


@contextlib.asynccontextmanager
async def api(database: Database, database_url: str, client: Client) -> AsyncIterator[httpx.AsyncClient]:
    with database.transaction() as session:
        token = create_api_key(session, create_user(session, "Мария", role="moderator"), "console")
    app = create_app(database_url=database_url, workflow_client=TemporalWorkflowClient(client))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://api", headers={"Authorization": f"Bearer {token}"}
        ) as http,
    ):
        yield http


async def until(ask: Callable[[], Awaitable[Any]], timeout_s: float = 60) -> Any:
    async with asyncio.timeout(timeout_s):
        while not (found := await ask()):
            await asyncio.sleep(0.05)
        return found


async def start(client: Client, candidate_id: uuid.UUID) -> None:
    await client.start_workflow(
        IngestWorkflow.run,
        m.IngestInput(str(candidate_id), needs_audio=False),
        id=ingest_workflow_id(str(candidate_id)),
        task_queue=m.CONTROL_QUEUE,
    )


async def test_a_decision_is_applied_while_the_moderator_looks(
    database: Database, database_url: str, client: Client, add: Callable[..., Candidate]
) -> None:
    with database.transaction() as session:
        candidate_id = add(session, "a", items=performance(1), performer=None).id
    async with worker(client, database), api(database, database_url, client) as http:
        await start(client, candidate_id)
        case = await until(lambda: open_case(http))
        answer = await http.post(
            f"/api/v1/reviews/{case['id']}/decision",
            json={"action": "approve", "note": "слышно", "row_version": case["row_version"]},
        )
        assert (answer.status_code, answer.json()["applied"]) == (200, True)
        again = await http.post(f"/api/v1/reviews/{case['id']}/decision", json={"action": "reject"})
        assert (again.status_code, again.json()["code"]) == (409, "case_closed")
        songs = (await http.get("/api/v1/songs")).json()
        assert [song["title"] for song in songs["items"]] == ["Калинка"]
        handle = client.get_workflow_handle(ingest_workflow_id(str(candidate_id)))
        assert await handle.result() == "published"
    with database.transaction() as session:
        decision = session.scalars(select(Decision)).one()
        assert (decision.actor, decision.note) == ("Мария", "слышно")
        assert decision.applied_at is not None


async def open_case(http: httpx.AsyncClient) -> Any:
    cases = (await http.get("/api/v1/reviews")).json()["items"]
    return cases[0] if cases else None


async def test_a_decision_made_while_no_worker_runs_is_picked_up(
    database: Database, database_url: str, client: Client, add: Callable[..., Candidate]
) -> None:
    with database.transaction() as session:
        candidate_id = add(session, "a", items=performance(1), performer=None).id
    async with worker(client, database):
        await start(client, candidate_id)
        await until(lambda: asyncio.to_thread(state_is, database, candidate_id, "in_review"))
    # The workflow is gone too, as if Temporal's file had been lost.
    await client.get_workflow_handle(ingest_workflow_id(str(candidate_id))).terminate("lost")
    async with api(database, database_url, client) as http:
        case = await open_case(http)
        app_client = TemporalWorkflowClient(client)
        with database.transaction() as session:
            service.decide(session, uuid.UUID(case["id"]), action="approve", actor="Мария")
        assert await app_client.decide(str(candidate_id), case["id"], timeout_s=0.5) is None, "nobody is there"
    async with worker(client, database):
        reconciler = Reconciler(database, TemporalWorkflowClient(client), NOWHERE)
        await reconciler.reconcile(first=True, grace=timedelta(0))
        await until(lambda: asyncio.to_thread(state_is, database, candidate_id, "published"))
        await reconciler.reconcile(first=True, grace=timedelta(0))
    with database.transaction() as session:
        assert len(session.scalars(select(Version)).all()) == 1
        assert session.scalars(select(ReviewCase.state)).all() == ["applied"]


async def test_new_evidence_settles_a_waiting_case(
    database: Database, client: Client, add: Callable[..., Candidate]
) -> None:
    """A title alone is not enough; with the composer known to be the same it is."""
    with database.transaction() as session:
        first = add(session, "bare", items=performance(1), composer=None).id
        second = add(session, "credited", items=performance(2), performer="Другой хор").id
        third = add(session, "full", items=performance(1)).id
    async with worker(client, database):
        for candidate_id, state in ((first, "published"), (second, "in_review"), (third, "duplicate")):
            await start(client, candidate_id)
            await until(lambda c=candidate_id, s=state: asyncio.to_thread(state_is, database, c, s))
        await until(lambda: asyncio.to_thread(state_is, database, second, "published"))
        assert await client.get_workflow_handle(ingest_workflow_id(str(second))).result() == "published"
    with database.transaction() as session:
        decision = session.scalars(select(Decision)).one()
        assert decision.actor == "automation"


async def test_an_undecided_case_is_reminded_of_and_expires(
    database: Database, client: Client, add: Callable[..., Candidate]
) -> None:
    approval = {"remind_after": 1, "expire_after": 4, "new_song": "review"}
    with database.transaction() as session:
        candidate_id = add(session, "a", items=performance(1), approval=approval).id
    async with worker(client, database):
        await start(client, candidate_id)
        handle = client.get_workflow_handle(ingest_workflow_id(str(candidate_id)))
        assert await handle.result() == "rejected"
    with database.transaction() as session:
        case = session.scalars(select(ReviewCase)).one()
        assert case.state == "expired"
        assert case.priority >= 1, "moderators were reminded before"


def state_is(database: Database, candidate_id: uuid.UUID, state: str) -> bool:
    with database.transaction() as session:
        return session.get_one(Candidate, candidate_id).state == state
