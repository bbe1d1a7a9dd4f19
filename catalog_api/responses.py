"""JSON responses with ETag, Cache-Control and Link."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from catalog.reads.connections import ReadPool
from catalog.reads.fragments import Entity, Page, survivor
from catalog_api import cursors
from catalog_api.problems import ApiError, not_found

CACHE = "public, max-age=0, must-revalidate"
"""Caches may keep an answer, and ask each time whether it still holds: that costs us one cheap statement."""

_TAGS = re.compile(r'(?:W/)?"([^"]*)"')


def asked_tags(request: Request) -> list[str]:
    """Entity tags of If-None-Match, without quotes and weakness (RFC 9110: it compares weakly)."""
    header = request.headers.get("if-none-match", "")
    return _TAGS.findall(header[:4096])


def _headers(tag: str, link: str | None = None) -> dict[str, str]:
    headers = {"ETag": f'W/"{tag}"', "Cache-Control": CACHE}
    return headers | {"Link": link} if link else headers


def json_response(request: Request, body: bytes, *, tag: str | None = None, link: str | None = None) -> Response:
    """200 with the body, or 304 if the client has it; without ``tag`` the body itself is digested."""
    tag = tag or hashlib.blake2b(body, digest_size=12).hexdigest()
    if tag in asked_tags(request):
        return Response(status_code=304, headers=_headers(tag, link))
    return Response(body, headers=_headers(tag, link), media_type="application/json")


def page_response(request: Request, page: Page, scope: list[object], head: bytes = b"") -> Response:
    """A page of a list as ``{"items": […], "next": …}``; ``head``: JSON members that go before (``"a": 1,``)."""
    token = cursors.encode(scope, page.next_key) if page.next_key else None
    body = b'{%s"items":%s,"next":%s}' % (head, page.items, json.dumps(token).encode())
    return json_response(request, body, link=next_link(request, token))


def next_link(request: Request, token: str | None) -> str | None:
    """The Link header that leads to the next page (relative, so that it holds behind any proxy)."""
    if token is None:
        return None
    query = [(k, v) for k, v in request.query_params.multi_items() if k != "cursor"]
    return f'<{request.url.path}?{urlencode([*query, ("cursor", token)])}>; rel="next"'


async def present(
    request: Request, pool: ReadPool, entity_name: str, key: uuid.UUID | str, found: Entity | None, path: str
) -> Entity:
    """The entity, if it is there.

    Args:
        path: where the survivor of a merge is found, with ``{}`` for its id.

    Raises ApiError: 308 to the survivor, 410 ``gone``, 404 ``not_found``.
    """
    if found and not found.gone:
        return found
    old_id = found.id if found else key if isinstance(key, uuid.UUID) else None
    if old_id is not None:
        async with pool.connection() as connection:
            new_id = await survivor(connection, entity_name, old_id)
        if new_id is not None and new_id != old_id:
            raise Moved(path.format(new_id), request.url.query)
    if found:
        raise ApiError(410, "gone", f"this {entity_name} was deleted")
    raise not_found(entity_name)


class Moved(Exception):
    """Answered by 308: method and body stay as they are."""

    def __init__(self, path: str, query: str) -> None:
        super().__init__(path)
        self.location = f"{path}?{query}" if query else path


async def moved(request: Request, error: Exception) -> Response:
    """The exception handler of `Moved`."""
    assert isinstance(error, Moved)
    return RedirectResponse(error.location, 308, {"Cache-Control": CACHE})


async def entity_response(
    request: Request, pool: ReadPool, entity_name: str, key: uuid.UUID | str, found: Entity | None, path: str
) -> Response:
    """The JSON of one entity, 304, 308, 410 or 404."""
    there = await present(request, pool, entity_name, key, found, path)
    if there.body is None:
        return Response(status_code=304, headers=_headers(there.tag))
    return json_response(request, there.body, tag=there.tag)
