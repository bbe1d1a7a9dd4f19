"""The object store: audio that may be kept, and snapshots of pages. Any S3 server serves."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

CHUNK_BYTES = 64 * 1024
_MISSING = ("NoSuchKey", "NoSuchObject", "ResourceNotFound")
_BUSY = ("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "XMinioServerNotInitialized")

T = TypeVar("T")


class StoreError(Exception):
    """The store did not do as it was asked.

    Attributes:
        code: ``store_unreachable``, ``store_busy``, ``object_not_found``, ``bad_range``, ``store_refused``; stable.
        transient: whether the same call may succeed later.
    """

    def __init__(self, code: str, detail: str, *, transient: bool) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.transient = transient


def _answer(error: Exception) -> tuple[int, str]:
    """HTTP status (0: unknown) and S3's code ("": none) of an error answer."""
    if isinstance(error, S3Error):
        return int(getattr(error.response, "status", 0) or 0), str(error.code or "")
    if isinstance(error, InvalidResponseError):
        # Some servers (rclone) send S3's errors as text/xml, which the client does not take for XML.
        status, body = getattr(error, "_code", 0), str(getattr(error, "_body", None) or "")
        found = re.search(r"<Code>(\w+)</Code>", body)
        return int(status or 0), found[1] if found else ""
    if isinstance(error, ServerError):
        return int(error.status_code), ""
    return 0, ""


def _translated(error: Exception, what: str) -> StoreError:
    if isinstance(error, urllib3.exceptions.HTTPError | OSError):
        return StoreError("store_unreachable", f"{what}: {type(error).__name__}", transient=True)
    status, code = _answer(error)
    if code in _MISSING or (status == 404 and not code):
        return StoreError("object_not_found", what, transient=False)
    if code == "InvalidRange" or status == 416:
        return StoreError("bad_range", what, transient=False)
    if code in _BUSY or status >= 500 or status == 429 or isinstance(error, ServerError):
        return StoreError("store_busy", f"{what}: {code or status}", transient=True)
    return StoreError("store_refused", f"{what}: {code or status or error}", transient=False)


class ObjectStore:
    """One bucket of an S3 server. Safe to share between threads. Retries nothing: its callers do.

    Args:
        endpoint: ``host:port``, or a URL, whose scheme then decides on TLS.
        secure: TLS, where ``endpoint`` names no scheme.

    All methods raise StoreError.
    """

    def __init__(self, endpoint: str, access_key: str, secret_key: str, bucket: str, *, secure: bool = False) -> None:
        if "://" in endpoint:
            parts = urlsplit(endpoint)
            endpoint, secure = parts.netloc, parts.scheme == "https"
        self.bucket = bucket
        self._client = Minio(
            endpoint=endpoint,
            access_key=access_key,
            secret_key=secret_key,
            secure=secure,
            # Else the client asks for the bucket's region before each first request.
            region="us-east-1",
            http_client=urllib3.PoolManager(
                maxsize=16, timeout=urllib3.Timeout(connect=5, read=60), retries=urllib3.Retry(0, redirect=0)
            ),
        )

    def _call(self, what: str, function: Callable[[], T]) -> T:
        try:
            return function()
        except (MinioException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _translated(error, what) from error

    def ensure_bucket(self) -> None:
        """Creates the bucket unless it is there."""

        def ensure() -> None:
            if self._client.bucket_exists(bucket_name=self.bucket):
                return
            try:
                self._client.make_bucket(bucket_name=self.bucket)
            except MinioException as error:
                # Another worker was faster.
                if _answer(error)[1] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

        self._call(f"bucket {self.bucket}", ensure)

    def put_bytes(self, key: str, data: bytes, content_type: str) -> None:
        """Stores an object, in place of what was there."""
        self._call(
            f"put {key}",
            lambda: self._client.put_object(
                bucket_name=self.bucket,
                object_name=key,
                data=io.BytesIO(data),
                length=len(data),
                content_type=content_type,
            ),
        )

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Stores a file's content, in place of what was there. A missing file raises OSError."""
        with path.open("rb"):
            pass
        self._call(
            f"put {key}",
            lambda: self._client.fput_object(
                bucket_name=self.bucket, object_name=key, file_path=str(path), content_type=content_type
            ),
        )

    def _open(self, key: str, offset: int, length: int) -> Any:
        return self._call(
            f"get {key}",
            lambda: self._client.get_object(bucket_name=self.bucket, object_name=key, offset=offset, length=length),
        )

    def get_bytes(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        """Bytes of an object from ``offset``; ``length`` 0: to its end."""
        return b"".join(self.stream(key, offset, length))

    def stream(self, key: str, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        """The same in chunks of at most 64 KiB. An unknown key is reported at the call, not at the first chunk."""
        response = self._open(key, offset, length)

        def chunks() -> Iterator[bytes]:
            finished = False
            try:
                yield from response.stream(CHUNK_BYTES)
                finished = True
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _translated(error, f"get {key}") from error
            finally:
                # A connection with unread bytes cannot be used again.
                if finished:
                    response.release_conn()
                else:
                    response.close()

        return chunks()

    def size(self, key: str) -> int | None:
        """Bytes of an object; None where there is none."""
        try:
            found = self._call(
                f"stat {key}", lambda: self._client.stat_object(bucket_name=self.bucket, object_name=key)
            )
        except StoreError as error:
            if error.code == "object_not_found":
                return None
            raise
        return int(found.size or 0)

    def delete(self, key: str) -> None:
        """Removes an object; an unknown key is no error."""
        try:
            self._call(f"delete {key}", lambda: self._client.remove_object(bucket_name=self.bucket, object_name=key))
        except StoreError as error:
            if error.code != "object_not_found":
                raise

    def keys(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """(key, bytes) of all objects whose key begins with ``prefix``."""
        listing = iter(self._client.list_objects(bucket_name=self.bucket, prefix=prefix, recursive=True))
        while True:
            found = self._call(f"list {prefix!r}", lambda: next(listing, None))
            if found is None:
                return
            if found.object_name is not None and not found.is_dir:
                yield found.object_name, int(found.size or 0)
