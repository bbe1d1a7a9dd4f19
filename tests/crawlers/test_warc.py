"""What is written is read back, record by record, and by others' tools."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from crawlers import warc
from crawlers.ports import SnapshotRecord

RECORDS = [
    SnapshotRecord("https://пример.рф/песня?a=1", 200, {"content-type": "text/html", "x": "y"}, "Катюша".encode()),
    SnapshotRecord("http://127.0.0.1:81/", 404, {}, b"", fetched_at="2026-01-02T03:04:05Z"),
    SnapshotRecord("http://a.example/", 200, {"Content-Encoding": "gzip"}, b"\x00\xff" * 50_000, rendered=True),
]


def test_each_record_stands_alone() -> None:
    data, places = warc.write_records(RECORDS)
    assert sum(place.length for place in places) == len(data)
    for record, place in zip(RECORDS, places, strict=True):
        read = warc.read_record(data[place.offset : place.offset + place.length])
        assert (read.url, read.status, read.body, read.rendered) == (
            record.url, record.status, record.body, record.rendered,
        )  # fmt: skip
        assert "content-encoding" not in read.headers
        assert read.fetched_at
    assert warc.read_record(data).headers["x"] == "y"
    assert warc.read_record(data[places[1].offset :]).fetched_at == "2026-01-02T03:04:05Z"


def test_others_read_it_and_digests_are_right() -> None:
    data, places = warc.write_records(RECORDS)
    with_digests = ArchiveIterator(io.BytesIO(data), check_digests="raise")
    seen = []
    for record in with_digests:
        record.content_stream().read()
        seen.append(record.rec_headers.get_header("WARC-Payload-Digest"))
    assert seen == [place.digest for place in places]


def test_a_header_cannot_add_headers() -> None:
    record = SnapshotRecord("http://a/\r\nWARC-Type: evil", 200, {"x": "1\r\nset-cookie: a=b"}, b"")
    read = warc.read_record(warc.write_records([record])[0])
    assert "set-cookie" not in read.headers
    assert read.status == 200


@pytest.mark.parametrize(
    "data", [b"", b"garbage", warc.write_records(RECORDS)[0][:60]], ids=["empty", "garbage", "cut"]
)
def test_damage_is_an_error_of_its_own(data: bytes) -> None:
    with pytest.raises(warc.SnapshotError):
        warc.read_record(data)


@given(st.binary(max_size=300), st.dictionaries(st.text("abc-", min_size=1), st.text(max_size=10), max_size=3))
def test_any_body(body: bytes, headers: dict[str, str]) -> None:
    data, (place,) = warc.write_records([SnapshotRecord("http://a/", 200, headers, body)])
    assert warc.read_record(data[: place.length]).body == body
