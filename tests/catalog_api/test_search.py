"""Search across scripts, spellings and typos."""

from __future__ import annotations

import httpx
import pytest

from catalog.database import Database
from catalog.spellings import fold, latin
from catalog_api.search.schemas import SearchResult, Suggestions
from tests.catalog_api.conftest import made


@pytest.fixture
def songs(database: Database) -> None:
    with made(database) as make:
        singer = make.artist("Людмила Зыкина")
        choir = make.artist("Хор имени Пятницкого")
        katyusha = make.song("Катюша")
        make.version(katyusha, performers=[singer])
        make.version(katyusha, performers=[choir], kind="live")
        make.version(make.song("Тёмная ночь"), performers=[choir])
        make.version(make.song("Kalinka"), performers=[choir])
        make.song("Ой, мороз, мороз")
        for number in range(12):
            make.song(f"Другая песня {number}")


@pytest.mark.usefixtures("songs")
@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("Катюша", "Катюша"),
        ("КАТЮША", "Катюша"),
        ("katyusha", "Катюша"),
        ("катюшу", "Катюша"),
        ("катюща", "Катюша"),
        ("katusha", "Катюша"),
        ("темная ночь", "Тёмная ночь"),
        ("тёмная", "Тёмная ночь"),
        ("temnaya noch", "Тёмная ночь"),
        ("калинка", "Kalinka"),
        ("мороз", "Ой, мороз, мороз"),
        ("катюша зыкина", "Катюша"),
    ],
)
async def test_a_song_is_found(client: httpx.AsyncClient, query: str, title: str) -> None:
    response = await client.get("/api/v1/search", params={"q": query})
    found = SearchResult.model_validate_json(response.content)
    assert found.songs[0].title == title
    assert found.query == query


@pytest.mark.usefixtures("songs")
@pytest.mark.parametrize("query", ["зыкина", "Zykina", "людмила зыкина", "зыкена"])
async def test_an_artist_is_found(client: httpx.AsyncClient, query: str) -> None:
    found = SearchResult.model_validate_json((await client.get("/api/v1/search", params={"q": query})).content)
    assert found.artists[0].name == "Людмила Зыкина"


@pytest.mark.usefixtures("songs")
async def test_the_version_that_is_named_comes_first(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/v1/search", params={"q": "катюша хор пятницкого"})
    found = SearchResult.model_validate_json(response.content)
    assert (found.versions[0].song.title, found.versions[0].kind) == ("Катюша", "live")


@pytest.mark.usefixtures("songs")
@pytest.mark.parametrize(
    "query",
    ["'; DROP TABLE songs; --", "%", "_", "!!! ???", '"', "(((", "a & | ! :*", "<b>", "\\", "*", "🎵", "жжжжжжж"],
)
async def test_strange_queries_find_nothing_and_break_nothing(client: httpx.AsyncClient, query: str) -> None:
    for path, schema in (("search", SearchResult), ("search/suggest", Suggestions)):
        response = await client.get(f"/api/v1/{path}", params={"q": query})
        assert response.status_code == 200, response.text
        schema.model_validate_json(response.content)
    assert not SearchResult.model_validate_json((await client.get("/api/v1/search", params={"q": query})).content).songs
    assert (await client.get("/api/v1/songs/katyusha")).status_code == 200


@pytest.mark.parametrize("query", ["", "x" * 201, "a\x00b"])
async def test_bad_queries_are_refused(client: httpx.AsyncClient, query: str) -> None:
    for path in ("search", "search/suggest"):
        response = await client.get(f"/api/v1/{path}", params={"q": query})
        assert (response.status_code, response.json()["code"]) == (422, "validation_error")
        assert response.json()["errors"][0]["field"] == "query.q"


@pytest.mark.usefixtures("songs")
@pytest.mark.parametrize(
    ("prefix", "text"),
    [
        ("к", "Катюша"),
        ("кат", "Катюша"),
        ("kat", "Катюша"),
        ("темн", "Тёмная ночь"),
        ("ночь", "Тёмная ночь"),
        ("зык", "Людмила Зыкина"),
        ("хор имени пят", "Хор имени Пятницкого"),
        ("калин", "Kalinka"),
    ],
)
async def test_suggestions_complete_what_is_typed(client: httpx.AsyncClient, prefix: str, text: str) -> None:
    response = await client.get("/api/v1/search/suggest", params={"q": prefix})
    assert text in [item.text for item in Suggestions.model_validate_json(response.content).items][:2]


def test_folding() -> None:
    assert fold("  Тёмная—НОЧЬ_2 ") == "темная ночь 2"
    assert fold("й") == "й"
    assert latin("Тёмная ночь") == latin("temnaya noch'") == "temnaya noch"
    assert fold("!!!") == latin("!!!") == ""
