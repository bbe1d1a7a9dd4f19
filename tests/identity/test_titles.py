"""Noisy titles taken apart: labelled cases, and properties that hold for any input."""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.models import VERSION_KINDS
from identity.titles import MAX_TITLE_LENGTH, parse_title


@dataclass(frozen=True)
class Case:
    """A row of title_cases.tsv: a title of our own making, labelled by hand."""

    raw: str
    title: str
    artists: tuple[str, ...]
    featuring: tuple[str, ...]
    kind: str | None
    year: int | None


def read_cases() -> list[Case]:
    with Path(__file__).with_name("title_cases.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [
        Case(
            row["raw"],
            row["title"],
            tuple(filter(None, row["artists"].split(";"))),
            tuple(filter(None, row["featuring"].split(";"))),
            row["kind"] or None,
            int(row["year"]) if row["year"] else None,
        )
        for row in rows
    ]


CASES = read_cases()
AMBIGUOUS = {"Олег Орлов - Плюс на минус", "Nora Field - Under Cover", "Live - Slow Harbour"}
"""No rule tells these from "Ann Reed - Barley Moon cover" and "Karaoke - Slow Harbour" without lists of songs and
bands."""


def said(raw: str) -> Case:
    parsed = parse_title(raw)
    return Case(raw, parsed.title, parsed.artists, parsed.featuring, parsed.kind, parsed.year)


@pytest.mark.parametrize("case", [case for case in CASES if case.raw not in AMBIGUOUS], ids=lambda case: case.raw[:40])
def test_labelled(case: Case) -> None:
    assert said(case.raw) == case


def test_kinds_over_all_cases() -> None:
    """Precision and recall of each kind; the table is what `-s` shows."""
    assert len(CASES) >= 400
    assert len({case.raw for case in CASES}) == len(CASES)
    found = [(case.kind, said(case.raw).kind) for case in CASES]
    for kind in sorted({kind for pair in found for kind in pair if kind}):
        right = sum(pair == (kind, kind) for pair in found)
        told, labelled = sum(said == kind for _, said in found), sum(label == kind for label, _ in found)
        print(f"{kind:13} {labelled:3} cases, precision {right / told:.2f}, recall {right / labelled:.2f}")
        assert right / told >= 0.94, kind
        assert right / labelled >= 0.94, kind
    exact = sum(said(case.raw) == case for case in CASES) / len(CASES)
    print(f"title, artists, guests, kind and year all right: {exact:.3f} of {len(CASES)}")
    assert exact >= 0.99


def test_invisible_characters_are_no_part_of_a_title() -> None:
    assert parse_title("  Калинка\u200b \n(HD)  ").title == "Калинка"


@pytest.mark.parametrize(
    ("raw", "title", "artists", "featuring"),
    [
        ("Ann Reed feat. Tom Hill - Barley Moon", "Barley Moon", ("Ann Reed",), ("Tom Hill",)),
        ("Ann Reed - Barley Moon (feat. Tom Hill)", "Barley Moon", ("Ann Reed",), ("Tom Hill",)),
        ("Ann Reed - Barley Moon ft. Tom Hill & Eve", "Barley Moon", ("Ann Reed",), ("Tom Hill", "Eve")),
        ("Анна Рид - Тройка (при участии Тома Хилла)", "Тройка", ("Анна Рид",), ("Тома Хилла",)),
        ("Ann Reed - 6 ft Under", "6 ft Under", ("Ann Reed",), ()),
    ],
)
def test_guests(raw: str, title: str, artists: tuple[str, ...], featuring: tuple[str, ...]) -> None:
    parsed = parse_title(raw)
    assert (parsed.title, parsed.artists, parsed.featuring) == (title, artists, featuring)


