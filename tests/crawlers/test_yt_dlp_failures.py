"""yt-dlp's errors and warnings become our classes: its typed errors, and the words that stand in its extractors."""

from __future__ import annotations

import ast
import inspect
import io
from collections.abc import Iterator
from types import ModuleType

import pytest
from yt_dlp.extractor import rutube, smotrim, vk, yandexmusic
from yt_dlp.extractor.youtube import _base, _tab, _video
from yt_dlp.networking import Response
from yt_dlp.networking.exceptions import CertificateVerifyError, HTTPError, TransportError
from yt_dlp.utils import (
    DownloadError,
    ExtractorError,
    GeoRestrictedError,
    RegexNotFoundError,
    UnsupportedError,
    UserNotLive,
)

from crawlers.errors import FailureClass as F
from crawlers.errors import FetchError
from crawlers.yt_dlp_parts.failures import failure_of_error, failure_of_words, plain, words_of

RAISERS = {"ExtractorError", "raise_login_required", "raise_geo_restricted", "raise_no_formats", "report_drm"}
EXPECTED = {
    # What the site refuses.
    "asks you to solve a CAPTCHA": F.BOT_CHECK,
    "log in from an unusual location": F.BOT_CHECK,
    "Login details are needed": F.AUTH_REQUIRED,
    "Unable to login": F.AUTH_REQUIRED,
    "Login with OAuth is no longer supported": F.AUTH_REQUIRED,
    "does not exist and the URL redirected": F.NOT_FOUND,
    "does the playlist exist": F.NOT_FOUND,
    "This channel does not have": F.NOT_FOUND,
    "Incomplete data received": F.TRANSIENT,
    "Incomplete yt initial data received": F.TRANSIENT,
}
BUGS = (
    "YouTube said:", "Cannot identify player", "Invalid URL", "Failed to extract", "No player clients",
    "Unable to find selected tab",
    "Failed to resolve album", "A video URL was given without video ID", "Unable to recognize tab page", "JS player",
    "Playlists that require authentication", "Unsupported language code", "If you are not downloading private",
    "Unable to extract video info", "signature", "Native nsig", "player",
)  # fmt: skip
"""Messages that only introduce the site's own words, or tell of an extractor's own trouble: no item is to blame."""


def messages(module: ModuleType) -> Iterator[str]:
    """The texts that a module raises errors with."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called not in RAISERS:
            continue
        parts = [
            each.value
            for each in ast.walk(node.args[0])
            if isinstance(each, ast.Constant) and isinstance(each.value, str)
        ]
        if text := "".join(parts).strip():
            yield text


@pytest.mark.parametrize("module", [rutube, smotrim, vk, yandexmusic, _base, _tab, _video], ids=lambda m: m.__name__)
def test_what_the_extractors_raise_is_known(module: ModuleType) -> None:
    for text in messages(module):
        expected = next((failure for words, failure in EXPECTED.items() if words in text), None)
        if expected is not None:
            assert failure_of_error(ExtractorError(text, expected=True)).failure is expected, text
        else:
            assert any(words in text for words in BUGS), f"neither classed nor known as a bug: {text!r}"


def vk_errors() -> list[str]:
    """VK's own table of refusals: the words that yt-dlp looks for on its pages."""
    tree = ast.parse(inspect.getsource(vk))
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ERRORS":
            assert isinstance(node.value, ast.Dict)
            found += [each.value for each in node.value.values if isinstance(each, ast.Constant)]
            found += [str(each.value) for each in node.value.keys if isinstance(each, ast.Constant)]
    assert len(found) > 10
    return found


@pytest.mark.parametrize("text", vk_errors())
def test_vk_refusals(text: str) -> None:
    wanted = {
        "log in": F.AUTH_REQUIRED, "registered": F.AUTH_REQUIRED, "Unknown error": F.TRANSIENT,
        "Access denied": F.PRIVATE, "temporarily": F.TRANSIENT, "временно": F.TRANSIENT,
        "not exist": F.NOT_FOUND, "region": F.GEO_BLOCKED,
    }  # fmt: skip
    failure = failure_of_words(text)
    assert failure is next((value for words, value in wanted.items() if words in text), F.GONE), text


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("Video unavailable. This video is private", F.PRIVATE),
        ("Private video. Sign in if you've been granted access to this video", F.PRIVATE),
        ("Sign in to confirm your age. This video may be inappropriate for some users.", F.AGE_RESTRICTED),
        ("Sign in to confirm you’re not a bot. Use --cookies-from-browser", F.BOT_CHECK),
        ("Video unavailable. This content isn't available, try again later.", F.RATE_LIMITED),
        ("Video unavailable. YouTube is requiring a captcha challenge before playback", F.BOT_CHECK),
        ("The uploader has not made this video available in your country", F.GEO_BLOCKED),
        ("It contains content from SME, who has blocked it in your country on copyright grounds", F.GEO_BLOCKED),
        ("This video has been removed by the uploader", F.GONE),
        ("This video has been removed for violating YouTube's Terms of Service", F.GONE),
        ("This video is no longer available due to a copyright claim by Sony", F.GONE),
        ("This video is no longer available because the account associated with it has been terminated.", F.GONE),
        ("This video is no longer available because the uploader has closed their YouTube account.", F.GONE),
        ("Video unavailable", F.NOT_FOUND),
        ("This video isn't available anymore", F.NOT_FOUND),
        ("Join this channel to get access to members-only content", F.AUTH_REQUIRED),
        ("This video is only available to Music Premium members", F.AUTH_REQUIRED),
        ("This video requires payment to watch.", F.AUTH_REQUIRED),
        ("Premieres in 3 hours", F.WRONG_TYPE),
        ("This live event will begin in a few moments.", F.WRONG_TYPE),
        ("This video is DRM protected", F.WRONG_TYPE),
        ("An error occurred. Please try again later.", F.RATE_LIMITED),
        ("Видео недоступно для просмотра на территории вашей страны", F.GEO_BLOCKED),
        ("Видеозапись недоступна", F.NOT_FOUND),
        ("Доступ к видео ограничен", F.PRIVATE),
        ("Видео скрыто автором", F.PRIVATE),
        ("Видео удалено пользователем", F.GONE),
        ("Видео заблокировано по требованию правообладателя", F.GONE),
        ("Контент доступен только по подписке", F.AUTH_REQUIRED),
        ("Видео 18+, подтвердите возраст", F.AGE_RESTRICTED),
        ("Requested entity was not found.", F.NOT_FOUND),
        ("Колокольчик", None),
    ],
)  # fmt: skip
def test_words(text: str, failure: F | None) -> None:
    assert failure_of_words(text) is failure


