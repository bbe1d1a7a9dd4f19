"""What PostgreSQL takes: text without NUL and lone surrogates, keys that an index can hold."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

_MAX_KEY = 500
"""Characters of a source key; a B-tree entry holds at most 2,704 bytes."""


def dumps(value: Any) -> str:
    """JSON that PostgreSQL takes: without NUL, lone surrogates and NaN, which pages of the web may hold."""
    try:
        result = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        result.encode()
    except ValueError:  # NaN, or a lone surrogate
        result = "\\u0000"
    if "\\u0000" in result:
        return json.dumps(clean(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return result


def storable_key(source_key: str) -> str:
    """The key itself, or for one that no index takes its beginning with a digest of the whole."""
    key = str(clean(source_key))
    if len(key) <= _MAX_KEY:
        return key
    digest = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    return f"{key[: _MAX_KEY - 33]}~{digest}"


def clean(value: Any) -> Any:
    """The value with each string made storable: NUL dropped, lone surrogates replaced; NaN and infinity: None."""
    if isinstance(value, str):
        return value.replace("\x00", "").encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {clean(key): clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean(inner) for inner in value]
    return value
