"""Keys across spellings."""

from __future__ import annotations

import csv
from collections import defaultdict
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.names import (
    TRADITIONAL,
    artist_key,
    fold,
    is_traditional,
    metadata_key,
    neighbouring_keys,
    same_name,
    title_key,
    title_keys,
)
from tests.conftest import SHARED_DATA


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Ещё  Не Вечер!", "eshche ne vecher"),
        ("Café — Noël", "cafe noel"),
        ("ＫＡＬＩＮＫＡ", "kalinka"),
        ("подъезд", "podezd"),
        ("Don’t", "dont"),
        ("你好", "nihao"),
        ("???", ""),
        ("", ""),
    ],
)
def test_fold(text: str, folded: str) -> None:
    assert fold(text) == folded


SAME_TITLES = [
    ["Калинка", "Kalinka", "KALINKA", "калинка!"],
    ["Катюша", "Katyusha", "Katjusha", "Katiusha", "Katjuša"],
    ["Цветы", "Tsvety", "Cvety", "Tzvety"],
    ["Щедрик", "Shchedrik", "Schedrik"],
    ["Жизнь", "Zhizn", "Zhizn'", "Jizn", "Žizn"],
    ["Очи чёрные", "Ochi chyornye", "Ochi chernye", "Oči čërnye", "Ochi Chornye", "Очи черные"],
    ["Подмосковные вечера", "Podmoskovnye vechera", "Podmoskovniye Vechera", "Podmoskovnie vechera"],
    ["Эй, ухнем", "Ey, ukhnem", "Ej uhnem", "Эй ухнем"],
    ["Во поле берёза стояла", "Vo pole beryoza stoyala", "Vo pole bereza stojala"],
    ["Светит месяц", "Svetit mesyats", "Svetit mesjac", "Svetit mesiatz"],
    ["Ямщик, не гони лошадей", "Yamshchik, ne goni loshadey", "Jamschik ne goni loshadej"],
    ["Рок-н-ролл", "Rock'n'Roll", "Rock 'n' Roll", "Rock & Roll", "Rock and Roll"],
    ["Подъезд", "Podyezd", "Pod'ezd"],
    ["Моё движение", "Moye dvizheniye", "Moe dvizhenie"],
    ["Хочу ещё", "Xochu eshche", "Hochu esche", "Khochu yeshchyo"],
    ["Ой, то не вечер", "Oy, to ne vecher", "Oj to ne vecher"],
    ["Семья", "Semya", "Sem'ya", "Semja"],
    ["The Wall", "Wall", "wall", "Wall, The"],
    ["Barley Moon (feat. Tom)", "Barley Moon", "Barley Moon ft. Tom"],
    ["Sound & Vision", "Sound and Vision"],
    ["Ёлка", "Елка", "Yolka"],
]


@pytest.mark.parametrize("spellings", SAME_TITLES, ids=[group[0] for group in SAME_TITLES])
def test_spellings_of_one_title_have_one_key(spellings: list[str]) -> None:
    assert len({title_key(spelling) for spelling in spellings}) == 1


def test_different_titles_have_different_keys() -> None:
    titles = [group[0] for group in SAME_TITLES]
    titles += ["Калинка-малинка", "Снег идёт", "А снег идёт", "Ben", "Been", "By", "Bye", "Be", "Years", "Ears", "Good"]
    titles += ["God", "You", "Movie", "Move", "Anne", "Annie", "Max", "Mash", "Маша", "Миша", "Снег", "Снеги", "Река"]
    titles += ["Руки", "Вечер", "Вечера", "Cat", "Cats", "Sea", "Tea", "Берёза", "Берег", "I Am", "Am", "!!!", "???"]
    assert len({title_key(title) for title in titles}) == len(titles)


def test_a_title_in_brackets_is_a_title_too() -> None:
    assert title_keys("Volare (Nel blu dipinto di blu)") == (
        title_key("Volare Nel blu dipinto di blu"),
        title_key("Volare"),
        title_key("Nel blu dipinto di blu"),
    )
    assert title_keys("Прощание (Farewell)") == (title_key("Прощание Farewell"), title_key("Прощание"))
    assert "kalinka" in title_keys("Калинка / Kalinka")
    assert "kalinka" not in title_keys("Калинка / Тройка")
    assert title_keys("  ") == ()


