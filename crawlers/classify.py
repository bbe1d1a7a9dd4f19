"""From what was seen (a status, an exception, a content type) to a failure class, and when to ask again."""

from __future__ import annotations

import asyncio
import gzip
import random
import re
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import brotli
from aiohttp.http_exceptions import TransferEncodingError
from scrapy import exceptions as scrapy_errors

from crawlers.errors import FailureClass, FetchError
from crawlers.ports import Observed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# What the unpackers that Scrapy brings along raise.
_DAMAGED = (gzip.BadGzipFile, zlib.error, brotli.error, zstd.ZstdError, EOFError)
MAX_RETRY_AFTER_S = 24 * 3600.0

_BY_STATUS = {
    401: FailureClass.AUTH_REQUIRED,
    403: FailureClass.FORBIDDEN,
    404: FailureClass.NOT_FOUND,
    407: FailureClass.AUTH_REQUIRED,
    408: FailureClass.TIMEOUT,
    410: FailureClass.GONE,
    425: FailureClass.TRANSIENT,
    429: FailureClass.RATE_LIMITED,
    451: FailureClass.GEO_BLOCKED,
}


def failure_of_status(status: int) -> FailureClass | None:
    """The failure class of an HTTP status; None for success. Unlisted 4xx: the site refuses the request."""
    if 200 <= status < 300:
        return None
    if status >= 500:
        return FailureClass.SERVER_ERROR
    if status >= 400:
        return _BY_STATUS.get(status, FailureClass.FORBIDDEN)
    return FailureClass.WRONG_TYPE


def failure_of_exception(error: BaseException) -> FetchError:
    """The same for what a download raised."""
    if isinstance(error, FetchError):
        return error
    detail = (str(error) or type(error).__name__)[:500]
    if isinstance(error, scrapy_errors.DownloadTimeoutError | asyncio.TimeoutError):
        return FetchError(FailureClass.TIMEOUT, detail)
    if isinstance(error, scrapy_errors.IgnoreRequest):
        # Of the middlewares in use only HttpCompressionMiddleware raises it: a body that unpacks beyond the limit.
        return FetchError(FailureClass.TOO_LARGE, detail)
    if isinstance(error, scrapy_errors.UnsupportedURLSchemeError | scrapy_errors.NotSupported):
        return FetchError(FailureClass.ADDRESS_BLOCKED, detail)
    if isinstance(error, _DAMAGED):
        return FetchError(FailureClass.BROKEN_MARKUP, f"the body cannot be unpacked: {detail}")
    if _breaks_http(error):
        return FetchError(FailureClass.PROTOCOL_ERROR, " ".join(detail.split()))
    if isinstance(
        error,
        scrapy_errors.CannotResolveHostError
        | scrapy_errors.DownloadConnectionRefusedError
        | scrapy_errors.DownloadFailedError
        | scrapy_errors.ResponseDataLossError
        | OSError,
    ):
        return FetchError(FailureClass.CONNECTION, detail)
    return FetchError(FailureClass.TRANSIENT, f"{type(error).__name__}: {detail}")


def _breaks_http(error: BaseException) -> bool:
    """Whether aiohttp could not make sense of the answer; Scrapy's errors carry its own as their cause."""
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientPayloadError):
        cause = cause.__cause__ or cause.__context__
        return isinstance(cause, TransferEncodingError)
    return isinstance(cause, aiohttp.ClientResponseError)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Retry-After (seconds or an HTTP date) in seconds from now, at most a day; None where absent or unreadable."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        seconds = float(value[:12])
    else:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def observed(status: int, headers: Mapping[str, str], *, latency_s: float, size: int, body: bytes = b"") -> Observed:
    """What an answer tells the budget. ``headers``: lower-case names; ``size``: bytes received; ``body``: where it is
    to be looked at too, without content coding."""
    if body and is_bot_check(status, headers, body):
        return Observed(status, FailureClass.BOT_CHECK, latency_s, size, retry_after_s(headers))
    failure = failure_of_status(status) if status >= 400 else None
    wait_s = retry_after_s(headers) if failure is not None else None
    if failure is FailureClass.SERVER_ERROR and wait_s is not None:
        failure = FailureClass.RATE_LIMITED
    return Observed(status, failure, latency_s, size, wait_s)


