"""The object store on a real S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.store import CHUNK_BYTES, ObjectStore, StoreError
from tests.media.conftest import ACCESS_KEY, SECRET_KEY
from tests.ports import free_port


@pytest.fixture
def store(s3_endpoint: str, request: pytest.FixtureRequest) -> ObjectStore:
    bucket = request.node.name.replace("_", "-").replace("[", "-").replace("]", "")[:60].lower()
    result = ObjectStore(s3_endpoint, ACCESS_KEY, SECRET_KEY, bucket)
    result.ensure_bucket()
    return result


def test_the_bucket_is_made_once(store: ObjectStore) -> None:
    store.put_bytes("kept", b"1", "text/plain")
    store.ensure_bucket()
    assert store.get_bytes("kept") == b"1"


def test_bytes_come_back(store: ObjectStore) -> None:
    data = bytes(range(256)) * 1_000
    store.put_bytes("audio/ab/катюша.mp3", data, "audio/mpeg")
    assert store.size("audio/ab/катюша.mp3") == len(data)
    assert store.get_bytes("audio/ab/катюша.mp3") == data
    assert store.get_bytes("audio/ab/катюша.mp3", 1_000, 10) == data[1_000:1_010]
    assert store.get_bytes("audio/ab/катюша.mp3", 255_990) == data[255_990:]
    chunks = list(store.stream("audio/ab/катюша.mp3", 5, 200_000))
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert b"".join(chunks) == data[5:200_005]
    store.put_bytes("audio/ab/катюша.mp3", b"new", "audio/mpeg")
    assert store.get_bytes("audio/ab/катюша.mp3") == b"new"
    store.put_bytes("empty", b"", "text/plain")
    assert store.get_bytes("empty") == b""


def test_files_in_parts(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(6 * 1024 * 1024) + b"end")
    store.put_file("large", path, "application/octet-stream")
    assert store.size("large") == path.stat().st_size
    assert store.get_bytes("large", path.stat().st_size - 4) == b"\0end"
    with pytest.raises(FileNotFoundError):
        store.put_file("other", tmp_path / "none", "text/plain")


def test_an_abandoned_stream_harms_nobody(store: ObjectStore) -> None:
    store.put_bytes("one", b"x" * 500_000, "text/plain")
    for _ in range(20):
        stream = store.stream("one")
        assert next(iter(stream))
        stream.close()  # type: ignore[attr-defined]
    assert store.size("one") == 500_000


def test_what_is_not_there(store: ObjectStore) -> None:
    assert store.size("none") is None
    store.delete("none")
    for call in (store.get_bytes, store.stream):
        with pytest.raises(StoreError) as caught:
            call("none")
        assert (caught.value.code, caught.value.transient) == ("object_not_found", False)


def test_keys_and_delete(store: ObjectStore) -> None:
    for number in range(3):
        store.put_bytes(f"pages/2026/{number}.warc", b"w" * number, "application/warc")
    store.put_bytes("pagesize", b"1", "text/plain")
    assert sorted(store.keys("pages/")) == [(f"pages/2026/{number}.warc", number) for number in range(3)]
    assert len(list(store.keys())) == 4
    assert list(store.keys("nothing/")) == []
    store.delete("pages/2026/0.warc")
    assert store.size("pages/2026/0.warc") is None
    assert len(list(store.keys("pages/"))) == 2


def test_a_wrong_key_is_no_passing_trouble(s3_endpoint: str) -> None:
    with pytest.raises(StoreError) as caught:
        ObjectStore(s3_endpoint, ACCESS_KEY, "wrong", "bucket").put_bytes("a", b"1", "text/plain")
    assert (caught.value.code, caught.value.transient) == ("store_refused", False)


def test_an_absent_server_is_passing_trouble() -> None:
    store = ObjectStore(f"http://127.0.0.1:{free_port()}", ACCESS_KEY, SECRET_KEY, "bucket")
    for call in (lambda: store.size("a"), lambda: list(store.keys()), store.ensure_bucket):
        with pytest.raises(StoreError) as caught:
            call()
        assert (caught.value.code, caught.value.transient) == ("store_unreachable", True)
