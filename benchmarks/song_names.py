"""The right song for a noisy video title among all songs, how sure that is, and pairs of videos; labelled data.

Ours is the real path: the songs stand in a PostgreSQL, `identity.song.propose` is asked. The videos are the half of
`video_pairs.csv` (split by song) that nothing was fitted or tuned on. Each video is asked twice where sureness counts:
with its song in the catalog, and without it, when every song that is named is wrong.

Beside it, on the same titles and videos in the same run: pg_trgm on raw titles in that PostgreSQL (`word_similarity`,
then `similarity`), rapidfuzz's `token_set_ratio`, and the longest known title that stands in the video's title.

``python -m benchmarks.song_names fit`` fits the weights on the other half and prints them.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import psutil
import psycopg
from rapidfuzz import fuzz, process, utils
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks import _names_data as data
from benchmarks import _names_fit, _stack
from benchmarks._figures import Figure
from catalog.database import Database
from catalog.migrate import upgrade
from identity import song_thresholds as th
from identity.evidence import Proposal, Verdict
from identity.names import title_key
from identity.song import propose
from identity.subject import subject_from_item
from identity.title_words import canonical_key

FIGURES = (
    "names_top1",
    "names_top1_verbatim",
    "names_top5",
    "names_precision_auto",
    "names_pairs",
    "names_calibration",
)
TOP1, VERBATIM, TOP5, PRECISION, CALIBRATION = 0.93, 0.995, 0.985, 0.995, 0.03
PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "names-reliability.svg"
_BINS = 10
_Question = TypeVar("_Question")


@dataclass(slots=True)
class Ranking:
    """What one way of searching said. ``sure``: (score in 0..1, right) of its first answer, of every question."""

    name: str
    asked: int = 0
    top1: int = 0
    top5: int = 0
    verbatim: int = 0
    top1_verbatim: int = 0
    sure: list[tuple[float, bool]] = field(default_factory=list)
    pairs: list[tuple[float, bool]] = field(default_factory=list)

    def add(self, ranked: Sequence[tuple[bool, float]], verbatim: bool) -> None:
        """``ranked``: (right, score), best first."""
        right = [each for each, _ in ranked]
        first = bool(right[:1] and right[0])
        self.asked += 1
        self.top1 += first
        self.top5 += any(right[:5])
        self.verbatim += verbatim
        self.top1_verbatim += verbatim and first
        self.sure.append((ranked[0][1] if ranked else 0.0, first))

    def join(self, other: Ranking) -> None:
        """Adds what another share of the questions gave."""
        self.asked += other.asked
        self.top1 += other.top1
        self.top5 += other.top5
        self.verbatim += other.verbatim
        self.top1_verbatim += other.top1_verbatim
        self.sure += other.sure
        self.pairs += other.pairs

    def share(self, count: int) -> float:
        """Of the questions asked."""
        return count / max(1, self.asked)


# -- ways of searching -------------------------------------------------------------------------------------------------

Search = Callable[[str], list[tuple[str, float]]]


def titles_by_trigram(connection: psycopg.Connection[tuple[object, ...]]) -> Search:
    """pg_trgm on raw titles."""

    def search(raw: str) -> list[tuple[str, float]]:
        rows = connection.execute(
            "SELECT title, word_similarity(title, %(raw)s) AS s FROM names_titles"
            " ORDER BY s DESC, similarity(title, %(raw)s) DESC, title LIMIT 20",
            {"raw": raw},
        ).fetchall()
        return [(str(title), float(str(score))) for title, score in rows]

    return search


def titles_by_token_set(titles: Sequence[str]) -> Search:
    """rapidfuzz.fuzz.token_set_ratio with its default preparation."""
    prepared = {title: utils.default_process(title) for title in titles}

    def search(raw: str) -> list[tuple[str, float]]:
        found = process.extract(utils.default_process(raw), prepared, scorer=fuzz.token_set_ratio, limit=20)
        return [(title, score / 100) for _, score, title in found]

    return search


def titles_by_containment(titles: Sequence[str]) -> Search:
    """The longest known title, folded, whose words stand in the video's title; sureness: its share of that title."""
    by_key: dict[str, str] = {}
    for title in titles:
        by_key.setdefault(title_key(title), title)

    def search(raw: str) -> list[tuple[str, float]]:
        words = title_key(raw).split()
        runs = {
            " ".join(words[start:end])
            for start in range(len(words))
            for end in range(start + 1, min(len(words), start + 30) + 1)
        }
        found = sorted((run for run in runs if run in by_key), key=lambda run: (-len(run), run))
        return [(by_key[run], len(run) / max(1, len(" ".join(words)))) for run in found[:20]]

    return search