@pytest.mark.parametrize(
    "spellings",
    [
        ["Хор имени Пятницкого", "Khor imeni Pyatnitskogo", "Hor imeni Pjatnickogo", "Хор им. Пятницкого"],
        ["Фёдор Шаляпин", "Шаляпин Федор", "Fyodor Shalyapin", "Shaljapin, Fjodor"],
        ["Пугачёва Алла", "Алла Пугачева", "Alla Pugacheva", "Alla Pugachyova"],
        ["П. И. Чайковский", "P. I. Tchaikovsky", "P.I. Tschaikowsky", "Чайковский П. И."],
        ["Алексей", "Alexei", "Alexey", "Aleksej"],
        ["Евгений Осин", "Yevgeny Osin", "Evgenij Osin"],
        ["Гуф (Guf)", "Гуф", "Guf"],
        ["Jimmie Rodgers [1]", "Jimmie Rodgers"],
        ["Группа Кино", "Кино", "Kino"],
        ["Баста и Гуф", "Баста & Гуф", "Basta and Guf"],
        ["The Willow Band", "Willow Band", "Willow Band, The"],
        ["Ann Reed feat. Tom", "Ann Reed"],
    ],
)
def test_spellings_of_one_artist_have_one_key(spellings: list[str]) -> None:
    assert len({artist_key(spelling) for spelling in spellings}) == 1


@pytest.mark.parametrize(
    ("name", "romanised"),
    [
        # BGN/PCGN, ALA-LC, GOST 7.79 (ISO 9:1995), scientific, GOST 16876-2, passports, what people type
        ("Щедрин", "Shchedrin|Ščedrin|Ŝedrin|Schedrin|Schedrin|Shhedrin"),
        ("Ярмольник Юлия", "Yarmol’nik Yuliya|I͡armolʹnik I͡ulii͡a|Ârmolʹnik Ûliâ|Jarmolʹnik Julija|Iarmolnik Iuliia"),
        ("Чайковский", "Chaykovskiy|Chaĭkovskiĭ|Čajkovskij|Chajkovskij|Chaikovskii|Chaykovsky|Tschaikowski"),
        ("Жёлтые цветы", "Zheltye t͡svety|Žëltye cvety|Zhjoltye cvety|Zheltye tsvety|Zhyoltye tsvety"),
        ("Подмосковные вечера", "Podmoskovnyye vechera|Podmoskovnye večera|Podmoskownyje wetschera"),
    ],
)
def test_the_standards_of_romanisation_have_one_key(name: str, romanised: str) -> None:
    assert {artist_key(spelling) for spelling in romanised.split("|")} == {artist_key(name)}


def test_french_accents_are_no_romanisation() -> None:
    assert title_key("Âme câline") == title_key("Ame caline")
    assert title_key("Août") == title_key("Aout")


def test_only_the_article_goes() -> None:
    assert artist_key("Ann Reed") != artist_key("Reed")
    assert artist_key("Anna Reed") != artist_key("Ann Reed") == artist_key("ANN REED")
    assert title_key("Ann") == title_key("Ann feat. Tom")
    assert title_key("Ann of the Moon") != title_key("Of the Moon")
    assert title_key("An Evening") == title_key("Evening") == title_key("Evening, An")
    assert title_key("Анн Вески") != title_key("Вески")


def test_order_counts_where_no_family_name_is_recognised() -> None:
    assert artist_key("George Michael") != artist_key("Michael George")
    assert artist_key("ВИА Гра") != artist_key("Гра")


@pytest.mark.parametrize(
    "name",
    [
        "народная",
        "Русская народная песня",
        "русская народная",
        "Traditional",
        "trad.",
        "Trad",
        "folk",
        "Folk song",
        "narodnaya",
        "Narodnaja",
        "Слова народные",
        "музыка народная",
        "Russian traditional",
        "РНП",
        "р.н.п.",
    ],
)
def test_the_people_are_no_person(name: str) -> None:
    assert is_traditional(name)
    assert artist_key(name) == TRADITIONAL


