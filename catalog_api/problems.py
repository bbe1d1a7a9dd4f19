"""The one shape of all errors: RFC 9457 problem details with a stable ``code``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from psycopg import OperationalError
from psycopg.errors import QueryCanceled
from psycopg_pool import PoolTimeout
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import OperationalError as SqlalchemyOperationalError
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class FieldProblem(BaseModel):
    """What is wrong with one field, and what to do about it."""

    model_config = ConfigDict(extra="forbid")

    field: str = Field(examples=["query.limit"])
    message: str = Field(examples=["Input should be less than or equal to 100"])
    remedy: str = Field(examples=["use at most 100"])


class Problem(BaseModel):
    """An error, as RFC 9457 describes it. Programs look at ``code``, people read ``detail``."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(examples=["urn:problem:versions:not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no such song"])
    instance: str = Field(examples=["/api/v1/songs/kalinka"])
    code: str = Field(examples=["not_found"])
    request_id: str = Field(examples=["0f8fad5bd9cb469fa16570867728950e"])
    errors: list[FieldProblem] = Field(default_factory=list)


class ApiError(Exception):
    """Raised by endpoints; becomes a problem response."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def not_found(what: str) -> ApiError:
    """404: there is no such thing."""
    return ApiError(404, "not_found", f"there is no such {what}")


def bad_id(field: str, remedy: str) -> ApiError:
    """400: an id that cannot be one."""
    problem = FieldProblem(field=field, message="this is not a well-formed id", remedy=remedy)
    return ApiError(400, "bad_id", f"{field} is malformed: {remedy}", errors=[problem])


def problem_response(
    request_id: str,
    instance: str,
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response; ``instance`` is the request's path."""
    problem = Problem(
        type=f"urn:problem:versions:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=instance,
        code=code,
        request_id=request_id,
        errors=list(errors),
    )
    content = json.dumps(problem.model_dump(), ensure_ascii=False).encode("utf-8", "replace")
    return Response(content, status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)


_HTTP_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    401: "unauthorised",
    403: "forbidden",
    413: "body_too_large",
}
_HTTP_DETAILS = {
    404: "there is nothing at this address",
    405: "this address does not answer to this method",
    413: "the body is too large",
}


def _remedy(kind: str, context: Mapping[str, Any]) -> str:
    """What to do about one of pydantic's errors."""
    match kind:
        case "missing":
            return "give this field"
        case "extra_forbidden":
            return "remove it, or check its spelling"
        case "less_than_equal":
            return f"use at most {context['le']}"
        case "greater_than_equal":
            return f"use at least {context['ge']}"
        case "literal_error" | "enum":
            return f"use one of {context['expected']}"
        case "string_too_long":
            return f"use at most {context['max_length']} characters"
        case "string_too_short":
            return f"use at least {context['min_length']} characters"
        case "string_pattern_mismatch":
            return f"use what matches {context['pattern']}"
        case "int_parsing" | "int_type" | "int_from_float":
            return "use a whole number"
        case "bool_parsing" | "bool_type":
            return "use true or false"
        case "json_invalid":
            return "send well-formed JSON"
        case "value_error":
            return str(context.get("error", "see the message"))
        case _ if kind.startswith("uuid"):
            return "use a UUID such as 01990f3a-5b1e-7c2d-8a47-3f0d5e9b6c21"
        case _ if kind.startswith(("datetime", "timezone")):
            return "use a time such as 2026-01-31T12:00:00Z"
        case _:
            return "see the API's documentation at /docs"


def validation_errors(error: RequestValidationError) -> list[FieldProblem]:
    """One entry per wrong field; values are not repeated, for they may be secrets."""
    return [
        FieldProblem(
            field=".".join(str(part) for part in item["loc"]),
            message=str(item["msg"]),
            remedy=_remedy(item["type"], item.get("ctx", {})),
        )
        for item in error.errors()
    ]


def request_id(request: Request) -> str:
    """The id under which this request stands in the log."""
    return str(request.scope.get("versions.request_id", ""))


def install(app: FastAPI, as_page: Callable[[Request, int], Response | None]) -> None:
    """Makes every error of the routes a problem response; what escapes them is caught in `catalog_api.middleware`.

    ``as_page``: the page that shows the error instead, where a person asked for a page.
    """

    def respond(request: Request, status: int, code: str, detail: str, **more: Any) -> Response:
        if page := as_page(request, status):
            return page
        return problem_response(request_id(request), request.url.path, status, code, detail, **more)

    async def api_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return respond(request, error.status, error.code, error.detail, errors=error.errors, headers=error.headers)

    async def validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = validation_errors(error)
        detail = "; ".join(f"{item.field}: {item.remedy}" for item in errors)
        return respond(request, 422, "validation_error", detail, errors=errors)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status = error.status_code
        detail = _HTTP_DETAILS.get(status, HTTPStatus(status).phrase)
        code = _HTTP_CODES.get(status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
        return respond(request, status, code, detail, headers=error.headers)

    async def too_slow(request: Request, error: Exception) -> Response:
        return respond(
            request, 503, "query_timeout", "the answer took too long: narrow the request", headers={"Retry-After": "5"}
        )

    async def no_database(request: Request, error: Exception) -> Response:
        return respond(
            request,
            503,
            "database_unavailable",
            "the database cannot be reached now: try again shortly",
            headers={"Retry-After": "5"},
        )

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(QueryCanceled, too_slow)
    for kind in (PoolTimeout, OperationalError, SqlalchemyOperationalError):
        app.add_exception_handler(kind, no_database)
