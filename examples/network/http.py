"""A server for many hosts in one process that can also misbehave below HTTP: it writes bytes, not responses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Protocol, TextIO
from urllib.parse import parse_qs, urlsplit

MAX_HEAD = 64 * 1024
_REASONS = {200: "OK", 301: "Moved Permanently", 302: "Found", 404: "Not Found", 429: "Too Many Requests"}


class Exchange:
    """One request and the connection that it came on."""

    def __init__(self, target: str, headers: Mapping[str, str], writer: asyncio.StreamWriter, number: int) -> None:
        split = urlsplit(target)
        self.target = target
        self.path = split.path
        self.query = {name: values[0] for name, values in parse_qs(split.query).items()}
        self.headers = headers
        self.number = number
        """How often this host was asked for this target before."""
        self.status = 0
        self._writer = writer

    async def send(
        self, body: str | bytes, status: int = 200, content_type: str = "text/html; charset=utf-8", **headers: str
    ) -> None:
        """A whole, honest response; in names of headers ``_`` stands for ``-``."""
        data = body.encode() if isinstance(body, str) else body
        lines = {"Content-Type": content_type, "Content-Length": str(len(data))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        await self.raw(self.head(status, {name: value for name, value in lines.items() if value}) + data)

    def head(self, status: int, headers: Mapping[str, str]) -> bytes:
        """Status line and headers."""
        self.status = status
        text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {status} {_REASONS.get(status, 'Answer')}\r\n{text}\r\n".encode()

    async def redirect(self, to: str, status: int = 302) -> None:
        """Elsewhere."""
        await self.send(b"", status, "", Location=to)

    async def raw(self, data: bytes) -> None:
        """Bytes as they are. Raises ConnectionError when nobody listens any more."""
        self._writer.write(data)
        await self._writer.drain()

    async def drip(self, chunk: bytes, every_s: float) -> None:
        """The same bytes again and again until the other side goes away."""
        while True:
            await self.raw(chunk)
            await asyncio.sleep(every_s)

    def reset(self) -> None:
        """Ends the connection at once, without a farewell."""
        self._writer.transport.abort()

    def hang_up(self) -> None:
        """Ends the connection after what was sent."""
        self._writer.close()


class Host(Protocol):
    """What answers under one address."""

    name: str

    async def answer(self, exchange: Exchange) -> None: ...


class Server:
    """Serves each host under an address of its own and writes down every request.

    Args:
        log: a file; each line is a JSON object: ``at`` (seconds, monotonic), ``host``, ``target``, ``number``.
    """

    def __init__(self, hosts: list[Host], log: Path) -> None:
        self._hosts = hosts
        self._log_path = log
        self._log: TextIO | None = None
        self._seen: dict[tuple[str, str], int] = {}
        self.urls: dict[str, str] = {}

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[dict[str, str]]:
        """The hosts' URLs, by name."""
        servers = []
        with self._log_path.open("a", encoding="utf-8", buffering=1) as self._log:
            for number, host in enumerate(self._hosts, 2):
                server, address = await self._listen(host, number)
                servers.append(server)
                self.urls[host.name] = f"http://{address}"
            try:
                yield self.urls
            finally:
                for server in servers:
                    server.close()

    async def _listen(self, host: Host, number: int) -> tuple[asyncio.Server, str]:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Cancelled when all is over: that is no failure, and asyncio would print it as one.
            ends = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError)
            with contextlib.suppress(*ends):
                await self._converse(host, reader, writer)
            writer.close()

        # Linux has all of 127/8; other systems only the first address, where each host has another port.
        for address in (f"127.0.0.{number}", "127.0.0.1"):
            with contextlib.suppress(OSError):
                server = await asyncio.start_server(connected, address, 0, limit=MAX_HEAD)
                return server, f"{address}:{server.sockets[0].getsockname()[1]}"
        raise OSError("no address on loopback is free")

    async def _converse(self, host: Host, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            target = lines[0].split(" ")[1]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            number = self._seen.get((host.name, target), 0)
            self._seen[host.name, target] = number + 1
            assert self._log is not None
            entry = {"at": time.monotonic(), "host": host.name, "target": target, "number": number}
            self._log.write(json.dumps(entry) + "\n")
            await host.answer(Exchange(target, headers, writer, number))


def read_log(path: Path) -> list[dict[str, object]]:
    """What was asked, in order."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
