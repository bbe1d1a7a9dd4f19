"""Keys computed anew in a real PostgreSQL."""

from __future__ import annotations

from sqlalchemy import select, text

from catalog.database import Database
from catalog.models import Artist, ArtistAlias, Candidate, Song, SongTitle
from identity.names import artist_key, title_key
from identity.rekey import rekey
from identity.subject import subject_from_item


def test_old_keys_become_those_of_today(database: Database) -> None:
    item = {"title": "Ann Reed - Don´t Go", "duration_s": 100.0}
    with database.transaction() as session:
        song = Song(slug="dont-go", title="Don´t Go")
        song.titles = [SongTitle(title="Don´t Go", key="don t go"), SongTitle(title="Run", key="run")]
        artists = [
            Artist(slug="one", name="O´Neil", aliases=[ArtistAlias(name="O´Neil", key="o neil")]),
            Artist(slug="two", name="O´Hara", aliases=[ArtistAlias(name="O´Hara", key="o hara")]),
            Artist(slug="three", name="O'Hara", aliases=[ArtistAlias(name="O'Hara", key=artist_key("O'Hara"))]),
        ]
        candidate = Candidate(
            source="site", source_key="1", url="", item_digest="", item=item, duration_s=180.0, metadata_key="old-1"
        )
        session.add_all([song, *artists, candidate])

    seen: list[tuple[int, int]] = []
    first = rekey(database, lambda done, total: seen.append((done, total)))
    assert (first.titles, first.artists, first.candidates, first.clashes) == (1, 1, 1, ["O´Hara"])
    assert seen[-1] == (6, 6)

    with database.transaction() as session:
        assert set(session.scalars(select(SongTitle.key))) == {title_key("Don't Go"), "run"}
        assert session.scalar(select(ArtistAlias.key).where(ArtistAlias.name == "O´Neil")) == artist_key("O'Neil")
        assert session.scalar(select(ArtistAlias.key).where(ArtistAlias.name == "O´Hara")) == "o hara"
        expected = subject_from_item({**item, "duration_s": 180.0}).metadata_key
        assert session.scalar(select(Candidate.metadata_key)) == expected
        # The column that the word index reads follows by itself.
        words = session.scalars(text("SELECT words FROM song_titles ORDER BY words")).all()
        assert words == [["dont", "go"], ["run"]]

    again = rekey(database)
    assert (again.titles, again.artists, again.candidates, again.clashes) == (0, 0, 0, ["O´Hara"])
