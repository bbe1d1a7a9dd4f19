"""Each benchmark measures on a tiny size; what it writes has the form that others read. No figure is judged here."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import (
    _figures,
    _side,
    _stack,
    api_reads,
    candidates_without_audio,
    crawl_pages,
    crawl_restart,
    frontier_scale,
    ingest_recordings,
    ingest_thousand,
    politeness_single,
    recrawl_cost,
)
from benchmarks.__main__ import chosen, discover, main
from benchmarks._figures import Figure

FIELDS = {
    "name": str,
    "unit": str,
    "ours": float | int,
    "reference": float | int,
    "reference_name": str,
    "ratio": float | int,
    "goal": float | int | None,
    "met": bool | None,
    "detail": str,
}


def check(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert set(row) == set(FIELDS)
        for name, kind in FIELDS.items():
            assert isinstance(row[name], kind), (row["name"], name)
        assert row["ours"] >= 0
        assert row["reference"] > 0
        if row["goal"] is None:
            assert row["met"] is None
        else:
            # A share has its goal for itself; other figures for their ratio to the reference.
            value = row["ours"] if "the goal is for it" in row["unit"] else row["ratio"]
            within = value <= row["goal"] if row["reference_name"] == "limit" else value >= row["goal"]
            assert row["met"] is within


def measured(figures: list[Figure], names: tuple[str, ...]) -> None:
    assert tuple(figure.name for figure in figures) == names
    check(_figures.merge(figures))


def test_every_figure_of_the_issue_is_there() -> None:
    names = [name for module in discover().values() for name in module.FIGURES]
    assert len(names) == len(set(names))
    assert {"crawl_pages_crawlee", "crawl_restart", "frontier_take", "politeness_single"} <= set(names)
    assert {"crawl_pages", "ingest_recordings", "ingest_thousand", "peak_memory"} <= set(names)
    assert "candidates_without_audio" in names


def test_the_kept_results_have_the_form() -> None:
    rows = _figures.read()
    check(rows)
    assert {row["name"] for row in rows} <= {name for module in discover().values() for name in module.FIGURES}
    assert "/" + "work/" not in json.dumps(rows)


def test_a_cost_is_met_where_the_reference_costs_so_many_times_more() -> None:
    def figure(reference: float) -> _figures.Figure:
        return _figures.cheaper("lookup", "ms", 0.7, reference, reference_name="GIN", goal=10.0, detail="")

    assert (figure(7.07).ratio, figure(7.07).met, figure(6.9).met) == (10.1, True, False)


def test_one_figure_is_measured_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results.json"
    other = _figures.at_most("peak_memory", "MiB", 10, 20, detail="kept")
    _figures.write(_figures.merge([other]), results)
    rounds = [(80.0, 100.0), (70.0, 100.0), (90.0, 100.0)]
    figure = _figures.at_least("crawl_pages", "pages/s", rounds, reference_name="spider", goal=0.8, detail="")
    monkeypatch.setattr(crawl_pages, "measure", lambda: [figure])
    assert main(["--only", "crawl_pages", "--results", str(results)]) == 0
    rows = _figures.read(results)
    check(rows)
    assert [(row["name"], row["ratio"], row["met"]) for row in rows] == [
        ("crawl_pages", 0.8, True),
        ("peak_memory", 0.5, True),
    ]
    assert main(["--only", "nothing", "--results", str(results)]) == 2
    assert set(chosen(discover(), "peak_memory")) == {"ingest_recordings"}


@pytest.mark.stack
@pytest.mark.slow
def test_recrawl_cost() -> None:
    measured(recrawl_cost.measure(pages=20), recrawl_cost.FIGURES)


@pytest.mark.stack
@pytest.mark.slow
def test_crawl_pages() -> None:
    measured(crawl_pages.measure(pages=30, rounds=1), crawl_pages.FIGURES)


@pytest.mark.stack
@pytest.mark.slow
def test_crawl_restart() -> None:
    measured(crawl_restart.measure(pages=120, kills=1), crawl_restart.FIGURES)


@pytest.mark.stack
@pytest.mark.slow
def test_frontier_scale() -> None:
    measured(frontier_scale.measure(small=500, large=3000, batches=2, crawled=30), frontier_scale.FIGURES)


@pytest.mark.stack
@pytest.mark.slow
def test_politeness_single() -> None:
    measured(politeness_single.measure(pages=40, rounds=1), politeness_single.FIGURES)


def test_the_lock_of_the_side_environment_names_no_index_and_no_path() -> None:
    text = _side.LOCK.read_text()
    assert "crawlee==" in text
    assert "--index" not in text
    assert "://" not in text
    assert "/" + "work/" not in text


@pytest.mark.stack
@pytest.mark.slow
def test_candidates_without_audio() -> None:
    measured(candidates_without_audio.measure(count=6, rounds=1), candidates_without_audio.FIGURES)


@pytest.mark.stack
@pytest.mark.slow
def test_ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_recordings, "CACHE", tmp_path)
    files = ingest_recordings.make_files(4, 12, 14)
    with _stack.running() as stack:
        measured(ingest_recordings.figures(stack, files[:2]), ingest_recordings.FIGURES)
        measured(ingest_thousand.figures(stack, files[2:], rounds=2), ingest_thousand.FIGURES[:1])
        # A second time the same sound: whatever comes of it, the figure takes it.
        measured(ingest_thousand.real_figures(stack, files[2:], rounds=1), ingest_thousand.FIGURES[1:])


def test_ingest_of_real_music_is_left_out_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VERSIONS_BENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = [_figures.at_least("ingest_thousand", "recordings/s", [(1, 2)], reference_name="", goal=0.7, detail="")]
    monkeypatch.setattr(ingest_thousand, "make_files", lambda *_: [])
    monkeypatch.setattr(ingest_thousand, "figures", lambda *_: found)
    monkeypatch.setattr(_stack, "running", contextlib.nullcontext)
    assert ingest_thousand.measure() == found
    assert "ingest_real is not measured" in capsys.readouterr().err


def test_api_reads(database_url: str) -> None:
    measured(api_reads.figures(database_url, seconds=0.2), api_reads.FIGURES)
