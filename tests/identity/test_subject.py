"""Items become subjects: structured fields first."""

from __future__ import annotations

from adapters.contract import Credit, RecordingItem
from identity.names import TRADITIONAL
from identity.subject import Subject, subject_from_item


def subject(title: str, *credits: Credit, **fields: object) -> Subject:
    return subject_from_item(RecordingItem("k", title, credits=credits, **fields).to_json())  # type: ignore[arg-type]


def test_performer_comes_from_the_title_when_none_is_credited() -> None:
    found = subject("Хор имени Пятницкого - Калинка (Live 1998) [HD]", duration_s=180.0)
    assert (found.title, [p.name for p in found.performers]) == ("Калинка", ["Хор имени Пятницкого"])
    assert (found.kind, found.year) == ("live", 1998)
    assert found.complete


def test_credits_win_over_the_title() -> None:
    found = subject("Лидия - Калинка (live)", Credit("Лидия Русланова"), kind="cover", year=1943)
    assert [p.name for p in found.performers] == ["Лидия Русланова"]
    assert (found.title, found.kind, found.year) == ("Калинка", "cover", 1943)
    assert found.missing == ("duration",)


def test_a_credited_performer_is_cut_out_wherever_it_stands() -> None:
    found = subject("Kalinka - Hor imeni Pjatnickogo", Credit("Хор имени Пятницкого"))
    assert found.title_keys == ("kalinka",)


def test_the_other_side_of_the_dash_is_another_reading() -> None:
    found = subject("Калинка - Хор", Credit("Лидия Русланова"))
    assert "kalinka" in found.other_keys


def test_a_title_with_a_dash_that_the_work_has_too() -> None:
    found = subject("Раз - два - три", Credit("Лидия Русланова"), work_title="Раз - два - три")
    assert found.title_keys[0] == "raz dva tri"


def test_work_title_leads() -> None:
    found = subject("Kalinka-Malinka", work_title="Калинка")
    assert found.title_keys == ("kalinka", "kalinka malinka")


def test_traditional_is_a_marker() -> None:
    for item in (
        subject("Калинка", Credit("народная", "composer")),
        subject("Калинка", Credit("Traditional", "composer")),
        subject("Калинка (русская народная песня)"),
        subject("Русская народная песня - Калинка"),
        subject("Калинка", genre="Русская народная песня"),
    ):
        assert [c.key for c in item.composers] == [TRADITIONAL]
        assert item.performers == ()
        assert item.title == "Калинка"
    assert subject("Калинка", genre="Folk").composers == ()


def test_guests_are_performers_but_not_in_the_metadata_key() -> None:
    alone = subject("Ann Reed - Moon", duration_s=100)
    guest = subject("Ann Reed - Moon (feat. Tom Hill)", duration_s=101)
    assert [p.name for p in guest.performers] == ["Ann Reed", "Tom Hill"]
    assert alone.metadata_key == guest.metadata_key


def test_roles() -> None:
    found = subject("Moon", Credit("A"), Credit("B", "ensemble"), Credit("C", "Composer"), Credit("D", "lyricist"))
    assert [n.name for n in found.performers] == ["A", "B"]
    assert [n.name for n in found.composers] == ["C"]
    assert [n.name for n in found.lyricists] == ["D"]


def test_nothing_known() -> None:
    found = subject_from_item({})
    assert found.missing == ("title", "performer", "duration")
    assert not found.complete
    assert found.title_keys == ()


def test_bad_values_do_not_crash() -> None:
    for duration in ("nan", "x", -1, 0, float("inf"), None, [1]):
        assert subject_from_item({"title": "Moon", "duration_s": duration}).duration_s is None
