"""Campaign files: what a good one means, and what each bad one is told, with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.campaigns.document import Problem
from catalog.campaigns.files import CampaignFileError, load, load_text
from catalog.campaigns.schema import schema_text
from catalog.campaigns.spec import CampaignSpec, parse_duration, reduce_address
from runtime.adapters import adapter_facts
from tests.campaigns.facts import FACTS

GOOD = """\
version: 1
name: demo
parameters: {site_one: "http://127.0.0.1:8801", delay: 0.5}
allow_private: ["${site_one}"]
sources:
  - source: pesennik
    adapter: website
    seeds: ["${site_one}/sitemap.xml"]
    follow: ['/songs/\\d+$']
    trust: 0.9
    politeness: {delay: "${delay}"}
    limits: {timeout: 15s}
  - adapter: talk
    search: [катюша]
approval: {recording: auto, remind_after: 2d, expire_after: 30d}
schedule: {cron: "0 3 * * *", timezone: Europe/Moscow}
"""


def problems(text: str, **overrides: str) -> list[tuple[str, int, int, str]]:
    with pytest.raises(CampaignFileError) as caught:
        load_text(text, "c.yaml", overrides, FACTS)
    return [(each.code, each.line, each.column, each.key) for each in caught.value.problems]


def test_a_good_file() -> None:
    spec = load_text(GOOD, "c.yaml", {"delay": "0.25"}, FACTS)
    assert spec.allow_private == ["127.0.0.1:8801"]
    first, second = spec.sources
    assert first.seeds == ["http://127.0.0.1:8801/sitemap.xml"]
    assert first.follow == ["/songs/\\d+$"]
    assert first.politeness.model_dump(include={"delay", "concurrency", "robots"}) == {
        "delay": 0.25,
        "concurrency": 3,
        "robots": True,
    }
    assert first.limits.timeout == 15.0
    assert (first.audio, second.audio) == ("store", "fingerprint_only")
    assert (second.source, second.adapter) == ("talk", "talk")
    assert spec.approval.remind_after == 172800.0
    assert spec.approval.new_song == "review"
    assert spec.schedule is not None
    assert spec.schedule.message() == {"cron": "0 3 * * *", "timezone": "Europe/Moscow"}


def test_the_record_is_read_back_the_same() -> None:
    spec = load_text(GOOD, "c.yaml", {}, FACTS)
    assert CampaignSpec.model_validate(json.loads(json.dumps(spec.record()))) == spec


def test_escaped_references_stay() -> None:
    text = GOOD.replace("search: [катюша]", "search: ['$${x}']")
    assert load_text(text, "c.yaml", {}, FACTS).sources[1].search == ["${x}"]


HEAD = "version: 1\nname: demo\n"
ONE = HEAD + "sources:\n  - adapter: website\n"
BAD = [
    # unknown keys at every level
    (ONE + "shedule: {every: 6h}\n", ("unknown_key", 5, 1, "shedule")),
    (ONE + "    trsut: 0.9\n", ("unknown_key", 5, 5, "sources[0].trsut")),
    (ONE + "    politeness:\n      delay: 1s\n      pause: 2s\n", ("unknown_key", 7, 7, "sources[0].politeness.pause")),
    (ONE + "    limits: {max_page: 3}\n", ("unknown_key", 5, 14, "sources[0].limits.max_page")),
    (ONE + "approval:\n  songs: auto\n", ("unknown_key", 6, 3, "approval.songs")),
    # wrong types
    (ONE + "    seeds: http://x/\n", ("wrong_type", 5, 12, "sources[0].seeds")),
    (ONE + "    limits:\n      max_pages: '7'\n", ("wrong_type", 6, 18, "sources[0].limits.max_pages")),
    (ONE + "    politeness: {robots: yes}\n", ("wrong_type", 5, 26, "sources[0].politeness.robots")),
    (ONE + "    politeness: {concurrency: 1.5}\n", ("wrong_type", 5, 31, "sources[0].politeness.concurrency")),
    (HEAD + "sources: {website: 1}\n", ("wrong_type", 3, 10, "sources")),
    (HEAD + "sources:\n  - website\n", ("wrong_type", 4, 5, "sources[0]")),
    (ONE + "    options: [1]\n", ("wrong_type", 5, 14, "sources[0].options")),
    (ONE + "parameters:\n  a: [1]\n", ("wrong_type", 6, 6, "parameters.a")),
    ("- version: 1\n", ("wrong_type", 1, 1, "")),
    ("", ("wrong_type", 1, 1, "")),
    # missing, out of range, not allowed
    ("version: 1\nsources:\n  - adapter: website\n", ("missing_key", 1, 1, "name")),
    (HEAD, ("missing_key", 1, 1, "sources")),
    (HEAD + "sources: []\n", ("too_short", 3, 10, "sources")),
    (HEAD + "sources:\n  - trust: 1\n", ("missing_key", 4, 5, "sources[0]")),
    (ONE.replace("1", "2"), ("not_allowed", 1, 10, "version")),
    (ONE + "    audio: keep\n", ("not_allowed", 5, 12, "sources[0].audio")),
    (ONE + "    trust: 1.1\n", ("out_of_range", 5, 12, "sources[0].trust")),
    (ONE + "    limits: {max_pages: 0}\n", ("out_of_range", 5, 25, "sources[0].limits.max_pages")),
    (ONE + "approval: {require: [title, isrc]}\n", ("not_allowed", 5, 29, "approval.require[1]")),
    (ONE + "approval:\n  song: maybe\n", ("not_allowed", 6, 9, "approval.song")),
    (ONE + "approval: {remind_after: 3d, expire_after: 2d}\n", ("bad_approval", 5, 11, "approval")),
    (ONE.replace("demo", "Demo one"), ("bad_name", 2, 7, "name")),
    (ONE + "    source: a b\n", ("bad_name", 5, 13, "sources[0].source")),
    (ONE + "parameters: {Site-One: x}\n", ("bad_name", 5, 14, "parameters.Site-One")),
    # durations, times, zones
    (ONE + "    politeness: {delay: 1 sec}\n", ("bad_duration", 5, 25, "sources[0].politeness.delay")),
    (ONE + "    limits: {timeout: -1}\n", ("bad_duration", 5, 23, "sources[0].limits.timeout")),
    (ONE + "    limits: {timeout: true}\n", ("bad_duration", 5, 23, "sources[0].limits.timeout")),
    (ONE + "schedule: {cron: '61 3 * * *'}\n", ("bad_cron", 5, 18, "schedule.cron")),
    (ONE + "schedule: {cron: '0 3 * *'}\n", ("bad_cron", 5, 18, "schedule.cron")),
    (ONE + "schedule: {cron: '* * * * * *'}\n", ("bad_cron", 5, 18, "schedule.cron")),
    (ONE + "schedule: {cron: '0 0 30 2 *'}\n", ("bad_cron", 5, 18, "schedule.cron")),
    (ONE + "schedule: {cron: '0 0 L * *'}\n", ("bad_cron", 5, 18, "schedule.cron")),
    (ONE + "schedule: {cron: 0 3 * * *, timezone: Europe/Moskow}\n", ("bad_timezone", 5, 39, "schedule.timezone")),
    (ONE + "schedule: {cron: 0 3 * * *, timezone: ../etc}\n", ("bad_timezone", 5, 39, "schedule.timezone")),
    (ONE + "schedule: {cron: 0 3 * * *, every: 6h}\n", ("bad_schedule", 5, 11, "schedule")),
    (ONE + "schedule: {timezone: UTC}\n", ("bad_schedule", 5, 11, "schedule")),
    (ONE + "schedule: {every: 5s}\n", ("out_of_range", 5, 19, "schedule.every")),
    # expressions and addresses
    (ONE + "    follow:\n      - ok\n      - '/songs/(\\d+'\n", ("bad_regex", 7, 9, "sources[0].follow[1]")),
    (ONE + f"    follow: ['{'a' * 501}']\n", ("too_long", 5, 14, "sources[0].follow[0]")),
    (ONE + "allow_private: [localhost]\n", ("bad_address", 5, 17, "allow_private[0]")),
    (ONE + "allow_private: ['localhost:99999']\n", ("bad_address", 5, 17, "allow_private[0]")),
    (ONE + "allow_private: ['http://u@localhost:80']\n", ("bad_address", 5, 17, "allow_private[0]")),
    (ONE + "allow_private: ['*:80']\n", ("bad_address", 5, 17, "allow_private[0]")),
    # sources and adapters
    (HEAD + "sources:\n  - adapter: web_site\n", ("unknown_adapter", 4, 14, "sources[0].adapter")),
    (HEAD + "sources:\n  - source: pesennik\n", ("unknown_adapter", 4, 13, "sources[0].source")),
    (ONE + "  - {adapter: talk, source: website}\n", ("duplicate_source", 5, 29, "sources[1].source")),
    (HEAD + "sources:\n  - adapter: talk\n    audio: store\n", ("audio_not_permitted", 5, 12, "sources[0].audio")),
    (ONE + "    seeds: ['http://a/', 'ftp://b/']\n", ("bad_seed", 5, 26, "sources[0].seeds[1]")),
    # parameters
    (ONE + "    seeds:\n      - ${site_on}/x\n", ("undefined_parameter", 6, 9, "sources[0].seeds[0]")),
    (ONE + "parameters: {a: x, b: '${a}'}\n", ("nested_parameter", 5, 23, "parameters.b")),
    # YAML itself
    ("version: 1\nname: [demo\n", ("syntax", 3, 1, "")),
    ("version: 1\n\tname: demo\n", ("syntax", 2, 1, "")),
    (ONE + "---\nversion: 1\n", ("syntax", 5, 1, "")),
    (ONE + "name: again\n", ("duplicate_key", 5, 1, "name")),
    (ONE + "description: &a x\n", ("alias_refused", 5, 14, "")),
    (ONE + "description: !!python/object:os.system x\n", ("tag_refused", 5, 14, "description")),
    (ONE + "1: x\n", ("bad_key", 5, 1, "1")),
    (ONE + "? [a]\n: x\n", ("bad_key", 5, 3, "?")),
    (ONE + 'description: "a\\0b"\n', ("bad_character", 5, 14, "description")),
    (ONE + "    options: {x: .nan}\n", ("bad_number", 5, 18, "sources[0].options.x")),
    (ONE + "    options: {x: " + "9" * 50 + "}\n", ("bad_number", 5, 18, "sources[0].options.x")),
    (ONE + "    options: {x: " + "[" * 30 + "]" * 30 + "}\n", ("too_deep", 5, 34, "")),
]


@pytest.mark.parametrize(("text", "expected"), BAD, ids=[f"{n}-{b[1][0]}" for n, b in enumerate(BAD)])
def test_bad_files(text: str, expected: tuple[str, int, int, str]) -> None:
    assert problems(text) == [expected]


def test_everything_is_reported_at_once_in_line_order() -> None:
    text = (
        "version: 1\nnmae: demo\nsources:\n  - adapter: websit\n    trust: high\n"
        "    seeds: ['${nope}']\nschedule: {cron: x}\n"
    )
    assert [(code, line) for code, line, _, _ in problems(text)] == [
        ("missing_key", 1),
        ("unknown_key", 2),
        ("unknown_adapter", 4),
        ("wrong_type", 5),
        ("undefined_parameter", 6),
        ("bad_cron", 7),
    ]


def test_a_problem_reads_well() -> None:
    with pytest.raises(CampaignFileError) as caught:
        load_text(HEAD + "sources:\n  - adapter: web_site\n", "c.yaml", {}, FACTS)
    assert str(caught.value) == (
        "c.yaml:4:14: sources[0].adapter: no source named 'web_site' (allowed: folder, talk, website); "
        "did you mean 'website'?"
    )


def test_a_parameter_that_the_file_does_not_have() -> None:
    assert problems(GOOD, site_on="x") == [("unknown_parameter", 0, 0, "--set site_on")]


def test_nesting_without_end() -> None:
    assert [code for code, *_ in problems("a: " + "[" * 100_000)] == ["too_deep"]


def test_an_alias_bomb_is_refused_before_it_is_built() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert {code for code, *_ in problems("\n".join(lines))} == {"alias_refused"}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    big.write_text("#" * 300_000)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"version: 1\nname: \xff\n")
    for path, code, line in ((tmp_path / "none", "unreadable", 0), (big, "too_large", 0), (latin, "encoding", 2)):
        with pytest.raises(CampaignFileError) as caught:
            load(path, {}, FACTS)
        assert [(each.code, each.line) for each in caught.value.problems] == [(code, line)]


@pytest.mark.parametrize(
    ("text", "seconds"), [(90, 90.0), (1.5, 1.5), ("90s", 90.0), ("15m", 900.0), ("6h", 21600.0), ("250ms", 0.25)]
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8801/x", "127.0.0.1:8801"),
        ("https://Example.org", "example.org:443"),
        ("localhost:80", "localhost:80"),
        ("http://[::1]:9/", "[::1]:9"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert reduce_address(text) == address


def test_the_schema_file_is_current() -> None:
    path = Path(__file__).resolve().parents[2] / "docs" / "campaign.schema.json"
    assert path.read_text(encoding="utf-8") == schema_text(), (
        "run: python -m catalog.campaigns.schema docs/campaign.schema.json"
    )


def test_what_an_adapter_complains_of_is_pointed_at() -> None:
    entry = "version: 1\nname: demo\nsources:\n  - adapter: rutube\n    seeds: ['@rutube']\n"
    with pytest.raises(CampaignFileError) as caught:
        load_text(entry + "    options:\n      cookies: x\n", "c.yaml", {}, adapter_facts())
    (problem,) = caught.value.problems
    assert (problem.key, problem.line, problem.column) == ("sources[0].options.cookies", 7, 16)
    assert "VERSIONS_ACCOUNTS_DIR" in problem.message
    with pytest.raises(CampaignFileError) as caught:
        load_text(entry + "    search: [катюша]\n", "c.yaml", {}, adapter_facts())
    assert [problem.key for problem in caught.value.problems] == ["sources[0].search"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_a_damaged_file_is_only_ever_a_campaign_file_error(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    length = data.draw(st.integers(0, 12))
    text = GOOD[:start] + data.draw(st.text(max_size=8)) + GOOD[start + length :]
    problems: list[Problem] = []
    try:
        spec = load_text(text, "c.yaml", {}, FACTS)
        assert CampaignSpec.model_validate(spec.record()) == spec
    except CampaignFileError as error:
        problems = error.problems
    lines = [each.line for each in problems]
    assert lines == sorted(lines)
