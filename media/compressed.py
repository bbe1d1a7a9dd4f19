"""Fingerprints in the form that AcoustID's web service takes."""

from __future__ import annotations

import base64

import numpy as np
import numpy.typing as npt

ALGORITHM = 1
"""Chromaprint's default (its CHROMAPRINT_ALGORITHM_TEST2), which FFmpeg and fpcalc use."""
_NORMAL_BITS = 3
_NORMAL_MAX = 7
_EXCEPTIONAL_BITS = 5


def compress(items: npt.NDArray[np.uint32]) -> str:
    """The items as chromaprint compresses them, base64 without padding: what ``fpcalc`` prints.

    The format (of chromaprint's FingerprintCompressor): each item is XORed with the one before it; of the result the
    distances between its set bits are written, 3 bits each and 0 at the end of an item; what exceeds 7 follows in a
    second list of 5 bits each. Before both: the algorithm and the number of items (24 bits, big-endian).
    """
    items = np.ascontiguousarray(items, dtype="<u4")
    changed = items.copy()
    changed[1:] ^= items[:-1]
    # One more column ends each item.
    bits = np.ones((items.size, 33), dtype=bool)
    bits[:, :32] = np.unpackbits(changed.view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
    rows, columns = np.nonzero(bits)
    distances = columns + 1
    within = rows[1:] == rows[:-1]
    distances[1:] -= np.where(within, columns[:-1] + 1, 0)
    distances[columns == 32] = 0
    exceptional = distances[distances >= _NORMAL_MAX] - _NORMAL_MAX
    header = bytes([ALGORITHM]) + items.size.to_bytes(3, "big")
    packed = _pack(np.minimum(distances, _NORMAL_MAX), _NORMAL_BITS) + _pack(exceptional, _EXCEPTIONAL_BITS)
    return base64.urlsafe_b64encode(header + packed).rstrip(b"=").decode("ascii")


def _pack(values: npt.NDArray[np.intp], width: int) -> bytes:
    """Values of so many bits one after the other, lowest bit first."""
    bits = (values[:, None] >> np.arange(width)) & 1
    return np.packbits(bits.astype(np.uint8).ravel(), bitorder="little").tobytes()
