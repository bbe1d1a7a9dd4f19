"""Fits the weights of names: which of the songs found is meant, if any.

The probability of a song is its odds beside those of all others found and of "none of them" (1): a conditional logit.
Each question counts twice, half each: with its song among those found, and with it taken out, when "none" is right.
Weights keep the sign that their signal means. Fitted by Adam on the mean log-likelihood with a little ridge.

Which of a title's readings is compared depends on the weights, so that signals and weights are found in turns until
they agree; the committed weights are where that ends, whatever they are begun with. `WEIGHTS` and `BIAS` are fitted
where no video's own recording is in the catalog, then `PERFORMERS` alone where it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from benchmarks import _names_data as data
from identity import song as blocking
from identity import song_thresholds as th
from identity.names import title_key
from identity.song_score import Context, SongView, match_title
from identity.subject import Subject, subject_from_item

NAMES = (*th.WEIGHTS, "performers")
_NEGATIVE = np.array([name != "performers" and th.WEIGHTS[name] < 0 for name in NAMES])
_STEPS, _RATE, _RIDGE, _FOLDS, _TURNS = 3000, 0.05, 0.0002, 5, 6
_NEAREST = 12
"""Songs of a question that are weighed, beside the right ones: all others together have less than a thousandth of the
odds."""
_AGREE = 0.02

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Question:
    """What blocking found for one video. ``right``: which of the songs are."""

    song_title: str
    subject: Subject
    context: Context
    songs: list[SongView]
    right: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Asked:
    """The songs found for one video: a row of signals each, and which are right."""

    song_title: str
    signals: Matrix
    right: NDArray[np.bool_]


def questions(session: Session, loaded: data.Loaded, videos: Sequence[data.Video]) -> list[Question]:
    """Blocks as `identity.song.propose` does."""
    found = []
    for video in videos:
        subject = subject_from_item(video.item)
        blocked = blocking.block(session, subject)
        songs = blocking.load(session, subject, blocked)
        right = loaded.by_key[title_key(video.song_title)]
        answers = np.array([song.song_id in right for song in songs], dtype=bool)
        found.append(Question(video.song_title, subject, blocked.context, songs, answers))
    return found


def signals(found: Sequence[Question]) -> list[Asked]:
    """Compares as `identity.song.propose` does with the weights of now, and keeps the signals of the nearest."""
    asked = []
    for question in found:
        matches = [match_title(question.subject, song, question.context) for song in question.songs]
        nearest = set(sorted(range(len(matches)), key=lambda place: -matches[place].logit)[:_NEAREST])
        kept = [place for place in range(len(matches)) if place in nearest or question.right[place]]
        rows = [
            [
                *(matches[place].signals.get(name, 0.0) for name in th.WEIGHTS),
                float(bool(question.songs[place].performers)),
            ]
            for place in kept
        ]
        asked.append(
            Asked(question.song_title, np.array(rows, dtype=float).reshape(-1, len(NAMES)), question.right[kept])
        )
    return asked


def committed() -> Matrix:
    """The weights in the order of `NAMES`, then the bias."""
    return np.array([*th.WEIGHTS.values(), th.PERFORMERS, th.BIAS])


def train(asked: Sequence[Asked], start: Matrix, free: NDArray[np.bool_]) -> Matrix:
    """The weights and the bias, in the order of `committed`, of which those that are ``free`` move."""
    rows = np.vstack([each.signals for each in asked])
    number = np.repeat(np.arange(len(asked)), [len(each.signals) for each in asked])
    right = np.concatenate([each.right for each in asked])
    count = len(asked)
    values = start.copy()
    first, second = np.zeros_like(values), np.zeros_like(values)
    for step in range(1, _STEPS + 1):
        odds = np.exp(np.clip(rows @ values[:-1] + values[-1], -30, 30))
        total = np.bincount(number, odds, count)[number]
        total_right = np.bincount(number, odds * right, count)[number]
        wrong = odds * ~right
        total_wrong = np.bincount(number, wrong, count)[number]
        pull = np.where(right, odds / np.maximum(total_right, 1e-300), 0.0) - odds / (1 + total)
        pull = (pull - wrong / (1 + total_wrong)) / 2
        slope = np.append(rows.T @ pull / count - _RIDGE * values[:-1], pull.sum() / count) * free
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        values = values + _RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        values[:-1] = np.where(_NEGATIVE, np.minimum(values[:-1], 0), np.maximum(values[:-1], 0))
    return values


def answers(asked: Sequence[Asked], values: Matrix) -> tuple[float, list[tuple[float, bool]]]:
    """Top-1, and (probability, right) of the first answers with the right song among those found and without it."""
    top1, said = 0, []
    for each in asked:
        odds = np.exp(np.clip(each.signals @ values[:-1] + values[-1], -30, 30))
        first = bool(len(odds)) and bool(each.right[odds.argmax()])
        top1 += first
        if len(odds):
            sure = odds[each.right].sum() if first else odds.max()
            said.append((float(sure / (1 + odds.sum())), first))
            wrong = odds * ~each.right
            said.append((float(wrong.max() / (1 + wrong.sum())), False))
    return top1 / max(1, len(asked)), said


_START = np.append(np.where(_NEGATIVE, -1.0, 1.0), -1.0)
_WORDS = np.array([name != "performers" for name in (*NAMES, "bias")])


def fit(others: Sequence[Question], own: Sequence[Question]) -> tuple[Matrix, Matrix]:
    """The weights, and those before (in the order of `committed`); the weights of this process become the new ones.

    ``others``, ``own``: without the videos' own recordings in the catalog, and with them.
    """
    before = committed()
    for _ in range(_TURNS):
        last = committed()
        values = train(signals(others), _START, _WORDS)
        values = train(signals(own), values, ~_WORDS)
        for name, value in zip(th.WEIGHTS, values, strict=False):
            th.WEIGHTS[name] = float(value)
        th.PERFORMERS, th.BIAS = float(values[-2]), float(values[-1])
        if np.abs(values - last).max() < _AGREE:
            break
    return committed(), before


def report(found: Sequence[Question], values: Matrix) -> dict[str, Any]:
    """What the answers of folds by song are worth that the weights of the other folds gave."""
    asked = signals(found)
    start = np.append(_START[:-2], values[-2:])
    said: list[tuple[float, bool]] = []
    right = 0.0
    for fold in range(_FOLDS):
        inside = [each for each in asked if zlib.crc32(f"fold {each.song_title}".encode()) % _FOLDS == fold]
        outside = [each for each in asked if zlib.crc32(f"fold {each.song_title}".encode()) % _FOLDS != fold]
        top1, answered = answers(inside, train(outside, start, _WORDS))
        right += top1 * len(inside)
        said += answered
    sure = [correct for probability, correct in said if probability >= th.SAME]
    return {
        "found by blocking": round(sum(bool(each.right.any()) for each in asked) / len(asked), 4),
        "top-1 of folds": round(right / len(asked), 4),
        "precision of folds at SAME": round(sum(sure) / max(1, len(sure)), 4),
    }
