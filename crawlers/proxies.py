"""Outgoing proxies: which one a request takes, which are not fit for use, and tunnels through them.

Names are resolved and judged by the address guard before a proxy is asked, and the proxy is given the judged address,
never a name: it cannot lead a request elsewhere, and a private address stays out of reach through it as well. A proxy's
own address comes from the operator's settings and may be private.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import httpcore
import httpx

from crawlers.errors import FailureClass, FetchError
from crawlers.ports import NotNow, Observed, Proxy

FAILURES = 3
"""So many failures in a row put a proxy into quarantine."""
QUARANTINE_S = 30.0
"""The first; each failed probe doubles it, up to `MAX_QUARANTINE_S`."""
MAX_QUARANTINE_S = 3600.0
CONNECT_TIMEOUT_S = 10.0
_MAX_ANSWER = 16 * 1024

_BLAMED = frozenset((FailureClass.PROXY_FAILED, FailureClass.BOT_CHECK, FailureClass.RATE_LIMITED))
"""What counts against a proxy; a site that is down does not."""


@dataclass(slots=True)
class _Health:
    failures: int = 0
    quarantines: int = 0
    until: float = 0.0
    probing_until: float = 0.0


class ProxyPool:
    """The operator's proxies. ``sticky``: a server group keeps its proxy as long as that is fit; else they take turns.

    Raises ValueError for a URL that names no HTTP proxy; the message does not show it, for it may hold a password.
    """

    def __init__(self, urls: Sequence[str], *, sticky: bool = False) -> None:
        self._proxies = [Proxy(_name(url), url) for url in urls]
        self._health = {proxy.url: _Health() for proxy in self._proxies}
        self._sticky = sticky
        self._of_group: dict[str, Proxy] = {}
        self._turn = itertools.count()

    def choose(self, group: str) -> Proxy | None:
        """The proxy to use; None where there is none at all. Raises NotNow when all are in quarantine."""
        if not self._proxies:
            return None
        now = time.monotonic()
        kept = self._of_group.get(group)
        if self._sticky and kept is not None and self._fit(kept, now):
            return kept
        first = next(self._turn)
        for step in range(len(self._proxies)):
            proxy = self._proxies[(first + step) % len(self._proxies)]
            if self._fit(proxy, now):
                self._of_group[group] = proxy
                health = self._health[proxy.url]
                if health.quarantines and health.failures:
                    health.probing_until = now + 2 * CONNECT_TIMEOUT_S  # one request tries it, not all
                return proxy
        soonest = min(max(each.until, each.probing_until) for each in self._health.values())
        raise NotNow(max(soonest - now, 1.0), "proxies_in_quarantine", "operator", "no proxy is fit for use")

    def told(self, proxy: Proxy, observed: Observed) -> None:
        """What came of a request through this proxy."""
        health = self._health[proxy.url]
        health.probing_until = 0.0
        if observed.failure not in _BLAMED:
            health.failures = health.quarantines = 0
            return
        health.failures += 1
        if health.failures >= FAILURES or health.quarantines:
            health.until = time.monotonic() + min(QUARANTINE_S * 2.0**health.quarantines, MAX_QUARANTINE_S)
            health.quarantines = min(health.quarantines + 1, 20)

    def states(self) -> dict[str, str]:
        """By name: ``fit``, ``probing`` or ``quarantine``."""
        now = time.monotonic()
        return {
            proxy.name: "quarantine"
            if self._health[proxy.url].until > now
            else "probing"
            if self._health[proxy.url].quarantines
            else "fit"
            for proxy in self._proxies
        }

    def _fit(self, proxy: Proxy, now: float) -> bool:
        health = self._health[proxy.url]
        return health.until <= now and health.probing_until <= now


def _name(url: str) -> str:
    """Host and port of a proxy, which may be shown."""
    try:
        split = urlsplit(url)
        if split.scheme != "http" or not split.hostname or not split.port or split.path not in ("", "/"):
            raise ValueError
    except ValueError:
        raise ValueError("a proxy must be http://HOST:PORT, with USER:PASSWORD@ before the host where needed") from None
    return f"{split.hostname}:{split.port}"


def split_credentials(proxy: Proxy) -> tuple[str, str | None]:
    """The proxy's URL without credentials, and the value of Proxy-Authorization."""
    split = urlsplit(proxy.url)
    bare = urlunsplit((split.scheme, split.netloc.rpartition("@")[2], "", "", ""))
    if split.username is None:
        return bare, None
    words = f"{unquote(split.username)}:{unquote(split.password or '')}"
    return bare, f"Basic {base64.b64encode(words.encode()).decode()}"


def connect_head(proxy: Proxy, address: str, port: int) -> bytes:
    """The request for a tunnel to a judged address."""
    place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    _, authorization = split_credentials(proxy)
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if authorization is not None:
        lines.append(f"Proxy-Authorization: {authorization}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def check_answer(proxy: Proxy, head: bytes) -> None:
    """Raises FetchError proxy_failed unless the tunnel was opened."""
    words = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(words) < 2 or words[1] != b"200":
        status = words[1].decode("latin-1")[:10] if len(words) > 1 else "nothing"
        raise FetchError(FailureClass.PROXY_FAILED, f"proxy {proxy.name} answered {status} to CONNECT")


async def open_tunnel(proxy: Proxy, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a judged address through the proxy. Raises FetchError proxy_failed."""
    host, _, proxy_port = proxy.name.rpartition(":")
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, int(proxy_port), limit=64 * 1024)
            writer.write(connect_head(proxy, address, port))
            check_answer(proxy, await reader.readuntil(b"\r\n\r\n"))
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        if writer is not None:
            writer.close()
        raise FetchError(FailureClass.PROXY_FAILED, f"proxy {proxy.name}: {type(error).__name__}") from None
    except FetchError:
        if writer is not None:
            writer.close()
        raise
    return reader, writer


class TunnelBackend(httpcore.AsyncNetworkBackend):
    """httpcore's connections, each through a tunnel of the proxy; TLS is then made with the site itself."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._direct = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A tunnel to ``host``, which is a judged address."""
        proxy_host, _, proxy_port = self._proxy.name.rpartition(":")
        try:
            stream = await self._direct.connect_tcp(proxy_host, int(proxy_port), timeout)
            await stream.write(connect_head(self._proxy, host, port), timeout)
            head = b""
            while b"\r\n\r\n" not in head and len(head) < _MAX_ANSWER:
                chunk = await stream.read(4096, timeout)
                if not chunk:
                    break
                head += chunk
        except (httpcore.NetworkError, httpcore.TimeoutException) as error:
            raise FetchError(FailureClass.PROXY_FAILED, f"proxy {self._proxy.name}: {type(error).__name__}") from None
        try:
            check_answer(self._proxy, head)
        except FetchError:
            await stream.aclose()
            raise
        return stream

    async def sleep(self, seconds: float) -> None:
        """httpcore's own waits."""
        await self._direct.sleep(seconds)


def tunnel_transport(proxy: Proxy, tls: Any) -> httpx.AsyncHTTPTransport:
    """An httpx transport whose connections go through the proxy to the addresses that it is given."""
    transport = httpx.AsyncHTTPTransport(verify=tls, trust_env=False)
    # httpx has no parameter for httpcore's network backend.
    transport._pool = httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=TunnelBackend(proxy))
    return transport
