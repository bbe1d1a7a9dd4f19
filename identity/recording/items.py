"""Chromaprint items as stored bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Items = npt.NDArray[np.uint32]

SILENCE = np.uint32(627964279)
"""The item that chromaprint's default algorithm gives for digital silence."""


def fingerprint_bytes(items: Items) -> bytes:
    """Items as little-endian uint32, the form of `AudioFingerprint.items`."""
    return np.asarray(items, dtype="<u4").tobytes()


def items_from_bytes(data: bytes) -> Items:
    """Inverse of `fingerprint_bytes`, read-only. Raises ValueError where the length is no multiple of 4."""
    if len(data) % 4:
        raise ValueError(f"a fingerprint has 4 bytes an item; {len(data)} bytes are no whole number of items")
    return np.frombuffer(data, dtype="<u4").astype(np.uint32, copy=False)
