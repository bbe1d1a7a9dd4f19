"""The Internet Archive's adapter: what seeds mean, the recorded answer, bounds."""

from __future__ import annotations

import contextlib
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import ExtractionError, Page, PageRequest, RecordingItem, SourceQuery, get_adapter, recognise
from tests.conftest import SHARED_DATA

RECORDED = SHARED_DATA / "recorded" / "internet_archive" / "advanced_search_response.json"
SCRAPE = "https://archive.org/services/search/v1/scrape"


def seeds(*names: str, **query: Any) -> list[PageRequest]:
    return list(get_adapter("internet_archive").seeds(SourceQuery("archive", names, **query)))


def parse(body: Any, request: PageRequest, **options: Any) -> list[Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    query = SourceQuery("archive", options=options)
    return list(get_adapter("internet_archive").parse(Page(request.url, request, body=data), query))


def asked(request: PageRequest) -> str:
    assert request.url.startswith(SCRAPE)
    return parse_qs(urlsplit(request.url).query)["q"][0]


@pytest.mark.parametrize(
    "seed",
    [
        "pesni-1958",
        "https://archive.org/details/pesni-1958",
        "https://www.archive.org/details/pesni-1958/01.flac?autoplay=1",
        "http://archive.org/download/pesni-1958/x.mp3",
        "https://archive.org/metadata/pesni-1958",
    ],
)
def test_an_item_by_its_id_or_any_of_its_urls(seed: str) -> None:
    (request,) = seeds(seed)
    assert (request.url, request.kind) == ("https://archive.org/metadata/pesni-1958", "item")


def test_searches_and_collections() -> None:
    found = seeds(
        "collection:folk",
        "https://archive.org/search?query=kalinka&and[]=year%3A%221958%22",
        "https://archive.org/advancedsearch.php?q=collection:nasa&output=json&rows=50",
        search=["Катюша"],
    )
    assert [request.kind for request in found] == ["search"] * 4
    assert asked(found[0]) == "collection:(folk) AND mediatype:(audio OR etree)"
    assert asked(found[1]) == '(kalinka) AND (year:"1958")'
    assert found[2].url.startswith("https://archive.org/advancedsearch.php?")
    assert asked(found[3]) == "(Катюша) AND mediatype:(audio OR etree)"


@pytest.mark.parametrize(
    ("seed", "said"),
    [
        ("", "names no item"),
        ("two words", "names no item"),
        ("https://example.org/details/x", "not on archive.org"),
        ("https://archive.org/", "names no item"),
        ("https://archive.org/search", "needs \\?query="),
        ("https://[x/details/y", "not on archive.org"),
    ],
)
def test_a_bad_seed_is_named(seed: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"seeds: .*{said}"):
        seeds(seed)


@pytest.mark.parametrize(
    ("url", "kind", "key"),
    [
        ("https://archive.org/details/pesni", "upload", "pesni"),
        ("https://www.archive.org/details/pesni/side%20A/01.flac", "item", "pesni/side A/01.flac"),
        ("http://archive.org/download/pesni/01.mp3?x=1", "item", "pesni/01.mp3"),
        ("https://archive.org/metadata/pesni/files", "upload", "pesni"),
    ],
)
def test_urls_are_recognised(url: str, kind: str, key: str) -> None:
    found = recognise(url)
    assert found is not None
    assert (found.adapter, found.kind, found.source_key) == ("internet_archive", kind, key)
    assert recognise(found.url) == found


def test_other_urls_are_not() -> None:
    for url in (
        "https://archive.org/",
        "https://web.archive.org/web/2020/http://x/",
        "https://archive.org/details/a b",
    ):
        assert recognise(url) is None


def test_bad_options_are_named() -> None:
    for name, value in (("max_items", "many"), ("max_items", 0), ("mediatypes", "audio"), ("base", "ftp://x")):
        with pytest.raises(ValueError, match=f"options.{name}"):
            seeds("x", options={name: value})
    with pytest.raises(ValueError, match="seeds: empty"):
        seeds()
    with pytest.raises(ValueError, match="search: empty"):
        seeds(search=[" "])


def test_a_search_ends_at_its_bound_and_does_not_get_deeper() -> None:
    (request,) = seeds(search=["x"], options={"max_items": 150})
    pages, items = 0, 0
    while True:
        size = int(parse_qs(urlsplit(request.url).query)["count"][0])
        entries = [{"identifier": f"item{pages}x{n}"} for n in range(size)]
        found = parse({"items": entries, "cursor": f"c{pages}", "total": 10**6}, request, max_items=150)
        items += sum(each.kind == "item" for each in found)
        pages += 1
        following = [each for each in found if each.kind == "search"]
        if not following:
            break
        (request,) = following
        assert request.continues
    assert (pages, items) == (1, 150)


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded answers of shared/data are not here")
def test_the_recorded_answer() -> None:
    request = PageRequest("https://archive.org/advancedsearch.php?q=collection:nasa&output=json&rows=50", "search")
    answer = json.loads(RECORDED.read_text())
    assert parse(answer, request) == []  # films and pictures: none of it is audio
    films = parse(answer, request, mediatypes=["movies"])
    docs = [doc for doc in answer["response"]["docs"] if doc["mediatype"] == "movies"]
    assert [film.context["id"] for film in films] == [doc["identifier"] for doc in docs]
    assert len(films) == 14
    answer["response"]["numFound"] = 120
    following = parse(answer, request)[0]
    assert parse_qs(urlsplit(following.url).query)["start"] == ["50"]
    assert following.context["seen"] == 50


def test_films_only_where_they_are_wanted() -> None:
    item = {
        "files": [{"name": "film.mp4", "source": "original", "format": "MPEG4", "length": "10:00"}],
        "metadata": {"mediatype": "movies", "title": "Concert"},
    }
    request = PageRequest("https://archive.org/metadata/film", "item", 0, {"id": "film"})
    assert parse(item, request) == []
    (film,) = parse(item, request, mediatypes=["movies"])
    assert (film.source_key, film.title, film.duration_s) == ("film/film.mp4", "Concert", 600.0)


def test_one_upload_in_two_formats_is_one_recording() -> None:
    names = ("a.mp3", "a.flac", "b.mp3")
    files = [{"name": name, "source": "original", "format": name[-3:]} for name in names]
    request = PageRequest("https://archive.org/metadata/x", "item", 0, {"id": "x"})
    found = parse({"files": files, "metadata": {"mediatype": "audio", "title": "T"}}, request)
    assert [(each.source_key, each.audio_url.rpartition("/")[2]) for each in found] == [
        ("x/a.flac", "a.mp3"),
        ("x/b.mp3", "b.mp3"),
    ]


WORDS = (
    "metadata", "files", "name", "source", "format", "title", "items", "response", "docs", "identifier", "mediatype",
    "creator", "length", "is_dark", "cursor", "subject", "date", "numFound",
)  # fmt: skip

values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(WORDS),
            inner | st.sampled_from(["a.mp3", "original", "audio"]),
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(values)
def test_any_answer_is_items_or_an_extraction_error(value: Any) -> None:
    for kind in ("item", "search"):
        with contextlib.suppress(ExtractionError):
            for thing in parse(value, PageRequest("https://archive.org/metadata/x", kind)):
                if isinstance(thing, RecordingItem):
                    assert thing.title
                    json.dumps(thing.to_json(), allow_nan=False)
