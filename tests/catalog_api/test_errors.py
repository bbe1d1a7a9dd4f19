"""One error shape over all routes, and what surrounds every answer."""

from __future__ import annotations

import re

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from catalog.database import Database
from catalog_api.app import create_app
from catalog_api.problems import Problem
from catalog_api.ratelimit import RateLimit, RateLimiter
from tests.catalog_api.conftest import Opener, key_of, made


def as_problem(response: httpx.Response) -> Problem:
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = Problem.model_validate_json(response.content)
    assert problem.status == response.status_code
    assert problem.request_id == response.headers["x-request-id"]
    assert problem.type.endswith(problem.code)
    assert response.headers["cache-control"] == "no-store"
    return problem


def routes() -> list[tuple[str, str]]:
    """Every (method, path) of the application, the pages' and the documentation's too."""
    app = create_app(database_url="postgresql://nobody@127.0.0.1:9/none")
    documented = [(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods]
    others = ["/", "/songs/{song}", "/artists/{artist}", "/static/{name}", "/docs", "/docs/openapi.json"]
    return [*documented, *(("GET", path) for path in [*others, "/docs/assets/{name}"])]


async def test_every_route_answers_wrong_requests_with_a_problem(client: httpx.AsyncClient, database: Database) -> None:
    headers = key_of(database, "operator")
    found = routes()
    assert len(found) > 20
    for method, path in found:
        wrong_method = await client.request("DELETE", path.replace("{", "").replace("}", ""))
        assert as_problem(wrong_method).code == "method_not_allowed", path
        if "{" in path:
            url = re.sub(r"\{\w+\}", "a'b", path)
            bad = await client.request(method, url, headers=headers, json={"action": "approve"})
            code = "validation_error" if "{number}" in path else "bad_id"
            assert as_problem(bad).code in (code, "not_found"), path
        elif path.startswith("/api/v1"):
            unknown = await client.request(method, path, params={"colour": "red"}, headers=headers)
            problem = as_problem(unknown)
            assert problem.code == "validation_error"
            errors = [(error.field, error.remedy) for error in problem.errors]
            assert ("query.colour", "remove it, or check its spelling") in errors, path


async def test_unknown_addresses(client: httpx.AsyncClient) -> None:
    for path in ("/nothing", "/api/v1/nothing", "/api/v2/songs", "/api/v1/songs/a/b/c", "/api/v1/songs/"):
        response = await client.get(path)
        assert (response.status_code, as_problem(response).code) == (404, "not_found"), path


async def test_limits_are_checked(client: httpx.AsyncClient) -> None:
    for limit in ("0", "101", "-1", "99999999999999999999999", "1.5", "x", "NaN"):
        for path in ("songs", "artists", "changes"):
            problem = as_problem(await client.get(f"/api/v1/{path}?limit={limit}"))
            assert problem.errors[0].field == "query.limit"
            assert problem.errors[0].remedy in ("use at least 1", "use at most 100", "use a whole number")


async def test_a_failure_tells_its_number_and_nothing_else(
    open_client: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    async def readiness() -> dict[str, object]:
        raise RuntimeError("the secret password")

    class Broken:
        def size(self, key: str) -> int:
            raise AssertionError

    async with open_client(readiness=readiness) as client:
        transport = client._transport
        assert isinstance(transport, httpx.ASGITransport)
        app = transport.app
        assert isinstance(app, FastAPI)

        async def fail() -> None:
            raise RuntimeError("the secret password")

        app.router.routes.insert(0, APIRoute("/fail", fail))
        response = await client.get("/fail", headers={"X-Request-ID": "my-request-1"})
        problem = as_problem(response)
        assert (problem.status, problem.code, problem.request_id) == (500, "internal_error", "my-request-1")
        assert "secret" not in response.text
        assert "my-request-1" in caplog.text
        unready = await client.get("/readyz")
        assert unready.status_code == 503
        assert "secret" not in unready.text


async def test_without_its_database_it_says_so(database_url: str) -> None:
    app = create_app(database_url="postgresql://nobody@127.0.0.1:9/none")
    async with app.router.lifespan_context(app):
        app.state.services.pool.timeout = 0.2
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
            response = await client.get("/api/v1/songs")
            assert (response.status_code, as_problem(response).code) == (503, "database_unavailable")
            assert response.headers["retry-after"]
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["parts"]["database"]["healthy"]) == (503, False)
            assert b"versions_database_up 0.0" in (await client.get("/metrics")).content


async def test_a_slow_statement_is_cancelled(open_client: Opener, database: Database) -> None:
    with made(database) as make:
        make.song("Катюша")
    async with open_client(statement_timeout_ms=100) as client:
        with database.transaction() as session:
            from sqlalchemy import text

            session.execute(text("LOCK TABLE songs IN ACCESS EXCLUSIVE MODE"))
            response = await client.get("/api/v1/songs/katyusha")
        assert (response.status_code, as_problem(response).code) == (503, "query_timeout")
        assert (await client.get("/api/v1/songs/katyusha")).status_code == 200


async def test_too_many_requests(open_client: Opener) -> None:
    async with open_client(rate_limit=RateLimit(3, 60)) as client:
        left = [(await client.get("/api/v1/songs")).headers["ratelimit-remaining"] for _ in range(3)]
        assert left == ["2", "1", "0"]
        refused = await client.get("/api/v1/songs")
        assert (refused.status_code, as_problem(refused).code) == (429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert refused.headers["ratelimit-limit"] == "3"
        assert (await client.get("/healthz")).status_code == 200


def test_a_bucket_fills_again_and_clients_do_not_share() -> None:
    now = 0.0
    limiter = RateLimiter(RateLimit(2, 10), clock=lambda: now)
    assert [limiter.take("a").allowed for _ in range(3)] == [True, True, False]
    assert limiter.take("b").allowed
    now = 5.1
    assert [limiter.take("a").allowed for _ in range(2)] == [True, False]


async def test_every_answer_carries_an_id_and_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/api/v1/songs", "/", "/docs", "/healthz", "/nothing"):
        headers = (
            await client.get(path, headers={"X-Request-ID": 'evil"\\id', "Origin": "https://else.example"})
        ).headers
        assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"])
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe-eval" not in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


async def test_cors_is_opened_for_whom_the_operator_names(open_client: Opener) -> None:
    async with open_client(cors_origins=["https://app.example"]) as client:
        allowed = await client.get("/api/v1/songs", headers={"Origin": "https://app.example"})
        assert allowed.headers["access-control-allow-origin"] == "https://app.example"
        other = await client.get("/api/v1/songs", headers={"Origin": "https://else.example"})
        assert "access-control-allow-origin" not in other.headers


async def test_large_bodies_are_refused(client: httpx.AsyncClient, database: Database) -> None:
    headers = key_of(database, "moderator")
    url = "/api/v1/reviews/01990f3a-5b1e-7c2d-8a47-3f0d5e9b6c21/decision"
    response = await client.post(url, headers=headers, content=b"x" * 1_000_001)
    assert (response.status_code, as_problem(response).code) == (413, "body_too_large")

    async def chunks() -> object:
        for _ in range(20):
            yield b"x" * 100_000

    response = await client.post(url, headers=headers, content=chunks())  # type: ignore[arg-type]
    assert (response.status_code, as_problem(response).code) == (413, "body_too_large")


async def test_head_is_get_without_a_body(client: httpx.AsyncClient) -> None:
    response = await client.head("/api/v1/songs")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["etag"]
