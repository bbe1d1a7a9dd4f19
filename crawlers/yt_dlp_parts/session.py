"""One extraction by yt-dlp, in a thread, with all its requests on the crawl's event loop.

yt-dlp is synchronous, so that an extraction occupies a thread; a subprocess would add 60 MB and half a second to each,
and what could hang or grow without bound, the network, is not in the thread at all. What a thread cannot do is to be
killed: an extraction is told to end at its next request.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import io
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlsplit

import yt_dlp.globals
from yt_dlp import YoutubeDL
from yt_dlp.extractor import get_info_extractor
from yt_dlp.networking import Request, RequestHandler, Response
from yt_dlp.networking.common import RequestDirector
from yt_dlp.networking.exceptions import HTTPError, TransportError

from adapters._yt_dlp import YtDlpAdapter
from crawlers.errors import FailureClass, FetchError
from crawlers.ports import NotNow
from crawlers.yt_dlp_parts.network import Answer, Network

MAX_REQUESTS = 60
"""Requests of one extraction: more is a list without end, or an extractor that goes in circles."""
MAX_WARNINGS = 50
_ANSWERS_KEPT = 3
_ANSWER_BYTES = 64 * 1024
_MANIFESTS = (".m3u8", ".mpd")
MANIFEST_SKIPPED = "a description needs no manifest"

# Plugins could reach the network past the handler below.
yt_dlp.globals.plugin_dirs.value = []

logger = logging.getLogger(__name__)


class ExtractionStopped(BaseException):
    """Ends an extraction from within a request. Not an Exception: extractors go on after those."""


@dataclass(slots=True)
class Spent:
    """What an extraction cost."""

    requests: int = 0
    bytes: int = 0
    latency_s: float = 0.0


class Extraction:
    """The requests of one extraction and what was seen of them; called from its thread, ended from the loop."""

    def __init__(
        self, network: Network, loop: asyncio.AbstractEventLoop, *, manifests: bool = False, priority: int = 0
    ) -> None:
        self.spent = Spent()
        self.warnings: list[str] = []
        self.answers: deque[bytes] = deque(maxlen=_ANSWERS_KEPT)
        self.seen: FetchError | None = None
        """The last request that failed."""
        self.ended_by: FetchError | NotNow | None = None
        """Why the extraction was ended before it was done."""
        self._network = network
        self._loop = loop
        self._manifests = manifests
        self._priority = priority
        self._stopped = False
        self._request: concurrent.futures.Future[Answer] | None = None

    def stop(self) -> None:
        """Ends the request under way, and with it the extraction."""
        self._stopped = True
        if self._request is not None:
            self._request.cancel()

    def send(self, request: Request, headers: Mapping[str, str], cookies: CookieJar) -> Response:
        """Sends a request of yt-dlp. Raises its exceptions, and ExtractionStopped."""
        if self._stopped:
            raise ExtractionStopped
        if not self._manifests and urlsplit(request.url).path.endswith(_MANIFESTS):
            raise TransportError(MANIFEST_SKIPPED)
        if self.spent.requests >= MAX_REQUESTS:
            self._end(FetchError(FailureClass.TRAP, f"more than {MAX_REQUESTS} requests for one page"))
        self.spent.requests += 1
        try:
            answer = self._answer(request, headers, cookies)
        except FetchError as error:
            self.seen = error
            raise TransportError(cause=error) from error
        self.spent.bytes += len(answer.body)
        self.spent.latency_s += answer.latency_s
        if 0 < len(answer.body) <= _ANSWER_BYTES and answer.body.lstrip()[:1] == b"{":
            self.answers.appendleft(answer.body)
        response = Response(io.BytesIO(answer.body), answer.url, {}, answer.status)
        for name, value in answer.headers:
            response.headers.add_header(name, value)
        if not 200 <= answer.status < 300:
            self.seen = self._network.refused(answer)
            if self.seen.failure is FailureClass.RATE_LIMITED:
                self._end(self.seen)  # an extractor would ask on, elsewhere
            raise HTTPError(response)
        return response

    def _answer(self, request: Request, headers: Mapping[str, str], cookies: CookieJar) -> Answer:
        data = request.data
        if data is not None and not isinstance(data, bytes):
            data = data.read() if hasattr(data, "read") else b"".join(data)
        coroutine = self._network.fetch(
            request.url,
            method=request.method,
            headers=headers,
            body=data,
            cookies=cookies,
            priority=self._priority,
        )
        self._request = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        if self._stopped:
            self._request.cancel()
        try:
            return self._request.result()
        except concurrent.futures.CancelledError:
            raise ExtractionStopped from None
        except NotNow as wait:
            self._end(wait)
            raise AssertionError from None
        finally:
            self._request = None

    def _end(self, reason: FetchError | NotNow) -> None:
        self.ended_by = reason
        raise ExtractionStopped

    def said(self) -> list[str]:
        """Its warnings, without those of our own making."""
        return [warning for warning in self.warnings if MANIFEST_SKIPPED not in warning]


class NetworkRH(RequestHandler):  # type: ignore[misc]
    """The only way to the network that a `Downloader` has."""

    _SUPPORTED_URL_SCHEMES = ("http", "https")
    _SUPPORTED_PROXY_SCHEMES = None
    _SUPPORTED_FEATURES = None

    def __init__(self, *, downloader: Downloader, **options: Any) -> None:
        super().__init__(**options)
        self._downloader = downloader

    def _check_extensions(self, extensions: dict[str, Any]) -> None:
        super()._check_extensions(extensions)
        for name in ("cookiejar", "timeout", "legacy_ssl", "keep_header_casing"):
            extensions.pop(name, None)

    def _send(self, request: Request) -> Response:
        return self._downloader.extraction.send(request, self._get_headers(request), self._get_cookiejar(request))


class Downloader(YoutubeDL):  # type: ignore[misc]
    """A YoutubeDL that knows one adapter's extractors, and asks the network through one `Extraction` at a time."""

    def __init__(
        self,
        adapter: YtDlpAdapter,
        extraction: Extraction,
        cookies: CookieJar,
        user_agent: str,
        timeout_s: float,
        options: Mapping[str, Any],
    ) -> None:
        self.extraction = extraction
        params = {
            "quiet": True,
            "noprogress": True,
            "logger": _Listener(self),
            "cachedir": False,
            "geo_bypass": False,
            "noplaylist": True,
            # The engine owns retries.
            "retries": 0,
            "extractor_retries": 0,
            "fragment_retries": 0,
            "socket_timeout": timeout_s,
            "http_headers": {"User-Agent": user_agent},
            "proxy": "",
            **options,
        }
        super().__init__(params, auto_init=False)
        self.cookiejar = cookies
        for name in adapter.extractors:
            self.add_info_extractor(get_info_extractor(name)())

    def build_request_director(self, handlers: Iterable[Any], preferences: Any = None) -> RequestDirector:
        """With our handler alone, whatever yt-dlp has registered."""
        return super().build_request_director([functools.partial(NetworkRH, downloader=self)])


class _Listener:
    """yt-dlp's logger: warnings are evidence, the rest is for who looks for a fault."""

    def __init__(self, downloader: Downloader) -> None:
        self._downloader = downloader

    def debug(self, message: str) -> None:
        logger.debug("yt-dlp: %s", message[:300])

    def info(self, message: str) -> None:
        logger.debug("yt-dlp: %s", message[:300])

    def warning(self, message: str) -> None:
        logger.debug("yt-dlp warns: %s", message[:300])
        warnings = self._downloader.extraction.warnings
        if len(warnings) < MAX_WARNINGS:
            warnings.append(str(message)[:1000])

    def error(self, message: str) -> None:
        logger.debug("yt-dlp fails: %s", message[:300])
