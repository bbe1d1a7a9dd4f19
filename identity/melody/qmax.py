"""Compares chromas moment by moment: how long a passage of one follows a passage of the other.

The method is Qmax (Serrà, Serra, Andrzejak: Cross recurrence quantification for cover song identification, New Journal
of Physics 11, 2009): each frame is taken together with its successors, every moment of one recording is joined with
its nearest of the other (mutually: the cross recurrence plot), and the longest path through these joints that goes
forward in both, bends, and jumps over short disruptions, is the score. The key is found first by the optimal
transposition index (Serrà, Gómez, Herrera: Transposing chroma representations to a common key, 2008): the rotation
that brings the mean chromas together.

Both views of a chroma (`Chroma.views`) are compared at once: two moments are as like as the mean of what the views say.
A bare tune and its full arrangement agree in the leading voice, and often only that tells their key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Plot = npt.NDArray[np.bool_]

TOGETHER = 9
"""Frames that make a moment (4.5 s)."""

NEIGHBOURS = 0.1
"""Share of the other's moments that are a moment's nearest (the paper's kappa)."""

ONSET, EXTENSION = 5.0, 0.5
"""What the first and each further step of a disruption cost (the paper's gamma)."""

TRANSPOSITIONS = 3
"""How many of the best rotations are tried."""

_AT_ONCE = 24
"""Plots at once: about 60 MiB of memory."""


@dataclass(frozen=True, slots=True)
class Match:
    """``score``: Qmax, in frames; ``rotation``: semitones that ours was moved up by to fit, 0..11."""

    score: float
    rotation: int


@dataclass(frozen=True, slots=True)
class Path:
    """The best path: (moment of ours, moment of theirs) in order, and the plot it goes through."""

    points: tuple[tuple[int, int], ...]
    plot: Plot


def rotations(ours: Floats, theirs: Floats, count: int = TRANSPOSITIONS) -> list[int]:
    """By how many semitones ours should go up to fit theirs, best first."""
    mean, other = ours.mean(axis=0), theirs.mean(axis=0)
    fits = [float(np.dot(turned(mean, step), other)) for step in range(12)]
    return sorted(range(12), key=lambda step: -fits[step])[:count]


def turned(views: Floats, step: int) -> Floats:
    """Frames (or one), every view of them ``step`` semitones higher."""
    return np.roll(views.reshape(*views.shape[:-1], -1, 12), step, axis=-1).reshape(views.shape)


def moments(views: Floats) -> Floats:
    """Each frame with its successors, as a vector of unit length. Needs `TOGETHER` frames.

    A view is centred and weighs as much as the other.
    """
    windows = np.lib.stride_tricks.sliding_window_view(views, TOGETHER, axis=0)
    parts = windows.reshape(len(windows), views.shape[1] // 12, -1)
    parts = parts - parts.mean(axis=2, keepdims=True)
    norms = np.linalg.norm(parts, axis=2, keepdims=True) * np.float32(math.sqrt(parts.shape[1]))
    unit: Floats = np.divide(parts, norms, out=np.zeros_like(parts), where=norms > 1e-6)
    return unit.reshape(len(unit), -1)


def plots(likeness: Floats, columns: Sequence[int]) -> Plot:
    """Cross recurrence plots of a stack of similarities (pair, our moment, their moment).

    ``columns``: how many moments each of them has; the cells beyond are padding.
    """
    rows, width = likeness.shape[1:]
    across = [width - max(1, round(NEIGHBOURS * count)) for count in columns]
    ordered = np.partition(likeness, sorted(set(across)), axis=2)
    by_row = np.take_along_axis(ordered, np.array(across)[:, None, None], axis=2)
    down = rows - max(1, round(NEIGHBOURS * rows))
    by_column = np.partition(np.swapaxes(likeness, 1, 2).copy(), down, axis=2)[:, :, down][:, None, :]
    # Silence resembles nothing.
    return (likeness >= by_row) & (likeness >= by_column) & (likeness > 0.05)


def cumulate(joined: Plot) -> Floats:
    """The paper's Q of each plot: the length of the best path that ends in each cell.

    A cell follows from the two rows before its own, so one row of all plots is done at once.
    """
    pairs, rows, columns = joined.shape
    scores = np.zeros((pairs, rows, columns), dtype=np.float32)
    # What a path keeps when its next step misses: leaving costs more than staying away.
    kept = np.zeros_like(scores)
    tolls = np.where(joined, np.float32(ONSET), np.float32(EXTENSION))
    for row in range(rows):
        if row >= 2:
            before, earlier = scores[:, row - 1], scores[:, row - 2]
            on = np.maximum(before[:, 1:-1], before[:, :-2])
            np.maximum(on, earlier[:, 1:-1], out=on)
            before, earlier = kept[:, row - 1], kept[:, row - 2]
            off = np.maximum(before[:, 1:-1], before[:, :-2])
            np.maximum(off, earlier[:, 1:-1], out=off)
            scores[:, row, 2:] = np.where(joined[:, row, 2:], on + 1, off)
        np.maximum(scores[:, row] - tolls[:, row], 0, out=kept[:, row])
    return scores


def compare(ours: Floats, others: Sequence[Floats]) -> list[Match]:
    """The best match of ours with each of the others, over the likeliest rotations. Zero where one is too short."""
    best = [Match(0.0, 0) for _ in others]
    long_enough = [place for place, other in enumerate(others) if len(other) >= TOGETHER + 2]
    if len(ours) < TOGETHER + 2:
        return best
    work = [(place, step) for place in long_enough for step in rotations(ours, others[place])]
    ours_by_step = {step: moments(turned(ours, step)) for step in {step for _, step in work}}
    theirs = {place: moments(others[place]) for place in long_enough}
    # Of like length together: padding is work too.
    work.sort(key=lambda pair: len(theirs[pair[0]]))
    for start in range(0, len(work), _AT_ONCE):
        part = work[start : start + _AT_ONCE]
        widths = [len(theirs[place]) for place, _ in part]
        likeness = np.full((len(part), len(ours) - TOGETHER + 1, max(widths)), -1, dtype=np.float32)
        for number, (place, step) in enumerate(part):
            likeness[number, :, : widths[number]] = ours_by_step[step] @ theirs[place].T
        tops = cumulate(plots(likeness, widths)).max(axis=(1, 2))
        for (place, step), top in zip(part, tops, strict=True):
            if top > best[place].score:
                best[place] = Match(float(top), step)
    return best


def trace(ours: Floats, theirs: Floats, rotation: int) -> Path:
    """The path that `compare` scored, for the picture and for the tempo. Both need `TOGETHER` + 2 frames."""
    likeness = moments(turned(ours, rotation)) @ moments(theirs).T
    joined = plots(likeness[None], [likeness.shape[1]])
    scores = cumulate(joined)[0]
    plot = joined[0]
    kept = np.maximum(scores - np.where(plot, ONSET, EXTENSION), 0)
    row, column = (int(each) for each in np.unravel_index(int(np.argmax(scores)), scores.shape))
    points = []
    while row >= 2 and column >= 2 and scores[row, column] > 0:
        points.append((row, column))
        source = scores if plot[row, column] else kept
        row, column = max(
            ((row - 1, column - 1), (row - 2, column - 1), (row - 1, column - 2)), key=lambda cell: source[cell]
        )
    return Path(tuple(reversed(points)), plot)
