"""Scores, performances and their fingerprints."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from examples.music.repertoire import DOUBTFUL, LOCKED_PAIRS, PESENNIK_RENDITIONS, RENDITIONS, RENDITIONS_BY_KEY
from examples.music.separation import best_bit_error_rate, distinct_share, fingerprint
from examples.music.songs import BY_SLUG, SONGS, ScoreError, Song, chord_pitches, parse
from examples.music.synth import SAMPLE_RATE, perform, render


@pytest.mark.parametrize("song", SONGS, ids=lambda song: song.slug)
def test_tune_fills_its_bars(song: Song) -> None:
    notes = parse(song.abc)
    assert notes[0].start == 0
    assert all(one.start + one.length == two.start for one, two in itertools.pairwise(notes))
    assert (notes[-1].start + notes[-1].length) % song.beats == 0
    pitches = [note.pitch for note in notes if note.pitch is not None]
    assert min(pitches) >= 55
    assert max(pitches) <= 84


def test_notation() -> None:
    notes = parse('"Am"A2 ^g/2 z3/2|"E7"_B,c\'')
    assert [(n.pitch, n.length, n.chord) for n in notes] == [
        (69, 2.0, "Am"),
        (80, 0.5, "Am"),
        (None, 1.5, "Am"),
        (58, 1.0, "E7"),
        (84, 1.0, "E7"),
    ]
    assert chord_pitches("Am") == (57, 60, 64)
    assert chord_pitches("Bb7") == (58, 62, 65, 68)


@pytest.mark.parametrize("tune", ["A2 H", '"Am', "", "| |"])
def test_bad_tune_is_refused(tune: str) -> None:
    with pytest.raises(ScoreError):
        parse(tune)


def test_repertoire() -> None:
    assert len(SONGS) >= 12
    assert len(PESENNIK_RENDITIONS) >= 36
    assert len(RENDITIONS_BY_KEY) == len(RENDITIONS)
    for slug in BY_SLUG:
        assert len({r.ensemble.slug for r in PESENNIK_RENDITIONS if r.song.slug == slug}) >= 3
    assert all(36 <= r.length_s <= 45 for r in RENDITIONS)


def test_rendering_is_deterministic_and_whole() -> None:
    rendition = RENDITIONS_BY_KEY["korobeyniki-uslovny-2001"]
    samples = render(rendition)
    assert np.array_equal(samples, render(rendition))
    assert len(samples) == round(rendition.length_s * SAMPLE_RATE)
    assert 0.69 < np.abs(samples.astype(int)).max() / 32767 < 0.72
    loudness = np.sqrt(
        np.mean((samples[: len(samples) // SAMPLE_RATE * SAMPLE_RATE] / 32768.0).reshape(-1, SAMPLE_RATE) ** 2, 1)
    )
    assert loudness[:-1].min() > 0.01, "no silent second but the last"


def test_rerender_keeps_the_timing() -> None:
    for locked, base in LOCKED_PAIRS:
        notes = {(e.part, e.start, e.pitch) for e in perform(RENDITIONS_BY_KEY[locked])[0]}
        assert notes <= {(e.part, e.start, e.pitch) for e in perform(RENDITIONS_BY_KEY[base])[0]}


def test_fingerprints_tell_versions_apart() -> None:
    """A few of the pairs; all of them: ``python -m examples.music.separation``."""
    keys = [r.key for r in RENDITIONS if r.song.slug in ("kalinka", "po-dikim-stepyam")] + ["korobeyniki-vydumka-2016"]
    prints = {key: fingerprint(render(RENDITIONS_BY_KEY[key])) for key in keys}
    for one, two in itertools.combinations(keys, 2):
        assert best_bit_error_rate(prints[one], prints[two]) > 0.30, (one, two)
    assert min(map(distinct_share, prints.values())) > 0.5


def test_rerenders_lie_in_the_blind_spot() -> None:
    for locked, base in LOCKED_PAIRS:
        assert locked in {r.key for r in DOUBTFUL}
        one, two = (fingerprint(render(RENDITIONS_BY_KEY[key])) for key in (locked, base))
        assert 0.10 < best_bit_error_rate(one, two) < 0.30


def test_alignment_finds_a_trim() -> None:
    samples = render(RENDITIONS_BY_KEY["vo-sadu-li-berezka-2006"])
    whole, trimmed = fingerprint(samples), fingerprint(samples[7 * SAMPLE_RATE :])
    assert best_bit_error_rate(whole, trimmed) < 0.10
    assert best_bit_error_rate(whole, trimmed, min_overlap_s=40) == 1.0
