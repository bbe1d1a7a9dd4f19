"""Noisy titles taken apart: labelled cases, and properties that hold for any input."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.models import VERSION_KINDS
from identity.titles import MAX_TITLE_LENGTH, parse_title

# raw, title, artists, kind, year
CASES: list[tuple[str, str, tuple[str, ...], str | None, int | None]] = [
    ("Калинка", "Калинка", (), None, None),
    ("Надежда Плевицкая - Дубинушка (Live 1998) [HD]", "Дубинушка", ("Надежда Плевицкая",), "live", 1998),
    ("Artist — Song (Official Video)", "Song", ("Artist",), None, None),
    ("Песня (кавер)", "Песня", (), "cover", None),
    ("Песня (минус)", "Песня", (), "karaoke", None),
    ("Катюша (караоке)", "Катюша", (), "karaoke", None),
    ("Katyusha (Karaoke Version)", "Katyusha", (), "karaoke", None),
    ("Калинка - караоке", "Калинка", (), "karaoke", None),
    ("Калинка караоке", "Калинка", (), "karaoke", None),
    ("Валенки (инструментал)", "Валенки", (), "instrumental", None),
    ("The Willow Band - Barley Moon (Instrumental)", "Barley Moon", ("The Willow Band",), "instrumental", None),
    ("Barley Moon (DJ Sparrow Remix)", "Barley Moon", (), "remix", None),
    ("Северное сияние - Тройка (DJ Воробей ремикс)", "Тройка", ("Северное сияние",), "remix", None),
    ("Тройка (акустика)", "Тройка", (), "acoustic", None),
    ("Тройка (акустическая версия)", "Тройка", (), "acoustic", None),
    ("Barley Moon - Acoustic Version", "Barley Moon", (), "acoustic", None),
    ("Barley Moon (Unplugged)", "Barley Moon", (), "acoustic", None),
    ("Тройка (демо)", "Тройка", (), "demo", None),
    ("Barley Moon (Demo 1987)", "Barley Moon", (), "demo", 1987),
    ("Barley Moon (Remastered 2011)", "Barley Moon", (), "remaster", 2011),
    ("Barley Moon - 2011 Remaster", "Barley Moon", (), "remaster", 2011),
    ("Barley Moon (2009 Stereo Remaster)", "Barley Moon", (), "remaster", 2009),
    ("Хор имени Пятницкого — «Калинка» (концерт в Кремле)", "Калинка", ("Хор имени Пятницкого",), "live", None),
    ("Светит месяц (Концерт в Кремле, 1975)", "Светит месяц", (), "live", 1975),
    ("Светит месяц (OST «Далёкие берега»)", "Светит месяц", (), None, None),
    ("Светит месяц (из кинофильма «Далёкие берега»)", "Светит месяц", (), None, None),
    ("The Willow Band - Barley Moon (lyrics)", "Barley Moon", ("The Willow Band",), None, None),
    ("The Willow Band - Barley Moon lyrics", "Barley Moon", ("The Willow Band",), None, None),
    ("Тройка (текст песни)", "Тройка", (), None, None),
    ("Тройка текст песни", "Тройка", (), None, None),
    ("Лидия Русланова «Валенки»", "Валенки", ("Лидия Русланова",), None, None),
    ("Лидия Русланова - «Валенки»", "Валенки", ("Лидия Русланова",), None, None),
    ("«Валенки» - Лидия Русланова", "Валенки", ("Лидия Русланова",), None, None),
    ('The Willow Band "Barley Moon"', "Barley Moon", ("The Willow Band",), None, None),
    ("Песня «Валенки»", "Валенки", (), None, None),
    ("Русская народная песня «Калинка»", "Калинка", (), None, None),
    ("Калинка (русская народная песня)", "Калинка", (), None, None),
    ("03. Валенки", "Валенки", (), None, None),
    ("03. Лидия Русланова - Валенки.mp3", "Валенки", ("Лидия Русланова",), None, None),
    ("07 - Лидия Русланова - Валенки", "Валенки", ("Лидия Русланова",), None, None),
    ("1) Валенки", "Валенки", (), None, None),
    ("Лидия Русланова - Валенки 1080p", "Валенки", ("Лидия Русланова",), None, None),
    ("Лидия Русланова - Валенки [1080p] [HQ]", "Валенки", ("Лидия Русланова",), None, None),
    ("Лидия Русланова - Валенки | Official Video", "Валенки", ("Лидия Русланова",), None, None),
    ("Лидия Русланова – Валенки (Официальный клип)", "Валенки", ("Лидия Русланова",), None, None),
    ("Лидия Русланова - Валенки (Премьера клипа, 2019)", "Валенки", ("Лидия Русланова",), None, 2019),
    ("Лидия Русланова - Валенки (1943)", "Валенки", ("Лидия Русланова",), None, 1943),
    ("Лидия Русланова - Валенки (концерт 12.05.1948)", "Валенки", ("Лидия Русланова",), "live", 1948),
    ("Лидия Русланова - Валенки 12.05.1948", "Валенки", ("Лидия Русланова",), None, 1948),
    ("The Willow Band - Barley Moon (Live at the Old Mill)", "Barley Moon", ("The Willow Band",), "live", None),
    ("The Willow Band - Barley Moon live at the Old Mill 1999", "Barley Moon", ("The Willow Band",), "live", 1999),
    ("The Willow Band - Barley Moon (Live)", "Barley Moon", ("The Willow Band",), "live", None),
    ("Barley Moon - Live", "Barley Moon", (), "live", None),
    ("Barley Moon (The Willow Band cover)", "Barley Moon", (), "cover", None),
    ("Barley Moon (cover by Ann Reed)", "Barley Moon", (), "cover", None),
    ("Barley Moon (Radio Edit)", "Barley Moon", (), "edit", None),
    ("Barley Moon (Original Mix)", "Barley Moon", (), None, None),
    ("Barley Moon (Live Karaoke)", "Barley Moon", (), "karaoke", None),
    ("Тройка (живой звук)", "Тройка", (), "live", None),
    ("Тройка (под гитару)", "Тройка", (), "acoustic", None),
    ("Тройка (минусовка)", "Тройка", (), "karaoke", None),
    ("Катюша (Блантер - Исаковский)", "Катюша (Блантер - Исаковский)", (), None, None),
    ("Смуглянка - Из к/ф «Далёкие берега»", "Смуглянка", (), None, None),
    ("Анна Рид - Тройка (к/ф «Далёкие берега»)", "Тройка", ("Анна Рид",), None, None),
    ("Анна Рид - Тройка, 9 мая 2015", "Тройка", ("Анна Рид",), None, 2015),
    ("Анна Рид - Тройка. Запись 1970 г.", "Тройка", ("Анна Рид",), None, 1970),
    ("Анна Рид - Тройка (Песня года 1994)", "Тройка", ("Анна Рид",), None, 1994),
    ("Тройка минус", "Тройка", (), "karaoke", None),
    ("Плюс и минус", "Плюс и минус", (), None, None),
    ("«Тройка» (Анна Рид, 1939)", "Тройка", (), None, 1939),
    ('"Barley Moon" by Ann Reed', "Barley Moon", ("Ann Reed",), None, None),
    ("Ann Reed--Barley Moon", "Barley Moon", ("Ann Reed",), None, None),
    ("Ансамбль «Берёзка»", "Ансамбль «Берёзка»", (), None, None),
    ("Ансамбль «Берёзка» - Тройка", "Тройка", ("Ансамбль «Берёзка»",), None, None),
    ("Barley Moon [Audio]", "Barley Moon", (), None, None),
    # What looks like noise and is a title.
    ("Live and Let Live", "Live and Let Live", (), None, None),
    ("Ann Reed - Live Forever", "Live Forever", ("Ann Reed",), None, None),
    ("Ann Reed - 1999", "1999", ("Ann Reed",), None, None),
    ("1999", "1999", (), None, None),
    ("99 шагов", "99 шагов", (), None, None),
    ("25/17 - Ложь", "Ложь", ("25/17",), None, None),
    ("Рок-н-ролл", "Рок-н-ролл", (), None, None),
    ("Калинка-малинка", "Калинка-малинка", (), None, None),
    ("(I Never Saw) The Sea", "(I Never Saw) The Sea", (), None, None),
    ("Volare (Nel blu dipinto di blu)", "Volare (Nel blu dipinto di blu)", (), None, None),
    ("Live", "Live", (), None, None),
    ("Караоке", "Караоке", (), None, None),
    ("Минус", "Минус", (), None, None),
    ("(Live)", "Live", (), "live", None),
    ("Концерт для голоса", "Концерт для голоса", (), None, None),
    ("Cover Me", "Cover Me", (), None, None),
    ("Песня о друге", "Песня о друге", (), None, None),
    ("Новая песня", "Новая песня", (), None, None),
    ("Video", "Video", (), None, None),
    ("???", "???", (), None, None),
    ("Ann Reed &amp; Friends - Barley Moon", "Barley Moon", ("Ann Reed & Friends",), None, None),
    ("Ann Reed, Tom Hill - Barley Moon", "Barley Moon", ("Ann Reed", "Tom Hill"), None, None),
    ('Bobby "Blue" Reed - Don\'t Go (1957)', "Don't Go", ('Bobby "Blue" Reed',), None, 1957),
    ("Barley Moon (unclosed", "Barley Moon (unclosed", (), None, None),
    ("  Калинка\u200b \n(HD)  ", "Калинка", (), None, None),
]


@pytest.mark.parametrize(("raw", "title", "artists", "kind", "year"), CASES, ids=[case[0][:40] for case in CASES])
def test_labelled(raw: str, title: str, artists: tuple[str, ...], kind: str | None, year: int | None) -> None:
    parsed = parse_title(raw)
    assert (parsed.title, parsed.artists, parsed.kind, parsed.year) == (title, artists, kind, year), parsed


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
