"""Streams one file to disk: guarded, polite and bounded."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import os
import ssl
import stat
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from crawlers.budget.shared import penalty_s
from crawlers.classify import failure_of_status, observed, observed_error
from crawlers.errors import FailureClass, FetchError
from crawlers.guard import AddressGuard
from crawlers.ports import Claim, Observed, PolitenessBudget
from crawlers.proxies import tunnel_transport
from crawlers.urls import grouped, server_group

T = TypeVar("T")
TOTAL_TIME_FACTOR = 20
"""A transfer may take this many times ``timeout_s`` in all."""
_CHUNK = 1 << 18
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_NEVER_AUDIO = frozenset(
    (
        "application/json",
        "application/javascript",
        "application/pdf",
        "application/xml",
        "application/zip",
        "application/gzip",
        # Playlists name further addresses, which a decoder would open unguarded.
        "application/vnd.apple.mpegurl",
        "application/x-mpegurl",
        "application/dash+xml",
        "audio/mpegurl",
        "audio/x-mpegurl",
        "audio/x-scpls",
    )
)
_WHOLE = {"accept": "*/*", "accept-encoding": "identity"}
_NEVER_AUDIO_FAMILIES = ("text/", "image/", "font/", "multipart/")


@dataclass(frozen=True, slots=True)
class Downloaded:
    """``size`` in bytes; ``sha256`` in hex; ``content_type`` without parameters, empty where the server named none."""

    path: Path
    size: int
    sha256: str
    content_type: str
    final_url: str


def may_be_audio(content_type: str) -> bool:
    """False only for types that are surely something else; a missing or generic type is left to the decoder."""
    return not (
        content_type in _NEVER_AUDIO
        or content_type.startswith(_NEVER_AUDIO_FAMILIES)
        or content_type.endswith(("+json", "+xml"))
    )


async def download(
    url: str,
    target: Path,
    *,
    guard: AddressGuard,
    budget: PolitenessBudget,
    max_bytes: int,
    timeout_s: float,
    user_agent: str,
    expect: str = "audio",
    headers: Mapping[str, str] | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
    total_timeout_s: float | None = None,
    max_redirects: int = 8,
    claim: Claim = Claim(),
) -> Downloaded:
    """Fetches ``url`` into ``target``, which exists afterwards only when all of it arrived.

    Every hop takes a slot of the budget, is checked by the guard, and is connected to a checked address under its own
    name (Host and SNI). Nothing is retried here: the caller owns retries.

    Args:
        max_bytes: larger files are refused, by Content-Length or when the limit is reached.
        timeout_s: seconds without progress (connecting, waiting, between two chunks).
        expect: ``audio`` refuses content types that cannot be audio; ``any`` takes all.
        headers: further request headers; credentials among them stay with the first origin.
        on_progress: called with bytes received so far and bytes expected (None where unknown).
        total_timeout_s: seconds in all, without the wait for the budget; default 20 times ``timeout_s``.
        claim: on whose behalf the budget is asked.

    Raises:
        FetchError: with the failure class; rate_limited carries ``retry_after_s``.
        NotNow: the budget gives no permit for a long time; nothing was sent.
    """
    total_s = total_timeout_s if total_timeout_s is not None else timeout_s * TOTAL_TIME_FACTOR
    sent = dict(headers or {})
    seen: set[str] = set()
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            httpx.AsyncClient(
                verify=tls_context(), trust_env=False, follow_redirects=False, timeout=httpx.Timeout(timeout_s)
            )
        )
        while True:
            if url in seen or len(seen) > max_redirects:
                raise FetchError(FailureClass.REDIRECT_LOOP, f"after {len(seen)} redirects back at {url[:200]}")
            seen.add(url)
            addresses = await guard.check(url)
            received = 0

            def progress(size: int, expected: int | None) -> None:
                nonlocal received
                received = size
                if on_progress is not None:
                    on_progress(size, expected)

            # A redirect's wait for the budget must not eat the time of the transfer.
            with await budget.acquire(grouped(server_group(url), addresses, claim.group_by), claim) as permit:
                if permit.proxy is not None:
                    transport = tunnel_transport(permit.proxy, tls_context())
                    client = await stack.enter_async_context(
                        httpx.AsyncClient(transport=transport, trust_env=False, timeout=httpx.Timeout(timeout_s))
                    )
                hop = _Hop(client, url, addresses, {**sent, "user-agent": user_agent}, expect, max_bytes, progress)
                started = time.monotonic()
                try:
                    result = await _bounded(hop.fetch(target), total_s, timeout_s)
                except BaseException as error:
                    if (told := observed_error(error, latency_s=time.monotonic() - started)) is not None:
                        permit.observed = replace(told, bytes=received)
                    raise
                permit.observed = Observed(hop.status, None, time.monotonic() - started, received)
            if isinstance(result, Downloaded):
                return result
            if _origin(result) != _origin(url):
                sent = {k: v for k, v in sent.items() if k.lower() not in ("authorization", "cookie")}
            url = result.partition("#")[0]


async def _bounded(transfer: Coroutine[Any, Any, T], total_s: float, timeout_s: float) -> T:
    """The transfer's result, within ``total_s`` seconds. Raises FetchError for whatever a transport may raise."""
    deadline = time.monotonic() + total_s
    try:
        async with asyncio.timeout(total_s):
            return await transfer
    except TimeoutError:
        late = time.monotonic() >= deadline
        detail = f"not complete after {total_s:g} s" if late else "timed out"
        raise FetchError(FailureClass.TIMEOUT, detail) from None
    except httpx.TimeoutException:
        raise FetchError(FailureClass.TIMEOUT, f"no progress for {timeout_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
        raise FetchError(FailureClass.CONNECTION, f"{type(error).__name__}: {error}"[:300]) from None


@dataclass(slots=True)
class _Hop:
    """One request of a download."""

    client: httpx.AsyncClient
    url: str
    addresses: list[str]
    headers: Mapping[str, str]
    expect: str
    max_bytes: int
    progress: Callable[[int, int | None], None]
    status: int | None = None

    async def fetch(self, target: Path) -> Downloaded | str:
        """The file, or the URL that the answer redirects to."""
        response = await open_checked(self.client, "GET", self.url, self.addresses, {**self.headers, **_WHOLE})
        try:
            self.status = response.status_code
            location = response.headers.get("location")
            if self.status in _REDIRECTS and location:
                return urljoin(self.url, str(location))
            _judge(response, self.expect, self.max_bytes)
            return await _receive(response, self.url, target, self.max_bytes, self.progress)
        finally:
            await response.aclose()


def local_path(url: str) -> Path:
    """The regular file that a ``file://`` URL names.

    Raises FetchError: wrong_type for what is not a local file URL or not a regular file, not_found, forbidden.
    """
    split = urlsplit(url)
    if split.scheme != "file" or split.netloc not in ("", "localhost") or not split.path.startswith("/"):
        raise FetchError(FailureClass.WRONG_TYPE, f"{url[:200]!r} is not a local file URL")
    name = unquote(split.path, errors="surrogateescape")
    if "\0" in name:
        raise FetchError(FailureClass.WRONG_TYPE, f"{url[:200]!r} holds a NUL byte")
    path = Path(name)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FetchError(FailureClass.NOT_FOUND, f"{path} does not exist") from None
    except OSError as error:
        raise FetchError(FailureClass.FORBIDDEN, f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise FetchError(FailureClass.WRONG_TYPE, f"{path} is not a regular file")
    if not os.access(path, os.R_OK):
        raise FetchError(FailureClass.FORBIDDEN, f"{path} is not readable")
    return path


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Verifies certificates; the environment cannot change that."""
    return httpx.create_ssl_context(trust_env=False)


def _origin(url: str) -> tuple[str, str]:
    split = urlsplit(url)
    return split.scheme.lower(), split.netloc.lower()


async def open_checked(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    addresses: list[str],
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> httpx.Response:
    """Asks one of the checked addresses under the URL's own name; the body is not read yet.

    Raises httpx's errors, and FetchError where there is no address.
    """
    parsed = httpx.URL(url)
    name = parsed.raw_host.decode("ascii")
    failed: httpx.ConnectError | None = None
    for address in addresses:
        request = client.build_request(
            method,
            parsed.copy_with(host=address, fragment=None),
            headers={**headers, "host": parsed.netloc.decode("ascii")},
            content=body,
            extensions={"sni_hostname": name.removesuffix(".")} if name != address else {},
        )
        request.extensions["timeout"] = client.timeout.as_dict()
        try:
            return await client.send(request, stream=True)
        except httpx.ConnectError as error:
            failed = error
    raise failed or FetchError(FailureClass.CONNECTION, f"{name} has no address")


def _judge(response: httpx.Response, expect: str, max_bytes: int) -> None:
    """Raises FetchError unless the body of this response is wanted."""
    status = response.status_code
    if (failure := failure_of_status(status)) is not None:
        seen = observed(status, response.headers, latency_s=0.0, size=0)
        raise FetchError(seen.failure or failure, f"HTTP {status}", status=status, retry_after_s=penalty_s(seen))
    content_type = _content_type(response)
    if expect == "audio" and not may_be_audio(content_type):
        raise FetchError(FailureClass.WRONG_TYPE, f"{content_type} instead of audio", status=status)
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        # Unpacking would let a small answer grow without bound.
        raise FetchError(FailureClass.WRONG_TYPE, "sent compressed, though asked not to", status=status)
    length = response.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise FetchError(FailureClass.TOO_LARGE, f"{length} bytes announced, {max_bytes} allowed", status=status)


async def _receive(
    response: httpx.Response,
    url: str,
    target: Path,
    max_bytes: int,
    progress: Callable[[int, int | None], None],
) -> Downloaded:
    announced = response.headers.get("content-length", "")
    expected = int(announced) if announced.isdigit() else None
    with _PartialFile(target) as sink:
        async for chunk in response.aiter_raw(_CHUNK):
            if sink.size + len(chunk) > max_bytes:
                raise FetchError(FailureClass.TOO_LARGE, f"more than {max_bytes} bytes", status=response.status_code)
            await asyncio.to_thread(sink.write, chunk)
            progress(sink.size, expected)
        sink.keep()
    return Downloaded(target, sink.size, sink.digest.hexdigest(), _content_type(response), url)


def _content_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


class _PartialFile:
    """Writes beside the target and moves into place at the end; leaves nothing behind otherwise."""

    def __init__(self, target: Path) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self._target = target
        self._partial = target.with_name(target.name + ".part")

    def __enter__(self) -> _PartialFile:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("wb")
        return self

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)

    def keep(self) -> None:
        self._file.close()
        self._partial.replace(self._target)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)
