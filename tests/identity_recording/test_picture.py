"""The picture of an alignment is well formed whatever is drawn."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from identity.evidence import Alignment
from identity.recording.picture import alignment_svg

SVG = "{http://www.w3.org/2000/svg}"


def draw(offset_s: float, profile: tuple[float, ...] = (0.02, 0.15, 0.4), **changes: object) -> ElementTree.Element:
    alignment = Alignment(offset_s, 30, 0.04, 0.9, profile)
    arguments: dict[str, object] = {"candidate_duration_s": 45.0, "target_duration_s": 300.0} | changes
    waves = arguments.pop("waves", ([0.1, 0.9, 0.5], [0.3] * 400))
    return ElementTree.fromstring(alignment_svg(alignment, *waves, **arguments))  # type: ignore[misc, arg-type]


def test_the_parts() -> None:
    picture = draw(12.0)
    assert picture.get("role") == "img"
    assert "bit error rate 0.04" in (picture.get("aria-label") or "")
    assert picture.find(f"{SVG}title") is not None
    assert len(picture.findall(f"{SVG}path")) == 2
    assert len(picture.findall(f"{SVG}rect")) == 1 + 3
    assert len({bar.get("fill") for bar in picture.findall(f"{SVG}rect")[1:]}) == 3


def test_names_are_text() -> None:
    picture = draw(0, candidate_title='<script>"&\0', target_title="Катюша ]]>")
    assert picture.find(f".//{SVG}script") is None
    labels = [label.text for label in picture.findall(f"{SVG}text")]
    assert '<script>"& ' in labels
    assert "Катюша ]]>" in labels


@pytest.mark.parametrize("offset_s", [-110.0, -3.0, 0.0, 119.0])
def test_everything_lies_inside(offset_s: float) -> None:
    picture = draw(offset_s)
    for bar in picture.findall(f"{SVG}rect"):
        left, width = float(bar.get("x", "nan")), float(bar.get("width", "nan"))
        assert 0 <= left <= left + width <= 720
        assert float(bar.get("height", "nan")) > 0


def test_nothing_to_draw() -> None:
    draw(0, (), waves=([], []), candidate_duration_s=0.0, target_duration_s=0.0)
    draw(0, (), waves=([math.nan, math.inf, -1.0], [2.0]))
