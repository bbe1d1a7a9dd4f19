"""Covers found by melody alone, among more than a thousand other melodies.

Of every second song of `midi/` (the other half was for tuning) the catalog has two performances: as written, and with
other instruments, key and tempo. Asked are four further ones: ``mild`` (±2 semitones, ±5 %), ``strong`` (±6 semitones,
±20 %, other instruments), and two ``rearranged``: strong, with drums, out of tune, another soundfont, the bridge or the
accompaniment left out, in half of them both, so that a bare tune is looked up among full arrangements. Each is 120 s
of fluidsynth's sound, which is what ingest hears, from the first note that is played on: what a part that is left out
would have played before is not waited for. Distractors: songs made of the tuning songs' bars in another order and keys,
and composed ones.

Everything is ours: chroma from sound, shortlist by `service.nearest` in PostgreSQL, `service.compare`. Renderings are
kept as chroma in ``.data/benchmarks/melody-2``. ``python -m benchmarks.melody tune`` shows the tuning half and what the
thresholds are set by.
"""

from __future__ import annotations

import statistics
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks import _covers, _stack
from benchmarks._covers import Take
from benchmarks._figures import Figure
from catalog.database import Database
from catalog.models import AudioMelody, Candidate
from identity.melody import embed, qmax, service, thresholds
from media.types import Frames

FIGURES = ("melody_shortlist_recall", "melody_top1", "melody_map", "melody_query_ms")
RECALL_GOAL = 0.97
DISTRACTORS = 1_010
STRENGTHS = ("mild", "strong", "rearranged")


@dataclass
class Asked:
    """What the queries of one strength gave, one entry each."""

    in_shortlist: list[bool] = field(default_factory=list)
    first_of_shortlist: list[bool] = field(default_factory=list)
    first: list[bool] = field(default_factory=list)
    precision: list[float] = field(default_factory=list)
    shortlist_precision: list[float] = field(default_factory=list)
    right_key: list[bool] = field(default_factory=list)
    tempo_error: list[float] = field(default_factory=list)
    best_true: list[float] = field(default_factory=list)
    best_false: list[float] = field(default_factory=list)


def songs(share: str) -> list[str]:
    """Folders of `midi/` of the half ``tune`` or ``figure``."""
    every = sorted(folder.name for folder in _covers.MIDI.iterdir() if folder.is_dir())
    return every[0 if share == "tune" else 1 :: 2]


def catalog_takes(share: str) -> list[Take]:
    """What the catalog holds."""
    own = [Take("song", song, *how) for song in songs(share) for how in ((0, "same"), (1, "strong"))]
    tuning, half = songs("tune"), DISTRACTORS // 2 + 5
    varied = [Take("var", f"{tuning[n % len(tuning)]}-{n}", 0, STRENGTHS[n % 3]) for n in range(half)]
    composed = [Take("dis", str(n), 0, STRENGTHS[n % 3]) for n in range(DISTRACTORS - half)]
    return own + varied + composed


def queries(share: str) -> list[Take]:
    """What is asked."""
    ways = ((2, "mild"), (3, "strong"), (4, "rearranged"), (5, "rearranged"))
    return [Take("song", song, *how) for song in songs(share) for how in ways]


def _average_precision(ranks: list[int], relevant: int) -> float:
    return sum((number + 1) / (rank + 1) for number, rank in enumerate(sorted(ranks))) / relevant


def _insert(session: Session, heard: dict[Take, Frames]) -> dict[uuid.UUID, Take]:
    candidates = {}
    for take, frames in heard.items():
        candidate = Candidate(
            source="bench", source_key=take.key, url=f"bench:{take.key}", item_digest="", state="in_review"
        )
        session.add(candidate)
        session.flush()
        candidates[candidate.id] = take
        session.add(
            AudioMelody(
                candidate_id=candidate.id,
                frames=frames[:, :12].tobytes(),
                leading=frames[:, 12:].tobytes(),
                tuning=0.0,
                embedding=embed.embed(frames),
                embedding_version=embed.EMBEDDING_VERSION,
            )
        )
    session.flush()
    session.execute(text("ANALYZE audio_melodies"))
    return candidates


