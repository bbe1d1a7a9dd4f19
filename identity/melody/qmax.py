"""Compares two chromas note by note: how long a passage of one follows a passage of the other.

The method is Qmax (Serrà, Serra, Andrzejak: Cross recurrence quantification for cover song identification, New Journal
of Physics 11, 2009): frames are embedded with their successors, every frame of one recording is joined with its
nearest of the other (mutually: the cross recurrence plot), and the longest path along the diagonal, which may bend and
jump over short disruptions, is the score. The key is found first, by the optimal transposition index (Serrà, Gómez,
Herrera: Transposing chroma representations to a common key, 2008): the rotation that brings the mean chromas together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

EMBEDDED = 9
"""Frames that are compared at once (4.5 s)."""

NEIGHBOURS = 0.1
"""Share of the other recording's frames that count as a frame's nearest (the paper's κ, 0.095 there)."""

ONSET, EXTENSION = 5.0, 0.5
"""What the start and each further frame of a disruption cost (the paper's γo and γe)."""

TRANSPOSITIONS = 2
"""How many of the best rotations are tried: the best is the right one in about four of five covers."""


@dataclass(frozen=True, slots=True)
class Match:
    """``score``: Qmax; ``semitones``: how far ours lies above theirs, -5..6."""

    score: float
    semitones: int


def transpositions(ours: Floats, theirs: Floats, count: int = TRANSPOSITIONS) -> list[int]:
    """Rotations of ours that best fit theirs, best first."""
    mean, other = ours.mean(axis=0), theirs.mean(axis=0)
    fits = [float(np.dot(np.roll(mean, step), other)) for step in range(12)]
    return sorted(range(12), key=lambda step: -fits[step])[:count]


def embedded(frames: Floats) -> Floats:
    """Each frame with its successors, of unit length: (time, EMBEDDED * 12)."""
    windows = np.lib.stride_tricks.sliding_window_view(frames, EMBEDDED, axis=0)
    flat = windows.reshape(len(windows), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 0)


def recurrence(ours: Floats, theirs: Floats) -> npt.NDArray[np.bool_]:
    """The cross recurrence plot of two embedded chromas: where each is among the other's nearest."""
    return plots(ours @ theirs.T)


def plots(likeness: Floats) -> npt.NDArray[np.bool_]:
    """The cross recurrence plots of a stack of similarity matrices (…, ours, theirs)."""
    rows, columns = likeness.shape[-2:]
    keep_columns, keep_rows = max(1, round(NEIGHBOURS * columns)), max(1, round(NEIGHBOURS * rows))
    by_row = np.partition(likeness, columns - keep_columns, axis=-1)[..., columns - keep_columns, None]
    turned = np.ascontiguousarray(np.swapaxes(likeness, -1, -2))
    by_column = np.partition(turned, rows - keep_rows, axis=-1)[..., None, :, rows - keep_rows]
    return (likeness >= by_row) & (likeness >= by_column) & (likeness > 0)


def cumulated(plots: npt.NDArray[np.bool_]) -> Floats:
    """The paper's Q of a stack of plots (…, ours, theirs): the best path that ends at each place.

    A cell depends on the two rows before its own only, so that a whole row of all plots is done at once.
    """
    rows, columns = plots.shape[-2:]
    scores = np.zeros((*plots.shape[:-2], rows, columns), dtype=np.float32)
    on = plots.astype(np.float32)
    toll = np.where(plots, np.float32(ONSET) * 0 + EXTENSION, np.float32(EXTENSION))
    del toll
    for row in range(2, rows):
        before, earlier = scores[..., row - 1, :], scores[..., row - 2, :]
        best = np.maximum(before[..., 1:-1], earlier[..., 1:-1])
        np.maximum(best, before[..., :-2], out=best)
        hit = plots[..., row, 2:]
        # A path that leaves the plot pays more at its first step than later.
        costs = [
            np.where(plots[..., row - 1, 1:-1], ONSET, EXTENSION),
            np.where(plots[..., row - 2, 1:-1], ONSET, EXTENSION),
            np.where(plots[..., row - 1, :-2], ONSET, EXTENSION),
        ]
        left = np.maximum(before[..., 1:-1] - costs[0], earlier[..., 1:-1] - costs[1])
        np.maximum(left, before[..., :-2] - costs[2], out=left)
        scores[..., row, 2:] = np.where(hit, best + on[..., row, 2:], np.maximum(left, 0))
    return scores


def compare_all(ours: Floats, others: Sequence[Floats]) -> list[float]:
    raise NotImplementedError