@pytest.mark.parametrize(
    "name",
    ["Народный хор", "The Folk Singers", "Folk Implosion", "Песня", "", "Народная артистка Русланова"],
)
def test_what_only_sounds_like_the_people(name: str) -> None:
    assert not is_traditional(name)
    assert artist_key(name) != TRADITIONAL


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Иван Ларионов", "И. Ларионов", True),
        ("Larionov", "Иван Ларионов", True),
        ("И. П. Ларионов", "Иван Петрович Ларионов", True),
        ("П. Ларионов", "Иван Ларионов", False),
        ("Иван", "Иван Ларионов", False),
        ("Иван Ларионов", "Иван Петров", False),
        ("И. П.", "Иван Петров", False),
        ("народная", "traditional", True),
        ("народная", "Иван Ларионов", False),
        ("", "", False),
    ],
)
def test_same_name(one: str, other: str, same: bool) -> None:
    assert same_name(artist_key(one), artist_key(other)) is same
    assert same_name(artist_key(other), artist_key(one)) is same


def test_metadata_key() -> None:
    key = metadata_key("Калинка", ["Хор имени Пятницкого", "Лидия Русланова"], 180.4)
    assert key == metadata_key("Kalinka", ["Ruslanova Lidiya", "Khor imeni Pyatnitskogo"], 181.2)
    assert key != metadata_key("Калинка", ["Лидия Русланова"], 180.4)
    assert key != metadata_key("Калина", ["Хор имени Пятницкого", "Лидия Русланова"], 180.4)
    assert metadata_key("Калинка", [], None).endswith("-x")
    assert neighbouring_keys("abc-x") == ("abc-x",)
    assert neighbouring_keys("abc-0") == ("abc-0", "abc-1")


@given(st.floats(1, 10_000), st.floats(-1.9, 1.9))
def test_near_durations_have_neighbouring_keys(duration: float, difference: float) -> None:
    one, other = metadata_key("t", ["a"], duration), metadata_key("t", ["a"], max(0.6, duration + difference))
    assert other in neighbouring_keys(one)
    assert one in neighbouring_keys(other)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_any_text_has_a_key(text: str) -> None:
    folded = fold(text)
    assert fold(folded) == folded
    assert set(folded) <= set("abcdefghijklmnopqrstuvwxyz0123456789 ")
    assert bool(title_key(text)) == bool(text.split())
    assert bool(artist_key(text)) == bool(text.split())
    assert title_key(f"  {text} ") == title_key(text)


def test_hostile_length_is_cut() -> None:
    assert len(title_key("а" * 1_000_000)) <= 600
    assert title_key("' n " * 200_000)


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="needs the recorded data beside the checkout (../shared/data)")
def test_common_titles_do_not_collapse() -> None:
    songs: dict[str, set[str]] = defaultdict(set)
    keys: dict[str, set[str]] = defaultdict(set)
    for name, column in (("song_versions.csv", "title"), ("russian_titles.csv", "title")):
        with (SHARED_DATA / name).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                songs[fold(row[column])].add(row.get("song_id") or row[column])
                keys[title_key(row[column])].add(fold(row[column]))
    wrong = [
        pair
        for folded in keys.values()
        for pair in combinations(sorted(folded), 2)
        if not songs[pair[0]] & songs[pair[1]]
    ]
    # Measured: 163 pairs of spellings are joined over 6,700 titles, three of them of different songs.
    assert sum(len(folded) - 1 for folded in keys.values()) > 100
    assert len(wrong) <= 5, wrong


@pytest.mark.parametrize("inside", ["Milestone 2 Version", "версия 2020 года", "Extended Club Mix", "первая редакция"])
def test_what_names_a_version_is_no_title(inside: str) -> None:
    assert title_keys(f"The Cave ({inside})")[1:] == ("cave",)
