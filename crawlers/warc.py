"""Responses as WARC (ISO 28500): one gzip member per record, so that each can be read alone at its offset.

A response whose body is kept already becomes a ``revisit`` record that refers to the earlier one (ISO 28500, 6.7).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from warcio.archiveiterator import ArchiveIterator
from warcio.recordloader import ArcWarcRecord
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from crawlers.incremental import body_digest
from crawlers.ports import SnapshotRecord

_RENDERED = "WARC-X-Rendered"
_HOP_BY_HOP = frozenset(("content-encoding", "transfer-encoding", "content-length", "connection", "keep-alive"))
"""Headers that would be untrue of a body that is stored whole and decoded."""
NOT_MODIFIED_PROFILE = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
MAX_STORED_BODY = 64 << 20
"""Bytes of one body that `read_record` takes: a small stored record must not grow without bound."""


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """Bytes ``offset`` to ``offset + length`` of the file; ``digest`` of the body and ``date``, as WARC writes them."""

    offset: int
    length: int
    digest: str
    date: str = ""


class SnapshotError(Exception):
    """A stored record cannot be read."""

    code = "snapshot_unreadable"


def write_records(records: Sequence[SnapshotRecord]) -> tuple[bytes, list[RecordPlace]]:
    """All records as one file, and where each lies."""
    buffer = io.BytesIO()
    writer = WARCWriter(buffer, gzip=True, warc_version="1.1")
    places = []
    for record in records:
        offset = buffer.tell()
        digest = record.digest or body_digest(record.body)
        date = record.fetched_at or datetime.now(UTC).isoformat().replace("+00:00", "Z")
        writer.write_record(_revisit(writer, record, digest, date) or _response(writer, record, digest, date))
        places.append(RecordPlace(offset, buffer.tell() - offset, digest, date))
    return buffer.getvalue(), places


def _response(writer: WARCWriter, record: SnapshotRecord, digest: str, date: str) -> ArcWarcRecord:
    headers = {"WARC-Date": date, "WARC-Payload-Digest": digest}
    if record.rendered:
        headers[_RENDERED] = "true"
    return writer.create_warc_record(
        _one_line(record.url),
        "response",
        payload=io.BytesIO(record.body),
        length=len(record.body),
        http_headers=_http_headers(record),
        warc_headers_dict=headers,
    )


def _revisit(writer: WARCWriter, record: SnapshotRecord, digest: str, date: str) -> ArcWarcRecord | None:
    if record.repeats is None:
        return None
    headers = {"WARC-Date": date}
    if record.rendered:
        headers[_RENDERED] = "true"
    revisit = writer.create_revisit_record(
        _one_line(record.url),
        digest,
        _one_line(record.repeats.url),
        record.repeats.date,
        http_headers=_http_headers(record),
        warc_headers_dict=headers,
    )
    if record.status == HTTPStatus.NOT_MODIFIED:
        revisit.rec_headers.replace_header("WARC-Profile", NOT_MODIFIED_PROFILE)
    return revisit


def read_record(data: bytes) -> SnapshotRecord:
    """The first response of these bytes, which start at a record. Raises SnapshotError."""
    try:
        for record in ArchiveIterator(io.BytesIO(data)):
            if record.rec_type != "response" or record.http_headers is None:
                continue
            body = record.raw_stream.read(MAX_STORED_BODY + 1)
            if len(body) > MAX_STORED_BODY:
                raise SnapshotError(f"snapshot_unreadable: its body is larger than {MAX_STORED_BODY} bytes")
            return SnapshotRecord(
                url=record.rec_headers.get_header("WARC-Target-URI") or "",
                status=int(record.http_headers.get_statuscode()),
                headers={name.lower(): value for name, value in record.http_headers.headers},
                body=body,
                rendered=record.rec_headers.get_header(_RENDERED) == "true",
                fetched_at=record.rec_headers.get_header("WARC-Date") or "",
            )
    except SnapshotError:
        raise
    except Exception as error:  # warcio raises many kinds on damaged input
        raise SnapshotError(f"snapshot_unreadable: {error}") from error
    raise SnapshotError("snapshot_unreadable: it holds no response")


def _http_headers(record: SnapshotRecord) -> StatusAndHeaders:
    try:
        phrase = HTTPStatus(record.status).phrase
    except ValueError:
        phrase = ""
    headers = [
        (_one_line(name), _one_line(value)) for name, value in record.headers.items() if name.lower() not in _HOP_BY_HOP
    ]
    if record.repeats is None:
        headers.append(("content-length", str(len(record.body))))
    return StatusAndHeaders(f"{record.status} {phrase}".strip(), headers, protocol="HTTP/1.1")


def _one_line(value: str) -> str:
    """No line break of a site may start a header of its own."""
    return " ".join(value.split("\n")).replace("\r", " ").replace("\0", "")
