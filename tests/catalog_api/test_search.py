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


SONGS = (
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
)
ARTISTS = ("зыкина", "Zykina", "людмила зыкина", "зыкена")
STRANGE = ("'; DROP TABLE songs; --", "%", "_", "!!!", '"', "(((", "& | ! :*", "<b>", "\\", "*", "🎵", "жжжжжжж")
PREFIXES = (
    ("к", "Катюша"),
    ("кат", "Катюша"),
    ("kat", "Катюша"),
    ("темн", "Тёмная ночь"),
    ("ночь", "Тёмная ночь"),
    ("зык", "Людмила Зыкина"),
    ("хор имени пят", "Хор имени Пятницкого"),
    ("калин", "Kalinka"),
)


async def _search(client: httpx.AsyncClient, query: str) -> SearchResult:
    response = await client.get("/api/v1/search", params={"q": query})
    assert response.status_code == 200, query
    found = SearchResult.model_validate_json(response.content)
    assert found.query == query
    return found


@pytest.mark.usefixtures("songs")
async def test_songs_are_found(client: httpx.AsyncClient) -> None:
    found = {query: [song.title for song in (await _search(client, query)).songs[:1]] for query, _ in SONGS}
    assert found == {query: [title] for query, title in SONGS}


@pytest.mark.usefixtures("songs")
async def test_artists_and_their_versions_are_found(client: httpx.AsyncClient) -> None:
    found = {query: [artist.name for artist in (await _search(client, query)).artists[:1]] for query in ARTISTS}
    assert set(map(tuple, found.values())) == {("Людмила Зыкина",)}, found
    versions = (await _search(client, "катюша хор пятницкого")).versions
    assert (versions[0].song.title, versions[0].kind) == ("Катюша", "live")


@pytest.mark.usefixtures("songs")
async def test_strange_queries_find_nothing_and_break_nothing(client: httpx.AsyncClient) -> None:
    for query in STRANGE:
        assert (await _search(client, query)).songs == [], query
        response = await client.get("/api/v1/search/suggest", params={"q": query})
        assert Suggestions.model_validate_json(response.content).items == [], query
    assert (await client.get("/api/v1/songs/katyusha")).status_code == 200


async def test_bad_queries_are_refused(client: httpx.AsyncClient) -> None:
    for query in ("", "x" * 201, "a\x00b"):
        for path in ("search", "search/suggest"):
            response = await client.get(f"/api/v1/{path}", params={"q": query})
            assert (response.status_code, response.json()["code"]) == (422, "validation_error")
            assert response.json()["errors"][0]["field"] == "query.q"


@pytest.mark.usefixtures("songs")
async def test_suggestions_complete_what_is_typed(client: httpx.AsyncClient) -> None:
    for prefix, text in PREFIXES:
        response = await client.get("/api/v1/search/suggest", params={"q": prefix})
        shown = [item.text for item in Suggestions.model_validate_json(response.content).items]
        assert text in shown[:2], (prefix, shown)


def test_folding() -> None:
    assert fold("  Тёмная—НОЧЬ_2 ") == "темная ночь 2"
    assert fold("й") == "й"
    assert latin("Тёмная ночь") == latin("temnaya noch'") == "temnaya noch"
    assert fold("!!!") == latin("!!!") == ""
