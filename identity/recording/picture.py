"""Draws an alignment: two waveforms on one time axis, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from identity.evidence import Alignment
from identity.thresholds import REVIEW_BIT_ERROR_RATE, SAME_BIT_ERROR_RATE
from media.types import FINGERPRINT_SECONDS

_MARGIN, _BAND, _GAP, _PROFILE = 12, 56, 20, 40
_OURS, _THEIRS, _INK = "#2457a6", "#8a5a00", "#444"


def _scale(value: float) -> str:
    return f"{value:.1f}"


def _clean(text: str) -> str:
    # XML 1.0 has no place for control characters, escaped or not.
    return escape("".join(character if character.isprintable() else " " for character in text)[:120])


def _wave(peaks: Sequence[float], left: float, width: float, middle: float) -> str:
    if not peaks or width <= 0:
        return ""
    half = _BAND / 2
    tops = []
    for place, peak in enumerate(peaks):
        level = min(1.0, max(0.0, float(peak))) if peak == peak else 0.0
        tops.append((left + width * (place + 0.5) / len(peaks), max(0.5, level * half)))
    upper = [f"{_scale(x)},{_scale(middle - height)}" for x, height in tops]
    lower = [f"{_scale(x)},{_scale(middle + height)}" for x, height in reversed(tops)]
    return "M" + "L".join(upper + lower) + "Z"


def _colour(rate: float) -> str:
    if rate <= SAME_BIT_ERROR_RATE:
        return "#2e7d32"
    return "#b26a00" if rate <= REVIEW_BIT_ERROR_RATE else "#b3261e"


def alignment_svg(
    alignment: Alignment,
    candidate_waveform: Sequence[float],
    target_waveform: Sequence[float],
    *,
    candidate_duration_s: float,
    target_duration_s: float,
    candidate_title: str = "Candidate",
    target_title: str = "Target",
    width: int = 720,
) -> str:
    """An SVG element (text, safe to put into HTML) of two waveforms aligned at their offset, with the error profile
    below.

    Args:
        candidate_waveform: peaks in 0..1, evenly spaced over the fingerprinted part (at most the first 120 s).
        candidate_duration_s: of the whole recording, seconds.
        width: pixels of the view box; the picture scales with its place.
    """
    ours_s = max(0.1, min(candidate_duration_s, FINGERPRINT_SECONDS))
    theirs_s = max(0.1, min(target_duration_s, FINGERPRINT_SECONDS))
    ours_at = alignment.offset_s
    start = min(0.0, ours_at)
    seconds = max(theirs_s, ours_at + ours_s) - start
    per_second = (width - 2 * _MARGIN) / seconds

    def x(at: float) -> float:
        return _MARGIN + (at - start) * per_second

    top = 16
    ours_middle = top + _GAP + _BAND / 2
    theirs_middle = ours_middle + _BAND + _GAP
    floor = theirs_middle + _BAND / 2 + _GAP + _PROFILE
    height = round(floor + 22)
    from_s, to_s = max(0.0, ours_at), min(theirs_s, ours_at + ours_s)
    summary = (
        f"{candidate_title} against {target_title}: {alignment.overlap_s:.0f} s compared at an offset of "
        f"{alignment.offset_s:+.1f} s, bit error rate {alignment.bit_error_rate:.2f}"
    )
    bars = []
    step = (to_s - from_s) / len(alignment.profile) if alignment.profile else 0.0
    for place, rate in enumerate(alignment.profile):
        tall = max(1.0, min(0.5, max(0.0, rate)) / 0.5 * _PROFILE)
        bars.append(
            f'<rect x="{_scale(x(from_s + place * step))}" y="{_scale(floor - tall)}" '
            f'width="{_scale(max(0.5, step * per_second - 0.5))}" height="{_scale(tall)}" fill="{_colour(rate)}"/>'
        )
    limit = floor - SAME_BIT_ERROR_RATE / 0.5 * _PROFILE
    label = f'font-family="sans-serif" font-size="12" fill="{_INK}"'
    ours_path = _wave(candidate_waveform, x(ours_at), ours_s * per_second, ours_middle)
    theirs_path = _wave(target_waveform, x(0), theirs_s * per_second, theirs_middle)
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="{_clean(summary).replace(chr(34), "&quot;")}">',
            f"<title>{_clean(summary)}</title>",
            f'<rect x="{_scale(x(from_s))}" y="{top}" width="{_scale(max(0.0, to_s - from_s) * per_second)}" '
            f'height="{_scale(floor - top)}" fill="#000" fill-opacity="0.05"/>',
            f'<text x="{_MARGIN}" y="{_scale(ours_middle - _BAND / 2 - 4)}" {label}>{_clean(candidate_title)}</text>',
            f'<path d="{ours_path}" fill="{_OURS}"/>',
            f'<text x="{_MARGIN}" y="{_scale(theirs_middle - _BAND / 2 - 4)}" {label}>{_clean(target_title)}</text>',
            f'<path d="{theirs_path}" fill="{_THEIRS}"/>',
            f'<text x="{_MARGIN}" y="{_scale(floor - _PROFILE - 6)}" {label}>Differing bits (line: '
            f"{SAME_BIT_ERROR_RATE:.0%})</text>",
            *bars,
            f'<line x1="{_scale(x(from_s))}" x2="{_scale(x(to_s))}" y1="{_scale(limit)}" y2="{_scale(limit)}" '
            f'stroke="{_INK}" stroke-dasharray="3 3"/>',
            f'<text x="{_scale(x(from_s))}" y="{_scale(floor + 15)}" {label}>{from_s:.0f} s</text>',
            f'<text x="{_scale(x(to_s))}" y="{_scale(floor + 15)}" {label} text-anchor="end">{to_s:.0f} s</text>',
            "</svg>",
        ]
    )
