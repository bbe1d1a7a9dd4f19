"""The OpenAPI document: FastAPI's, with our one error shape; and a form of it that the bundled Swagger UI reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from catalog_api.problems import MEDIA_TYPE, Problem

DESCRIPTION = """\
Songs and all their versions, found on the web, deduplicated by sound and linked by name.

* **Lists** are read with opaque cursors: follow `next` (or the `Link` header) until it is null.
* **ETag**: send it back as `If-None-Match`, and an unchanged answer costs 304 and no body.
* **Merged ids** answer 308 to the survivor for ever; deleted ones 410.
* **Errors** are `application/problem+json` (RFC 9457) with a stable `code`, and `errors` with field and remedy.
* **Following the catalog**: `/api/v1/changes`, from `since=0` on; never pull it all again.
"""


def build(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 of all routes."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        routes=app.routes,
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs")
    schemas["Problem"] = problem
    for model in _models(BaseModel):
        # FastAPI drops nulls from examples, and with them fields that are always there.
        extra = model.model_config.get("json_schema_extra")
        if model.__module__.startswith("catalog_api.") and model.__name__ in schemas and isinstance(extra, dict):
            schemas[model.__name__]["examples"] = extra["examples"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["responses"] = {
        "Problem": {
            "description": "An error.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    }
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {"$ref": "#/components/responses/Problem"}
    return document


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for child in model.__subclasses__():
        yield child
        yield from _models(child)


def as_3_0(document: Any) -> Any:
    """The document in OpenAPI 3.0 terms, which is what the bundled Swagger UI (version 4) can render."""
    if isinstance(document, list):
        return [as_3_0(item) for item in document]
    if not isinstance(document, dict):
        return document
    result = {key: as_3_0(value) for key, value in document.items()}
    if isinstance(result.get("openapi"), str):
        result["openapi"] = "3.0.3"
    if isinstance(result.get("license"), dict):
        result["license"].pop("identifier", None)
    options = result.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        rest = [option for option in options if option != {"type": "null"}]
        del result["anyOf"]
        if len(rest) == 1 and "$ref" not in rest[0]:
            result = {**rest[0], **result, "nullable": True}
        else:
            result |= {"anyOf": rest, "nullable": True}
    if isinstance(result.get("examples"), list):
        examples = result.pop("examples")
        result["example"] = examples[0] if examples else None
    if "const" in result:
        result["enum"] = [result.pop("const")]
    return result
