"""From a request to the page that the adapter reads: one extraction by yt-dlp, and the judgement of what came of it."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import Any

from adapters._yt_dlp import YtDlpAdapter
from adapters.contract import PageRequest
from crawlers.errors import FailureClass, FetchError
from crawlers.ports import NotNow
from crawlers.urls import request_key
from crawlers.yt_dlp_parts.failures import LASTING, TELLING, failure_of_error, failure_of_words, plain, words_of
from crawlers.yt_dlp_parts.info import OpenList, described, window
from crawlers.yt_dlp_parts.session import Downloader, Extraction, ExtractionStopped

OPEN_LISTS = 4
"""Lists that are kept open to be read on; others are read again from their beginning."""
_LISTS = ("playlist", "multi_video")
_LINKS = ("url", "url_transparent")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Read:
    """What an extraction brought: a page; why it failed; both for what is known of an item that cannot be had."""

    page: Mapping[str, Any] | None = None
    error: FetchError | None = None
    postponed: NotNow | None = None


class Reader:
    """Reads the pages of one adapter; `read` is called in threads."""

    def __init__(self, adapter: YtDlpAdapter, cookies: CookieJar, user_agent: str, timeout_s: float) -> None:
        self._adapter = adapter
        self._cookies = cookies
        self._user_agent = user_agent
        self._timeout_s = timeout_s
        self._open: OrderedDict[str, tuple[Downloader, OpenList, Mapping[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, request: PageRequest, extraction: Extraction) -> Read:
        """The page of a request. Whatever goes wrong is in the answer."""
        try:
            page = self._extract(request, extraction)
        except ExtractionStopped:
            if isinstance(extraction.ended_by, NotNow):
                return Read(postponed=extraction.ended_by)
            return Read(error=extraction.ended_by or FetchError(FailureClass.TRANSIENT, "the crawl ends"))
        except Exception as problem:
            error = failure_of_error(problem, extraction.seen, extraction.answers, extraction.said())
            if error.failure is FailureClass.ADAPTER_BROKEN:
                logger.warning("%s: yt-dlp's extractor failed: %s", request.url, error.detail)
            return Read(_unavailable(error) if error.failure in LASTING else None, error)
        return self._judged(page, extraction)

    def close(self) -> None:
        """Forgets the lists that are open."""
        with self._lock:
            self._open.clear()

    def _extract(self, request: PageRequest, extraction: Extraction) -> dict[str, Any]:
        offset = offset_of(request)
        name = request_key(request.url, request.kind)
        with self._lock:
            known = self._open.pop(name, None)
        if known is not None and known[1].position == offset:
            downloader, rest, info = known
            downloader.extraction = extraction
            page, following = window(info, offset, rest)
        else:
            downloader = self._downloader(extraction)
            info = downloader.extract_info(request.url, download=False, process=False)
            if info is None:
                raise FetchError(FailureClass.ADAPTER_BROKEN, "yt-dlp gave no answer")
            if info.get("_type") not in _LISTS:
                return described(info)
            page, following = window(info, offset, None)
        if following is not None:
            with self._lock:
                self._open[name] = (downloader, following, {**info, "entries": ()})
                while len(self._open) > OPEN_LISTS:
                    self._open.popitem(last=False)
        return page

    def _downloader(self, extraction: Extraction) -> Downloader:
        arguments = self._adapter.extractor_args
        options = {
            # A video that has no formats, or none that is asked for here, is described all the same.
            "ignore_no_formats_error": True,
            "extractor_args": {key: {name: list(words) for name, words in arguments[key].items()} for key in arguments},
            "js_runtimes": {},
        }
        return Downloader(self._adapter, extraction, self._cookies, self._user_agent, self._timeout_s, options)

    def _judged(self, page: dict[str, Any], extraction: Extraction) -> Read:
        """A page may come although the site refused: then its words are in a warning or in an answer."""
        kind = page.get("_type")
        if kind in _LINKS:
            target = str(page.get("url"))
            elsewhere = self._adapter.recognise(target) is None
            words = f"it shows {target[:200]}, which is another source's"
            return Read(page, FetchError(FailureClass.WRONG_TYPE, words) if elsewhere else None)
        if kind in _LISTS or page.get("audio_formats"):
            return Read(page)
        for words in (*map(_refusal, extraction.answers), *map(plain, extraction.said())):
            failure = failure_of_words(words) if words else None
            if failure is None or failure not in TELLING:
                continue
            error = FetchError(failure, words)
            if failure not in LASTING:
                return Read(error=error)
            return Read(_marked(page, error) if page.get("title") else _unavailable(error), error)
        if not page.get("title"):
            return Read(error=FetchError(FailureClass.ADAPTER_BROKEN, "the answer names no title"))
        return Read(page)


def offset_of(request: PageRequest) -> int:
    """Where in its list the window of a request begins."""
    offset = request.context.get("offset", 0)
    return offset if isinstance(offset, int) and offset > 0 else 0


def _refusal(answer: bytes) -> str:
    return words_of(answer) if b'"acl_access"' in answer else ""


def _marked(page: Mapping[str, Any], error: FetchError) -> dict[str, Any]:
    return {**page, "_availability": LASTING[error.failure].value, "_unavailable_detail": error.detail}


def _unavailable(error: FetchError) -> dict[str, Any]:
    return _marked({"_type": "unavailable"}, error)