def _distinct(found: Sequence[tuple[str, float]], wanted: tuple[str, ...]) -> list[tuple[bool, float]]:
    """The first of each title's spellings, as (right, score)."""
    kept: dict[tuple[str, ...], tuple[bool, float]] = {}
    for title, score in found:
        key = canonical_key(title_key(title))
        kept.setdefault(key, (key == wanted, score))
    return list(kept.values())


# -- ours --------------------------------------------------------------------------------------------------------------


@contextmanager
def _without(session: Session, song_ids: set[uuid.UUID]) -> Iterator[None]:
    """The catalog as if it had not these songs."""
    with session.begin_nested() as nested:
        session.execute(text("UPDATE songs SET deleted_at = now() WHERE id = ANY(:ids)"), {"ids": list(song_ids)})
        yield
        nested.rollback()


def _ask(session: Session, item: dict[str, object]) -> list[Proposal]:
    return propose(session, subject_from_item(item), limit=20)


@dataclass(slots=True)
class Ours:
    """What ours said, and the verdicts: (right, asked of a catalog that has the song)."""

    ranking: Ranking = field(default_factory=lambda: Ranking("ours"))
    by_id: list[bool] = field(default_factory=list)
    automatic: list[bool] = field(default_factory=list)
    cpu_s: float = 0.0


def _ask_all(url: str, loaded: data.Loaded, videos: Sequence[data.Video]) -> Ours:
    result = Ours()
    with _session(url) as session:
        backend = psutil.Process(session.scalar(text("SELECT pg_backend_pid()")))
        for video in videos:
            right = loaded.by_key[title_key(video.song_title)]
            found = _ask(session, video.item)
            ranked = [(p.song_id in right, p.probability) for p in found]
            if ranked and ranked[0][0]:  # of equally titled songs: that it is one of them
                ranked[0] = (True, sum(p.probability for p in found if p.song_id in right))
            result.ranking.add(ranked, is_verbatim(video))
            listed = loaded.by_recording.get((title_key(video.song_title), video.performer.casefold()))
            if listed:
                result.by_id.append(bool(found) and found[0].song_id in listed)
            result.automatic += [p.song_id in right for p in found if p.verdict is Verdict.SAME]
            with _without(session, right):
                others = _ask(session, video.item)
            result.ranking.sure.append((others[0].probability if others else 0.0, False))
            result.automatic += [False for p in others if p.verdict is Verdict.SAME]
        started = time.process_time() + sum(backend.cpu_times()[:2])
        for video in videos:
            _ask(session, video.item)
        result.cpu_s = time.process_time() + sum(backend.cpu_times()[:2]) - started
    return result


def is_verbatim(video: data.Video) -> bool:
    """Whether the song's title, folded, stands word by word in the video's title."""
    return f" {title_key(video.song_title)} " in f" {title_key(video.title)} "


def _pairs(url: str, loaded: data.Loaded, pairs: Sequence[data.Pair]) -> list[tuple[float, bool]]:
    """(probability that the video is of the song, whether it is)."""
    asked: dict[tuple[str, str], list[Proposal]] = {}
    said = []
    with _session(url) as session:
        for pair in pairs:
            video = (pair.title, pair.channel)
            if video not in asked:
                item = {"title": pair.title, "credits": [{"name": pair.channel, "role": "channel"}]}
                asked[video] = _ask(session, item)
            right = loaded.by_key[title_key(pair.song_title)]
            said.append((sum(p.probability for p in asked[video] if p.song_id in right), pair.same))
    return said


# -- figures -----------------------------------------------------------------------------------------------------------


