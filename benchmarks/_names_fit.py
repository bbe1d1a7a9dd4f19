"""Fits the weights of names: which of the songs found is meant, if any.

The probability of a song is its odds beside those of all others found and of "none of them" (1): a conditional logit.
Each question counts twice, half each: with its song among those found, and with it taken out, when "none" is right.
Weights keep the sign that their signal means. Fitted by Adam on the mean log-likelihood with a little ridge.
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
from identity.song_score import match_title
from identity.subject import subject_from_item

NAMES = (*th.WEIGHTS, "performers")
_NEGATIVE = np.array([name != "performers" and th.WEIGHTS[name] < 0 for name in NAMES])
_STEPS, _RATE, _RIDGE, _FOLDS = 1500, 0.05, 0.0006, 5

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Asked:
    """The songs found for one video: a row of signals each, and which are right."""

    song_title: str
    signals: Matrix
    right: NDArray[np.bool_]


def questions(session: Session, loaded: data.Loaded, videos: Sequence[data.Video]) -> list[Asked]:
    """Blocks and compares, as `identity.song.propose` does, and keeps the signals."""
    found = []
    for video in videos:
        subject = subject_from_item(video.item)
        blocked = blocking.block(session, subject)
        songs = blocking.load(session, subject, blocked)
        rows = []
        for song in songs:
            signals = match_title(subject, song, blocked.context).signals
            rows.append([*(signals.get(name, 0.0) for name in th.WEIGHTS), float(bool(song.performers))])
        right = loaded.by_key[title_key(video.song_title)]
        found.append(
            Asked(
                video.song_title,
                np.array(rows, dtype=float).reshape(-1, len(NAMES)),
                np.array([song.song_id in right for song in songs], dtype=bool),
            )
        )
    return found


def train(asked: Sequence[Asked]) -> tuple[Matrix, float]:
    """Weights (in the order of `NAMES`) and bias."""
    signals = np.vstack([each.signals for each in asked])
    number = np.repeat(np.arange(len(asked)), [len(each.signals) for each in asked])
    right = np.concatenate([each.right for each in asked])
    count = len(asked)
    values = np.array([*th.WEIGHTS.values(), th.PERFORMERS, th.BIAS])
    first, second = np.zeros_like(values), np.zeros_like(values)
    for step in range(1, _STEPS + 1):
        odds = np.exp(np.clip(signals @ values[:-1] + values[-1], -30, 30))
        total = np.bincount(number, odds, count)[number]
        total_right = np.bincount(number, odds * right, count)[number]
        wrong = odds * ~right
        total_wrong = np.bincount(number, wrong, count)[number]
        pull = np.where(right, odds / np.maximum(total_right, 1e-300), 0.0) - odds / (1 + total)
        pull = (pull - wrong / (1 + total_wrong)) / 2
        slope = np.append(signals.T @ pull / count - _RIDGE * values[:-1], pull.sum() / count)
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        values = values + _RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        values[:-1] = np.where(_NEGATIVE, np.minimum(values[:-1], 0), np.maximum(values[:-1], 0))
    return values[:-1], float(values[-1])


def answers(asked: Sequence[Asked], weights: Matrix, bias: float) -> tuple[float, list[tuple[float, bool]]]:
    """Top-1, and (probability, right) of the first answers with the right song among those found and without it."""
    top1, said = 0, []
    for each in asked:
        odds = np.exp(np.clip(each.signals @ weights + bias, -30, 30))
        first = bool(len(odds)) and bool(each.right[odds.argmax()])
        top1 += first
        if len(odds):
            sure = odds[each.right].sum() if first else odds.max()
            said.append((float(sure / (1 + odds.sum())), first))
            wrong = odds * ~each.right
            said.append((float(wrong.max() / (1 + wrong.sum())), False))
    return top1 / max(1, len(asked)), said


def report(asked: Sequence[Asked]) -> dict[str, Any]:
    """The weights, and top-1 with the answers of folds by song that the weights of the other folds gave."""
    weights, bias = train(asked)
    said: list[tuple[float, bool]] = []
    right = 0.0
    for fold in range(_FOLDS):
        inside = [each for each in asked if zlib.crc32(f"fold {each.song_title}".encode()) % _FOLDS == fold]
        outside = [each for each in asked if zlib.crc32(f"fold {each.song_title}".encode()) % _FOLDS != fold]
        top1, answered = answers(inside, *train(outside))
        right += top1 * len(inside)
        said += answered
    sure = [correct for probability, correct in said if probability >= th.SAME]
    recall = sum(bool(each.right.any()) for each in asked) / len(asked)
    return {
        "weights": {name: round(float(value), 2) for name, value in zip(NAMES, weights, strict=True)},
        "bias": round(bias, 2),
        "found by blocking": round(recall, 4),
        "top-1 of folds": round(right / len(asked), 4),
        "precision of folds at SAME": round(sum(sure) / max(1, len(sure)), 4),
    }
