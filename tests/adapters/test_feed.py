"""Feeds that are paged, broken or hostile."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import feedparser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import feed
from adapters.contract import ExtractionError, Page, PageRequest, SourceQuery, get_adapter

URL = "https://feeds.example/rss"


def parse(body: bytes | str, url: str = URL, headers: dict[str, str] | None = None, **options: Any) -> list[Any]:
    data = body.encode() if isinstance(body, str) else body
    request = PageRequest(url, "feed", 0, options.pop("context", {}))
    page = Page(url, request, headers=headers or {}, body=data)
    return list(get_adapter("feed").parse(page, SourceQuery("f", options=options)))


def rss(*items: str, head: str = "", before: str = "") -> str:
    return f'{before}<rss version="2.0"><channel><title>T</title>{head}{"".join(items)}</channel></rss>'


def item(title: str = "A", guid: str = "1", audio: str = "/1.mp3", more: str = "") -> str:
    return f'<item><title>{title}</title><guid>{guid}</guid><enclosure url="{audio}" type="audio/mpeg"/>{more}</item>'


def test_seeds() -> None:
    adapter = get_adapter("feed")
    assert [each.kind for each in adapter.seeds(SourceQuery("f", [URL]))] == ["feed"]
    for seed in ("", "feeds.example", "file:///etc/passwd", "http://[x"):
        with pytest.raises(ValueError, match="seeds"):
            adapter.seeds(SourceQuery("f", [seed]))
    with pytest.raises(ValueError, match=r"options\.entries"):
        adapter.seeds(SourceQuery("f", [URL], options={"entries": "some"}))


def test_a_guid_is_the_key_wherever_the_feed_lies() -> None:
    one, other = parse(rss(item(guid="g-7"))), parse(rss(item(guid="g-7")), url="http://elsewhere.example/f")
    assert one[0].source_key == other[0].source_key == "g-7"
    (linked,) = parse(rss("<item><title>A</title><link>/s/1</link><enclosure url='/a.mp3' type='audio/mpeg'/></item>"))
    assert linked.source_key == "/s/1"


def test_entries_without_media_only_where_they_are_wanted() -> None:
    body = rss("<item><title>News</title><guid>n</guid></item>", item())
    assert [each.title for each in parse(body)] == ["A"]
    assert [each.title for each in parse(body, entries="all")] == ["News", "A"]


def test_pages_of_a_feed_end() -> None:
    head = '<atom:link xmlns:atom="http://www.w3.org/2005/Atom" rel="next" href="?page=2"/>'
    following, _ = parse(rss(item(), head=head))
    assert (following.url, following.continues) == (f"{URL}?page=2", True)
    assert parse(rss(head=head), context={"page": feed.MAX_PAGES}) == []
    elsewhere = head.replace("?page=2", "https://other.example/")
    assert len(parse(rss(item(), head=elsewhere))) == 1


def test_charsets() -> None:
    text = rss(item("Ёлка"))
    assert parse(text.encode("cp1251"), headers={"content-type": "text/xml; charset=windows-1251"})[0].title == "Ёлка"
    declared = '<?xml version="1.0" encoding="koi8-r"?>' + text
    assert parse(declared.encode("koi8-r"))[0].title == "Ёлка"
    assert parse(b"\xff\xfe" + text.encode("utf-16-le"))[0].title == "Ёлка"


def test_entity_bombs_stay_small() -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha" * 50}">' for n in range(12))
    bomb = rss(item(title="x &l11; y"), before=f"<!DOCTYPE rss [{laughs}]>")
    assert [len(each.title) < 100 for each in parse(bomb)] == [True]
    long = f'<!DOCTYPE rss [<!ENTITY a "{"a" * 100_000}">]>'
    assert [len(each.title) < 100 for each in parse(rss(item(title="x" + "&a;" * 5), before=long))] == [True]
    for odd in ('<!DOCTYPE rss [<!ENTITY q "]>"><!ENTITY z "zz">]>', '<!ENTITY z "zz">'):
        with pytest.raises(ExtractionError, match="entities"):
            parse(rss(item(title="&z;"), before=odd))
    utf7 = '<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE rss [+ADwAIQ-ENTITY a "boom"+AD4AXQA+-'
    for each in parse(utf7 + rss(item(title="&a;"))):
        assert "boom" not in each.title


def test_nothing_is_fetched_or_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text(rss(item("secret")))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a feed made us fetch")

    monkeypatch.setattr(feedparser.http, "get", refuse)
    external = f'<!DOCTYPE rss [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    for each in parse(rss(item(title="a &x;"), before=external)):
        assert "secret" not in each.title
    for body in (URL, secret.as_uri(), str(secret)):
        with pytest.raises(ExtractionError):
            parse(body)


def test_addresses_that_are_no_web_addresses_are_left_out() -> None:
    assert parse(rss(item(audio="file:///etc/passwd"))) == []
    assert parse(rss(item(audio="javascript:alert(1)"))) == []


@given(st.binary(max_size=300))
def test_any_bytes_are_items_or_an_extraction_error(body: bytes) -> None:
    for prefix in (
        b"",
        b"<rss><channel><item><title>",
        b'<feed xmlns="http://www.w3.org/2005/Atom"><entry><link href="',
    ):
        with contextlib.suppress(ExtractionError):
            parse(prefix + body)


@given(st.recursive(st.none() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)))
def test_any_chapters_are_read_or_refused(value: Any) -> None:
    known = {"source_key": "1", "title": "A"}
    for chapters in (value, [{"title": "a", "startTime": value, "endTime": value}]):
        request = PageRequest(URL, "chapters", 0, {"item": known})
        page = Page(URL, request, body=json.dumps({"chapters": chapters}).encode())
        with contextlib.suppress(ExtractionError):
            (found,) = get_adapter("feed").parse(page, SourceQuery("f"))
            json.dumps(found.to_json(), allow_nan=False)  # type: ignore[union-attr]
