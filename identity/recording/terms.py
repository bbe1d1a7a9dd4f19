"""Which items of a fingerprint are indexed: chosen by content, so that a clip chooses the same as the whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from identity.recording.items import SILENCE, Items
from identity.thresholds import TERM_SAMPLING


def mix32(values: Items) -> Items:
    """MurmurHash3's 32-bit finaliser: every bit of the input reaches every bit of the output.

    Source: A. Appleby, MurmurHash3 (public domain), ``fmix32``.
    """
    mixed = values.astype(np.uint32)
    mixed ^= mixed >> np.uint32(16)
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0xC2B2AE35)
    mixed ^= mixed >> np.uint32(16)
    return mixed


def terms(items: Items) -> npt.NDArray[np.int32]:
    """Sorted distinct terms: all 32 bits of about one item in `TERM_SAMPLING`, silence dropped, as signed integers
    (the column's type)."""
    distinct = np.unique(np.asarray(items, dtype=np.uint32))
    distinct = distinct[distinct != SILENCE]
    kept = distinct[mix32(distinct) % np.uint32(TERM_SAMPLING) == 0]
    return np.sort(kept.view(np.int32))
