"""Songs and lists of songs."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import update

from catalog.database import Database
from catalog.models import Artist, Song
from catalog_api.songs import schemas
from tests.catalog_api.conftest import made


async def test_a_song_with_everything_fits_its_schema(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        composer = make.artist("Матвей Блантер")
        singer = make.artist("Лидия Русланова", aliases=["Lidiya Ruslanova"])
        song = make.song(
            "Катюша", titles=["Katyusha"], composers=[composer], language="ru", identifiers={"iswc": "T-1"}
        )
        version = make.version(
            song,
            performers=[singer],
            sources=0,
            kind="live",
            duration_s=164.25,
            release_year=1939,
            waveform=[0.1, 1],
        )
        make.source(version, rank=1, availability="removed", availability_reason="410 Gone")
        make.source(version, rank=0, source="folder", url="file:///home/someone/katyusha.mp3", audio_object="a/b")
        make.version(song, title="Катюша (кавер)", kind="cover", sources=0)

    response = await client.get(f"/api/v1/songs/{song.id}")

    found = schemas.Song.model_validate_json(response.content)
    assert [v.kind for v in found.versions] == ["live", "cover"]
    first = found.versions[0]
    assert (first.duration_s, first.release_year, first.credits[0].artist.name) == (164.25, 1939, "Лидия Русланова")
    assert [(s.source, s.preferred, s.availability) for s in first.sources] == [
        ("folder", True, "available"),
        ("archive", False, "removed"),
    ]
    assert first.sources[0].url is None, "a path on somebody's disk is not published"
    assert first.stream_url == f"/api/v1/versions/{version.id}/stream"
    assert found.versions[1].stream_url is None
    assert found.titles == ["Katyusha"]
    assert found.credits[0].role == "composer"
    by_slug = await client.get("/api/v1/songs/katyusha")
    assert by_slug.content == response.content

    detail = await client.get(f"/api/v1/versions/{version.id}")
    from catalog_api.versions.schemas import VersionDetail

    assert VersionDetail.model_validate_json(detail.content).waveform == [0.1, 1]
    listed = await client.get("/api/v1/songs/katyusha/versions")
    assert len(schemas.VersionList.model_validate_json(listed.content).items) == 2


@pytest.mark.parametrize("sort", ["title", "newest"])
async def test_cursors_show_every_song_once_in_order(client: httpx.AsyncClient, database: Database, sort: str) -> None:
    titles = ["Ёлочка", "Катюша", "катюша", "Елка", "Kalinka", "Катюша", "Яблочко", "Ямщик", "Ой, мороз"]
    with made(database) as make:
        ids = [str(make.song(title).id) for title in titles]

    seen: list[dict[str, object]] = []
    url: str | None = f"/api/v1/songs?sort={sort}&limit=2"
    pages = 0
    while url:
        response = await client.get(url)
        page = schemas.SongPage.model_validate_json(response.content)
        seen += response.json()["items"]
        pages += 1
        url = response.links["next"]["url"] if page.next else None
        assert ("next" in response.links) == (page.next is not None)
        if page.next:
            assert page.next in response.links["next"]["url"]
    assert pages == 5
    assert sorted(str(item["id"]) for item in seen) == sorted(ids)
    if sort == "newest":
        assert [item["id"] for item in seen] == ids[::-1]
    else:
        shown = [str(item["title"]) for item in seen]
        assert [title.lower().replace("ё", "е") for title in shown] == [
            "kalinka",
            "елка",
            "елочка",
            "катюша",
            "катюша",
            "катюша",
            "ой, мороз",
            "яблочко",
            "ямщик",
        ]


async def test_filters_narrow_the_list(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        singer, writer = make.artist("Певица"), make.artist("Автор")
        one = make.song("Одна", language="ru", genre="folk")
        two = make.song("Two", language="en", composers=[writer])
        make.version(one, performers=[singer], kind="live")
        make.version(two, kind="cover")
        gone = make.song("Gone", language="ru")
        gone.deleted_at = gone.created_at

    async def slugs(query: str) -> list[str]:
        response = await client.get(f"/api/v1/songs?{query}")
        return [song["slug"] for song in response.json()["items"]]

    assert await slugs("language=ru") == ["odna"]
    assert await slugs("genre=folk&language=en") == []
    assert await slugs("kind=cover") == ["two"]
    assert await slugs(f"artist={singer.slug}") == ["odna"]
    assert await slugs(f"artist={writer.id}") == ["two"]
    assert await slugs("updated_since=2999-01-01T00:00:00Z") == []
    assert await slugs("updated_since=2001-01-01T00:00:00Z") == ["two", "odna"]


async def test_a_cursor_belongs_to_its_list(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        for number in range(3):
            make.song(f"Song {number}")
    cursor = (await client.get("/api/v1/songs?limit=1")).json()["next"]
    assert (await client.get("/api/v1/songs", params={"limit": 2, "cursor": cursor})).status_code == 200
    for path in ("songs?sort=newest", "songs?language=ru", "artists?limit=1"):
        separator = "&" if "?" in path else "?"
        response = await client.get(f"/api/v1/{path}{separator}cursor={cursor}")
        assert (response.status_code, response.json()["code"]) == (400, "bad_cursor"), path


async def test_a_made_up_cursor_is_refused(client: httpx.AsyncClient) -> None:
    for cursor in ("x", "%00", "WzFd", "bnVsbA", "e30", "ы", "W" * 1999, "W1sxXV0=", "..."):
        response = await client.get(f"/api/v1/songs?cursor={cursor}")
        assert (response.status_code, response.json()["code"]) == (400, "bad_cursor"), cursor
        assert response.json()["errors"][0]["remedy"]


async def test_an_unchanged_song_costs_304(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        singer = make.artist("Певица")
        song = make.song("Катюша")
        version = make.version(song, performers=[singer])
    url = f"/api/v1/songs/{song.id}"
    first = await client.get(url)
    tag = first.headers["etag"]
    assert "must-revalidate" in first.headers["cache-control"]
    for sent in (tag, tag.removeprefix("W/"), f'"other", {tag}'):
        again = await client.get(url, headers={"If-None-Match": sent})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)

    async def tag_after(change: object) -> str:
        with database.transaction() as session:
            session.execute(change)  # type: ignore[call-overload]
        response = await client.get(url, headers={"If-None-Match": tag})
        assert response.status_code == 200
        return str(response.headers["etag"])

    second = await tag_after(update(Song).values(row_version=Song.row_version + 1))
    third = await tag_after(update(Artist).values(name="Другое имя", row_version=Artist.row_version + 1))
    assert len({tag, second, third}) == 3

    other = f"/api/v1/versions/{version.id}"
    tag = (await client.get(other)).headers["etag"]
    assert (await client.get(other, headers={"If-None-Match": tag})).status_code == 304
    for listing in ("/api/v1/songs", "/api/v1/artists", "/api/v1/changes", "/api/v1/search?q=катюша"):
        tag = (await client.get(listing)).headers["etag"]
        assert (await client.get(listing, headers={"If-None-Match": tag})).status_code == 304


async def test_merged_ids_lead_to_the_survivor_for_ever(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        one, two, three = make.song("Первая"), make.song("Вторая"), make.song("Третья")
        make.merge(one, two)
        make.merge(two, three)
        old, new = make.version(three), make.version(three)
        make.merge(old, new)
        alias, artist = make.artist("Alias"), make.artist("Artist")
        make.merge(alias, artist)
    for path, end in (
        (f"songs/{one.id}", f"songs/{three.id}"),
        (f"songs/{one.slug}", f"songs/{three.id}"),
        (f"songs/{two.id}/versions", f"songs/{three.id}/versions"),
        (f"versions/{old.id}", f"versions/{new.id}"),
        (f"versions/{old.id}/stream", f"versions/{new.id}/stream"),
        (f"artists/{alias.id}", f"artists/{artist.id}"),
    ):
        response = await client.get(f"/api/v1/{path}")
        assert (response.status_code, response.headers["location"]) == (308, f"/api/v1/{end}"), path
    response = await client.get(f"/songs/{one.slug}", headers={"Accept": "text/html"})
    assert (response.status_code, response.headers["location"]) == (308, f"/songs/{three.id}")


async def test_deleted_is_gone_and_unknown_is_not_found(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        song = make.song("Была")
        version = make.version(song)
        artist = make.artist("Был")
        for row in (song, version, artist):
            row.deleted_at = row.created_at
    for path in (f"songs/{song.id}", f"songs/{song.slug}", f"versions/{version.id}", f"artists/{artist.id}"):
        response = await client.get(f"/api/v1/{path}")
        assert (response.status_code, response.json()["code"]) == (410, "gone"), path
    unknown = "01990f3a-5b1e-7c2d-8a47-3f0d5e9b6c21"
    for path in (
        f"songs/{unknown}",
        "songs/nothing",
        f"versions/{unknown}",
        f"versions/{unknown}/stream",
        "artists/no",
    ):
        response = await client.get(f"/api/v1/{path}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found"), path


async def test_a_malformed_id_is_refused(client: httpx.AsyncClient) -> None:
    for path in (
        "songs/%00",
        "songs/a'b",
        "songs/--",
        f"songs/{'a' * 300}",
        "versions/7",
        "versions/x",
        "artists/a%20b",
    ):
        response = await client.get(f"/api/v1/{path}")
        assert (response.status_code, response.json()["code"]) == (400, "bad_id"), path


async def test_artists_are_listed_and_show_their_versions(client: httpx.AsyncClient, database: Database) -> None:
    from catalog_api.artists.schemas import ArtistPage, ArtistWithVersions

    with made(database) as make:
        singers = [make.artist(name) for name in ("Яков", "Анна", "ёлка")]
        song = make.song("Песня")
        versions = [make.version(song, performers=[singers[1]]) for _ in range(5)]
    page = ArtistPage.model_validate_json((await client.get("/api/v1/artists?limit=2")).content)
    assert [artist.name for artist in page.items] == ["Анна", "ёлка"]
    assert page.items[0].version_count == 5
    rest = await client.get("/api/v1/artists", params={"limit": 2, "cursor": page.next})
    assert [artist["name"] for artist in rest.json()["items"]] == ["Яков"]

    seen = []
    url: str | None = "/api/v1/artists/anna?limit=2"
    while url:
        response = await client.get(url)
        found = ArtistWithVersions.model_validate_json(response.content)
        assert found.artist.id == singers[1].id
        seen += [item.id for item in found.items]
        url = response.links["next"]["url"] if found.next else None
    assert seen == [version.id for version in versions][::-1]
