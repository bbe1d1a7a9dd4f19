"""The site adapters on broken, hostile and real pages."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import _site
from adapters._values import iso_moment, seconds, year_of
from adapters.contract import (
    Engine,
    ExtractionError,
    Page,
    PageRequest,
    RecordingItem,
    SourceQuery,
    XmlBombError,
    adapter_names,
    get_adapter,
)
from tests.conftest import SHARED_DATA

RECORDED = SHARED_DATA / "recorded"
BANDCAMP = sorted((RECORDED / "jsonld_bandcamp").glob("*.json"))
STRUCTURED = sorted((RECORDED / "html_structured").glob("*.html"))


def parse(body: bytes | str, url: str = "https://a.example/p", **options: Any) -> list[Any]:
    data = body.encode() if isinstance(body, str) else body
    follow = options.pop("follow", ())
    request = PageRequest(url, options.pop("kind", "page"), 0, options.pop("context", {"from": "sitemap"}))
    return list(get_adapter("website").parse(Page(url, request, body=data, **options), SourceQuery("s", follow=follow)))


def script(data: Any) -> str:
    text = data if isinstance(data, str) else json.dumps(data)
    return f'<html><head><script type="application/ld+json">{text}</script></head><body>x</body></html>'


def song(**values: Any) -> dict[str, Any]:
    return {"@type": "MusicRecording", "name": "Song", **values}


def only(data: Any, **options: Any) -> RecordingItem:
    (item,) = parse(script(data), **options)
    assert isinstance(item, RecordingItem)
    return item


def test_registered_under_their_engines() -> None:
    assert {"website", "website_rendered", "folder"} <= set(adapter_names())
    assert get_adapter("website").engine is Engine.HTTP
    assert get_adapter("website_rendered").engine is Engine.BROWSER


def test_seeds_are_sitemaps_or_pages() -> None:
    seeds = [
        "https://a.example/sitemap.xml",
        "https://a.example/s/sitemap-2.xml.gz",
        "https://a.example/",
        "http://b/x",
    ]
    kinds = [request.kind for request in get_adapter("website").seeds(SourceQuery("s", seeds))]
    assert kinds == ["sitemap", "sitemap", "page", "page"]


@pytest.mark.parametrize("seed", ["", "a.example", "ftp://a.example/", "file:///etc", "http://", "http://[x"])
def test_a_bad_seed_is_named(seed: str) -> None:
    with pytest.raises(ValueError, match="seeds"):
        get_adapter("website").seeds(SourceQuery("s", [seed]))


def test_a_bad_expression_is_named() -> None:
    with pytest.raises(ValueError, match=r"follow: '\['"):
        get_adapter("website").seeds(SourceQuery("s", ["https://a.example/"], follow=["["]))


def test_all_broken_is_an_error_of_the_page() -> None:
    with pytest.raises(ExtractionError, match="JSON-LD"):
        parse(script('{"@type": "MusicRecording", "name": "Калинка", "byArtist": {"name": '))
    assert parse("<html><body>nothing structured</body></html>") == []
    assert parse(script("")) == []
    assert parse(b"") == []
    assert parse(script({"@type": "BreadcrumbList"})) == []


def test_broken_data_beside_readable_microdata_is_no_error() -> None:
    body = script("{").replace(
        "x</body>",
        '<div itemscope itemtype="https://schema.org/MusicRecording"><b itemprop="name">A</b></div></body>',
    )
    assert [item.title for item in parse(body)] == ["A"]


def test_links_of_a_page_come_even_when_its_data_is_broken() -> None:
    request = PageRequest("https://a.example/", "page", 0, {"from": "page"})
    body = script("{").replace("x</body>", '<a href="/next">n</a></body>').encode()
    things = iter(get_adapter("website").parse(Page(request.url, request, body=body), SourceQuery("s")))
    link = next(things)
    assert isinstance(link, PageRequest)
    assert link.url == "https://a.example/next"
    with pytest.raises(ExtractionError):
        next(things)


def test_which_links_are_followed() -> None:
    body = '<html><body><a href="/song/1">1</a><a href="/about">a</a></body></html>'
    assert parse(body) == []
    assert [link.url for link in parse(body, context={"from": "page"})] == [
        "https://a.example/song/1", "https://a.example/about",
    ]  # fmt: skip
    for origin in ("page", "sitemap"):
        links = parse(body, context={"from": origin}, follow=[r"/song/\d+$"])
        assert [link.url for link in links] == ["https://a.example/song/1"]


def test_keys_do_not_name_the_host() -> None:
    assert only(song(identifier="42")).source_key == "42"
    assert only(song(identifier=42)).source_key == "42"
    assert only(song(**{"@id": "https://a.example/s/1?v=2#song"})).source_key == "/s/1?v=2#song"
    assert only(song(**{"@id": "_:b0"})).source_key == "/p"
    assert only(song(url="/s/3")).source_key == "/s/3"
    assert only(song(), url="http://127.0.0.1:8123/z?a=1").source_key == "/z?a=1"
    one, other = only(song(url="/s/3"), url="http://a:1/x"), only(song(url="/s/3"), url="http://b:2/x")
    assert one.digest() == other.digest()
    assert one.url != other.url


def test_several_nameless_recordings_of_a_page_have_keys_of_their_own() -> None:
    items = parse(script([song(name="A"), song(name="B")]))
    assert [item.source_key for item in items] == ["/p#A", "/p#B"]
    two = script(song(name="A")).replace("</head>", script({"@type": "WebSite"})[12:-19] + "</head>")
    assert [item.source_key for item in parse(two)] == ["/p"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("PT3M5S", 185.0), ("P00H05M55S", 355.0), ("T1M33S", 93.0), ("PT1H0M0.5S", 3600.5), ("P0DT2M", 120.0),
        ("pt90s", 90.0), ("3:05", 185.0), ("01:02:03", 3723.0), (185, 185.0), ("185.5", 185.5), ("PT2,5S", 2.5),
        (None, None), ("", None), ("PT", None), ("P", None), ("PT0S", None), (-3, None), ("soon", None), (True, None),
        ("P0Y0M0DT0H3M5.500S", 185.5), ("PT 3M 5S", 185.0), ("P1Y", None), ("3M05S", 185.0),
        ("nan", None), ("inf", None), ({"@type": "Duration", "name": "PT1M"}, 60.0), ("9" * 400, None),
    ],
)  # fmt: skip
def test_durations(value: Any, expected: float | None) -> None:
    assert seconds(value) == expected


def test_years() -> None:
    assert year_of("12 Mar 2011 00:00:00 GMT") == 2011
    assert year_of("1868-01-01") == 1868
    assert year_of(1999) == 1999
    assert year_of("n/a 123456") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-05-06", "2024-05-06"), ("2024-05-06T07:08:09+03:00", "2024-05-06T04:08:09Z"),
        ("2019-02-03 10:11:12", "2019-02-03T10:11:12Z"), ("Wed, 03 Apr 2024 10:00:00 +0300", "2024-04-03T07:00:00Z"),
        ("2024", None), ("2024-05", None), ("2024-13-45", None), ("0001-01-01T00:00:00+14:00", None), ("soon", None),
        (None, None), (7, None), (["2024-05-06"], "2024-05-06"), ({"@value": "2024-05-06"}, "2024-05-06"),
    ],
)  # fmt: skip
def test_dates(value: Any, expected: str | None) -> None:
    assert iso_moment(value) == expected


def test_a_bare_date_of_release_is_no_date_of_publication() -> None:
    item = only(song(datePublished="1998-05-01"))
    assert (item.year, item.published_at) == (1998, None)
    assert only(song(uploadDate="2020-01-01")).published_at == "2020-01-01"


def test_an_embedded_player_is_no_audio() -> None:
    assert only({"@type": "VideoObject", "name": "V", "embedUrl": "/embed/1"}).audio_url is None
    assert only({"@type": "VideoObject", "name": "V", "contentUrl": "/v.mp4"}).audio_url == "https://a.example/v.mp4"


def test_rdfa_is_read_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a page made us fetch")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    body = """<html xmlns:s="http://schema.org/" vocab="http://127.0.0.1:9/vocab#" prefix="x: http://127.0.0.1:9/x#">
        <link rel="profile" href="http://127.0.0.1:9/profile">
        <script type="text/turtle">@prefix a: &lt;http://127.0.0.1:9/&gt; .</script>
        <div typeof="s:MusicRecording"><b property="s:name">A</b>
            <i property="s:audio" resource="/a.mp3"></i></div></html>"""
    (item,) = parse(body)
    assert (item.title, item.audio_url) == ("A", "https://a.example/a.mp3")
    for odd in ("<p typeof='MusicRecording'>" * 3000, "<p typeof='schema.org/MusicRecording' about='[::'>x"):
        parse("schema.org" + odd)


def test_lastmod_travels_with_the_request() -> None:
    body = b"<urlset><url><loc>https://a.example/1</loc><lastmod>2024-05-06</lastmod></url></urlset>"
    assert [thing.context for thing in parse(body, kind="sitemap")] == [{"from": "sitemap", "lastmod": "2024-05-06"}]


def test_hostile_data_is_bounded() -> None:
    nested: Any = song()
    for _ in range(100):
        nested = {"@type": "MusicAlbum", "track": nested}
    assert parse(script(nested)) == []
    loop = {"@graph": [{"@type": "MusicAlbum", "@id": "#a", "track": {"@id": "#a"}}]}
    assert parse(script(loop)) == []
    item = only(song(name="x" * 100_000, description="y" * 100_000, genre={"a": 1}, byArtist=[[["z"]]], duration=[[]]))
    assert (len(item.title), len(item.description or "")) == (1000, 5000)
    assert only(song(audio="javascript:alert(1)", thumbnailUrl="file:///etc/passwd")).audio_url is None
    assert only('{"@type": "MusicRecording", "name": "a\\ud800b\\u0000c"}').title == "a?bc"
    with pytest.raises(ExtractionError):
        parse(script("[" * 100_000))


def test_charsets() -> None:
    text = script(json.dumps(song(name="Ёлка"), ensure_ascii=False))
    assert parse(text.encode("utf-8"))[0].title == "Ёлка"
    assert parse(text.encode("cp1251"), headers={"content-type": "text/html; charset=windows-1251"})[0].title == "Ёлка"
    declared = text.replace("<head>", '<head><meta charset="koi8-r">').encode("koi8-r")
    assert parse(declared)[0].title == "Ёлка"


def test_packed_sitemaps_and_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"<urlset><url><loc>https://a.example/1</loc></url></urlset>"
    assert [thing.url for thing in parse(gzip.compress(body), kind="sitemap")] == ["https://a.example/1"]
    monkeypatch.setattr(_site, "MAX_SITEMAP_BYTES", 1000)
    with pytest.raises(ExtractionError, match="more than"):
        parse(gzip.compress(b" " * 100_000), kind="sitemap")
    with pytest.raises(ExtractionError, match="damaged"):
        parse(b"\x1f\x8bgarbage", kind="sitemap")


def nested(step: str) -> str:
    """Entities of which each names the one before, ``&l30;`` last."""
    return '<!ENTITY l0 "aaaaaaaaaa">' + "".join(f'<!ENTITY l{n} "{step.format(n - 1)}">' for n in range(1, 31))


@pytest.mark.parametrize(
    "entities",
    [nested("&l{0};&l{0};"), nested("&l{0};"), '<!ENTITY l30 "&other;"><!ENTITY other "&l30;">'],
    ids=["doubling", "deep", "circle"],
)
def test_a_sitemap_of_entities_within_entities_is_a_bomb(entities: str) -> None:
    body = (
        f'<?xml version="1.0"?><!DOCTYPE l [{entities}]><urlset><url><loc>https://a.example/1</loc></url>'
        "<url><loc>https://a.example/&l30;</loc></url><url><loc>https://a.example/2</loc></url></urlset>"
    )
    with pytest.raises(XmlBombError, match="entit"):
        parse(body, kind="sitemap")


def test_an_entity_is_not_expanded_and_no_bomb() -> None:
    body = (
        '<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">]><urlset><url><loc>https://a.example/&a;</loc></url>'
        "<url><loc>https://a.example/2</loc></url></urlset>"
    )
    assert [thing.url for thing in parse(body, kind="sitemap")][-1] == "https://a.example/2"


def test_an_xml_document_that_is_no_sitemap() -> None:
    with pytest.raises(ExtractionError, match="neither"):
        parse(b"<?xml version='1.0'?><rss></rss>", kind="sitemap")


def test_sitemap_indexes_end() -> None:
    body = b"<sitemapindex><sitemap><loc>https://a.example/s.xml</loc></sitemap></sitemapindex>"
    assert len(parse(body, context={"from": "sitemap", "sitemaps": 2})) == 1
    assert parse(body, context={"from": "sitemap", "sitemaps": 3}) == []


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_items_or_an_extraction_error(body: bytes) -> None:
    for prefix in (b"", b"<urlset>", b'<script type="application/ld+json">{"@type":"MusicRecording","name":'):
        with contextlib.suppress(ExtractionError):
            parse(prefix + body)


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["@type", "@id", "name", "byArtist", "track", "item", "url", "audio", "@graph", "duration"])
            | st.text(max_size=3),
            inner | st.sampled_from(["MusicRecording", "MusicAlbum", "VideoObject"]),
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(values)
def test_any_json_is_read_without_another_error(value: Any) -> None:
    for thing in parse(script(json.dumps(value).replace("<", "\\u003c"))):
        assert thing.title
        assert thing.source_key
        json.dumps(thing.to_json(), allow_nan=False)


@pytest.mark.skipif(not BANDCAMP, reason="the recorded pages of shared/data are not here")
@pytest.mark.parametrize("path", BANDCAMP, ids=lambda path: path.stem)
def test_recorded_bandcamp(path: Path) -> None:
    data = json.loads(path.read_text())
    items = parse(script(json.dumps(data).replace("<", "\\u003c")), url=data["@id"])
    if data["@type"] == "MusicRecording":
        assert [(item.title, item.duration_s) for item in items] == [("OENERA", 355.0)]
        assert items[0].credits[0].name == "GUTKEIN"
        assert items[0].year == 2021
        return
    tracks = [entry["item"] for entry in data["track"]["itemListElement"]]
    assert len(items) == data["numTracks"] == len(tracks)
    for item, track in zip(items, tracks, strict=True):
        assert item.title == " ".join(track["name"].split())
        assert item.source_key == track["@id"].partition("bandcamp.com")[2]
        assert item.album == " ".join(data["name"].split())
        assert item.credits[0].name == (track.get("byArtist") or data["byArtist"])["name"]
        if "duration" in track:
            clock = track["duration"]  # P00H05M55S
            assert item.duration_s == int(clock[1:3]) * 3600 + int(clock[4:6]) * 60 + int(clock[7:9])
        else:
            assert item.duration_s is None


@pytest.mark.skipif(not STRUCTURED, reason="the recorded pages of shared/data are not here")
@pytest.mark.parametrize("path", STRUCTURED, ids=lambda path: path.stem)
def test_recorded_pages_never_trip(path: Path) -> None:
    items = [thing for thing in parse(path.read_bytes()) if isinstance(thing, RecordingItem)]
    if path.stem in ("MusicRecording.001", "Event.002"):
        assert [(item.title, item.duration_s, item.credits[0].name, item.album) for item in items] == [
            ("Rope", 245.0, "Foo Fighters", None),
            ("Everlong", 393.0, "Foo Fighters", None),
        ]
    else:
        assert items == []  # concerts, products, people
