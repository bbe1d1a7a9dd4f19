"""The browser's proxy, spoken to directly."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from crawlers.errors import FailureClass
from crawlers.scrapy_parts.proxy import GuardProxy
from tests.crawlers.memory import MemoryGuard
from tests.crawlers.site import Site


@pytest.fixture
async def proxy(site: Site) -> AsyncIterator[GuardProxy]:
    port = site.host.partition(":")[2]
    guard = MemoryGuard([site.host, f"music.test:{port}"], {"music.test": "127.0.0.1"})
    result = GuardProxy(guard, lambda size: None)
    await result.start()
    yield result
    await result.close()


async def ask(proxy: GuardProxy, text: str) -> str:
    """Everything the proxy answers until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
    writer.write(text.replace("\n", "\r\n").encode())
    async with asyncio.timeout(20):
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()
    return answer.decode()


async def test_plain_requests_and_tunnels(proxy: GuardProxy, site: Site) -> None:
    answer = await ask(proxy, f"GET {site.url}/song/1?a=1 HTTP/1.1\nHost: {site.host}\nProxy-Connection: x\n\n")
    assert answer.startswith("HTTP/1.1 200")
    assert site.hits["/song/1?a=1"] == 1
    port = site.host.partition(":")[2]
    inside = f"GET /song/2 HTTP/1.1\nHost: {site.host}\nConnection: close\n\n"
    answer = await ask(proxy, f"CONNECT music.test:{port} HTTP/1.1\n\n{inside}")
    assert answer.startswith("HTTP/1.1 200 Connection established")
    assert "data-item" in answer


async def test_a_second_request_on_the_connection_reaches_nobody(proxy: GuardProxy, site: Site) -> None:
    one = f"GET {site.url}/hang HTTP/1.1\nHost: x\n\n"
    assert await ask(proxy, one + "GET http://other.test/secret HTTP/1.1\nHost: other.test\nCookie: a\n\n") == ""
    assert not any("secret" in path for path in site.hits)


@pytest.mark.parametrize(
    ("request_line", "failure"),
    [
        ("GET http://127.0.0.1:1/ HTTP/1.1", FailureClass.ADDRESS_BLOCKED),
        ("CONNECT 10.0.0.1:443 HTTP/1.1", FailureClass.ADDRESS_BLOCKED),
        ("GET file:///etc/passwd HTTP/1.1", FailureClass.ADDRESS_BLOCKED),
        ("CONNECT no.such.host:443 HTTP/1.1", FailureClass.CONNECTION),
    ],
)
async def test_refusals_carry_their_class(proxy: GuardProxy, request_line: str, failure: FailureClass) -> None:
    answer = await ask(proxy, f"{request_line}\n\n")
    assert f"{proxy.failure_header}: {failure.value}" in answer
    assert answer.split(" ")[1] in ("403", "502")


async def test_garbage_closes_the_connection(proxy: GuardProxy) -> None:
    assert "address_blocked" in await ask(proxy, "garbage\n\n")
    assert await ask(proxy, "x" * 200_000) == ""
