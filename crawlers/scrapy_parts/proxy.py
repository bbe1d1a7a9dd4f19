"""A forward proxy on loopback, for one browser: each connection goes only to an address that the guard permitted.

Playwright's request interception does not see redirects, WebSockets or what Chromium resolves a name to; a proxy sees
every connection. It speaks what a browser asks of a proxy: CONNECT, and absolute-form requests for plain HTTP, of
which it forwards one per connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from crawlers.classify import failure_of_exception
from crawlers.errors import FailureClass, FetchError
from crawlers.ports import Proxy
from crawlers.proxies import open_tunnel
from crawlers.scrapy_parts.run import Guard

CONNECT_TIMEOUT_S = 10.0
MAX_CONNECTION_BYTES = 100_000_000
MAX_CONNECTIONS = 256
_MAX_HEAD = 64 * 1024
_CHUNK = 64 * 1024
_HOP_HEADERS = (b"proxy-", b"connection:", b"keep-alive:")


class GuardProxy:
    """Starts with `start`, ends with `close`.

    Attributes:
        upstream: the operator's proxy that connections go through; None: none.
        failure_header: name of a response header, unguessable by sites, that tells a refusal of this proxy from an
            answer of the site; its value is the failure class.
    """

    def __init__(self, guard: Guard, received: Callable[[int], None], upstream: Proxy | None = None) -> None:
        self.upstream = upstream
        self._guard = guard
        self._received = received
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._failures: OrderedDict[str, FetchError] = OrderedDict()
        self.failure_header = f"x-guard-{secrets.token_hex(8)}"
        self.url = ""

    async def start(self) -> None:
        """Listens on a free loopback port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_MAX_HEAD)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Ends all connections."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._server = None

    def failure_at(self, place: str) -> FetchError | None:
        """Why ``host:port`` could last not be reached, if so."""
        return self._failures.get(place)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) <= MAX_CONNECTIONS:
                await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass
        except asyncio.CancelledError:
            pass  # asyncio's own stream callback would report it as an unhandled error
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        method, _, rest = first.decode("latin-1").partition(" ")
        target, _, version = rest.rpartition(" ")
        tunnel = method == "CONNECT"
        url = f"https://{target}/" if tunnel else target
        try:
            upstream_reader, upstream = await self._connect(url)
        except FetchError as error:
            await self._refuse(writer, error)
            return
        try:
            body_left: int | None = None
            if tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                split = urlsplit(target)
                path = (split.path or "/") + (f"?{split.query}" if split.query else "")
                kept = [line for line in lines if not line.lower().startswith(_HOP_HEADERS)]
                request = [f"{method} {path} {version}".encode("latin-1"), *kept, b"Connection: close"]
                upstream.write(b"\r\n".join(request) + b"\r\n\r\n")
                body_left = _content_length(lines)
            await self._relay(reader, writer, upstream_reader, upstream, body_left)
        finally:
            upstream.close()
            with contextlib.suppress(OSError):
                await upstream.wait_closed()

    async def _connect(self, url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        split = urlsplit(url)
        place = f"{split.hostname}:{split.port or (443 if split.scheme == 'https' else 80)}"
        failure = FetchError(FailureClass.CONNECTION, f"{place}: no address answers")
        try:
            for address in await self._guard.check(url):
                try:
                    connection = await self._open(address, int(place.rpartition(":")[2]))
                except (OSError, TimeoutError) as error:
                    failure = FetchError(FailureClass.CONNECTION, f"{place}: {error or 'no answer'}")
                else:
                    self._failures.pop(place, None)
                    return connection
        except Exception as error:
            failure = failure_of_exception(error)
        self._failures[place] = failure
        if len(self._failures) > 1000:
            self._failures.popitem(last=False)
        raise failure

    async def _open(self, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.upstream is not None:
            return await open_tunnel(self.upstream, address, port)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await asyncio.open_connection(address, port)

    async def _refuse(self, writer: asyncio.StreamWriter, error: FetchError) -> None:
        status = "403 Forbidden" if error.failure is FailureClass.ADDRESS_BLOCKED else "502 Bad Gateway"
        head = f"HTTP/1.1 {status}\r\n{self.failure_header}: {error.failure.value}\r\nContent-Type: text/plain\r\n"
        writer.write(f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream_reader: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
        body_left: int | None,
    ) -> None:
        up = asyncio.create_task(_pipe(reader, upstream, lambda _: None, body_left))
        down = asyncio.create_task(_pipe(upstream_reader, writer, self._received))
        try:
            # A tunnel may be closed on one side first; a plain request is over with its answer. Whatever the browser
            # sends after a plain request is meant for another server, perhaps: it gets a new connection for that.
            first = (down,) if body_left is None else (up, down)
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)


def _content_length(lines: list[bytes]) -> int:
    for line in lines:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return 0


async def _pipe(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    passed: Callable[[int], None],
    length: int | None = None,
) -> None:
    """Passes bytes on until the end; with a length, no more than that, and it ends with what comes after."""
    left = MAX_CONNECTION_BYTES if length is None else length
    while left > 0 and (chunk := await reader.read(min(_CHUNK, left))):
        left -= len(chunk)
        passed(len(chunk))
        writer.write(chunk)
        await writer.drain()
    if length is not None:
        await reader.read(1)
    elif writer.can_write_eof():
        writer.write_eof()
