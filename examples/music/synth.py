"""Renders a rendition to samples with numpy: wavetable voices, envelopes, vibrato, tremolo, a little reverberation.

The same code gives the same samples: every random choice comes from a generator that is seeded with the
performance's name.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from examples.music.repertoire import Arrangement, Rendition
from examples.music.songs import Note, chord_pitches, parse

SAMPLE_RATE = 22_050
"""Hz, mono."""

Samples = npt.NDArray[np.float32]

_TABLE = 2048
_TIME: Samples = (np.arange(SAMPLE_RATE * 12) / SAMPLE_RATE).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Timbre:
    """A voice.

    Attributes:
        harmonics: amplitudes of the first, second… partial.
        attack, decay, release: seconds; ``decay`` is the time constant of the fading, 0 for a held tone.
        vibrato: depth as a share of the frequency; tremolo: strokes a second (a balalaika's), 0 for none.
        detune: further voices at these frequency factors (a choir, an accordion's reeds).
    """

    harmonics: tuple[float, ...]
    attack: float
    decay: float
    release: float
    vibrato: float = 0.0
    tremolo: float = 0.0
    detune: tuple[float, ...] = (1.0,)
    gain: float = 1.0


TIMBRES: dict[str, Timbre] = {
    "balalaika": Timbre((1, 0.7, 0.5, 0.35, 0.3, 0.2, 0.15, 0.1), 0.003, 0.35, 0.05, tremolo=11, gain=0.9),
    "pluck": Timbre((1, 0.5, 0.33, 0.2, 0.1, 0.08), 0.003, 0.5, 0.08),
    "piano": Timbre((1, 0.6, 0.25, 0.18, 0.1, 0.05), 0.004, 0.9, 0.12, detune=(0.9995, 1.0006)),
    "bell": Timbre((1, 0.1, 0.5, 0.05, 0.25, 0, 0.1), 0.002, 1.1, 0.3),
    "accordion": Timbre((1, 0.8, 0.7, 0.5, 0.4, 0.3, 0.25, 0.2), 0.03, 0, 0.05, detune=(0.996, 1.004), gain=0.6),
    "choir": Timbre((1, 0.55, 0.6, 0.25, 0.1), 0.09, 0, 0.12, vibrato=0.006, detune=(0.994, 1.0, 1.007), gain=0.5),
    "voice": Timbre((0.8, 1, 0.7, 0.5, 0.2, 0.1), 0.06, 0, 0.08, vibrato=0.011, gain=0.8),
    "flute": Timbre((1, 0.25, 0.08, 0.02), 0.05, 0, 0.06, vibrato=0.007),
    "strings": Timbre(
        (1, 0.75, 0.6, 0.45, 0.35, 0.25, 0.2, 0.15), 0.08, 0, 0.12, vibrato=0.006, detune=(0.997, 1.003), gain=0.6
    ),
    "bass": Timbre((1, 0.5, 0.25, 0.1), 0.008, 0.6, 0.06, gain=1.1),
}

_tables: dict[tuple[str, int], Samples] = {}


def _table(name: str, frequency: float) -> Samples:
    """One period of a timbre, without partials above the Nyquist frequency."""
    timbre = TIMBRES[name]
    count = max(1, min(len(timbre.harmonics), int(SAMPLE_RATE * 0.48 / frequency)))
    key = (name, count)
    if key not in _tables:
        phase = 2 * np.pi * np.arange(_TABLE) / _TABLE
        wave = sum(a * np.sin((k + 1) * phase + 0.7 * k) for k, a in enumerate(timbre.harmonics[:count]))
        total = np.asarray(wave)
        _tables[key] = (total / np.sqrt(np.mean(total**2)) * 0.3).astype(np.float32)
    return _tables[key]


@dataclass(frozen=True, slots=True)
class Event:
    """Something sounds: ``part`` (lead, counter, chords, bass, drone), seconds, MIDI pitch, loudness 0..1."""

    part: str
    start: float
    length: float
    pitch: float
    loudness: float


def perform(rendition: Rendition) -> tuple[list[Event], list[tuple[float, bool]]]:
    """The notes as played, and the percussion's strokes (seconds, on the bar).

    Human timing and dynamics depend on `Rendition.performance` alone, so that a re-render with other instruments
    keeps them.
    """
    arrangement = rendition.arrangement
    rng = np.random.default_rng(zlib.crc32(rendition.performance.encode()))
    eighth = 30.0 / (rendition.song.bpm * rendition.tempo)
    end = rendition.length_s - 2.2
    events: list[Event] = []
    strokes: list[tuple[float, bool]] = []
    clock = 0.1
    verse = 0
    while clock < end:
        song = rendition.songs[0 if clock < end / 2 else -1]
        notes = parse(song.abc)
        if verse == 0 and arrangement.intro:
            first = notes[0].chord
            bars = tuple(Note(i * song.beats, song.beats, None, first) for i in range(arrangement.intro))
            clock = _verse(rendition, bars, song.beats, eighth, clock, end, verse, rng, events, strokes)
        clock = _verse(rendition, notes, song.beats, eighth, clock, end, verse, rng, events, strokes)
        verse += 1
    _final_chord(rendition, clock, rng, events)
    if arrangement.drone:
        tonic = 36 + (events[0].pitch - 36) % 12
        events.append(Event("drone", 0.0, rendition.length_s - 0.3, tonic + 12, 0.35))
        events.append(Event("drone", 0.0, rendition.length_s - 0.3, tonic + 19, 0.25))
    return events, strokes


def _verse(
    rendition: Rendition,
    notes: tuple[Note, ...],
    beats: int,
    eighth: float,
    clock: float,
    end: float,
    verse: int,
    rng: np.random.Generator,
    events: list[Event],
    strokes: list[tuple[float, bool]],
) -> float:
    """Plays one verse from ``clock`` on; returns when it ended."""
    arrangement = rendition.arrangement
    total = int(notes[-1].start + notes[-1].length)
    # The tempo breathes: each eighth is up to a few per cent longer or shorter, slowly changing.
    sway = np.convolve(rng.normal(0, 0.06, total + 8), np.ones(8) / 8, "valid")
    times = clock + np.concatenate(([0.0], np.cumsum(eighth * (1 + sway[:total]))))

    def at(position: float) -> float:
        return float(np.interp(position, np.arange(total + 1), times))

    lift = 12 * arrangement.octave + rendition.transpose
    chords: dict[int, str] = {}
    for note in notes:
        start = at(note.start)
        for position in range(int(note.start), int(note.start + note.length)):
            chords[position] = note.chord
        jitter, loudness, touch = rng.normal(0, 0.010), rng.uniform(0.6, 1.0), rng.uniform(0.82, 1.0)
        if note.pitch is None or start > end:
            continue
        length = (at(note.start + note.length) - start) * touch
        accent = 1.0 if note.start % beats == 0 else 0.85
        events.append(Event("lead", max(0.0, start + jitter), length, note.pitch + lift, loudness * accent))
        if arrangement.counter and verse + (note.start >= total / 2) > 0:
            pitch = _harmony(note.pitch, note.chord, arrangement.interval) + lift
            events.append(Event("counter", max(0.0, start - jitter), length, pitch, 0.55 * loudness))
    for position in range(total):
        start = at(position)
        jitter, loudness, colour = rng.normal(0, 0.008), rng.uniform(0.7, 1.0), int(rng.integers(0, 3))
        if start > end:
            break
        pitches = tuple(p + rendition.transpose for p in chord_pitches(chords.get(position, notes[0].chord)))
        _accompany(arrangement, position, beats, pitches, start + max(jitter, -start), eighth, loudness, colour, events)
        if arrangement.percussion and position % 2 == 0:
            strokes.append((start, position % beats == 0))
    return float(times[-1])


def _harmony(pitch: int, chord: str, interval: int) -> int:
    """The next chord tones below (negative) or above a melody note."""
    classes = {p % 12 for p in chord_pitches(chord)}
    step = -1 if interval < 0 else 1
    for _ in range(abs(interval)):
        pitch += 2 * step
        while pitch % 12 not in classes:
            pitch += step
    return pitch


def _accompany(
    arrangement: Arrangement,
    position: int,
    beats: int,
    pitches: tuple[int, ...],
    start: float,
    eighth: float,
    loudness: float,
    colour: int,
    events: list[Event],
) -> None:
    """One eighth of bass and chords."""
    beat = position % beats
    root = pitches[0] - 12 if pitches[0] >= 48 else pitches[0]
    if (arrangement.bass and beat % 4 == 0) or (beats == 6 and arrangement.bass and beat == 0):
        low = root if beat == 0 else root + 7 if colour else root + 12
        events.append(Event("bass", start, eighth * 1.9, low, 0.75 * loudness))
    if not arrangement.chords:
        return
    if arrangement.style == "sustained":
        if beat == 0:
            length = eighth * beats * 0.98
            events.extend(Event("chords", start, length, p + 12, 0.3 * loudness) for p in pitches[:3])
    elif arrangement.style == "arpeggio":
        order = (0, 1, 2, 1) if colour else (0, 2, 1, 2)
        events.append(Event("chords", start, eighth * 1.6, pitches[order[position % 4]] + 12, 0.5 * loudness))
    elif arrangement.style == "offbeat":
        if beat % 2 == 1:
            events.extend(Event("chords", start, eighth * 0.8, p + 12, 0.3 * loudness) for p in pitches[:3])
    elif (beat % 2 == 0 and beat % 4 != 0) or (beats == 6 and beat in (2, 4)):
        upper = pitches[:3] if colour else (*pitches[1:3], pitches[0] + 12)
        events.extend(Event("chords", start, eighth * 1.2, p + 12, 0.32 * loudness) for p in upper)


def _final_chord(rendition: Rendition, clock: float, rng: np.random.Generator, events: list[Event]) -> None:
    start = min(clock, rendition.length_s - 2.0)
    pitches = chord_pitches(parse(rendition.songs[-1].abc)[-1].chord)
    for pitch in (pitches[0] - 12, *pitches[:3], pitches[0] + 24):
        part = "lead" if pitch > 60 else "chords"
        spread = float(rng.uniform(0, 0.05))
        events.append(Event(part, start + spread, 1.6, pitch + 12 * (pitch < 48) + rendition.transpose, 0.5))


def render(rendition: Rendition) -> npt.NDArray[np.int16]:
    """Mono samples at `SAMPLE_RATE`, peak at -3 dBFS, exactly ``length_s`` long."""
    arrangement = rendition.arrangement
    total = round(rendition.length_s * SAMPLE_RATE)
    mix = np.zeros(total + SAMPLE_RATE, np.float32)
    events, strokes = perform(rendition)
    voices = {
        "lead": arrangement.lead,
        "counter": arrangement.counter,
        "chords": arrangement.chords or arrangement.lead,
        "bass": arrangement.bass,
        "drone": "strings",
    }
    for index, event in enumerate(events):
        _add_tone(mix, event, voices[event.part], index, total)
    rng = np.random.default_rng(zlib.crc32(b"percussion" + rendition.performance.encode()))
    for start, strong in strokes:
        _add_stroke(mix, start, arrangement.percussion * (1.0 if strong else 0.55), strong, rng)
    mix = _reverberate(mix[:total], arrangement.reverb)
    fade = np.linspace(1, 0, SAMPLE_RATE // 2, dtype=np.float32)
    mix[-fade.size :] *= fade
    mix *= 0.707 / max(1e-6, float(np.abs(mix).max()))
    return np.round(mix * 32767).astype(np.int16)


def _add_tone(mix: Samples, event: Event, voice: str, index: int, total: int) -> None:
    timbre = TIMBRES[voice]
    begin = int(event.start * SAMPLE_RATE)
    count = min(int((event.length + _ring(timbre)) * SAMPLE_RATE), total - begin)
    if count < 64:
        return
    held = event.part == "drone"
    time = (np.arange(count) / SAMPLE_RATE).astype(np.float32) if held else _TIME[:count]
    envelope = _envelope(timbre, time, event.length, index, held)
    frequency = 440.0 * 2 ** ((event.pitch - 69) / 12)
    table = _table(voice, frequency)
    bent = time.astype(np.float64)
    if timbre.vibrato:
        rate = 5.2 + index % 7 * 0.13
        onset = np.minimum(time / np.float32(0.25), 1)
        bent += onset * np.sin(np.float32(2 * np.pi * rate) * time) * (timbre.vibrato / (2 * np.pi * rate))
    tone = np.zeros(count, np.float32)
    for factor in timbre.detune:
        phase = frequency * factor * _TABLE * bent + index * 37 % _TABLE
        tone += table[phase.astype(np.int32) & (_TABLE - 1)]
    mix[begin : begin + count] += tone * envelope * np.float32(event.loudness * timbre.gain)


def _ring(timbre: Timbre) -> float:
    """Seconds that a tone goes on after its written end: plucked and struck ones longer."""
    return timbre.release + 0.4 * min(timbre.decay, 0.7)


def _envelope(timbre: Timbre, time: Samples, length: float, index: int, held: bool) -> Samples:
    attack = np.minimum(time / np.float32(timbre.attack), 1)
    release = np.clip((np.float32(length) - time) / np.float32(_ring(timbre)) + 1, 0, 1)
    if held:
        return np.asarray(attack * np.clip((np.float32(length) - time) / 1.5, 0, 1), dtype=np.float32)
    envelope = attack * release
    if timbre.tremolo and length > 0.25:
        rate = timbre.tremolo + index % 5 * 0.3
        envelope = envelope * np.exp(-((time * np.float32(rate)) % 1) * np.float32(1.6))
    elif timbre.decay:
        envelope = envelope * np.exp(-time / np.float32(timbre.decay))
    return np.asarray(envelope, dtype=np.float32)


def _add_stroke(mix: Samples, start: float, loudness: float, strong: bool, rng: np.random.Generator) -> None:
    begin, count = int(start * SAMPLE_RATE), SAMPLE_RATE // 12
    time = _TIME[:count]
    noise = rng.standard_normal(count, dtype=np.float32) * np.exp(-time * 60)
    if strong:
        noise = 0.3 * noise + np.sin(2 * np.pi * 90 * time) * np.exp(-time * 30)
    mix[begin : begin + count] += (noise * np.float32(0.22 * loudness)).astype(np.float32)


def _reverberate(dry: Samples, share: float) -> Samples:
    """Early reflections at times that have no common divisor, each a little quieter than the one before."""
    wet = dry.copy()
    for delay_ms, gain in ((29, 0.5), (43, 0.42), (61, 0.36), (89, 0.28), (127, 0.22), (181, 0.15)):
        delay = delay_ms * SAMPLE_RATE // 1000
        wet[delay:] += np.float32(share * gain) * dry[:-delay]
    return wet
