"""Tables, good and bad, on the web and in files."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import _rows, table_file
from adapters.contract import ExtractionError, Page, PageRequest, RecordingItem, SourceQuery, get_adapter
from tests.conftest import SHARED_DATA

SONG_VERSIONS = SHARED_DATA / "song_versions.csv"
URL = "https://t.example/lists/songs.csv"


def read(body: bytes | str, url: str = URL, **options: Any) -> tuple[list[RecordingItem], str]:
    """The items, and what was wrong."""
    data = body.encode() if isinstance(body, str) else body
    query = SourceQuery("t", [url], options=options)
    (request,) = get_adapter("table").seeds(query)
    return drain(get_adapter("table").parse(Page(url, request, body=data), query))[::2]  # type: ignore[return-value]


def drain(found: Any) -> tuple[list[RecordingItem], list[PageRequest], str]:
    items: list[RecordingItem] = []
    requests: list[PageRequest] = []
    try:
        for each in found:
            (items if isinstance(each, RecordingItem) else requests).append(each)
    except ExtractionError as error:
        return items, requests, str(error)
    return items, requests, ""


def read_file(path: Path, **options: Any) -> tuple[list[RecordingItem], int, list[str]]:
    """The items of all parts, how many parts there were, and what was wrong in each."""
    adapter = get_adapter("table_file")
    query = SourceQuery("t", [str(path)], options=options)
    waiting = list(adapter.seeds(query))
    items: list[RecordingItem] = []
    problems, parts = [], 0
    while waiting:
        request = waiting.pop()
        # As it comes back from the frontier.
        request = PageRequest(request.url, request.kind, 0, json.loads(json.dumps(dict(request.context))))
        found, following, problem = drain(adapter.parse(Page(request.url, request, path=path), query))
        items += found
        waiting += following
        parts += 1
        problems += [problem] if problem else []
    return items, parts, problems


def test_columns_are_understood_by_their_names() -> None:
    body = "Track Title;ARTIST;Duration;ISRC;Link;File;Year\r\nКалинка;Хор;2:31;RUA1;/s/1;/a/1.mp3;1998-05-01\r\n"
    (item,), problem = read(body)
    assert problem == ""
    assert (item.title, item.credits[0].name, item.duration_s, item.year) == ("Калинка", "Хор", 151.0, 1998)
    assert (item.url, item.audio_url) == ("https://t.example/s/1", "https://t.example/a/1.mp3")
    assert (item.source_key, item.identifiers) == ("/s/1", {"isrc": "RUA1"})
    (russian,), _ = read("Название,Исполнитель,Длительность\nКатюша,Лидия Русланова,165\n")
    assert (russian.title, russian.credits[0].name, russian.duration_s) == ("Катюша", "Лидия Русланова", 165.0)


def test_columns_can_be_told() -> None:
    body = "n,what,who,ms\n7,Song,A; B,61500\n"
    told = {"id": "n", "title": "what", "artist": "who", "duration_ms": "ms"}
    (item,), _ = read(body, columns=told, separator=";")
    assert (item.source_key, item.title, [credit.name for credit in item.credits]) == ("7", "Song", ["A", "B"])
    assert item.duration_s == 61.5
    assert (
        "options.columns.artist: no column 'nobody'; there are: n, what" in read(body, columns={"artist": "nobody"})[1]
    )
    assert "no column is the title; there are: n, what, who, ms" in read(body)[1]


def test_keys_without_an_id_do_not_depend_on_the_place() -> None:
    one, _ = read("title,artist\nA,X\nB,Y\n")
    other, _ = read("artist,title\nY,B\nZ,C\nX,A\n", url="https://elsewhere.example/x.csv")
    assert {item.title: item.source_key for item in one}.items() <= {i.title: i.source_key for i in other}.items()


def test_bad_rows_are_told_with_their_lines() -> None:
    body = 'id,title,duration\n1,A,61\n2,,5\n\n3,C,long\n4,D,1,2,3\n5,"E\nE2",7\n6,"F,8\n7,G 12" mix,9\n8,H,1\n'
    items, problem = read(body)
    assert [item.source_key for item in items] == ["1", "3", "5", "7", "8"]
    assert [item.title for item in items][2:4] == ["E E2", 'G 12" mix']
    assert problem.startswith("4 bad rows: line 3: no title; line 5: duration: 'long' is no time; line 6: 5 cells")
    assert "line 9: no readable CSV" in problem
    items, problem = read('title\nA\n"B\nC\n' + "D\n" * 2000)
    assert (len(items), problem) == (2002, "1 bad rows: line 3: a quote is opened and not closed")
    _, problem = read("title,x\n" + ",1\n" * 30)
    assert problem.endswith("line 9: no title; and 22 more")


def test_encodings() -> None:
    text = "title,artist\n" + "Катюша и товарищи,Хор имени Пятницкого\n" * 3
    western = "title,artist\nÉtoile,Hélène Ségara\nÀ la claire fontaine,Chœur\n"
    for data, options in (
        (text.encode(), {}),
        (b"\xef\xbb\xbf" + text.encode(), {}),
        (text.encode("cp1251"), {}),
        (text.encode("koi8-r"), {"encoding": "koi8-r"}),
    ):
        items, problem = read(data, **options)
        assert (items[0].title, items[0].credits[0].name, problem) == ("Катюша и товарищи", "Хор имени Пятницкого", "")
    assert read(western.encode("cp1252"))[0][0].credits[0].name == "Hélène Ségara"
    assert "UTF-16" in read(text.encode("utf-16"))[1]
    mixed = "title\nЁлка\n".encode() + "Ёлка\n".encode("cp1251") + "Ель\n".encode()
    items, problem = read(mixed, encoding="utf-8")
    assert ([item.title for item in items], problem) == (
        ["Ёлка", "Ель"],
        "1 bad rows: line 3: not utf-8; set options.encoding",
    )


def test_json_lines() -> None:
    rows: list[Any] = [
        {"id": 1, "title": "A", "artists": ["X", "Y"], "duration": 61.5, "lyrics": "one\ntwo"},
        {"id": 2, "name": "B", "artist": {"name": "Z"}, "track": {"ms": 5}},
        ["no", "object"],
        {"id": 3},
    ]
    body = "\n".join(json.dumps(row) for row in rows) + "\n{broken\n\n"
    items, problem = read(body, url="https://t.example/x.jsonl")
    assert [(item.source_key, item.title) for item in items] == [("1", "A"), ("2", "B")]
    assert [credit.name for credit in items[0].credits] == ["X", "Y"]
    assert (items[0].duration_s, items[0].lyrics) == (61.5, "one\ntwo")
    assert problem.startswith("3 bad rows: line 3: not a JSON object; line 4: no title; line 5: no readable JSON")
    nested = json.dumps({"song": {"name": "N"}, "by": [{"name": "P"}, {"name": "Q"}], "key": "k"})
    (item,), problem = read(nested, columns={"title": "song.name", "artist": "by.name"})
    assert (item.title, [credit.name for credit in item.credits], item.source_key, problem) == (
        "N",
        ["P", "Q"],
        "k",
        "",
    )


def test_what_is_no_table_is_said() -> None:
    assert "JSON array" in read('[{"title": "A"}]')[1]
    assert "markup" in read("<!doctype html><title>404</title>")[1]
    assert read("")[1] == read("\n\n")[1] == "an empty table"
    assert "binary" in read(b"PK\x03\x04\0\0")[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": "title"}, "options.columns: 'title' is not a mapping"),
        ({"columns": {"titel": "x"}}, "options.columns: no field 'titel'; there are: id, title"),
        ({"columns": {"title": 3}}, "options.columns.title: 3 is not"),
        ({"encoding": "klingon"}, "options.encoding: 'klingon'"),
        ({"encoding": "utf-16"}, "options.encoding: 'utf-16'"),
        ({"delimiter": ";;"}, "options.delimiter"),
        ({"format": "xls"}, "options.format: 'xls'"),
        ({"max_rows": 0}, "options.max_rows"),
        ({"separator": 1}, "options.separator"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("title\n")
    for name, seed in (("table", URL), ("table_file", str(tmp_path / "x.csv"))):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is looked at
            get_adapter(name).seeds(SourceQuery("t", [seed], options=options))
        assert said in str(caught.value)


def test_bad_seeds_are_named(tmp_path: Path) -> None:
    for name, seed in (("table", str(tmp_path)), ("table", ""), ("table_file", str(tmp_path)), ("table_file", URL)):
        with pytest.raises(ValueError, match="seeds: "):
            get_adapter(name).seeds(SourceQuery("t", [seed]))


def test_a_table_ends_at_its_bound() -> None:
    items, problem = read("title\nA\nB\nC\n", max_rows=2)
    assert [item.title for item in items] == ["A", "B"]
    assert "options.max_rows is 2" in problem


def test_a_file_is_read_in_parts_and_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "ROWS_AT_ONCE", 10)
    path = tmp_path / "songs 1.csv"
    rows = [f'{n},"Песня\nномер {n}",Хор' if n % 7 == 0 else f"{n},Песня {n},Хор" for n in range(95)]
    rows[42] = "42"
    path.write_bytes(("\ufeffid;title;artist\r\n" + "\r\n".join(rows).replace(",", ";") + "\r\n").encode())
    items, parts, problems = read_file(path)
    assert [item.source_key for item in items] == [str(n) for n in range(95) if n != 42]
    assert items[7].title == "Песня номер 7"
    assert parts == 10
    line = path.read_text(encoding="utf-8-sig").splitlines().index("42") + 1
    assert problems == [f"1 bad rows: line {line}: no title"]
    assert items[0].url == path.as_uri()


def test_a_file_that_changes_meanwhile_is_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "ROWS_AT_ONCE", 2)
    path = tmp_path / "x.csv"
    path.write_text("title\nA\nB\nC\n")
    adapter, query = get_adapter("table_file"), SourceQuery("t", [str(path)])
    (request,) = adapter.seeds(query)
    *_, following = adapter.parse(Page(request.url, request, path=path), query)
    assert isinstance(following, PageRequest)
    path.write_text("title\nAA\nBB\nCC\n")
    assert "changed while" in drain(adapter.parse(Page(following.url, following, path=path), query))[2]


def test_audio_files_lie_below_the_table(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    (folder / "audio").mkdir(parents=True)
    (tmp_path / "secret.mp3").touch()
    (folder / "link.mp3").symlink_to(tmp_path / "secret.mp3")
    wanted = [
        "audio/1.mp3", "./audio/2.mp3", str(folder / "3.mp3"), (folder / "4.mp3").as_uri(), "https://a.example/5.mp3",
    ]  # fmt: skip
    refused = ["../secret.mp3", "/etc/passwd", "file:///etc/passwd", "link.mp3", "ftp://a.example/x", "."]
    path = folder / "x.csv"
    path.write_text("title,file\n" + "".join(f"{n},{name}\n" for n, name in enumerate([*wanted, *refused])))
    items, _, problems = read_file(path)
    assert [item.audio_url for item in items] == [
        (folder / "audio/1.mp3").as_uri(), (folder / "audio/2.mp3").as_uri(), (folder / "3.mp3").as_uri(),
        (folder / "4.mp3").as_uri(), "https://a.example/5.mp3", *[None] * len(refused),
    ]  # fmt: skip
    assert problems[0].startswith("6 bad rows: line 7: audio: '../secret.mp3' is no address that may be used")
    # A table on the web names no file of ours.
    items, problem = read("title,file\nA,file:///etc/passwd\n")
    assert (items[0].audio_url, "no address" in problem) == (None, True)


def test_long_lines_do_not_stop_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rows, "MAX_LINE", 100)
    items, problem = read("title\nA\n" + "x" * 1000 + "\nB\n")
    assert [item.title for item in items] == ["A", "B"]
    assert problem == "1 bad rows: line 3: longer than 100 bytes"


@pytest.mark.skipif(not SONG_VERSIONS.exists(), reason="the tables of shared/data are not here")
def test_a_real_table() -> None:
    items, parts, problems = read_file(SONG_VERSIONS, columns={"id": "youtube_id"})
    assert (len(items), parts, problems) == (19_716, 20, [])
    assert len({item.source_key for item in items}) > 19_000
    assert all(item.title and item.credits for item in items)


@given(st.binary(max_size=300))
def test_any_bytes_are_items_or_an_extraction_error(body: bytes) -> None:
    for prefix in (b"", b"title,artist\n", b'{"title": "a"}\n', b'title\n"'):
        with contextlib.suppress(ExtractionError):
            for item in read(prefix + body)[0]:
                json.dumps(item.to_json(), allow_nan=False)
