"""Which items of a fingerprint are indexed: chosen by content, so that a clip chooses the same as the whole.

A term is an item after `mix32`, a bijection: it stands for all 32 bits of the item, and its bits are evenly spread,
whatever music gave it. So its low bits choose what is indexed, and its high bits say where it is kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from identity.recording.items import SILENCE, Items

Terms = npt.NDArray[np.uint32]

FINEST_SAMPLING_BITS = 2
"""One distinct item in four: the most that an index may be set to."""


# Made once: a look-up takes so little that making them is seen.
_13, _16 = np.uint32(13), np.uint32(16)
_FIRST, _SECOND = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)


def mix32(values: Items) -> Items:
    """MurmurHash3's 32-bit finaliser: every bit of the input reaches every bit of the output.

    Source: A. Appleby, MurmurHash3 (public domain), ``fmix32``.
    """
    mixed = values.astype(np.uint32)
    mixed ^= mixed >> _16
    mixed *= _FIRST
    mixed ^= mixed >> _13
    mixed *= _SECOND
    mixed ^= mixed >> _16
    return mixed


_SILENT_TERM = mix32(np.array([SILENCE]))[0]


def terms(items: Items, sampling_bits: int) -> Terms:
    """Sorted distinct terms: about one item in ``2 ** sampling_bits``, silence dropped."""
    mixed = mix32(np.asarray(items, dtype=np.uint32))
    found = mixed[(mixed & sampling_mask(sampling_bits)) == 0]
    found.sort()
    kept = found != _SILENT_TERM
    kept[1:] &= found[1:] != found[:-1]
    distinct: Terms = found[kept]
    return distinct


_MASKS = tuple(np.uint32((1 << bits) - 1) for bits in range(33))


def sampling_mask(sampling_bits: int) -> np.uint32:
    """The bits that are 0 in every term of an index with this sampling."""
    return _MASKS[sampling_bits]


def term_bytes(values: Terms) -> bytes:
    """Terms as little-endian uint32, the form of `RecordingTerms.terms`."""
    return values.astype("<u4").tobytes()


def terms_from_bytes(data: bytes) -> Terms:
    """Inverse of `term_bytes`."""
    return np.frombuffer(data, dtype="<u4").astype(np.uint32, copy=False)