def _ask(
    session: Session, known: dict[uuid.UUID, Take], heard: dict[Take, Frames], take: Take, frames: Frames
) -> Asked:
    """One query; scores of all compared, so that the ranking does not stop at the thresholds."""
    shortlist = service.nearest(session, frames)
    own = {candidate_id for candidate_id, other in known.items() if other.kind == "song" and other.song == take.song}
    scores: dict[uuid.UUID, float] = {}
    # As `service.find` does.
    nears = [near for near in shortlist[: thresholds.COMPARED] if near.likeness >= thresholds.COMPARED_LIKENESS]
    at = {factor: embed.at_tempo(frames, factor) for factor in {near.factor for near in nears}}
    pairs = [(at[near.factor], embed.at_tempo(heard[known[near.candidate_id]], 1.0)) for near in nears]
    for near, pair, found in zip(nears, pairs, qmax.compare(pairs, thresholds.WEAK_SHARE), strict=True):
        scores[near.candidate_id] = found.score / qmax.most_moments(*pair)
    near_order = [near.candidate_id for near in shortlist]
    order = sorted(scores, key=lambda each: -scores[each]) + [each for each in near_order if each not in scores]
    result = Asked()
    result.in_shortlist.append(bool(own & set(near_order)))
    result.first_of_shortlist.append(near_order[0] in own)
    result.first.append(order[0] in own)
    result.precision.append(_average_precision([n for n, each in enumerate(order) if each in own], len(own)))
    result.shortlist_precision.append(
        _average_precision([n for n, each in enumerate(near_order) if each in own], len(own))
    )
    result.best_true.append(max((scores.get(each, 0.0) for each in own), default=0.0))
    result.best_false.append(max((score for each, score in scores.items() if each not in own), default=0.0))
    way = take.way()
    true = [(near, heard[known[near.candidate_id]]) for near in shortlist if near.candidate_id in own]
    for match in service.compare(frames, true):
        theirs = known[match.candidate_id].way()
        result.right_key.append((way.semitones - theirs.semitones - match.semitones) % 12 == 0)
        result.tempo_error.append(abs(match.tempo / (way.tempo / theirs.tempo) - 1))
    return result


def run(share: str, cache: Path = _covers.CACHE) -> tuple[dict[str, Asked], list[float], list[float], int]:
    """By strength what was found; seconds of some queries' `find`, and of comparing with everything; the catalog."""
    known_takes, asked_takes = catalog_takes(share), queries(share)
    heard = _covers.chromas([*known_takes, *asked_takes], cache)
    found: dict[str, Asked] = {strength: Asked() for strength in STRENGTHS}
    costs, exhaustive = [], []
    with _stack.running("postgres") as stack:
        database = Database(stack.connections.database_url)
        with database.transaction() as session:
            known = _insert(session, {take: heard[take] for take in known_takes})
        with database.transaction() as session:
            for number, take in enumerate(asked_takes):
                frames = heard[take]
                one = _ask(session, known, heard, take, frames)
                for name, values in vars(one).items():
                    getattr(found[take.strength], name).extend(values)
                if number % 8 == 0:
                    start = time.perf_counter()
                    service.find(session, frames)
                    costs.append(time.perf_counter() - start)
                if number % 40 == 0:
                    start = time.perf_counter()
                    ours = embed.at_tempo(frames, 1.0)
                    others = [embed.at_tempo(heard[other], 1.0) for other in known_takes[:100]]
                    qmax.compare([(ours, other) for other in others], thresholds.WEAK_SHARE)
                    exhaustive.append((time.perf_counter() - start) * len(known_takes) / 100)
        database.dispose()
    return found, costs, exhaustive, len(known_takes)