def observed_error(error: BaseException, *, latency_s: float) -> Observed | None:
    """The same where no answer came; None where it was ourselves who ended the request."""
    if isinstance(error, asyncio.CancelledError):
        return None
    failed = failure_of_exception(error)
    return Observed(failed.status, failed.failure, latency_s, retry_after_s=failed.retry_after_s)


MAX_CHALLENGE_BYTES = 100_000
"""A longer page is none: challenges are short."""
_CHALLENGE = re.compile(
    rb"/cdn-cgi/challenge-platform/|_cf_chl_opt|<title>\s*just a moment\.\.\.|attention required! \| cloudflare"
    rb"|captcha-delivery\.com|<title>\s*access to this page has been denied|px-captcha|_incapsula_resource"
    rb"|ddos-guard/js-challenge|<title>\s*ddos-guard|qrator-challenge|awswaf\.com/[^\"']*challenge"
    rb"|action=[\"']/(?:showcaptcha|checkcaptcha|sorry/index)|captcha\.yandex|smartcaptcha\.yandexcloud\.net/captcha"
    rb"|systems have detected unusual traffic|are you a (?:human|robot)\?"
    rb"|(?:verify|confirm|prove) (?:that )?you(?: are|.{1,7}re) (?:human|not a (?:ro)?bot)"
)
_CHALLENGE_RUSSIAN = re.compile(
    r"вы не робот\?|что вы не робот|запросы.{0,60}похожи на.{0,12}автоматич|отправляли вы, а не робот"
)
_WIDGET = re.compile(rb"class=[\"'][^\"']*(?:g-recaptcha|h-captcha|cf-turnstile|smart-captcha)")


def is_bot_check(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether an answer asks for a proof that we are human, instead of giving the page.

    The words of a challenge count in any short page; a bare captcha only where the status refuses us, because pages
    for people have one too (in a login, in a comment form). The caller asks only of pages in which nothing was found.
    ``headers``: lower-case names; ``body``: without content coding.
    """
    if headers.get("cf-mitigated", "").strip().lower() == "challenge":
        return True
    if headers.get("x-amzn-waf-action", "").strip().lower() in ("captcha", "challenge"):
        return True
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not body or len(body) > MAX_CHALLENGE_BYTES or content_type not in _CHALLENGE_TYPES:
        return False
    lower = body.lower()
    if _CHALLENGE.search(lower):
        return True
    if not body.isascii() and _CHALLENGE_RUSSIAN.search(body.decode("utf-8", "ignore").lower()):
        return True
    return status >= 400 and _WIDGET.search(lower) is not None


_CHALLENGE_TYPES = frozenset(("", "text/html", "application/xhtml+xml"))


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with equal jitter: half of ``base_s * 2**(attempt - 1)`` is fixed, half is random."""

    base_s: float = 1.0
    cap_s: float = 300.0

    def delay_s(self, attempt: int) -> float:
        """Seconds to wait after failed attempt number ``attempt`` (1, 2, …)."""
        full = min(self.base_s * 2.0 ** min(attempt - 1, 30), self.cap_s)
        return full * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, hides nothing


_READABLE = (
    "text/", "application/xhtml", "application/xml", "application/json", "application/javascript", "application/csv",
    "application/ndjson", "application/x-ndjson", "application/x-jsonlines",
)  # fmt: skip
_UNTOLD = (
    "", "application/octet-stream", "binary/octet-stream", "application/gzip", "application/x-gzip",
    "application/vnd.ms-excel",  # what some servers call CSV
)  # fmt: skip
_BINARY = bytes(set(range(32)) - set(b"\t\n\f\r"))


def is_page_type(content_type: str) -> bool | None:
    """Whether a content type is one an adapter can read (HTML, XML, JSON, CSV, text); None: only the body can tell."""
    essence = content_type.partition(";")[0].strip().lower()
    if essence in _UNTOLD:
        return None
    return essence.startswith(_READABLE) or essence.endswith(("+xml", "+json"))


def looks_like_page(body: bytes) -> bool:
    """Whether a body of untold type begins like text: HTML, XML, JSON, a table (or is empty)."""
    start = body[:512]
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    return not start.startswith(b"%PDF") and len(start.translate(None, _BINARY)) == len(start)
