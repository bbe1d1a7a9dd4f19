"""What yt-dlp's errors and warnings mean: from an exception, or from words, to a failure class.

yt-dlp has few typed errors; most of what a site answers travels as text. The words below are searched in that text, in
the order of the table: the reason that says most about an item comes first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from yt_dlp.networking.exceptions import CertificateVerifyError, HTTPError, RequestError, TransportError
from yt_dlp.utils import (
    ExtractorError,
    GeoRestrictedError,
    UnsupportedError,
    UserNotLive,
    YoutubeDLError,
)

from adapters.contract import Availability
from crawlers.classify import failure_of_status, retry_after_s
from crawlers.errors import FailureClass, FetchError

WORDS: tuple[tuple[FailureClass, str], ...] = (
    # A bot check and a session limit look like a demand to sign in, or like an unavailable video.
    (FailureClass.BOT_CHECK, r"not a (?:ro)?bot|captcha|requests automated|запросы.{0,60}похожи на.{0,12}автоматич"),
    (FailureClass.RATE_LIMITED, r"try again later|rate.?limit|too many requests|session limit|flood control"),
    (FailureClass.BOT_CHECK, r"JS challenge|challenge hash|unusual (?:traffic|location)"),
    (FailureClass.AGE_RESTRICTED, r"confirm your age|age.?(?:restrict|verif|check)|inappropriate for some"),
    (FailureClass.AGE_RESTRICTED, r"возрастн|18\+|старше 18"),
    (FailureClass.GEO_BLOCKED, r"(?:your|this) (?:country|region|location)|geo.?(?:restrict|block)|blocked it in"),
    (FailureClass.GEO_BLOCKED, r"(?:ваш\w*|данно\w*|этой|вашем) (?:стран|регион|территори)|на территории"),
    (FailureClass.PRIVATE, r"(?:is|a) private|private (?:video|playlist)|access (?:to .{0,40})?denied|is hidden"),
    (FailureClass.PRIVATE, r"приватн|скрыт|доступ (?:\w+ ){0,3}(?:ограничен|запрещ|закрыт)|настройк\w* приватности"),
    (FailureClass.AUTH_REQUIRED, r"members?.only|join this channel|music premium|requires? payment|purchase|premium"),
    (FailureClass.AUTH_REQUIRED, r"sign ?in|log ?in\b|logging in|login|registered users|account (?:is )?needed"),
    (FailureClass.AUTH_REQUIRED, r"подписк|авториз|войдите|зарегистрированн|only available (?:to|for) "),
    (FailureClass.GONE, r"(?:has|have|was|were) (?:been )?(?:removed|deleted|terminated|blocked|closed)|removed by"),
    (FailureClass.GONE, r"no longer available|copyright|terminated|closed their|violat"),
    (FailureClass.GONE, r"правообладател|изъят|удал[её]н|заблокирован"),
    (FailureClass.TRANSIENT, r"temporarily|временно"),
    (FailureClass.NOT_FOUND, r"does(?:n.t| not) exist|not.?found|unavailable|isn.?t available|does not have a"),
    (FailureClass.NOT_FOUND, r"не найден|не существует|недоступн"),
    (FailureClass.TRANSIENT, r"network error|incomplete (?:data|yt)|server error|went wrong"),
    (FailureClass.TRANSIENT, r"unknown error|попробуйте позже"),
    (FailureClass.WRONG_TYPE, r"not (?:currently )?live|premieres? in|will begin|DRM|unsupported"),
)
"""Searched without regard to case, from the top."""

_COMPILED = tuple((failure, re.compile(pattern, re.IGNORECASE)) for failure, pattern in WORDS)

LASTING: Mapping[FailureClass, Availability] = {
    FailureClass.GONE: Availability.REMOVED,
    FailureClass.NOT_FOUND: Availability.REMOVED,
    FailureClass.PRIVATE: Availability.PRIVATE,
    FailureClass.GEO_BLOCKED: Availability.GEO_BLOCKED,
    FailureClass.AGE_RESTRICTED: Availability.AGE_RESTRICTED,
    FailureClass.AUTH_REQUIRED: Availability.AUTH_REQUIRED,
}
"""Failures that say something about the item itself, and what its source's availability then is."""
TELLING = frozenset((*LASTING, FailureClass.RATE_LIMITED, FailureClass.BOT_CHECK))
"""What may be believed of words that stand in a warning, or in an answer that was not asked for them."""

_HINTS = re.compile(
    r"\s*(?:;? ?please report this issue|Use --|See +https?://|Also see|It is recommended to use|This helps protect|"
    r"You can either wait|\(caused by|Confirm you are on the latest).*",
    re.DOTALL,
)
_PREFIX = re.compile(
    r"^(?:ERROR: ?|WARNING: ?|\[[\w:]+\] (?:[\w-]+: )?|[\w-]{6,40}: (?=[A-ZА-Я])|YouTube said: (?:ERROR - |INFO - )?)+"
)
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


