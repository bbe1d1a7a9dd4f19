"""Keeps requests away from addresses that are not public (server-side request forgery).

A name is judged by what it resolves to, never by how it is spelled, and the caller connects to the addresses that were
judged, so that a second answer of the name server cannot lead elsewhere (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import time
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

import httpx

from crawlers.errors import FailureClass, FetchError

RESOLVE_TIMEOUT_S = 10.0
MAX_URL = 65_536
"""Characters."""
_CACHE_ENTRIES = 4096
_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is globally routable unicast; an IPv4 address inside an IPv6 one is judged too."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False  # a scoped address (fe80::1%eth0) among others
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return is_public(str(parsed.ipv4_mapped))
        if parsed in _NAT64_LOCAL or parsed in _IPV4_COMPATIBLE or parsed.is_site_local or parsed.teredo is not None:
            return False
        if parsed in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)))
        if parsed.sixtofour is not None:
            return is_public(str(parsed.sixtofour))
    return parsed.is_global and not (
        parsed.is_multicast or parsed.is_reserved or parsed.is_loopback or parsed.is_unspecified or parsed.is_link_local
    )


def host_and_port(url: str) -> tuple[str, int]:
    """ASCII host (lower case, IDNA, no trailing dot) and port of an http or https URL.

    Raises FetchError (address_blocked) for other schemes, user names, and spellings that two parsers could read
    differently: those are how a check is led astray.
    """
    try:
        if len(url) > MAX_URL:
            raise ValueError(f"it is longer than {MAX_URL} characters")
        if _UNSAFE.search(url):
            raise ValueError("it holds blanks, control characters or backslashes")
        split = urlsplit(url)
        return _place(split.scheme, split.netloc)
    except (ValueError, TypeError, httpx.InvalidURL) as error:
        raise FetchError(FailureClass.ADDRESS_BLOCKED, f"{url[:200]!r} is refused: {error}") from None


@lru_cache(maxsize=1024)
def _place(scheme: str, netloc: str) -> tuple[str, int]:
    """The same of a URL's first parts. Both parsers end them at the first slash, question mark or hash: what follows
    makes no difference, and the many URLs of one site are judged once."""
    if scheme.lower() not in _DEFAULT_PORTS:
        raise ValueError(f"its scheme is {scheme or 'missing'!r}; only http and https are fetched")
    if "@" in netloc:
        raise ValueError("it carries a user name")
    url = f"{scheme}://{netloc}/"
    split, parsed = urlsplit(url), httpx.URL(url)
    host = parsed.raw_host.decode("ascii").lower()
    port = parsed.port or _DEFAULT_PORTS[parsed.scheme]
    if not host or "%" in host:
        raise ValueError("it names no usable host")
    if (split.port or _DEFAULT_PORTS[split.scheme.lower()]) != port:
        raise ValueError("its port is ambiguous")
    if (split.hostname or "").isascii() and (split.hostname or "").lower() != host:
        raise ValueError("its host is ambiguous")
    return host.removesuffix("."), port


class AddressGuard:
    """Checks URLs before they are fetched, and each redirect again.

    Args:
        allow_private: ``host:port`` entries (``[::1]:80`` for IPv6) that may resolve to private addresses; the host
            must be spelled as in the URL.
        cache_s: how long an answer of the name server is used, in seconds.
    """

    def __init__(self, allow_private: Sequence[str] = (), *, cache_s: float = 30.0) -> None:
        self._allowed = frozenset(_allowed_entry(entry) for entry in allow_private)
        self._cache_s = cache_s
        self._cache: dict[tuple[str, int], tuple[float, tuple[str, ...]]] = {}

    async def check(self, url: str) -> list[str]:
        """The IP addresses that may be connected to for this URL.

        Raises FetchError: address_blocked when the URL is refused or any of its addresses is not public;
        connection when its name does not resolve; timeout when the name server does not answer.
        """
        host, port = host_and_port(url)
        addresses = await self._resolve(host, port)
        if (host, port) not in self._allowed:
            for address in addresses:
                if not is_public(address):
                    raise FetchError(FailureClass.ADDRESS_BLOCKED, f"{host}:{port} is {address}, which is not public")
        return list(addresses)

    async def _resolve(self, host: str, port: int) -> tuple[str, ...]:
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            pass
        cached = self._cache.get((host, port))
        if cached is not None and cached[0] > time.monotonic():
            return cached[1]
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                answers = await asyncio.get_running_loop().getaddrinfo(
                    host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
                )
        except TimeoutError:
            raise FetchError(FailureClass.TIMEOUT, f"{host}: the name server does not answer") from None
        except (OSError, UnicodeError) as error:
            raise FetchError(FailureClass.CONNECTION, f"{host}: the name does not resolve ({error})") from None
        addresses = tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))
        if not addresses:
            raise FetchError(FailureClass.CONNECTION, f"{host}: the name has no address")
        if len(self._cache) >= _CACHE_ENTRIES:
            self._cache.clear()
        self._cache[host, port] = (time.monotonic() + self._cache_s, addresses)
        return addresses


def _allowed_entry(entry: str) -> tuple[str, int]:
    try:
        host, port = host_and_port(f"http://{entry}/")
        if "/" in entry or not entry.endswith(f":{port}"):
            raise ValueError
    except (FetchError, ValueError):
        raise ValueError(f"allow_private: {entry!r} must be host:port, such as 127.0.0.1:8080") from None
    return host, port