def _mean(found: dict[str, Asked], name: str) -> float:
    return statistics.fmean(value for asked in found.values() for value in getattr(asked, name))


def _by_strength(found: dict[str, Asked], name: str) -> str:
    return ", ".join(f"{strength} {statistics.fmean(getattr(asked, name)):.2f}" for strength, asked in found.items())


def measure() -> list[Figure]:
    """The figures; none where fluidsynth, its soundfonts or the shared data are absent."""
    problem = _covers.missing() or (None if _covers.MIDI.is_dir() else f"there is no {_covers.MIDI}")
    if problem:
        print(f"melody is skipped: {problem}")
        return []
    found, costs, exhaustive, size = run("figure")
    about = f"{sum(len(a.first) for a in found.values())} queries on {len(songs('figure'))} songs, {size} recordings"
    errors = [error for asked in found.values() for error in asked.tempo_error]
    keys = [right for asked in found.values() for right in asked.right_key]
    recall = _mean(found, "in_shortlist")
    rows = [
        ("first", "first_of_shortlist", "melody_top1", "top-1"),
        ("precision", "shortlist_precision", "melody_map", "MAP"),
    ]
    figures = [
        Figure(
            FIGURES[0],
            f"recall at {thresholds.SHORTLIST}",
            round(recall, 3),
            RECALL_GOAL,
            "the goal",
            round(recall / RECALL_GOAL, 3),
            1.0,
            recall >= RECALL_GOAL,
            f"{about}; {_by_strength(found, 'in_shortlist')}; rearranged are often a bare tune looked up among full "
            "arrangements",
        )
    ]
    for ours_name, reference_name, figure, unit in rows:
        ours, reference = _mean(found, ours_name), _mean(found, reference_name)
        detail = f"{about}; after Qmax: {_by_strength(found, ours_name)}; shortlist alone: "
        detail += _by_strength(found, reference_name)
        if unit == "top-1":
            detail += (
                f"; of true matches the key is right in {statistics.fmean(keys):.2f}, the tempo ratio off by "
                f"{statistics.median(errors):.1%} (median)"
            )
        figures.append(
            Figure(
                figure,
                unit,
                round(ours, 3),
                round(reference, 3),
                "shortlist alone",
                round(ours / reference, 3),
                None,
                None,
                detail,
            )
        )
    ours_ms, everything_ms = 1000 * statistics.median(costs), 1000 * statistics.median(exhaustive)
    detail = f"median; p95 {1000 * float(np.quantile(costs, 0.95)):.0f} ms; {about}; the reference from 100 of them"
    figures.append(
        Figure(
            FIGURES[3],
            "ms",
            round(ours_ms, 1),
            round(everything_ms, 1),
            "Qmax with everything",
            round(ours_ms / everything_ms, 3),
            None,
            None,
            detail,
        )
    )
    return figures


def main() -> None:
    """Prints one half in detail."""
    share = sys.argv[1] if len(sys.argv) > 1 else "tune"
    found, costs, _, size = run(share)
    print(f"{share}: {size} recordings, find {1000 * statistics.median(costs):.0f} ms")
    for strength, asked in found.items():
        names = ("in_shortlist", "first_of_shortlist", "first", "shortlist_precision", "precision", "right_key")
        means = {name: statistics.fmean(getattr(asked, name)) for name in names if getattr(asked, name)}
        print(strength, {name: round(mean, 3) for name, mean in means.items()})
    own = [value for asked in found.values() for value in asked.best_true]
    wrong = [value for asked in found.values() for value in asked.best_false]
    for limit in (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7):
        right = statistics.fmean(value >= limit for value in own)
        print(f"share >= {limit}: right {right:.3f}, wrong {statistics.fmean(value >= limit for value in wrong):.3f}")


if __name__ == "__main__":
    main()
