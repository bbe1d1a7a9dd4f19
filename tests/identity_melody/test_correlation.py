"""Two chromas over each other at all places and in all keys."""

from __future__ import annotations

import numpy as np
import pytest

from identity.melody import correlation, embed, qmax
from identity.melody.correlation import LEAST_OVERLAP, STILL, THINNED
from media.types import Chroma


def slow_levels(views: np.ndarray) -> np.ndarray:
    """(2, time, 12), frame by frame."""
    count = len(views) // THINNED
    frames = views[: count * THINNED].reshape(count, THINNED, 2, 12).sum(axis=1).transpose(1, 0, 2)
    sounding = frames.any(axis=2, keepdims=True)
    frames = frames - frames.mean(axis=2, keepdims=True)
    around = np.pad(frames, ((0, 0), (1, 1), (0, 0)))
    smooth = (around[:, :-2] + 2 * around[:, 1:-1] + around[:, 2:]) * sounding
    smooth -= STILL * smooth.mean(axis=1, keepdims=True)
    return np.asarray(sounding * smooth / np.maximum(np.linalg.norm(smooth, axis=2, keepdims=True), 1e-9))


def slow_deviations(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Of each rotation, place by place."""
    here, there = slow_levels(ours), slow_levels(theirs)
    (count, others) = here.shape[1], there.shape[1]
    least = max(1, int(LEAST_OVERLAP * min(count, others)))
    found = []
    for step in range(12):
        turned = np.roll(here, step, axis=2)
        found.append([])
        for lag in range(least - count, others - least + 1):
            begin, end = max(0, -lag), min(count, others - lag)
            together = (turned[:, begin:end] * there[:, begin + lag : end + lag]).sum()
            found[-1].append(together / np.sqrt(end - begin))
    values = np.array(found)
    return np.asarray(values.max(axis=1) / values.std())


def played(chroma: Chroma, factor: float = 1.0) -> embed.Vectors:
    return embed.at_tempo(chroma.views, factor)


def wandering(views: np.ndarray, depth: float) -> np.ndarray:
    """Frames of a performance whose tempo goes up and down by so much."""
    places = np.cumsum(1 + depth * np.sin(2 * np.pi * np.arange(2 * len(views)) / len(views)))
    return np.asarray(views[places[places < len(views) - 1].round().astype(int)])


def test_the_best_place_in_each_key_is_found(pieces: list[Chroma], cover: Chroma) -> None:
    pairs = [
        (played(cover, 0.89), played(pieces[0])),
        (played(pieces[1])[:71], played(pieces[2])),
        (played(pieces[3]), played(pieces[4])[13:60]),
        (played(pieces[5])[30:37], played(pieces[5])[31:41]),
    ]
    for (ours, theirs), found in zip(pairs, correlation.deviations(pairs), strict=True):
        assert found == pytest.approx(np.maximum(0, slow_deviations(ours, theirs)), rel=1e-3)


def test_a_cover_stands_out_in_its_key(pieces: list[Chroma], cover: Chroma) -> None:
    ours = played(cover, 1 / 1.125)
    first, *others = correlation.deviations([(ours, played(piece)) for piece in pieces])
    assert first.argmax() == 9
    assert first[9] > 1.3 * qmax.STANDS_OUT
    # One stranger in ten stands out, but not as far.
    assert sorted(each.max() for each in others)[-2] < qmax.STANDS_OUT
    assert np.max(others) < first[9] / 2


@pytest.mark.parametrize("depth", [0.03, 0.06])
def test_a_tempo_may_wander_and_a_passage_be_short(pieces: list[Chroma], cover: Chroma, depth: float) -> None:
    ours = wandering(played(cover, 1 / 1.125), depth)
    pairs = [(ours, played(pieces[0])), (played(pieces[0]), ours), (ours[20:80], played(pieces[0]))]
    for found, rotation in zip(correlation.deviations(pairs), (9, 3, 9), strict=True):
        assert found.argmax() == rotation
        assert found[rotation] > qmax.STANDS_OUT


def test_one_by_one_is_the_same_as_at_once(pieces: list[Chroma], cover: Chroma) -> None:
    views = [played(each, factor) for each in (*pieces, cover) for factor in (0.8, 1.0, 1.25)]
    pairs = [(ours[: 90 - 3 * number], theirs) for number, ours in enumerate(views) for theirs in views[number:]]
    assert len(pairs) > 100
    together = correlation.deviations(pairs)
    for pair, found in zip(pairs, together, strict=True):
        assert correlation.deviations([pair])[0] == pytest.approx(found, rel=1e-3)


def test_next_to_nothing_stands_out_nowhere(pieces: list[Chroma]) -> None:
    ours = played(pieces[0])
    silence = np.zeros_like(ours)
    assert correlation.deviations([]).shape == (0, 12)
    for pair in ((silence, ours), (ours, silence), (silence, silence), (np.ones_like(ours), ours)):
        assert not correlation.deviations([pair]).any()
    half = np.concatenate([ours[:60], silence])
    found, short, mute = correlation.deviations([(half, ours), (ours[:3], ours), (silence[:3], silence[:4])])
    assert found.argmax() == 0
    assert found[0] > qmax.STANDS_OUT
    assert np.isfinite(short).all()
    assert not mute.any()


def test_what_hardly_correlates_is_not_compared(pieces: list[Chroma], cover: Chroma) -> None:
    ours = played(cover, 1 / 1.125)
    pairs = [(ours, played(piece)) for piece in pieces]
    asked, everything = qmax.compare(pairs, 0.45), qmax.compare(pairs)
    assert asked[0] == everything[0]
    stand_out = [found.max() >= qmax.STANDS_OUT for found in correlation.deviations(pairs)]
    assert [match.score > 0 for match in asked] == stand_out
    assert 1 <= sum(stand_out) <= 2
    assert min(match.score for match in everything) > 0
