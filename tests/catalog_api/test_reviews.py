"""Who may review, and what a decision does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from activities.messages import DecideResult
from catalog.database import Database
from catalog.models import ROLES, ApiKey, Decision
from catalog.repositories import accounts
from catalog_api.reviews.schemas import Case, CasePage, DecisionResult
from tests.catalog_api.conftest import Opener, key_of, made

UNKNOWN = "01990f3a-5b1e-7c2d-8a47-3f0d5e9b6c21"


async def test_who_may_review(client: httpx.AsyncClient, database: Database) -> None:
    for role in ROLES:
        headers = key_of(database, role)
        allowed = ROLES.index(role) >= ROLES.index("moderator")
        for method, path, expected in (
            ("GET", "/api/v1/reviews", 200),
            ("GET", f"/api/v1/reviews/{UNKNOWN}", 404),
            ("GET", f"/api/v1/reviews/{UNKNOWN}/proposals/1/picture", 404),
            ("POST", f"/api/v1/reviews/{UNKNOWN}/decision", 404),
        ):
            body = {"action": "approve"} if method == "POST" else None
            response = await client.request(method, path, headers=headers, json=body)
            assert response.status_code == (expected if allowed else 403), (role, path)
            if not allowed:
                assert response.json()["code"] == "forbidden"
                assert "moderator" in response.json()["detail"]


async def test_keys_that_do_not_open(client: httpx.AsyncClient, database: Database) -> None:
    with database.transaction() as session:
        user = accounts.create_user(session, "Мария", role="admin")
        revoked = accounts.create_api_key(session, user, "lost")
        expired = accounts.create_api_key(session, user, "old", valid_for=timedelta(seconds=-1))
        good = accounts.create_api_key(session, user, "good")
        assert accounts.revoke(session, user.id, "lost") == 1
        assert accounts.revoke(session, user.id, "lost") == 0
        gone = accounts.create_user(session, "Gone", role="admin")
        of_gone = accounts.create_api_key(session, gone, "key")
        gone.deleted_at = gone.created_at
    for header in ({}, *({"Authorization": f"Bearer {t}"} for t in (revoked, expired, of_gone, "x", good + "x", "ы"))):
        sent = {name: value.encode() for name, value in header.items()}
        response = await client.get("/api/v1/reviews", headers=sent)
        assert (response.status_code, response.json()["code"]) == (401, "unauthorised")
        assert response.headers["www-authenticate"].startswith("Bearer")
    basic = await client.get("/api/v1/reviews", headers={"Authorization": f"Basic {good}"})
    assert basic.status_code == 401
    assert (await client.get("/api/v1/reviews", headers={"Authorization": f"Bearer {good}"})).status_code == 200


def test_tokens_are_not_stored(database: Database) -> None:
    with database.transaction() as session:
        user = accounts.create_user(session, "Мария")
        token = accounts.create_api_key(session, user, "one")
        assert token != accounts.create_api_key(session, user, "two")
        assert len(token) > 43
        stored = [key.token_sha256 for key in session.scalars(select(ApiKey))]
        assert token not in stored
        found = accounts.find_by_token(session, token)
        assert found is not None
        assert found.id == user.id
        with pytest.raises(accounts.UnknownRoleError, match="use one of"):
            accounts.create_user(session, "Other", role="god")


async def test_cases_are_listed_and_shown(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        target = make.version(make.song("Катюша"))
        low, high = make.case(target=target), make.case(priority=5)
        make.case(source="other", state="expired")
    headers = key_of(database, "moderator")

    seen: list[Case] = []
    url: str | None = "/api/v1/reviews?limit=1"
    while url:
        response = await client.get(url, headers=headers)
        page = CasePage.model_validate_json(response.content)
        seen += page.items
        url = response.links["next"]["url"] if page.next else None
    assert [case.id for case in seen] == [high.id, low.id]
    assert response.headers["cache-control"] == "no-store"
    assert seen[1].proposals[0].target_title == "Катюша"

    one = await client.get(f"/api/v1/reviews/{low.id}", headers=headers)
    assert Case.model_validate_json(one.content) == seen[1]
    others = await client.get("/api/v1/reviews?state=expired&source=other", headers=headers)
    assert len(others.json()["items"]) == 1
    bad = await client.get("/api/v1/reviews?cursor=x", headers=headers)
    assert (bad.status_code, bad.json()["code"]) == (400, "bad_cursor")


class Workflows:
    """Stands where the workflows' client is: remembers whom it was asked about, and answers or fails."""

    def __init__(self, answer: DecideResult | Exception | None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    async def decide(self, candidate_id: str, case_id: str, timeout_s: float = 10.0) -> DecideResult | None:
        self.asked.append((candidate_id, case_id))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "applied"),
    [(DecideResult(state="published"), True), (None, False), (RuntimeError("Temporal is away"), False)],
)
async def test_a_decision_is_recorded_and_handed_on(
    open_client: Opener, database: Database, answer: DecideResult | Exception | None, applied: bool
) -> None:
    with made(database) as make:
        case = make.case()
    headers = key_of(database, "moderator")
    workflows = Workflows(answer)
    async with open_client(workflow_client=workflows) as client:
        response = await client.post(
            f"/api/v1/reviews/{case.id}/decision",
            headers=headers,
            json={"action": "reject", "note": "шум", "row_version": 1},
        )
        result = DecisionResult.model_validate_json(response.content)
        assert (response.status_code, result.applied, result.case.state) == (200, applied, "decided")
        assert workflows.asked == [(str(case.candidate_id), str(case.id))]
        second = await client.post(f"/api/v1/reviews/{case.id}/decision", headers=headers, json={"action": "approve"})
        assert (second.status_code, second.json()["code"]) == (409, "case_closed")
        assert len(workflows.asked) == 1
    with database.transaction() as session:
        decision = session.scalars(select(Decision)).one()
        assert (decision.action, decision.actor, decision.note) == ("reject", "the moderator", "шум")


