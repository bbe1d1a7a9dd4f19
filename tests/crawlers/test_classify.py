"""Statuses, headers, URLs and patterns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlers.classify import (
    Backoff,
    failure_of_status,
    is_bot_check,
    is_page_type,
    looks_like_page,
    observed,
    retry_after_s,
)
from crawlers.errors import FailureClass as F
from crawlers.traps import TrapDetector
from crawlers.urls import grouped, request_key, server_group, url_pattern


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("120", 120.0), ("99999999999999", 86400.0), ("-5", None), ("soon", None), ("", None), ("1e3", None)],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": value}) == seconds


def test_retry_after_as_a_date() -> None:
    now = datetime.now(UTC)
    ahead = retry_after_s({"retry-after": format_datetime(now + timedelta(seconds=600), usegmt=True)})
    assert ahead is not None
    assert 500 < ahead <= 600
    assert retry_after_s({"retry-after": format_datetime(now - timedelta(days=1), usegmt=True)}) == 0.0
    assert retry_after_s({"retry-after": format_datetime(now + timedelta(days=9), usegmt=True)}) == 86400.0


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_retry_after_of_anything_is_bounded(value: str) -> None:
    seconds = retry_after_s({"retry-after": value})
    assert seconds is None or 0 <= seconds <= 86400


def test_statuses() -> None:
    assert failure_of_status(200) is None
    assert failure_of_status(204) is None
    assert failure_of_status(304) is F.WRONG_TYPE
    assert failure_of_status(400) is F.FORBIDDEN
    assert failure_of_status(408) is F.TIMEOUT
    assert failure_of_status(599) is F.SERVER_ERROR


def test_backoff_grows_and_is_capped() -> None:
    backoff = Backoff(base_s=1.0, cap_s=10.0)
    assert 0.5 <= backoff.delay_s(1) <= 1.0
    assert 2.0 <= backoff.delay_s(3) <= 4.0
    assert 5.0 <= backoff.delay_s(10_000) <= 10.0


def test_page_types() -> None:
    assert is_page_type("text/html; charset=utf-8")
    assert is_page_type("application/ld+json")
    assert is_page_type("application/rss+xml")
    assert is_page_type("audio/mpeg") is False
    assert is_page_type("image/svg+xml") is True
    assert is_page_type("application/octet-stream") is None
    assert looks_like_page(b"\xef\xbb\xbf \n<html>")
    assert looks_like_page(b'{"a": 1}')
    assert looks_like_page("title;artist\r\nКатюша;Хор\r\n".encode("cp1251"))
    assert not looks_like_page(b"ID3\x04")
    assert not looks_like_page(b"%PDF-1.7\n%\xe2\xe3")
    assert is_page_type("application/x-ndjson")
    assert is_page_type("application/vnd.ms-excel") is None


def test_request_keys() -> None:
    key = request_key("http://a.example/x?b=2&a=1#part", "page")
    assert key == request_key("http://a.example/x?a=1&b=2", "page")
    assert key != request_key("http://a.example/x?a=1&b=2", "api")
    assert key != request_key("http://a.example/y?a=1&b=2", "page")


def test_server_groups() -> None:
    assert server_group("HTTP://Example.COM./a".replace("HTTP", "http")) == "example.com:80"
    assert server_group("https://example.com/a") == "example.com:443"
    assert server_group("https://example.org.:8443/") == "example.org:8443"
    assert server_group("http://[::1]:8080/") == "[::1]:8080"
    assert server_group("https://пример.рф/") == "xn--e1afmkfd.xn--p1ai:443"
    assert server_group("https://example.org.:8443/") == "example.org:8443"
    with pytest.raises(ValueError, match="names no host"):
        server_group("http:///x")


def test_patterns_and_traps() -> None:
    assert url_pattern("http://127.0.0.1:80/a") is None
    assert url_pattern("http://a.example/2024/05/?p=7#1") == "a.example/0/0/?p=0"
    traps = TrapDetector(2, wanted=["/songs/"])
    for day in range(5):
        traps.visited(f"http://a.example/day/{day}", 0)
        traps.visited(f"http://a.example/songs/{day}", 0)
        traps.visited(f"http://a.example/item/{day}", 1)
    assert traps.is_trap("http://a.example/day/77")
    assert not traps.is_trap("http://b.example/day/77")
    assert not traps.is_trap("http://a.example/songs/77")
    assert not traps.is_trap("http://a.example/item/77")
    assert traps.first_report("http://a.example/day/77")
    assert not traps.first_report("http://a.example/day/78")


HTML = {"content-type": "text/html; charset=utf-8"}


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (503, {**HTML, "cf-mitigated": "challenge"}, ""),
        (405, {**HTML, "x-amzn-waf-action": "captcha"}, ""),
        (403, HTML, "<title>Just a moment...</title><script>window._cf_chl_opt={}</script>"),
        (200, HTML, "<script src=/cdn-cgi/challenge-platform/h/g/orchestrate></script>"),
        (429, HTML, "<p>Our systems have detected unusual traffic from your network</p>"),
        (200, HTML, "<h1>Please verify that you are human</h1>"),
        (200, HTML, "<h1>Confirm you’re not a robot</h1>"),
        (200, HTML, "<h1>Подтвердите, что вы не робот</h1>"),
        (200, HTML, "<p>Запросы с вашего устройства похожи на автоматические</p>"),
        (403, HTML, "<div class='h-captcha' data-sitekey=x></div>"),
        (200, {}, '<form action="/showcaptcha">'),
    ],
)
def test_a_bot_check_is_recognised(status: int, headers: dict[str, str], body: str) -> None:
    assert is_bot_check(status, headers, body.encode())
    assert observed(status, headers, latency_s=0.1, size=1, body=body.encode() or b" ").failure is F.BOT_CHECK


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (403, HTML, "<h1>Forbidden</h1>"),
        (200, HTML, "<form><input name=password><div class='g-recaptcha'></div></form>"),  # a login's own
        (200, HTML, "<h1>Я не робот (песня)</h1>"),
        (200, {"content-type": "application/json"}, '{"text": "are you a robot?"}'),
        (200, HTML, "<p>Are you a robot?</p>" + "x" * 200_000),
        (200, HTML, ""),
    ],
)
def test_a_page_is_no_bot_check(status: int, headers: dict[str, str], body: str) -> None:
    assert not is_bot_check(status, headers, body.encode())


def test_hosts_counted_together() -> None:
    assert grouped("a.songs.example.co.uk:443", ["192.0.2.1"], "host") == "a.songs.example.co.uk:443"
    assert grouped("a.songs.example.co.uk:443", ["192.0.2.1"], "domain") == "domain example.co.uk"
    assert grouped("one.blogspot.com:80", [], "domain") == "domain one.blogspot.com"  # a hoster's blogs stay apart
    assert grouped("127.0.0.1:80", ["127.0.0.1"], "domain") == "127.0.0.1:80"
    assert grouped("a.example:80", ["192.0.2.9", "192.0.2.1"], "address") == "address 192.0.2.1"
