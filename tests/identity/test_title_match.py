"""Titles aligned with noisy titles."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.names import title_key
from identity.title_match import Found, find, forms, name_places, noisy_title
from identity.title_words import COMMON_WEIGHT, canonical_key, likeness, probes, weight


def best(raw: str, title: str, names: tuple[str, ...] = ()) -> Found:
    noisy = noisy_title(raw)
    places = name_places(noisy, [canonical_key(title_key(name)) for name in names])
    found = [each for form in forms(title) for each in find(noisy, form, places, {})]
    return max(found, key=lambda each: (each.coverage, each.exact, each.whole, -each.rest), default=Found())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Lovin' You", "Loving You"),
        ("Don´t Stop", "Don't Stop"),
        ("Don`t Stop", "Don’t Stop"),
        ("24 Steps", "Twenty-Four Steps"),
        ("7 Roads", "Seven Roads"),
        ("I Wanna Go", "I want to go"),
        ("Salt & Pepper", "Salt and Pepper"),
        ("Mr. Brown", "Mister Brown"),
        ("Four 'til Late", "Four Until Late"),
        ("Gimme Time", "Give Me Time"),
        ("That's Alright", "That's All Right"),
    ],
)
def test_spellings_of_a_title_have_the_same_canonical_words(one: str, other: str) -> None:
    assert canonical_key(title_key(one)) == canonical_key(title_key(other))


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        ("Ann Reed - Barley Moon (Live)", "Barley Moon"),
        ("Ann Reed - Lovin' the Moon", "Loving the Moon"),
        ("Ann Reed  A Fool Such As You", "(Now and Then There's) A Fool Such As You"),
        ("Ann Reed - Tune Up", "Tune Up / When Lights Are Low"),
        ("Ann Reed - Shine On, Barley Moon", "Shine On Barley Moon, Pts. 1-5"),
        ("AnnReedTheManWhoSawTheBarleyMoon_0001.wmv", "The Man Who Saw the Barley Moon"),
        ("Анна Рид - Катюша", "Katyusha"),
        ("Anna Reed - Katjuscha", "Катюша"),
    ],
)
def test_a_title_stands_word_by_word(raw: str, title: str) -> None:
    found = best(raw, title)
    assert found.exact
    assert found.coverage == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("raw", "title", "least"),
    [
        ("Ann Reed - Break Up", "Breakup", 0.9),
        ("Ann Reed - Moonlight", "Moon Light", 0.9),
        ("Ann Reed - Velvet Mornings", "Velvet Morning", 0.85),
        ("Ann Reed - Subterrenean Blues", "Subterranean Blues", 0.9),
        ("Ann Reed - Handbags & the Gladrags", "Handbags and Gladrags", 0.99),
        ("Ann Reed - Waiting for a Night", "Waiting for the Night", 0.8),
        ("Ann Reed - Chelsea Hotel", "Hotel Chelsea", 0.99),
        ("Ann Reed - Barley Jean Moon", "Barleyjean Moon", 0.8),
        ("Ann Reed - Speedking", "Speed King", 0.8),
        ("Ann Reed - In a Barley Tone", "In a Barleytone", 0.8),
        ("Ann Reed   Barly Lanternsvalsen", "Barley Lanternvalsen", 0.8),
    ],
)
def test_a_title_is_found_in_spite_of_typos(raw: str, title: str, least: float) -> None:
    found = best(raw, title)
    assert found.coverage >= least
    assert not found.exact


def test_words_in_another_order_are_told() -> None:
    assert best("Ann Reed - Chelsea Hotel", "Hotel Chelsea").reordered
    assert not best("Ann Reed - Hotel Chelsea", "Hotel Chelsea").reordered


def test_short_words_agree_by_equality_only() -> None:
    assert best("Ann Reed - Rain", "Pain").coverage > 0  # one letter of four
    assert best("Ann Reed - Men", "Man").coverage == 0
    assert likeness("1941", "1942") == 0


def test_another_number_is_no_slip_of_the_spaces() -> None:
    assert best("Ann Reed - Barley Moon, Part 2", "Barleymoon Part 2").coverage > 0.9
    assert best("Ann Reed - Barley Moon, Part 2", "Barleymoon Part 3").coverage < 0.9


def test_a_wide_gap_parts_a_title_as_a_dash_does() -> None:
    found = best("Ann Reed  Barley Moon", "Barley Moon")
    assert found.starts
    assert found.rest == 0
    assert not best("Ann Reed Barley Moon", "Barley Moon").starts
    assert best("Barley  Moon", "Barley Moon").exact


def test_what_is_left_over_is_measured_where_it_stands() -> None:
    alone = best("Ann Reed - Barley Moon", "Barley Moon")
    assert alone.rest == 0
    assert alone.elsewhere > 0  # nobody knows that this is a name
    assert best("Ann Reed - Barley Moon", "Barley Moon", ("Ann Reed",)).elsewhere == 0
    longer = best("Ann Reed - Barley Moon Tonight", "Barley Moon")
    assert 0 < longer.rest < 1
    assert best("Ann Reed - Barley Moon (Official Video) 1987", "Barley Moon", ("Ann Reed",)).elsewhere == 0


def test_where_a_title_stands() -> None:
    assert best("Ann Reed - Night (Barley Moon)", "Barley Moon").bracketed
    assert best("Barley Moon - Ann Reed", "Barley Moon").first
    assert not best("Ann Reed - Barley Moon", "Barley Moon").first
    assert best("Night by Barley Moon", "Barley Moon").after_name_word
    assert best("Night (parody of Barley Moon)", "Barley Moon").after_name_word
    assert best("Barley Moon - Night", "Barley Moon", ("Barley Moon",)).names == 1
    assert best("Ann Reed - Night (Live)", "Live").only_noise


@pytest.mark.parametrize(
    ("raw", "title", "noise"),
    [
        ("Ann Reed - Sing", "Sing", False),
        ("Ann Reed - Moon (Sing Along)", "Sing", True),
        ("Ann Reed - Dance", "Dance", False),
        ("Анна Рид - Живой", "Живой", False),
        ("Анна Рид - Луна (живой звук)", "Звук", True),
        ("Анна Рид - Луна под гитару", "Гитару", True),
        ("Анна Рид - Под луной", "Под", False),
    ],
)
def test_words_of_a_phrase_are_noise_only_together(raw: str, title: str, noise: bool) -> None:
    assert best(raw, title).only_noise is noise


def test_the_nearest_of_two_places_counts() -> None:
    found = [each for form in forms("Johnny") for each in find(noisy_title("Johnny - Johnny B. Good"), form, (), {})]
    assert len(found) == 2


def test_words_weigh_by_how_many_titles_have_them() -> None:
    assert weight("moon", {}) == 1
    assert weight("moon", {"moon": 20}) > weight("moon", {"moon": 300}) > COMMON_WEIGHT
    assert weight("the", {}) == COMMON_WEIGHT


def test_what_is_looked_up() -> None:
    looked_up = dict(probes(title_key("Lovin' You the Break Up").split(), 50))
    assert {"loving", "lovin", "break", "breakup"} <= {*looked_up}
    assert "the" not in looked_up
    numbers = dict(probes(title_key("24 Hours").split(), 50))
    assert {"24", title_key("twenty"), title_key("four")} <= {*numbers}
    assert len(probes(["word" + str(n) for n in range(200)], 48)) == 48


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=120), st.text(max_size=60))
def test_any_two_texts_can_be_compared(raw: str, title: str) -> None:
    found = best(raw, title)
    for value in (found.coverage, found.rest, found.elsewhere, found.strength, found.names, found.words_found):
        assert 0 <= value <= 1 + 1e-9


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["silver", "rain", "barley", "moon", "night", "boat", "river", "stone"]), min_size=1, max_size=6
    )
)
def test_a_title_is_found_in_itself(words: list[str]) -> None:
    found = best(" ".join(words), " ".join(words))
    assert found.exact
    assert found.rest == 0
