"""Two chromas over each other at all places and in all keys."""

from __future__ import annotations

import numpy as np
import pytest

from identity.melody import correlation, embed, qmax
from identity.melody.correlation import LEAST_OVERLAP, STILL, THINNED
from media.types import Chroma

NEAR = 0.85


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


def slow_fit(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, np.ndarray]:
    """Deviations, and the best likeness of each rotation."""
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
    return float(values.max() / values.std()), values.max(axis=1)


def played(chroma: Chroma, factor: float = 1.0) -> embed.Vectors:
    return embed.at_tempo(chroma.views, factor)


def wandering(views: np.ndarray, depth: float) -> np.ndarray:
    """Frames of a performance whose tempo goes up and down by so much."""
    places = np.cumsum(1 + depth * np.sin(2 * np.pi * np.arange(2 * len(views)) / len(views)))
    return np.asarray(views[places[places < len(views) - 1].round().astype(int)])


def test_a_fit_is_the_best_place_in_the_best_key(pieces: list[Chroma], cover: Chroma) -> None:
    pairs = [
        (played(cover, 0.89), played(pieces[0])),
        (played(pieces[1])[:71], played(pieces[2])),
        (played(pieces[3]), played(pieces[4])[13:60]),
        (played(pieces[5])[30:37], played(pieces[5])[31:41]),
    ]
    for (ours, theirs), fit in zip(pairs, correlation.fits(pairs, NEAR), strict=True):
        deviations, by_rotation = slow_fit(ours, theirs)
        assert fit.deviations == pytest.approx(deviations, rel=1e-3)
        order = np.argsort(-by_rotation)
        assert fit.rotations == tuple(step for step in order if by_rotation[step] >= NEAR * by_rotation[order[0]])


def test_a_cover_stands_out_in_its_key(pieces: list[Chroma], cover: Chroma) -> None:
    ours = played(cover, 1 / 1.125)
    first, *others = correlation.fits([(ours, played(piece)) for piece in pieces], NEAR)
    assert first.rotations == (9,)
    assert first.deviations > 1.3 * qmax.STANDS_OUT
    # One stranger in ten stands out, but not as far.
    assert sorted(each.deviations for each in others)[-2] < qmax.STANDS_OUT
    assert max(each.deviations for each in others) < first.deviations / 2


@pytest.mark.parametrize("depth", [0.03, 0.06])
def test_a_tempo_may_wander_and_a_passage_be_short(pieces: list[Chroma], cover: Chroma, depth: float) -> None:
    ours = wandering(played(cover, 1 / 1.125), depth)
    pairs = [(ours, played(pieces[0])), (played(pieces[0]), ours), (ours[20:80], played(pieces[0]))]
    for fit, rotation in zip(correlation.fits(pairs, NEAR), (9, 3, 9), strict=True):
        assert fit.rotations[0] == rotation
        assert fit.deviations > qmax.STANDS_OUT


def test_one_by_one_is_the_same_as_at_once(pieces: list[Chroma], cover: Chroma) -> None:
    views = [played(each, factor) for each in (*pieces, cover) for factor in (0.8, 1.0, 1.25)]
    pairs = [(ours[: 90 - 3 * number], theirs) for number, ours in enumerate(views) for theirs in views[number:]]
    assert len(pairs) > 100
    together = correlation.fits(pairs, NEAR)
    for pair, fit in zip(pairs, together, strict=True):
        [alone] = correlation.fits([pair], NEAR)
        assert alone.deviations == pytest.approx(fit.deviations, rel=1e-4)
        assert alone.rotations == fit.rotations


def test_next_to_nothing_stands_out_nowhere(pieces: list[Chroma]) -> None:
    ours = played(pieces[0])
    silence = np.zeros_like(ours)
    assert correlation.fits([], NEAR) == []
    for pair in ((silence, ours), (ours, silence), (silence, silence), (np.ones_like(ours), ours)):
        assert correlation.fits([pair], NEAR)[0].deviations == 0
    half = np.concatenate([ours[:60], silence])
    fit, short, mute = correlation.fits([(half, ours), (ours[:3], ours), (silence[:3], silence[:4])], NEAR)
    assert fit.rotations[0] == 0
    assert fit.deviations > qmax.STANDS_OUT
    assert np.isfinite(short.deviations)
    assert mute.deviations == 0


def test_what_hardly_correlates_is_not_compared(pieces: list[Chroma], cover: Chroma) -> None:
    ours = played(cover, 1 / 1.125)
    pairs = [(ours, played(piece)) for piece in pieces]
    asked, everything = qmax.compare(pairs, 0.45), qmax.compare(pairs)
    assert asked[0] == everything[0]
    stand_out = [fit.deviations >= qmax.STANDS_OUT for fit in correlation.fits(pairs, qmax.NEARLY)]
    assert [match.score > 0 for match in asked] == stand_out
    assert 1 <= sum(stand_out) <= 2
    assert min(match.score for match in everything) > 0
