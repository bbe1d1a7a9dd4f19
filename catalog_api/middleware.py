"""What surrounds every request: its id, limits, security headers, metrics, and the last safety net."""

from __future__ import annotations

import logging
import math
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catalog_api.metrics import Metrics
from catalog_api.problems import problem_response
from catalog_api.ratelimit import RateLimit, Verdict
from catalog_api.shared import Shared

log = logging.getLogger("catalog_api")

MAX_BODY_BYTES = 1_000_000
UPLOADS = {"/api/v1/identify": 50_000_000}
"""Where more is taken, in bytes: the endpoint writes it to disk as it comes, after it has seen who sends it."""
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")
_UNLIMITED = frozenset({"/healthz", "/readyz", "/metrics"})


class Envelope:
    """Plain ASGI: it costs microseconds and does not buffer streams.

    A HEAD request runs as GET without its body; endpoints that stream look at ``scope["versions.head"]``.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, limit: RateLimit, shared: Shared) -> None:
        self.app = app
        self.metrics = metrics
        self.limit = limit
        self.shared = shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.match(given) else uuid.uuid4().hex
        scope["versions.request_id"] = request_id
        method = scope["method"]
        if method == "HEAD":
            scope["method"] = "GET"
            scope["versions.head"] = True
        path = scope["path"]
        verdict = None if path in _UNLIMITED else await self.shared.take((scope.get("client") or ("local",))[0])
        most = UPLOADS.get(path, MAX_BODY_BYTES)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._decorate(MutableHeaders(scope=message), request_id, verdict)
            elif message["type"] == "http.response.body" and method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        async def fail(code: int, name: str, detail: str, **more: Any) -> None:
            response = problem_response(request_id, path, code, name, detail, **more)
            await response(scope, receive, send_with_headers)

        try:
            if verdict is not None and not verdict.allowed:
                wait = math.ceil(verdict.retry_s)
                await fail(429, "rate_limited", f"too many requests: wait {wait} s", headers={"Retry-After": str(wait)})
            elif int(headers.get("content-length", "0") or "0") > most:
                await fail(413, "body_too_large", f"send at most {most} bytes")
            else:
                await self.app(scope, _bounded(receive, most), send_with_headers)
        except Exception:
            log.exception("request %s failed: %s", request_id, path)
            if status:
                raise
            await fail(500, "internal_error", f"something went wrong on our side; name request {request_id} to us")
        finally:
            route = getattr(scope.get("route"), "path", None) or "unmatched"
            self.metrics.observe(method, route, status, time.perf_counter() - started)

    def _decorate(self, headers: MutableHeaders, request_id: str, verdict: Verdict | None) -> None:
        headers["X-Request-ID"] = request_id
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["X-Frame-Options"] = "DENY"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers.setdefault("Content-Security-Policy", API_POLICY)
        if verdict is not None:
            limit = self.limit
            headers["RateLimit-Limit"] = str(limit.requests)
            headers["RateLimit-Remaining"] = str(verdict.remaining)
            headers["RateLimit-Reset"] = str(math.ceil(verdict.reset_s))
            headers["RateLimit-Policy"] = f"{limit.requests};w={limit.window_s:.0f}"


def _bounded(receive: Receive, most: int) -> Receive:
    """Ends a request whose body grows beyond the limit, whatever its Content-Length said."""
    total = 0

    async def bounded() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > most:
            raise HTTPException(413, f"send at most {most} bytes")
        return message

    return bounded
