"""The public pages."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from catalog.database import Database
from catalog_api.pages import words
from catalog_api.pages.endpoints import authors, bars
from tests.catalog_api.conftest import made

HTML = {"Accept": "text/html"}
EVIL = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&\u2028"


async def test_the_pages_show_the_catalog_in_both_languages(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        singer = make.artist("Лидия Русланова", aliases=["Lidiya Ruslanova"])
        song = make.song("Катюша", titles=["Katyusha"], composers=[singer], language="ru")
        version = make.version(
            song, performers=[singer], kind="live", duration_s=164, release_year=1939, waveform=[0.5] * 400, sources=0
        )
        make.source(version, audio_object="sound")
        make.source(version, rank=1, availability="removed")
    russian = (await client.get("/songs/katyusha", headers={**HTML, "Accept-Language": "ru-RU,ru;q=0.9,en;q=0.8"})).text
    for text in (
        "Катюша",
        "концерт",
        "2:44",
        "1939",
        "удалено",
        "основной",
        "Другие названия: Katyusha",
        '<html lang="ru">',
    ):
        assert text in russian, text
    assert f'<audio controls preload="none" src="/api/v1/versions/{version.id}/stream"' in russian
    assert russian.count("<rect") == 120
    english = (await client.get("/songs/katyusha?lang=en", headers=HTML)).text
    assert "live" in english
    assert "preferred" in english
    assert "/artists/lidiya-ruslanova?lang=en" in english
    data = json.loads(re.findall(r'<script type="application/ld\+json">(.*?)</script>', english)[0])
    assert (data["@type"], data["recordedAs"][0]["duration"]) == ("MusicComposition", "PT164S")
    artist = (await client.get("/artists/lidiya-ruslanova", headers=HTML)).text
    assert "Катюша" in artist
    assert "Lidiya Ruslanova" in artist
    home = (await client.get("/", headers=HTML)).text
    assert 'href="/songs/katyusha"' in home
    assert "1 version" in home
    found = (await client.get("/?q=katusha", headers=HTML)).text
    assert 'href="/songs/katyusha"' in found


async def test_what_sources_say_stays_text(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        artist = make.artist(EVIL, bio=EVIL)
        song = make.song(
            EVIL, titles=[EVIL + "2"], composers=[artist], genre=EVIL, language='"><b>', lyrics_markup=EVIL
        )
        version = make.version(song, performers=[artist], title=EVIL, sources=0, identifiers={"isrc": EVIL})
        make.source(version, title=EVIL, source=EVIL, url="javascript:alert(3)")
        make.source(version, rank=1, url='https://x.example/"><script>alert(4)</script>')
    for path in (f"/songs/{song.slug}", f"/artists/{artist.slug}", "/", f"/?q={EVIL}", "/?q=script"):
        response = await client.get(path, headers=HTML)
        assert response.status_code == 200
        scripts = re.findall(r"<script[^>]*>", response.text)
        assert set(scripts) <= {'<script type="application/ld+json">'}, path
        assert "<img src=x" not in response.text
        assert "javascript:" not in response.text
        assert "script-src" not in response.headers["content-security-policy"]
        assert "default-src 'none'" in response.headers["content-security-policy"]
        for linked in re.findall(r"<script[^>]*>(.*?)</script>", response.text):
            assert EVIL in json.dumps(json.loads(linked), ensure_ascii=False).replace('\\"', '"')
    raw = await client.get(f"/api/v1/songs/{song.id}")
    assert raw.headers["content-type"] == "application/json"
    assert raw.json()["title"] == EVIL


async def test_pages_are_walked(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        for number in range(70):
            make.song(f"Песня {number:02}")
    first = (await client.get("/", headers=HTML)).text
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following
    second = (await client.get(following[1].replace("&amp;", "&"), headers=HTML)).text
    assert "Песня 59" in first
    assert "Песня 60" not in first
    assert "Песня 60" in second
    assert 'rel="next"' not in second


@pytest.mark.parametrize(
    ("path", "status"), [("/songs/nothing", 404), ("/nothing", 404), ("/songs/a'b", 400), ("/?cursor=x", 400)]
)
async def test_errors_are_pages_for_people(client: httpx.AsyncClient, path: str, status: int) -> None:
    response = await client.get(path, headers=HTML)
    assert (response.status_code, response.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert "<h1>" in response.text


async def test_no_page_asks_another_server(client: httpx.AsyncClient) -> None:
    page = (await client.get("/", headers=HTML)).text
    for address in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert address.startswith(("/", "#"))
    style = await client.get("/static/style.css")
    assert style.status_code == 200
    assert "http" not in style.text
    assert (await client.get("/static/..%2fwords.py")).status_code == 404


def test_languages_say_the_same() -> None:
    assert words.WORDS["ru"].keys() == words.WORDS["en"].keys()


@pytest.mark.parametrize(
    ("asked", "header", "language"),
    [
        (None, "", "en"),
        (None, "ru", "ru"),
        (None, "de, ru;q=0.5, en;q=0.4", "ru"),
        (None, "en;q=0.1, ru;q=0.9", "ru"),
        (None, "ru;q=0", "en"),
        (None, "ru;q=1.1.1, ,;;", "en"),
        ("ru", "en", "ru"),
        ("<b>", "ru", "ru"),
    ],
)
def test_the_language_is_chosen(asked: str | None, header: str, language: str) -> None:
    assert words.choose(asked, header) == language


def test_bars_and_words() -> None:
    assert bars(None) == bars([]) == []
    assert bars([0.2, 5, -1]) == [0.2, 1.0, 0.0]
    assert bars([0, 1] * 120) == [1.0] * 120
    assert [words.counted("ru", n) for n in (1, 2, 5, 11, 21, 12)] == [
        "1 версия",
        "2 версии",
        "5 версий",
        "11 версий",
        "21 версия",
        "12 версий",
    ]
    assert (words.clock(None), words.clock(164.4), words.clock(3725)) == ("", "2:44", "1:02:05")


def test_roles_of_the_same_people_stand_together() -> None:
    def credit(role: str, name: str) -> dict[str, str]:
        return {"role": role, "credited_as": name}

    one = [credit("composer", "Ларионов"), credit("lyricist", "Ларионов"), credit("arranger", "Другой")]
    assert [(roles, len(credits)) for roles, credits in authors(one)] == [
        (["composer", "lyricist"], 1),
        (["arranger"], 1),
    ]
    two = [credit("composer", "А"), credit("composer", "Б"), credit("lyricist", "А")]
    assert [roles for roles, _ in authors(two)] == [["composer"], ["lyricist"]]
    assert authors([]) == []