@pytest.mark.parametrize(
    ("raw", "known", "title", "artists"),
    [
        ("Barley Moon - Ann Reed", "Ann Reed", "Barley Moon", ("Ann Reed",)),
        ("Валенки - Ruslanova Lidiya", "Лидия Русланова", "Валенки", ("Ruslanova Lidiya",)),
        ("Ann Reed-Barley Moon", "Ann Reed", "Barley Moon", ("Ann Reed",)),
        ("Barley Moon by Ann Reed", "Ann Reed", "Barley Moon", ("Ann Reed",)),
        ("Ann Reed: Barley Moon", "Ann Reed", "Barley Moon", ("Ann Reed",)),
        ("Анна Рид. Тройка", "Анна Рид", "Тройка", ("Анна Рид",)),
        ("Maria Elena", "Maria", "Maria Elena", ()),
        ("Stand by Me", "Ann Reed", "Stand by Me", ()),
        ('"Barley Moon" Ann Reed', "Ann Reed", "Barley Moon", ("Ann Reed",)),
    ],
)
def test_known_artists_decide_the_side(raw: str, known: str, title: str, artists: tuple[str, ...]) -> None:
    parsed = parse_title(raw, [known])
    assert (parsed.title, parsed.artists) == (title, artists)


WORDS = "Live 1998 кавер feat. ft минус Калинка 12.05.1948 official video .mp3 by и концерт".split()  # noqa: SIM905
FRAGMENTS = st.sampled_from([*'()[]«»"—| &é!x/,\u200b', " - ", "03. ", "live at", *WORDS])


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(min_size=1, max_size=80), st.lists(FRAGMENTS, min_size=1, max_size=20).map("".join)))
def test_any_text_has_a_title(raw: str) -> None:
    parsed = parse_title(raw, ["Калинка"])
    assert parsed.title
    assert parsed.kind is None or parsed.kind in VERSION_KINDS
    assert parsed.year is None or 1900 <= parsed.year <= 2099
    assert all(parsed.artists)
    assert all(parsed.featuring)
    if raw.strip() and parsed.title.strip() == parsed.title:
        assert parse_title(raw, ["Калинка"]) == parsed


@pytest.mark.parametrize(
    "unit", ["(", "((a)", "- ", " -", '"', "«", "feat. ", "live at ", "0", "1.", " ' n ", "a & ", "[", "|"]
)
def test_hostile_input_is_cut(unit: str) -> None:
    started = time.process_time()
    parsed = parse_title(unit * 200_000, ["a"])
    assert parsed.title
    assert len(parsed.title) <= MAX_TITLE_LENGTH
    assert time.process_time() - started < 2  # a catastrophic pattern would take hours


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        ("Airship, but this time, it sounds good.", "Airship, but this time, it sounds good."),
        ("T.N.T.", "T.N.T."),
        ("And then...", "And then..."),
        ("Калинка.", "Калинка"),
        ("Калинка.mp3", "Калинка"),
        ("T.N.T. (live)", "T.N.T"),
    ],
)
def test_a_final_mark_is_kept_where_it_belongs_to_the_title(raw: str, title: str) -> None:
    assert parse_title(raw).title == title


def test_a_known_artist_in_brackets_is_not_part_of_the_title() -> None:
    parsed = parse_title("Kalinka (ansambl' Berezka-Primer)", ["Ansambl' Berezka-Primer"])
    assert (parsed.title, parsed.artists) == ("Kalinka", ("ansambl' Berezka-Primer",))
    assert parse_title("Калинка (малинка)", ["Хор"]).title == "Калинка (малинка)"


@pytest.mark.parametrize(
    ("raw", "title", "kind"),
    [
        ("Калинка (концертная запись)", "Калинка", "live"),
        ("Калинка (повтор)", "Калинка", None),
        ("Последняя запись", "Последняя запись", None),
        ("Повтор", "Повтор", None),
    ],
)
def test_a_recording_and_a_repetition_are_no_part_of_the_title(raw: str, title: str, kind: str | None) -> None:
    parsed = parse_title(raw)
    assert (parsed.title, parsed.kind) == (title, kind)


@pytest.mark.parametrize(
    ("raw", "title", "artists"),
    [
        ("Анна Рид   Синий платок", "Синий платок", ("Анна Рид",)),
        ("Ann Reed   -   Barley Moon", "Barley Moon", ("Ann Reed",)),
        ("Barley  Moon", "Barley Moon", ()),
        ("Barley Moon   ", "Barley Moon", ()),
    ],
)
def test_three_spaces_stand_for_a_dash_that_was_lost(raw: str, title: str, artists: tuple[str, ...]) -> None:
    parsed = parse_title(raw)
    assert (parsed.title, parsed.artists) == (title, artists)
