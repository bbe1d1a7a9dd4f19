"""HTTP by aiohttp, as Scrapy's reactorless mode does it, with two differences: connections go only to addresses that
the guard permitted, and a body is refused as early as its type or size is known.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from scrapy import Request
from scrapy.core.downloader.handlers._aiohttp import AiohttpDownloadHandler, _ClientResponse
from scrapy.exceptions import ResponseDataLossError
from scrapy.http import Response
from scrapy.utils.ssl import _make_ssl_context

from crawlers.classify import is_page_type
from crawlers.errors import FailureClass, FetchError
from crawlers.robots import MAX_ROBOTS_BYTES
from crawlers.scrapy_parts.run import MAX_ERROR_BODY, Guard
from crawlers.scrapy_parts.spider import run_of

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

MAX_CODINGS = 2
"""Content codings upon one another. Each may unpack to the size limit, so their number has to have one as well."""
_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,application/json;q=0.9,*/*;q=0.5"


class GuardResolver(AbstractResolver):
    """Resolves by the guard, so that the address that was checked is the one that is connected to (DNS rebinding)."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The permitted addresses. Raises FetchError."""
        name = f"[{host}]" if ":" in host else host
        addresses = await self._guard.check(f"{'https' if port == 443 else 'http'}://{name}:{port}/")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


class GuardedHttpHandler(AiohttpDownloadHandler):
    """One connection pool per crawl; no cookies, no proxies, certificates are verified."""

    experimental = False  # its warning would stand in the log of every crawl

    def __init__(self, crawler: Crawler) -> None:
        # Not AiohttpDownloadHandler's own: it gives no way to pass a resolver.
        super(AiohttpDownloadHandler, self).__init__(crawler)
        run = run_of(crawler)
        self._limit = run.job.limits.max_page_bytes
        self._ssl_context = _make_ssl_context(crawler.settings)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._pool_size_total,
                limit_per_host=self._pool_size_per_host,
                resolver=GuardResolver(run.guard),
                use_dns_cache=False,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            response_class=_ClientResponse,
            headers={"User-Agent": run.job.user_agent, "Accept": _ACCEPT},
            skip_auto_headers=("Accept-Encoding", "Content-Type"),
        )

    async def _read_response(self, response: _ClientResponse, request: Request) -> Response:
        status = response.status
        good = 200 <= status < 300
        limit = self._limit
        if request.meta.get("robots"):
            limit = MAX_ROBOTS_BYTES
        elif not good:
            limit = min(limit, MAX_ERROR_BODY)
        elif is_page_type(content_type := response.headers.get("Content-Type", "")) is False:
            raise FetchError(FailureClass.WRONG_TYPE, content_type[:200], status=status)
        codings = [each for each in response.headers.get("Content-Encoding", "").split(",") if each.strip()]
        if len(codings) > MAX_CODINGS:
            raise FetchError(FailureClass.WRONG_TYPE, f"packed {len(codings)} times over", status=status)
        cut = limit is not self._limit
        length = response.content_length
        if not cut and length is not None and length > limit:
            raise FetchError(FailureClass.TOO_LARGE, f"{length} bytes, the limit is {limit}", status=status)
        chunks = []
        size = 0
        try:
            async for chunk in response.content.iter_any():
                chunks.append(chunk)
                size += len(chunk)
                if size > limit:
                    if cut:
                        break
                    raise FetchError(FailureClass.TOO_LARGE, f"more than the limit of {limit} bytes", status=status)
        except aiohttp.ClientPayloadError as error:
            raise ResponseDataLossError(str(error)) from error
        return Response(
            request.url, status=status, headers=self._extract_headers(response), body=b"".join(chunks)[:limit]
        )