def calibration_error(said: Sequence[tuple[float, bool]]) -> tuple[float, list[tuple[float, float, int]]]:
    """Expected calibration error over ten bins of equal width, and (mean said, share right, number) of each."""
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for score, right in said:
        bins[min(_BINS - 1, int(score * _BINS))].append((score, right))
    rows = [
        (sum(s for s, _ in each) / len(each), sum(r for _, r in each) / len(each), len(each))
        for _, each in sorted(bins.items())
    ]
    return sum(abs(mean - share) * number for mean, share, number in rows) / max(1, len(said)), rows


def pair_figures(said: Sequence[tuple[float, bool]]) -> tuple[float, float]:
    """The best F1 over all thresholds, and the precision where the recall reaches 0.9."""
    positives = sum(right for _, right in said)
    hits, f1, at_recall = 0, 0.0, 0.0
    ordered = sorted(said, key=lambda each: -each[0])
    for place, (score, right) in enumerate(ordered, start=1):
        hits += right
        if place < len(ordered) and ordered[place][0] == score:
            continue  # a threshold takes all of one score or none
        f1 = max(f1, 2 * hits / (place + positives))
        if not at_recall and hits >= 0.9 * positives:
            at_recall = hits / place
    return f1, at_recall


def _precision_of_surest(said: Sequence[tuple[float, bool]], count: int) -> float:
    ordered = sorted(said, key=lambda each: (-each[0], each[1]))[: max(1, count)]
    return sum(right for _, right in ordered) / len(ordered)


def draw(rows: Sequence[tuple[float, float, int]], error: float, path: Path) -> None:
    """The reliability diagram: what was said against what was right; the area of a dot is the number of answers."""
    most = max((number for *_, number in rows), default=1)
    dots = "".join(
        f'<circle cx="{40 + 240 * said:.1f}" cy="{260 - 240 * right:.1f}" r="{3 + 11 * (number / most) ** 0.5:.1f}">'
        f"<title>said {said:.2f}, right {right:.2f}, {number} answers</title></circle>"
        for said, right, number in rows
    )
    ticks = "".join(
        f'<text x="{40 + 48 * n}" y="276" text-anchor="middle">{n / 5:g}</text>'
        f'<text x="34" y="{264 - 48 * n}" text-anchor="end">{n / 5:g}</text>'
        for n in range(6)
    )
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 300" font-family="sans-serif" font-size="10">'
        '<rect width="300" height="300" fill="#fff"/>'
        '<path d="M40 20V260H280M40 260L280 20" fill="none" stroke="#999" stroke-width="1"/>'
        f'<g fill="#1c6ea4" fill-opacity="0.75">{dots}</g><g fill="#333">{ticks}'
        '<text x="160" y="292" text-anchor="middle">probability said</text>'
        '<text x="12" y="140" text-anchor="middle" transform="rotate(-90 12 140)">share right</text>'
        f'<text x="50" y="32">calibration error {error:.3f}</text></g></svg>\n'
    )


def _figure(name: str, ours: float, goal: float, others: dict[str, float], detail: str) -> Figure:
    best = max(others, key=lambda each: others[each])
    told = ", ".join(f"{each} {value:.3f}" for each, value in others.items())
    ratio = ours / others[best] if others[best] else 0.0
    return Figure(
        name,
        "(share; the goal is for it)",
        round(ours, 4),
        round(others[best], 4),
        best,
        round(ratio, 3),
        goal,
        ours >= goal,
        f"{detail}; {told}",
    )


def measure(
    folder: Path = data.SHARED_DATA, picture: Path | None = PICTURE, share: str = "report", most: int | None = None
) -> list[Figure]:
    """The figures of a share of the songs; none, and a word about it, where the shared data is absent."""
    try:
        labelled = data.read(folder)
    except FileNotFoundError as error:
        print(f"song_names: skipped, there is no {error.filename}: the labelled pairs are not part of the project")
        return []
    videos = [video for video in labelled.videos if data.half(video.song_title) == share][:most]
    pairs = [pair for pair in labelled.pairs if data.half(pair.song_title) == share][:most]
    titles = labelled.titles()
    with (
        _stack.running("postgres") as stack,
        _catalog(stack, labelled, "others", with_own=False) as (others_url, others_loaded),
        _catalog(stack, labelled, "own", with_own=True) as (own_url, own_loaded),
        ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool,
    ):
        searched = [
            pool.submit(_search_all, name, stack.connections.database_url, titles, videos, pairs) for name in BASELINES
        ]
        asked_pairs = [pool.submit(_pairs, others_url, others_loaded, part) for part in _parts(pairs)]
        asked_others = [pool.submit(_ask_all, others_url, others_loaded, part) for part in _parts(videos)]
        asked_own = [pool.submit(_ask_all, own_url, own_loaded, part) for part in _parts(videos)]
        ours, own = (_together(each.result() for each in asked) for asked in (asked_others, asked_own))
        ours.ranking.pairs = [said for each in asked_pairs for said in each.result()]
        baselines = [each.result() for each in searched]
    return _figures(ours, own, baselines, len(titles), len(pairs), picture)


