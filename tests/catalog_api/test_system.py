"""Health, metrics and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import jsonschema

from catalog.database import Database
from catalog.models import AVAILABILITIES, VERSION_KINDS
from catalog_api import schemas
from catalog_api.deps import DependencyState
from tests.catalog_api.conftest import Opener, made


async def test_readiness_names_each_part(open_client: Opener) -> None:
    async def readiness() -> Mapping[str, DependencyState]:
        return {"temporal": DependencyState(False, "no answer"), "objects": DependencyState(True)}

    async with open_client() as client:
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    async with open_client(readiness=readiness) as client:
        unready = await client.get("/readyz")
        parts = unready.json()["parts"]
        assert unready.status_code == 503
        assert {name: part["healthy"] for name, part in parts.items()} == {
            "database": True,
            "temporal": False,
            "objects": True,
        }


async def test_metrics(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        make.case()
        song = make.song("Катюша")
        make.version(song, sources=2)
    await client.get("/api/v1/songs/katyusha")
    await client.get("/api/v1/songs/nothing")
    await client.get("/wp-login.php")
    text = (await client.get("/metrics")).text
    route = 'route="/api/v1/songs/{song}"'
    assert f'versions_http_requests_total{{method="GET",{route},status="200"}} 1.0' in text
    assert f'versions_http_requests_total{{method="GET",{route},status="404"}} 1.0' in text
    assert 'route="unmatched",status="404"' in text
    assert "wp-login" not in text
    assert 'versions_candidates{state="in_review"} 1.0' in text
    assert 'versions_candidates{state="published"} 2.0' in text
    assert "versions_open_reviews 1.0" in text
    assert "versions_feed_position 2.0" in text


def test_kinds_and_availabilities_are_the_models() -> None:
    assert schemas.Kind.__args__ == VERSION_KINDS  # type: ignore[attr-defined]
    assert schemas.Availability.__args__ == AVAILABILITIES  # type: ignore[attr-defined]


async def test_the_document_is_complete_and_its_examples_are_true(client: httpx.AsyncClient) -> None:
    document = (await client.get("/api/v1/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation.get("description"), path
            assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
    checked = 0
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            rooted = {**schema, "components": document["components"]}
            jsonschema.validate(example, rooted, cls=jsonschema.Draft202012Validator)
            checked += 1
        if schema.get("type") == "object" and name not in ("Problem", "FieldProblem", "PartState"):
            assert schema.get("examples"), f"{name} has no example"
    assert checked > 15


async def test_the_documentation_needs_no_other_server(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js", "favicon-32x32.png"):
        assert f"/docs/assets/{asset}" in page or asset == "start.js"
        assert (await client.get(f"/docs/assets/{asset}")).status_code == 200
    assert "http://" not in page
    assert "https://" not in page
    assert (await client.get("/docs/assets/index.html")).status_code == 404
    old = (await client.get("/docs/openapi.json")).json()
    assert old["openapi"] == "3.0.3"
    assert not [node for node in nodes(old) if node.get("type") == "null" or "examples" in node or "const" in node]


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)