def answer(status: int, **headers: str) -> HTTPError:
    return HTTPError(Response(io.BytesIO(b""), "https://site.example/", headers, status))


def wrapped(error: Exception) -> DownloadError:
    """As YoutubeDL hands an extractor's error on."""
    return DownloadError(f"ERROR: {error}", (type(error), error, None))


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (401, F.AUTH_REQUIRED), (403, F.FORBIDDEN), (404, F.NOT_FOUND), (410, F.GONE), (429, F.RATE_LIMITED),
        (451, F.GEO_BLOCKED), (500, F.SERVER_ERROR), (502, F.SERVER_ERROR), (418, F.FORBIDDEN),
    ],
)  # fmt: skip
def test_statuses(status: int, failure: F) -> None:
    cause = answer(status)
    found = failure_of_error(wrapped(ExtractorError("Unable to download webpage", cause=cause, expected=True)))
    assert (found.failure, found.status) == (failure, status)


def test_the_site_s_words_say_more_than_a_403() -> None:
    error = wrapped(ExtractorError("Unable to download JSON", cause=answer(403), expected=True))
    assert failure_of_error(error, answers=['{"detail": "Видео скрыто автором"}'.encode()]).failure is F.PRIVATE
    assert failure_of_error(error, answers=[b'{"detail": "no"}']).failure is F.FORBIDDEN
    assert failure_of_error(error, answers=[b"<html>"]).failure is F.FORBIDDEN


def test_retry_after() -> None:
    error = failure_of_error(wrapped(ExtractorError("x", cause=answer(503, **{"Retry-After": "9"}), expected=True)))
    assert (error.failure, error.retry_after_s) == (F.RATE_LIMITED, 9.0)


def test_typed_errors() -> None:
    assert failure_of_error(wrapped(GeoRestrictedError("Nur in Russland", countries=["RU"]))).failure is F.GEO_BLOCKED
    assert failure_of_error(wrapped(UnsupportedError("https://x.example/"))).failure is F.WRONG_TYPE
    assert failure_of_error(wrapped(UserNotLive(video_id="x"))).failure is F.WRONG_TYPE
    assert failure_of_error(wrapped(ExtractorError("Nein", expected=True))).failure is F.FORBIDDEN
    assert failure_of_error(wrapped(RegexNotFoundError("Unable to extract title"))).failure is F.ADAPTER_BROKEN
    assert failure_of_error(KeyError("video_balancer")).failure is F.ADAPTER_BROKEN
    assert failure_of_error(TransportError("reset")).failure is F.CONNECTION
    certificate = ExtractorError("x", cause=CertificateVerifyError("bad certificate"), expected=True)
    assert failure_of_error(wrapped(certificate)).failure is F.CONNECTION


def test_our_own_refusals_come_back_unchanged() -> None:
    ours = FetchError(F.ADDRESS_BLOCKED, "10.0.0.1 is not public")
    error = wrapped(ExtractorError("Unable to download webpage", cause=TransportError(cause=ours), expected=True))
    assert failure_of_error(error) is ours


def test_a_stumble_is_blamed_on_what_failed_before() -> None:
    seen = FetchError(F.SERVER_ERROR, "HTTP 502", status=502)
    assert failure_of_error(TypeError("'bool' object is not subscriptable"), seen) is seen
    told = failure_of_error(KeyError("x"), None, [b'{"error": {"message": "Video unavailable"}}'])
    assert (told.failure, told.detail) == (F.NOT_FOUND, "Video unavailable")
    warned = failure_of_error(
        KeyError("x"), None, [], ["[youtube] abcdefghijk: YouTube said: ERROR - This video is private"]
    )
    assert (warned.failure, warned.detail) == (F.PRIVATE, "This video is private")
    # A warning about the extractor's own trouble is no word of the site.
    assert failure_of_error(KeyError("x"), None, [], ["Incomplete data received"]).failure is F.ADAPTER_BROKEN


def test_words_of_answers() -> None:
    assert words_of(b'{"acl_access": {"allowed": false, "err_text": "no"}}') == "no"
    assert words_of(b'{"acl_access": {"allowed": true, "err_text": ""}}') == ""
    assert words_of(b'{"errors": ["a", "b"]}') == "a"
    for body in (b"", b"<html>", b"[1]", b"5", b'{"error": 5}', b'{"detail": {}}', b"\xff"):
        assert words_of(body) == ""


def test_plain() -> None:
    text = "\x1b[0;31mERROR:\x1b[0m [youtube] kAtYuShA001: Sign in to confirm your age. Use --cookies-from-browser"
    assert plain(text) == "Sign in to confirm your age."
    text = "[vk] -1_2: Access denied (caused by KeyError('x')); please report this issue on https://x"
    assert plain(text) == "Access denied"
