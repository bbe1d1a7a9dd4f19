"""Streams one file to disk: guarded, polite and bounded."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import ssl
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from crawlers.classify import failure_of_status, retry_after_s
from crawlers.errors import FailureClass, FetchError
from crawlers.guard import AddressGuard
from crawlers.ports import PolitenessBudget
from crawlers.urls import server_group

DEFAULT_PENALTY_S = 30.0
"""For a 429 that names no time, in seconds."""
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

    Raises:
        FetchError: with the failure class; rate_limited carries ``retry_after_s``.
    """
    total_s = total_timeout_s if total_timeout_s is not None else timeout_s * TOTAL_TIME_FACTOR
    deadline: float | None = None
    sent = dict(headers or {})
    seen: set[str] = set()
    async with httpx.AsyncClient(
        verify=_tls(), trust_env=False, follow_redirects=False, timeout=httpx.Timeout(timeout_s)
    ) as client:
        while True:
            if url in seen or len(seen) > max_redirects:
                raise FetchError(FailureClass.REDIRECT_LOOP, f"after {len(seen)} redirects back at {url[:200]}")
            seen.add(url)
            addresses = await guard.check(url)
            await budget.acquire(server_group(url))
            # A redirect's wait for the budget must not eat the time of the transfer.
            deadline = time.monotonic() + total_s
            try:
                async with asyncio.timeout(total_s):
                    response = await _open(client, url, addresses, {**sent, "user-agent": user_agent})
                    try:
                        location = response.headers.get("location")
                        if response.status_code not in _REDIRECTS or not location:
                            await _judge(response, url, budget, expect, max_bytes)
                            return await _receive(response, url, target, max_bytes, on_progress)
                    finally:
                        await response.aclose()
            except TimeoutError:
                late = time.monotonic() >= deadline
                raise FetchError(
                    FailureClass.TIMEOUT, f"not complete after {total_s:g} s" if late else "timed out"
                ) from None
            except httpx.TimeoutException:
                raise FetchError(FailureClass.TIMEOUT, f"no progress for {timeout_s:g} s") from None
            except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
                raise FetchError(FailureClass.CONNECTION, f"{type(error).__name__}: {error}"[:300]) from None
            following = urljoin(url, location)
            if _origin(following) != _origin(url):
                sent = {k: v for k, v in sent.items() if k.lower() not in ("authorization", "cookie")}
            url = following.partition("#")[0]


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
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _origin(url: str) -> tuple[str, str]:
    split = urlsplit(url)
    return split.scheme.lower(), split.netloc.lower()


async def _open(
    client: httpx.AsyncClient, url: str, addresses: list[str], headers: Mapping[str, str]
) -> httpx.Response:
    """Asks one of the checked addresses under the URL's own name."""
    parsed = httpx.URL(url)
    name = parsed.raw_host.decode("ascii")
    failed: httpx.ConnectError | None = None
    for address in addresses:
        request = client.build_request(
            "GET",
            parsed.copy_with(host=address, fragment=None),
            headers={**headers, "host": parsed.netloc.decode("ascii"), "accept": "*/*", "accept-encoding": "identity"},
            extensions={"sni_hostname": name.removesuffix(".")} if name != address else {},
        )
        request.extensions["timeout"] = client.timeout.as_dict()
        try:
            return await client.send(request, stream=True)
        except httpx.ConnectError as error:
            failed = error
    raise failed or FetchError(FailureClass.CONNECTION, f"{name} has no address")


async def _judge(response: httpx.Response, url: str, budget: PolitenessBudget, expect: str, max_bytes: int) -> None:
    """Raises FetchError unless the body of this response is wanted."""
    status = response.status_code
    failure = failure_of_status(status)
    if failure is not None:
        wait_s = retry_after_s(response.headers)
        if status == 429 or (status == 503 and wait_s is not None):
            wait_s = DEFAULT_PENALTY_S if wait_s is None else wait_s
            await budget.penalise(server_group(url), wait_s)
            failure = FailureClass.RATE_LIMITED
        raise FetchError(failure, f"HTTP {status}", status=status, retry_after_s=wait_s)
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
    on_progress: Callable[[int, int | None], None] | None,
) -> Downloaded:
    announced = response.headers.get("content-length", "")
    expected = int(announced) if announced.isdigit() else None
    with _PartialFile(target) as sink:
        async for chunk in response.aiter_raw(_CHUNK):
            if sink.size + len(chunk) > max_bytes:
                raise FetchError(FailureClass.TOO_LARGE, f"more than {max_bytes} bytes", status=response.status_code)
            await asyncio.to_thread(sink.write, chunk)
            if on_progress is not None:
                on_progress(sink.size, expected)
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