BAD_DECISIONS: tuple[tuple[Any, int, str], ...] = (
    ({"action": "retarget"}, 422, "bad_decision"),
    ({"action": "retarget", "song_id": UNKNOWN}, 422, "bad_decision"),
    ({"action": "retarget", "song_id": UNKNOWN, "new_song": True}, 422, "bad_decision"),
    ({"action": "approve", "new_song": True}, 422, "bad_decision"),
    ({"action": "approve", "row_version": 7}, 409, "case_changed"),
    ({"action": "delete"}, 422, "validation_error"),
    ({"action": "retarget", "version_id": "7"}, 422, "validation_error"),
    ({"action": "approve", "surprise": 1}, 422, "validation_error"),
    ({"action": "approve", "note": "x" * 2001}, 422, "validation_error"),
    ({"action": "approve", "note": "\x00"}, 422, "validation_error"),
    ({}, 422, "validation_error"),
    ([], 422, "validation_error"),
)


async def test_a_bad_decision_changes_nothing(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        case = make.case()
    headers = key_of(database, "moderator")
    for body, status, code in BAD_DECISIONS:
        response = await client.post(f"/api/v1/reviews/{case.id}/decision", headers=headers, json=body)
        assert (response.status_code, response.json()["code"]) == (status, code), body
    with database.transaction() as session:
        assert session.scalars(select(Decision)).all() == []
    after = await client.get(f"/api/v1/reviews/{case.id}", headers=headers)
    assert (after.json()["state"], after.json()["row_version"]) == ("open", 1)


async def test_a_body_that_is_not_json(client: httpx.AsyncClient, database: Database) -> None:
    headers = {**key_of(database, "moderator"), "Content-Type": "application/json"}
    response = await client.post(f"/api/v1/reviews/{UNKNOWN}/decision", headers=headers, content=b"{")
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")
    assert response.json()["errors"][0]["remedy"] == "send well-formed JSON"
