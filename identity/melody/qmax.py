"""Compares chromas moment by moment: how long a passage of one follows a passage of the other.

The method is Qmax (Serrà, Serra, Andrzejak: Cross recurrence quantification for cover song identification, New Journal
of Physics 11, 2009): each frame is taken together with its successors, every moment of one recording is joined with
its nearest of the other (mutually: the cross recurrence plot), and the longest path through these joints that goes
forward in both, bends, and jumps over short disruptions, is the score. The key is found first, by `correlation`, which
also tells most strangers.

Both views of a chroma (`Chroma.views`) are compared at once: two moments are as like as the mean of what the views say.
A bare tune and its full arrangement agree in the leading voice, and often only that tells their key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from identity.melody import correlation

Floats = npt.NDArray[np.float32]
Plot = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.int16]

TOGETHER = 9
"""Frames that make a moment (4.5 s)."""

NEIGHBOURS = 0.1
"""Share of the other's moments that are a moment's nearest (the paper's kappa)."""

ONSET, EXTENSION = 5.0, 0.5
"""What the first and each further step of a disruption cost, in frames (the paper's gamma)."""

STANDS_OUT = 3.3
"""`correlation.deviations` below which a rotation is not tried, and a pair left out that has no better one. All of
4,787 pairs of the tuning songs that reached 0.45 with all frames have one (1,686 of them at a tempo that wanders by 3
to 10 %), 0.9985 have one of 3.5; of 2,388 that were cut to 30 to 80 s one has none. Of strangers 0.45 of 6,378 rendered
ones have none, 0.62 of 1,732 real tracks (the tuning share), and 0.85 of 1,297 pieces of our synthesiser."""

NEARLY = 0.75
"""Share of the best rotation's deviations from which others are tried too: then the right one is among them in all but
one of those pairs (the best alone: in 0.998). 0.18 of the strangers that stand out have a second."""

UNIT = 2
"""Scores are counted in halves, so that whole numbers of 16 bits do: twice as many at once as of 32."""

PROMISING = 0.7
"""Share of what is asked for that half the frames must find, or all frames are not looked at. Of 4,069 pairs of the
tuning songs 366 reached 0.45 with all frames; half of them found at least 0.75 of that in each, the same key in all,
and as much in 0.007 of the 3,668 strangers."""

_CELLS_AT_ONCE = 1_000_000
"""Cells of the plots that are worked on at once: about 10 MiB of memory; 20 plots of two minutes each."""


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


def turned(views: Floats, step: int) -> Floats:
    """Frames (or one), every view of them ``step`` semitones higher."""
    return np.roll(views.reshape(*views.shape[:-1], -1, 12), step, axis=-1).reshape(views.shape)


def moments(views: Floats, together: int = TOGETHER) -> Floats:
    """Each frame with its successors, ``together`` of them, as a vector of unit length. Needs so many frames.

    A view is centred and weighs as much as the other.
    """
    windows = np.lib.stride_tricks.sliding_window_view(views, together, axis=0)
    parts = windows.reshape(len(windows), views.shape[1] // 12, -1)
    size = parts.shape[2]
    # Products, for sums of so few numbers each are slow.
    parts -= (parts @ np.full(size, 1 / size, dtype=np.float32))[..., None]
    norms = np.sqrt(np.vecdot(parts, parts) * np.float32(parts.shape[1]))
    parts *= np.divide(1, norms, out=np.zeros_like(norms), where=norms > 1e-6)[..., None]
    return parts.reshape(len(parts), -1)


def plots(likeness: Floats, sizes: Sequence[tuple[int, int]]) -> Plot:
    """Cross recurrence plots of a stack of similarities (pair, our moment, their moment).

    ``sizes``: how many moments of ours and of theirs each of them has; the cells beyond are padding, which is below
    every similarity.
    """
    rows, width = likeness.shape[1:]
    across = np.array([width - max(1, round(NEIGHBOURS * columns)) for _, columns in sizes])
    by_row = _at_places(likeness, across)[:, :, None]
    down = np.array([rows - max(1, round(NEIGHBOURS * ours)) for ours, _ in sizes])
    by_column = _at_places(np.swapaxes(likeness, 1, 2), down)[:, None, :]
    # Silence resembles nothing.
    joined: Plot = likeness >= np.maximum(by_row, np.float32(0.05))
    joined &= likeness >= by_column
    return joined


def _at_places(values: Floats, places: npt.NDArray[np.intp]) -> Floats:
    """What would be at that place of each row, a place for each of the stack, if the rows were in order."""
    # NumPy sorts many numbers at a time. By several places it partitions one by one, which takes seven times as long.
    return np.take_along_axis(np.sort(values, axis=2), places[:, None, None], axis=2)[:, :, 0]


def cumulate(joined: Plot, onset: float = ONSET, extension: float = EXTENSION) -> Scores:
    """The paper's Q of each plot, in `UNIT`: the length of the best path that ends in each cell.

    A cell follows from the two rows before its own, so one row of all plots is done at once.
    """
    # The plots last: a row without its first columns lies together.
    across = np.ascontiguousarray(np.moveaxis(joined, 0, 2))
    rows, columns, count = across.shape
    toll = np.where(across, np.int16(UNIT * onset), np.int16(UNIT * extension)).reshape(rows, -1)
    # Where nothing is joined, less than any path can make up for.
    gain = np.where(across, np.int16(UNIT), np.int16(-(2**14))).reshape(rows, -1)[:, 2 * count :]
    # Beside the score what a path keeps when its next step misses: leaving costs more than staying away.
    both = np.zeros((rows, 2, columns * count), dtype=np.int16)
    best = np.empty((2, max(0, columns - 2) * count), dtype=np.int16)
    on, off = best
    # What a row costs with few plots is the calls, and each slice is one.
    by_one, by_two = both[:, :, count:-count], both[:, :, : -2 * count]
    scores, ends, keeps = both[:, 0], both[:, 0, 2 * count :], both[:, 1]
    for row in range(2, rows):
        np.maximum(by_one[row - 1], by_two[row - 1], out=best)
        np.maximum(best, by_one[row - 2], out=best)
        # One that goes on is longer than one that keeps something: so the greater of the two is right.
        np.add(on, gain[row], out=on)
        np.maximum(on, off, out=ends[row])
        tolls, kept = toll[row], keeps[row]
        np.maximum(scores[row], tolls, out=kept)
        np.subtract(kept, tolls, out=kept)
    return np.moveaxis(scores.reshape(across.shape), 2, 0)


def compare(pairs: Sequence[tuple[Floats, Floats]], at_least: float = 0.0) -> list[Match]:
    """The best match of each pair (ours, theirs) over the likeliest rotations. Zero where one is too short.

    Where ``at_least`` is asked for, as a share of the shorter one's moments, pairs that hardly correlate are left out:
    they are zero too. The others are tried with half the frames, which costs a quarter, and the best rotation is
    followed with all frames where it may reach ``at_least``; elsewhere the score is what half of them say.
    """
    found = [Match(0.0, 0) for _ in pairs]
    usable = [place for place, pair in enumerate(pairs) if min(map(len, pair)) >= 2 * (_together(2) + 2)]
    far = correlation.deviations([pairs[place] for place in usable])
    best = far.max(axis=1, keepdims=True, initial=0)
    tried = np.argwhere(far >= np.maximum(NEARLY * best, STANDS_OUT if at_least else 0))
    # The likeliest first: of rotations that are as good as each other it is taken.
    work = [(usable[number], int(step)) for number, step in sorted(tried, key=lambda each: -far[*each])]
    tops = _scores([(*pairs[place], step) for place, step in work], 2)
    for (place, step), top in zip(work, tops, strict=True):
        if top > found[place].score:
            found[place] = Match(top, step)
    promising = [
        place
        for place in dict.fromkeys(place for place, _ in work)
        if found[place].score >= PROMISING * at_least * most_moments(*pairs[place])
    ]
    tops = _scores([(*pairs[place], found[place].rotation) for place in promising], 1)
    for place, top in zip(promising, tops, strict=True):
        found[place] = Match(top, found[place].rotation)
    return found


def most_moments(ours: Floats, theirs: Floats) -> int:
    """The moments of the shorter one: what a path through all of it scores."""
    return max(1, min(len(ours), len(theirs)) - TOGETHER + 1)


def _together(every: int) -> int:
    """How many frames make a moment, if one frame is the mean of so many."""
    return (TOGETHER + every - 1) // every


def _thinned(views: Floats, every: int) -> Floats:
    """One frame of every so many: their mean."""
    if every == 1:
        return views
    count = len(views) // every * every
    thinned = views[:count:every].copy()
    for step in range(1, every):
        thinned += views[step:count:every]
    thinned *= np.float32(1 / every)
    return thinned


def _scores(work: Sequence[tuple[Floats, Floats, int]], every: int) -> list[float]:
    """Qmax of each pair, in frames of theirs, ours being turned by so many semitones, with one frame of ``every``."""
    together = _together(every)
    known: dict[int, Floats] = {}

    def of(views: Floats) -> Floats:
        if id(views) not in known:
            known[id(views)] = moments(_thinned(views, every), together)
        return known[id(views)]

    result = [0.0] * len(work)
    # Of like size together: padding is work too.
    order = sorted(range(len(work)), key=lambda place: (len(work[place][0]), len(work[place][1])))
    most = max((len(ours) * len(theirs) for ours, theirs, _ in work), default=1) / every**2
    at_once = max(1, int(_CELLS_AT_ONCE / most))
    for start in range(0, len(order), at_once):
        part = order[start : start + at_once]
        sides = [(of(work[place][0]), of(work[place][1])) for place in part]
        sizes = [(len(ours), len(theirs)) for ours, theirs in sides]
        likeness = np.full((len(part), *np.max(sizes, axis=0)), -2, dtype=np.float32)
        for number, (place, (ours, theirs)) in enumerate(zip(part, sides, strict=True)):
            rows, columns = sizes[number]
            likeness[number, :rows, :columns] = _turned_moments(ours, work[place][2], together) @ theirs.T
        tops = cumulate(plots(likeness, sizes), ONSET / every).max(axis=(1, 2))
        for place, top in zip(part, tops, strict=True):
            result[place] = every * float(top) / UNIT
    return result


def _turned_moments(rows: Floats, step: int, together: int) -> Floats:
    """The moments of frames that are ``step`` semitones higher, from those of the frames."""
    return np.roll(rows.reshape(len(rows), -1, 12 * together), step * together, axis=2).reshape(rows.shape)


def trace(ours: Floats, theirs: Floats, rotation: int) -> Path:
    """The path that `compare` scored, for the picture and for the tempo. Both need `TOGETHER` + 2 frames."""
    likeness = moments(turned(ours, rotation)) @ moments(theirs).T
    joined = plots(likeness[None], [likeness.shape])
    scores = cumulate(joined)[0]
    plot = joined[0]
    kept = np.maximum(scores - UNIT * np.where(plot, ONSET, EXTENSION), 0)
    row, column = (int(each) for each in np.unravel_index(int(np.argmax(scores)), scores.shape))
    points = []
    while row >= 2 and column >= 2 and scores[row, column] > 0:
        points.append((row, column))
        source = scores if plot[row, column] else kept
        row, column = max(
            ((row - 1, column - 1), (row - 2, column - 1), (row - 1, column - 2)), key=lambda cell: source[cell]
        )
    return Path(tuple(reversed(points)), plot)
