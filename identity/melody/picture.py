"""Draws two melodies against each other: where they agree, and the path that was followed."""

from __future__ import annotations

from xml.sax.saxutils import escape

import numpy as np

from identity.melody import embed, qmax
from media.types import FRAME_SECONDS, Frames

_MARGIN, _SIDE = 44, 420
_INK, _DOT, _PATH = "#444", "#2457a6", "#b3261e"


def melody_svg(ours: Frames, theirs: Frames, *, factor: float, semitones: int, title: str) -> str:
    """An SVG element (text, safe to put into HTML): the cross recurrence plot, ours from left to right.

    Args:
        ours, theirs: their chromas, as `Chroma.views`.
        factor: the tempo at which ours was compared, as in `service.Match`.
        semitones: how far ours lies above theirs.
    """
    a, b = embed.at_tempo(ours, factor), embed.at_tempo(theirs, 1.0)
    if min(len(a), len(b)) < qmax.TOGETHER + 2:
        path = qmax.Path((), np.zeros((1, 1), dtype=np.bool_))
    else:
        path = qmax.trace(a, b, -semitones % 12)
    width, height = path.plot.shape
    ours_s, theirs_s = len(a) * FRAME_SECONDS * factor, len(b) * FRAME_SECONDS
    # A run of dots is one stroke, in units of a moment; the group scales them to the picture.
    strokes = []
    for column in range(height):
        row = np.flatnonzero(np.diff(np.concatenate(([0], path.plot[:, column].astype(np.int8), [0]))))
        strokes += [f"M{start} {height - column}h{end - start}" for start, end in zip(row[::2], row[1::2], strict=True)]
    points = " ".join(f"{x + 0.5},{height - y}" for x, y in path.points)
    label = f'font-family="sans-serif" font-size="12" fill="{_INK}"'
    words = escape("".join(character if character.isprintable() else " " for character in title)[:160])
    floor = _MARGIN + _SIDE
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIDE + 2 * _MARGIN} {_SIDE + 2 * _MARGIN}" ',
            f'role="img" aria-label="{words.replace(chr(34), "&quot;")}"><title>{words}</title>',
            f'<text x="{_MARGIN}" y="20" {label}>{words}</text>',
            f'<rect x="{_MARGIN}" y="{_MARGIN}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="{_INK}"/>',
            f'<g transform="translate({_MARGIN} {_MARGIN}) scale({_SIDE / width:.4f} {_SIDE / height:.4f})">',
            f'<path d="{"".join(strokes)}" stroke="{_DOT}" stroke-opacity="0.45" fill="none"/>',
            f'<polyline points="{points}" stroke="{_PATH}" stroke-width="2" fill="none" ',
            'vector-effect="non-scaling-stroke"/></g>',
            f'<text x="{_MARGIN}" y="{floor + 16}" {label}>0 s</text>',
            f'<text x="{floor}" y="{floor + 16}" {label} text-anchor="end">ours: {ours_s:.0f} s</text>',
            f'<text x="{_MARGIN}" y="{_MARGIN - 6}" {label}>theirs: {theirs_s:.0f} s</text>',
            "</svg>",
        ]
    )
