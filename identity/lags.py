"""What cross-correlations by Fourier transform need: a length that transforms quickly, and what each lag counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Lengths = npt.NDArray[np.integer]


def fast_length(least: int) -> int:
    """The next length that transforms quickly; even."""
    return min(
        odd << power for odd in (1, 3, 5, 9, 15) for power in range(1, least.bit_length() + 1) if odd << power >= least
    )


def overlap_roots(ours: Lengths, theirs: Lengths, least: Lengths, size: int) -> npt.NDArray[np.float32]:
    """(pairs, size): 1 by the root of the frames that lie on each other at each lag, negative ones from the end; 0
    where they are fewer than ``least``.

    A sum over the overlap times this is in standard errors. All lengths, in frames, are by pair, or one for all.
    """
    ours, theirs, least = (np.reshape(each, (-1, 1)) for each in (ours, theirs, least))
    lags = np.arange(size)[None, :]
    lags = np.where(lags > theirs - least, lags - size, lags)
    frames = (np.minimum(ours, theirs - lags) + np.minimum(lags, 0)).astype(np.float32)
    frames[frames < least] = np.inf
    roots: npt.NDArray[np.float32] = 1 / np.sqrt(frames)
    return roots
