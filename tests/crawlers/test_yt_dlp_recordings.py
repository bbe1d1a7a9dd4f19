"""Answers of the five sites through yt-dlp's real extractors: what they said becomes the page that the adapter reads.

The recordings beside the adapters are of our own making, in the form of each site's pages and interfaces.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from adapters._yt_dlp import YtDlpAdapter
from adapters.cases import FIXTURES
from adapters.contract import ExtractionError, Page, PageRequest, RecordingItem, SourceQuery, get_adapter
from crawlers.yt_dlp_parts.failures import LASTING
from crawlers.yt_dlp_parts.info import body
from tests.conftest import SHARED_DATA
from tests.replay import Replay, read

HERE = Path(__file__).parent / "recordings"
RECORDINGS = sorted(path.parent for root in (FIXTURES, HERE) for path in root.glob("*/*/exchanges.json"))
RUTUBE, YANDEX, VK = (SHARED_DATA / "recorded" / name for name in ("rutube", "yandex_music", "vk"))


def name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def said(folder: Path, file: str) -> Any:
    return json.loads((folder / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", RECORDINGS, ids=name)
async def test_recording(folder: Path) -> None:
    asked, outcome = said(folder, "request.json"), said(folder, "outcome.json")
    replay = Replay.of(folder / "exchanges.json")
    got = await read(folder.parent.name, asked["url"], replay, asked["kind"], asked.get("context"))
    assert replay.missing == []
    assert len(replay.asked) == outcome["requests"]
    assert (got.error.failure.value if got.error else None) == outcome["failure"]
    assert (got.error.detail if got.error else None) == outcome["detail"]
    kept = None if got.page is None else json.loads(body(got.page))
    assert kept == (said(folder, "page.json") if folder.is_relative_to(FIXTURES) else None)


@pytest.mark.parametrize("folder", [path for path in RECORDINGS if (path / "page.json").exists()], ids=name)
def test_no_page_holds_what_grants_access(folder: Path) -> None:
    exchanges, page = (folder / "exchanges.json").read_text(), (folder / "page.json").read_text()
    assert "SECRET" not in page
    for word in ("sign=", "sig=", "siren=", "cookie", "expire", "visitorData", "http_headers"):
        assert word not in page
    if folder.name in ("concert", "video", "track", "radio", "post_with_music"):
        assert "SECRET" in exchanges


def test_every_source_and_every_kind_of_refusal_is_recorded() -> None:
    seen: dict[str, set[str]] = {}
    for folder in RECORDINGS:
        seen.setdefault(folder.parent.name, set()).add(said(folder, "outcome.json")["failure"] or "fine")
    assert set(seen) == {"youtube", "vk", "rutube", "yandex_music", "smotrim"}
    for source, failures in seen.items():
        assert {"fine", "adapter_broken", "geo_blocked"} <= failures, source
    assert set().union(*seen.values()) >= {failure.value for failure in LASTING} | {"rate_limited", "wrong_type"}


async def page_of(adapter: str, url: str, exchanges: list[Mapping[str, Any]], kind: str = "item") -> Mapping[str, Any]:
    replay = Replay(exchanges)
    got = await read(adapter, url, replay, kind)
    assert (got.error, replay.missing) == (None, [])
    assert got.page is not None
    return got.page


def parsed(adapter: str, url: str, page: Mapping[str, Any], kind: str = "item", **options: Any) -> list[Any]:
    chosen = get_adapter(adapter)
    assert isinstance(chosen, YtDlpAdapter)
    return list(chosen.parse(Page(url, PageRequest(url, kind), body=body(page)), SourceQuery(adapter, options=options)))


@pytest.mark.skipif(not RUTUBE.exists(), reason="RuTube's real records are not here (../shared/data)")
async def test_real_rutube_records() -> None:
    records = json.loads((RUTUBE / "videos_2019.json").read_text())
    options = json.loads((RUTUBE / "api_video_2024.json").read_text())
    assert len(records) > 150
    manifest = (RUTUBE / "master_playlist.m3u8").read_text()
    for record in records[:40]:
        key = record["id"]
        url = f"https://rutube.ru/video/{key}/"
        page = await page_of(
            "rutube", url,
            [
                {"url": f"https://rutube.ru/api/video/{key}/", "json": record},
                {"url": f"https://rutube.ru/api/play/options/{key}/", "json": options},
                {"url": options["video_balancer"]["m3u8"].partition("?")[0], "text": manifest},
            ],
        )  # fmt: skip
        (item,) = parsed("rutube", url, page) or [None]
        if record["is_livestream"]:
            assert item is None
            continue
        assert isinstance(item, RecordingItem)
        assert (item.source_key, item.title) == (key, record["title"].strip())
        assert item.duration_s == (record["duration"] or None)
        assert [credit.name for credit in item.credits] == [record["author"]["name"].strip()]
        assert (item.published_at or "")[:10] == record["created_ts"][:10]
        assert item.thumbnail_url == record["thumbnail_url"]


@pytest.mark.skipif(not RUTUBE.exists(), reason="RuTube's real records are not here (../shared/data)")
async def test_a_real_rutube_list_is_read_in_windows() -> None:
    records = json.loads((RUTUBE / "videos_2019.json").read_text())
    unique = list({record["id"]: record for record in records}.values())
    pages = [unique[start : start + 20] for start in range(0, len(unique), 20)]
    api = "https://rutube.ru/api/video/person/1/"
    exchanges = [
        {
            "url": api,
            "query": {"page": str(number)},
            "json": {"results": page, "has_next": number < len(pages), "next": f"{api}?page={number + 1}"},
        }
        for number, page in enumerate(pages, 1)
    ]
    url = "https://rutube.ru/channel/1/"
    replay = Replay(exchanges)
    first = await read("rutube", url, replay, "channel")
    assert len(replay.asked) == 6  # 100 entries and the one that tells that there are more
    found = parsed("rutube", url, first.page or {}, "channel")
    assert found[-1] == PageRequest(url, "channel", 0, {"offset": 100}, continues=True)
    second = await read("rutube", url, Replay(exchanges), "channel", {"offset": 100})
    found = found[:-1] + parsed("rutube", url, second.page or {}, "channel")
    assert [request.url.split("/")[-2] for request in found] == [record["id"] for record in unique]
    listed = parsed("rutube", url, first.page or {}, "channel", listed=True, max_entries=7)
    recorded = [record for record in unique[:7] if not record["is_livestream"]]
    assert [item.title for item in listed] == [record["title"].strip() for record in recorded]


@pytest.mark.skipif(not YANDEX.exists(), reason="Yandex Music's real answers are not here (../shared/data)")
async def test_real_yandex_music_answers() -> None:
    album = cassette(YANDEX / "album__tags__success.yml")
    url = f"https://music.yandex.ru/album/{album['id']}"
    handlers = "https://music.yandex.ru/handlers"
    page = await page_of("yandex_music", url, [{"url": f"{handlers}/album.jsx", "json": album}], "album")
    tracks = [track for volume in album["volumes"] for track in volume]
    adapter = get_adapter("yandex_music")
    assert isinstance(adapter, YtDlpAdapter)
    found = [adapter.recognise(request.url) for request in parsed("yandex_music", url, page, "album")]
    assert [each.source_key for each in found if each is not None] == [str(track["id"]) for track in tracks]
    for track in tracks[:5]:
        url = f"https://music.yandex.ru/album/{album['id']}/track/{track['id']}"
        there = "https://storage.example/info"
        location = f"v2.1/handlers/track/{track['id']}:{album['id']}/web-album_track-track-track-main/download/m"
        page = await page_of(
            "yandex_music", url,
            [
                {"url": "https://music.yandex.ru/handlers/track.jsx", "json": {"track": track}},
                {"url": f"https://music.yandex.ru/api/{location}", "json": {"codec": "mp3", "src": there}},
                {"url": there, "json": {"host": "h.example", "path": "/p", "ts": "1", "s": "2"}},
            ],
        )  # fmt: skip
        (item,) = parsed("yandex_music", url, page)
        assert (item.title, item.source_key) == (track["title"], str(track["id"]))
        assert item.duration_s == pytest.approx(track["durationMs"] / 1000)
        assert [credit.name for credit in item.credits if credit.role == "performer"] == [
            artist["name"] for artist in track["artists"]
        ]


@pytest.mark.skipif(not VK.exists(), reason="VK's real answers are not here (../shared/data)")
async def test_real_vk_music() -> None:
    answer = cassette(VK / "search__tracks__success.yml", unwrap="response")
    tracks = answer["items"]
    assert tracks
    blocks = []
    for track in tracks:
        audio = {name: track[name] for name in ("id", "owner_id", "title", "artist", "duration")}
        audio |= {"url": track.get("url") or "https://cdn.example/a.m3u8", "coverUrl": ""}
        text = json.dumps(audio).replace("&", "&amp;").replace('"', "&quot;")
        blocks.append(f'<div data-audio="{text}"></div>')
    wall = '<div id="wl_post_body"></div>' + "".join(blocks)
    url = "https://vk.com/wall-1_2"
    answered = {"url": "https://vk.com/wkview.php", "json": {"payload": ["0", ["x", wall]]}}
    page = await page_of("vk", url, [answered], "post")
    items = parsed("vk", url, page, "post")
    assert [(item.title, item.duration_s, item.credits[0].name) for item in items] == [
        (track["title"], float(track["duration"]), track["artist"]) for track in tracks
    ]
    assert [item.source_key for item in items] == [f"audio{track['owner_id']}_{track['id']}" for track in tracks]


def cassette(path: Path, unwrap: str = "result") -> Any:
    """The JSON body of the first exchange of a VCR cassette."""
    yaml = YAML(typ="safe", pure=True)
    yaml.constructor.add_constructor("!binary", lambda loader, node: base64.b64decode(node.value))
    data = yaml.load(path)["http_interactions"][0]["response"]["body"]["string"]
    answer = json.loads(data)
    return answer.get(unwrap, answer)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"not json", b'{"_type": "playlist"}', b'{"id": null}', b'{"_type": 5}']
)
@pytest.mark.parametrize("adapter", ["youtube", "vk", "rutube", "yandex_music", "smotrim"])
def test_a_page_that_makes_no_sense(adapter: str, content: bytes) -> None:
    request = PageRequest("https://rutube.ru/video/3eac3b4561676c17df9132a9a1e62e3e/", "item")
    with pytest.raises(ExtractionError):
        list(get_adapter(adapter).parse(Page(request.url, request, body=content), SourceQuery(adapter)))


@pytest.mark.parametrize("adapter", ["youtube", "vk", "rutube", "yandex_music", "smotrim"])
def test_hostile_values_are_bounded(adapter: str) -> None:
    info = {
        "id": "x" * 10_000, "title": "t\x00\ud800" + "u" * 10_000, "description": ["no"], "duration": float("1e300"),
        "artists": [1, None, {"a": 1}, "A"] * 100, "chapters": [{"title": "x", "start_time": -1}, None, {}],
        "timestamp": 10**30, "upload_date": "99999999", "thumbnail": "javascript:alert(1)", "release_year": "soon",
        "webpage_url": 7, "age_limit": "x", "license": {}, "is_live": 0,
    }  # fmt: skip
    request = PageRequest("https://example.org/", "item")
    content = json.dumps(info).encode()
    (item,) = get_adapter(adapter).parse(Page(request.url, request, body=content), SourceQuery(adapter))
    assert isinstance(item, RecordingItem)
    assert len(item.title) <= 1000
    assert len(item.source_key) <= 210
    assert (item.duration_s, item.published_at, item.thumbnail_url, item.chapters) == (None, None, None, ())
    json.dumps(item.to_json(), allow_nan=False)