def _parts(questions: Sequence[_Question]) -> list[Sequence[_Question]]:
    """Shares for the processes, some for each, as some take longer."""
    size = max(1, -(-len(questions) // (4 * (os.cpu_count() or 1))))
    return [questions[start : start + size] for start in range(0, len(questions), size)]


def _together(parts: Iterable[Ours]) -> Ours:
    """What the shares said, as one."""
    result = Ours()
    for part in parts:
        result.ranking.join(part.ranking)
        result.by_id += part.by_id
        result.automatic += part.automatic
        result.cpu_s += part.cpu_s
    return result


@contextmanager
def _catalog(
    stack: _stack.Stack, labelled: data.Labelled, name: str, *, with_own: bool
) -> Iterator[tuple[str, data.Loaded]]:
    """The address of a database of its own with all the songs."""
    url = stack.connections.database_url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE names_{name}".encode())
    url = url.rpartition("/")[0] + f"/names_{name}"
    upgrade(url)
    with _session(url) as session:
        loaded = data.load(session, labelled, with_own=with_own)
        session.commit()
    yield url, loaded


@contextmanager
def _session(url: str) -> Iterator[Session]:
    """A session of which nothing is kept that is not committed, and how its connection ends."""
    database = Database(url)
    try:
        with Session(database.engine) as session:
            yield session
    finally:
        database.dispose()


BASELINES = ("pg_trgm", "token_set_ratio", "longest contained title")


def _search_all(
    name: str, url: str, titles: Sequence[str], videos: Sequence[data.Video], pairs: Sequence[data.Pair]
) -> Ranking:
    """What a baseline says. ``url``: a database for its table."""
    scorer: Callable[[str, str], float]
    with psycopg.connect(url) as connection:
        if name == "pg_trgm":
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            connection.execute("CREATE TEMPORARY TABLE names_titles (title text)")
            with connection.cursor().copy("COPY names_titles FROM STDIN") as copy:
                for title in titles:
                    copy.write_row((title,))
            search = titles_by_trigram(connection)

            def scorer(song: str, raw: str) -> float:
                row = connection.execute("SELECT word_similarity(%s, %s)", (song, raw)).fetchone()
                return float(row[0]) if row else 0.0

        elif name == "token_set_ratio":
            search = titles_by_token_set(titles)

            def scorer(song: str, raw: str) -> float:
                return fuzz.token_set_ratio(song, raw, processor=utils.default_process) / 100

        else:
            search = titles_by_containment(titles)

            def scorer(song: str, raw: str) -> float:
                return float(f" {title_key(song)} " in f" {title_key(raw)} ")

        ranking = Ranking(name)
        for video in videos:
            ranked = _distinct(search(video.title), canonical_key(title_key(video.song_title)))
            ranking.add(ranked, is_verbatim(video))
            others = [score for right, score in ranked if not right]
            ranking.sure.append((others[0] if others else 0.0, False))
        ranking.pairs = [(scorer(pair.song_title, pair.title), pair.same) for pair in pairs]
    return ranking


def _figures(
    ours: Ours, own: Ours, baselines: Sequence[Ranking], titles: int, pairs: int, picture: Path | None
) -> list[Figure]:
    mine = ours.ranking
    asked = (
        f"{mine.asked} videos of songs that nothing was tuned on, among {titles} titles; no video's own recording is in"
        f" the catalog"
    )
    by_id = (
        "equally titled songs count as one, as for the others; by song id"
        f" {sum(ours.by_id) / max(1, len(ours.by_id)):.3f} ({len(ours.by_id)} videos whose song is listed), and"
        f" {sum(own.by_id) / max(1, len(own.by_id)):.3f} where the performer's recording is known"
    )
    error, rows = calibration_error(mine.sure)
    if picture is not None:
        draw(rows, error, picture)
    surest = len(own.automatic)
    f1, at_recall = pair_figures(mine.pairs)
    their_pairs = {each.name: pair_figures(each.pairs) for each in baselines}
    precision = sum(own.automatic) / max(1, surest)
    high = [right for score, right in mine.sure if score >= th.SAME]
    diagram = ", ".join(f"{said:.2f}→{right:.2f} ({number})" for said, right, number in rows)
    return [
        _figure(
            "names_top1",
            mine.share(mine.top1),
            TOP1,
            {each.name: each.share(each.top1) for each in baselines},
            f"{asked}; {by_id}; a question costs {1000 * ours.cpu_s / max(1, mine.asked):.0f} ms of processor time, the"
            " database's included",
        ),
        _figure(
            "names_top1_verbatim",
            mine.top1_verbatim / max(1, mine.verbatim),
            VERBATIM,
            {each.name: each.top1_verbatim / max(1, each.verbatim) for each in baselines},
            f"the {mine.verbatim} of them whose title has the song's, folded, word by word",
        ),
        _figure(
            "names_top5",
            mine.share(mine.top5),
            TOP5,
            {each.name: each.share(each.top5) for each in baselines},
            "the right song among the first five",
        ),
        _figure(
            "names_precision_auto",
            precision,
            PRECISION,
            {each.name: _precision_of_surest(each.sure, surest) for each in baselines},
            f"{surest} songs that were linked by themselves ({surest / max(1, own.ranking.asked):.2f} of the videos),"
            " the performers' recordings being in the catalog, each video asked with its song and without it;"
            f" without the rule that a credit must agree: precision {sum(high) / max(1, len(high)):.3f} of {len(high)}"
            f" first answers at {th.SAME} or more; the others at as many of their surest answers",
        ),
        _figure(
            "names_pairs",
            f1,
            0.9,
            {name: value for name, (value, _) in their_pairs.items()},
            f"F1 of {pairs} labelled pairs (song, another video); precision at recall 0.9: {at_recall:.3f}, "
            + ", ".join(f"{name} {value:.3f}" for name, (_, value) in their_pairs.items()),
        ),
        Figure(
            "names_calibration",
            "expected calibration error",
            round(error, 4),
            CALIBRATION,
            "limit",
            round(error / CALIBRATION, 3),
            1.0,
            error <= CALIBRATION,
            f"{len(mine.sure)} first answers, each video asked with its song in the catalog and without; said→right "
            f"(number): {diagram}; docs/images/names-reliability.svg; scores of the others read as probabilities: "
            + ", ".join(f"{each.name} {calibration_error(each.sure)[0]:.3f}" for each in baselines),
        ),
    ]


def fit(folder: Path = data.SHARED_DATA) -> None:
    """Fits the weights on the tuning half and prints them beside the committed ones, with their quality on folds."""
    labelled = data.read(folder)
    videos = [video for video in labelled.videos if data.half(video.song_title) == "tune"]
    asked = {}
    with _stack.running("postgres") as stack:
        for name, own in (("others", False), ("own", True)):
            with _catalog(stack, labelled, name, with_own=own) as (url, loaded), _session(url) as session:
                asked[name] = _names_fit.questions(session, loaded, videos)
    fitted, before = _names_fit.fit(asked["others"], asked["own"])
    for name, new, old in zip((*_names_fit.NAMES, "bias"), fitted, before, strict=True):
        print(f"{name:16} {new:7.2f}  (committed {old:.2f})")
    print(f"largest difference: {max(abs(fitted - before)):.2f}")
    for name, questions in asked.items():
        print(f"{name}: {_names_fit.report(questions, fitted)}")


if __name__ == "__main__":
    if sys.argv[1:2] != ["fit"]:
        sys.exit("usage: python -m benchmarks.song_names fit [folder]; the figures come from `python -m benchmarks`")
    fit(*map(Path, sys.argv[2:3]))