def failure_of_words(text: str) -> FailureClass | None:
    """The class that a message's words tell; None where they tell nothing."""
    return next((failure for failure, pattern in _COMPILED if pattern.search(text)), None)


def plain(message: str) -> str:
    """A message of yt-dlp without its colours, prefixes and hints about its own command line."""
    text = _COLOUR.sub("", message).strip()
    text = _HINTS.sub("", text)
    return _PREFIX.sub("", text).strip()[:300]


def failure_of_error(
    error: BaseException, seen: FetchError | None = None, answers: Iterable[bytes] = (), warnings: Iterable[str] = ()
) -> FetchError:
    """The class of what an extraction raised.

    Args:
        error: as `YoutubeDL.extract_info` raised it.
        seen: the last request that failed; extractors go on after some, and stumble over what is missing then.
        answers: bodies of the last answers, latest first: sites say there why, which extractors do not always read.
        warnings: what yt-dlp said meanwhile.
    """
    chain = list(_causes(error))
    for each in chain:
        if isinstance(each, FetchError):
            return each
    expected = next((each for each in chain if isinstance(each, ExtractorError)), None)
    if isinstance(expected, GeoRestrictedError):
        return FetchError(FailureClass.GEO_BLOCKED, plain(expected.orig_msg))
    if isinstance(expected, UnsupportedError | UserNotLive):
        return FetchError(FailureClass.WRONG_TYPE, plain(expected.orig_msg))
    status = next((each for each in chain if isinstance(each, HTTPError)), None)
    words = plain(expected.orig_msg if expected is not None else str(error))
    if status is not None:
        return _of_status(status, answers)
    if expected is not None and expected.expected:
        failure = failure_of_words(words)
        if any(isinstance(each, CertificateVerifyError | TransportError | RequestError) for each in chain):
            failure = failure or FailureClass.CONNECTION
        return FetchError(failure or FailureClass.FORBIDDEN, words)
    if any(isinstance(each, TransportError) for each in chain):
        return FetchError(FailureClass.CONNECTION, words)
    return _of_crash(error, words, seen, answers, warnings)


def _of_status(error: HTTPError, answers: Iterable[bytes]) -> FetchError:
    """By the status, unless the site says in words what is the matter."""
    headers = {name.lower(): value for name, value in error.response.headers.items()}
    wait_s = retry_after_s(headers)
    failure = failure_of_status(error.status) or FailureClass.TRANSIENT
    if failure is FailureClass.SERVER_ERROR and wait_s is not None:
        failure = FailureClass.RATE_LIMITED
    words = next((told for body in answers if (told := words_of(body))), "")
    if failure in (FailureClass.FORBIDDEN, FailureClass.AUTH_REQUIRED, FailureClass.NOT_FOUND):
        meant = failure_of_words(words)
        failure = meant if meant in TELLING and meant is not None else failure
    detail = f"HTTP {error.status}" + (f": {words}" if words else "")
    return FetchError(failure, detail[:300], status=error.status, retry_after_s=wait_s)


def _of_crash(
    error: BaseException, words: str, seen: FetchError | None, answers: Iterable[bytes], warnings: Iterable[str]
) -> FetchError:
    """An extractor that stumbles has not understood the site: because of a failed request, of a refusal that it does
    not know, or because the site changed."""
    if seen is not None:
        return seen
    for said in (*(words_of(body) for body in answers), *(plain(warning) for warning in warnings)):
        failure = failure_of_words(said) if said else None
        if failure is not None and failure in TELLING:
            return FetchError(failure, said)
    cause = list(_causes(error))[-1]
    name = "" if isinstance(cause, YoutubeDLError) else f" ({type(cause).__name__}: {cause})"
    return FetchError(FailureClass.ADAPTER_BROKEN, f"{words or 'without a word'}{name}"[:300])


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and what it was made of, outermost first."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen or len(seen) > 20:
            continue
        seen.add(id(each))
        yield each
        exc_info = getattr(each, "exc_info", None)
        if isinstance(exc_info, tuple) and len(exc_info) == 3:
            waiting.append(exc_info[1])
        waiting += [getattr(each, "cause", None), each.__cause__]


def words_of(body: bytes) -> str:
    """Why a site's JSON answer says no; empty where it does not."""
    try:
        answer: Any = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(answer, dict):
        return ""
    access = answer.get("acl_access")  # RuTube
    if isinstance(access, dict) and access.get("allowed") is False:
        return plain(str(access.get("err_text") or "access denied"))
    for name in ("detail", "error", "message", "errors"):
        value = answer.get(name)
        if isinstance(value, dict):
            value = value.get("message") or value.get("text") or value.get("name")
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str) and value.strip():
            return plain(value)
    return ""
