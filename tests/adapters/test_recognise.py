"""Every URL that yt-dlp tests its extractors of our sites with reaches its adapter, with its key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from yt_dlp.extractor import _extractors

from adapters._yt_dlp import YtDlpAdapter
from adapters.contract import Recognised, SourceQuery, adapter_names, get_adapter, recognise

MODULES = {
    "yt_dlp.extractor.youtube": "youtube",
    "yt_dlp.extractor.vk": "vk",
    "yt_dlp.extractor.yandexmusic": "yandex_music",
    "yt_dlp.extractor.rutube": "rutube",
    "yt_dlp.extractor.smotrim": "smotrim",
}
CUT_OFF = {"YoutubeTruncatedID", "YoutubeTruncatedURL"}
ITEMS = {
    "Youtube",
    "YoutubeYtBe",
    "YoutubeConsentRedirect",
    "VK",
    "VKPlay",
    "Rutube",
    "Smotrim",
    "SmotrimAudio",
    "YandexMusicTrack",
}


def listed() -> Iterator[Any]:
    for cls in vars(_extractors).values():
        if not isinstance(cls, type):
            continue
        for module, adapter in MODULES.items():
            if cls.__module__ == module or cls.__module__.startswith(f"{module}."):
                name = cls.__name__.removesuffix("IE")
                for number, case in enumerate(cls.get_testcases(include_onlymatching=True)):
                    known = (case.get("info_dict") or {}).get("id")
                    yield pytest.param(adapter, name, case["url"], known, id=f"{name}-{number}")


CASES = list(listed())


def adapters() -> dict[str, YtDlpAdapter]:
    found = {name: get_adapter(name) for name in adapter_names()}
    return {name: adapter for name, adapter in found.items() if isinstance(adapter, YtDlpAdapter)}


def test_yt_dlp_still_lists_its_urls() -> None:
    assert len(CASES) > 240
    assert set(adapters()) == set(MODULES.values())


@pytest.mark.parametrize(("adapter", "extractor", "url", "known"), CASES)
def test_url_reaches_its_adapter(adapter: str, extractor: str, url: str, known: str | None) -> None:
    found = adapters()[adapter].recognise(url)
    assert found is not None
    assert found.adapter == adapter
    if "://" in url:
        assert recognise(url) == found
        others = [name for name, other in adapters().items() if name != adapter and other.recognise(url)]
        assert others == []
    if extractor in CUT_OFF:
        assert found.source_key == ""
        with pytest.raises(ValueError, match="cut off"):
            adapters()[adapter].seeds(SourceQuery(adapter, [url]))
        return
    assert found.source_key
    if extractor in ITEMS:
        assert found.kind == "item"
    if known is not None and known in unquote(url).replace("+", " ") and found.kind != "live":
        # Two namespaces, two owners: the key says more than yt-dlp's id.
        assert found.source_key == known or found.source_key.endswith(f"/{known}") or f"/{known}/" in found.source_key
    again = adapters()[adapter].recognise(found.url)
    assert again is not None
    assert (again.kind, again.source_key, again.url) == (found.kind, found.source_key, found.url)


@pytest.mark.parametrize(
    ("adapter", "extractor", "url", "known"), [case for case in CASES if case.values[1] not in CUT_OFF]
)
def test_our_spelling_reaches_an_extractor_of_the_adapter(
    adapter: str, extractor: str, url: str, known: str | None
) -> None:
    found = adapters()[adapter].recognise(url)
    assert found is not None
    wanted = [getattr(_extractors, f"{name}IE") for name in adapters()[adapter].extractors]
    suitable = [cls.__name__.removesuffix("IE") for cls in wanted if cls.suitable(found.url)]
    assert suitable, found.url
    if found.kind == "item":
        assert suitable[-1] in ITEMS or suitable[0] in ITEMS


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        ("youtube dQw4w9WgXcQ", ("item", "dQw4w9WgXcQ")),
        ("youtube @kinogroup", ("channel", "@kinogroup")),
        ("youtube UCuAXFkgsw1L7xaCfnd5JJOw", ("channel", "UCuAXFkgsw1L7xaCfnd5JJOw")),
        ("youtube https://youtu.be/dQw4w9WgXcQ?si=abc&t=42", ("item", "dQw4w9WgXcQ")),
        ("youtube https://m.youtube.com/watch?list=RDMM&v=dQw4w9WgXcQ", ("item", "dQw4w9WgXcQ")),
        ("rutube 3eac3b4561676c17df9132a9a1e62e3e", ("item", "3eac3b4561676c17df9132a9a1e62e3e")),
        ("rutube @rutube", ("channel", "u/rutube")),
        (
            "rutube https://rutube.ru/shorts/3eac3b4561676c17df9132a9a1e62e3e/",
            ("item", "3eac3b4561676c17df9132a9a1e62e3e"),
        ),
        ("vk -77521_162222515", ("item", "-77521_162222515")),
        ("vk @mobidevices", ("channel", "@mobidevices")),
        ("vk https://m.vk.com/wall-23538238_35", ("post", "-23538238_35")),
        ("yandex_music 4878838:540508", ("item", "4878838")),
        ("yandex_music https://music.yandex.ru/artist/617526", ("artist", "617526")),
        ("smotrim video/1539617", ("item", "video/1539617")),
        ("smotrim audio/2573986", ("item", "audio/2573986")),
    ],
)
def test_ids_and_handles_are_seeds(seed: str, expected: tuple[str, str]) -> None:
    name, _, value = seed.partition(" ")
    found = adapters()[name].recognise(value)
    assert found is not None
    assert (found.kind, found.source_key) == expected
    (request,) = adapters()[name].seeds(SourceQuery(name, [value]))
    assert (request.url, request.kind) == (found.url, found.kind)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/watch?v=dQw4w9WgXcQ", "https://youtube.com.example.org/watch?v=dQw4w9WgXcQ", "dQw4w9WgXcQ",
        "https://www.youtube.com/premium", "https://rutube.ru/", "https://vk.com/noizemc", "https://music.yandex.ru/home",
        "https://smotrim.ru/", "ftp://www.youtube.com/watch?v=dQw4w9WgXcQ", "http://[", "", "file:///etc/passwd",
        "https://user@evil.example/youtu.be/dQw4w9WgXcQ",
    ],
)  # fmt: skip
def test_nothing_else_is_recognised(url: str) -> None:
    assert recognise(url) is None


def test_generic_adapters_recognise_nothing() -> None:
    assert recognise("https://fonoteka.example/recordings/1") is None


def test_recognised_is_what_others_may_rely_on() -> None:
    assert recognise("https://youtu.be/dQw4w9WgXcQ") == Recognised(
        "youtube", "item", "dQw4w9WgXcQ", "https://www.youtube.com/watch?v=dQw4w9WgXcQ"
    )


@pytest.mark.parametrize("name", sorted(set(MODULES.values())))
def test_bad_seeds_and_options_are_named(name: str) -> None:
    adapter = adapters()[name]
    with pytest.raises(ValueError, match=r"seeds: .https://example\.org/"):
        adapter.seeds(SourceQuery(name, ["https://example.org/"]))
    with pytest.raises(ValueError, match="seeds: empty"):
        adapter.seeds(SourceQuery(name))
    for option in ("cookies", "cookiefile", "password", "access_token", "username", "netrc"):
        with pytest.raises(ValueError, match="VERSIONS_ACCOUNTS_DIR"):
            adapter.seeds(SourceQuery(name, ["x"], options={option: "x"}))
    with pytest.raises(ValueError, match=r"options\.format is unknown"):
        adapter.seeds(SourceQuery(name, ["x"], options={"format": "best"}))
    with pytest.raises(ValueError, match="max_entries"):
        adapter.seeds(SourceQuery(name, ["x"], options={"max_entries": 0}))


@pytest.mark.parametrize("name", ["rutube", "vk", "yandex_music", "smotrim"])
def test_sites_without_a_search_say_so(name: str) -> None:
    with pytest.raises(ValueError, match="yt-dlp cannot search"):
        adapters()[name].seeds(SourceQuery(name, search=["катюша"]))


def test_youtube_can_be_searched() -> None:
    (request,) = adapters()["youtube"].seeds(SourceQuery("youtube", search=["калинка хор"]))
    assert request.kind == "search"
    assert recognise(request.url) is not None
