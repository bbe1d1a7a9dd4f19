"""Covers made to order: scores in parts, performed in another key, tempo, sound or with parts left out.

Scores come from MIDI files or are composed by a seed (own making, no real song); fluidsynth plays them with the
soundfonts of Debian's packages ``fluid-soundfont-gm``, ``timgm6mb-soundfont`` and
``musescore-general-soundfont-small``.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import mido
import numpy as np
import numpy.typing as npt

from media.chroma import chroma
from media.types import FINGERPRINT_SECONDS, Frames

RATE = 11_025
SECONDS = float(FINGERPRINT_SECONDS)
"""Of a performance: as much as ingest hears of a recording."""

MIDI = Path(__file__).resolve().parents[2] / "shared" / "data" / "midi"
CACHE = Path(__file__).resolve().parent.parent / ".data" / "benchmarks" / "melody-2"
SOUNDFONTS = {
    "fluid": Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
    "tim": Path("/usr/share/sounds/sf2/TimGM6mb.sf2"),
    "musescore": Path("/usr/share/sounds/sf3/MuseScore_General_Lite.sf3"),
}
PROGRAMS = {
    "piano": 0, "harpsichord": 6, "vibraphone": 11, "organ": 19, "accordion": 21, "guitar": 24, "steel guitar": 25,
    "electric guitar": 27, "distorted guitar": 30, "bass": 32, "violin": 40, "strings": 48, "choir": 52,
    "trumpet": 56, "brass": 61, "saxophone": 65, "oboe": 68, "clarinet": 71, "flute": 73, "lead": 81, "pad": 89,
}  # fmt: skip
_TICKS = 480
_DRUMS = 9
_FONTS = (("fluid", "tim"), ("fluid", "tim", "tim", "fluid", "musescore"))
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Note:
    """``start`` and ``length`` in quarters; ``pitch``: MIDI number; ``loudness``: 1..127."""

    start: float
    length: float
    pitch: int
    loudness: int


@dataclass(frozen=True, slots=True)
class Score:
    """``parts``: notes by name (``melody``, …); ``bpm``: quarters a minute."""

    name: str
    parts: Mapping[str, Sequence[Note]]
    bpm: float


@dataclass(frozen=True, slots=True)
class Way:
    """How a score is performed.

    Attributes:
        programs: General MIDI program by part; parts without one are left out.
        semitones: up.
        tempo: times the score's own.
        drums: strokes on every beat.
        start_s, seconds: the excerpt, in time of the performance.
        cents: out of tune.
    """

    soundfont: str
    programs: Mapping[str, int]
    semitones: int = 0
    tempo: float = 1.0
    drums: bool = False
    start_s: float = 0.0
    seconds: float = SECONDS
    cents: int = 0


def missing() -> str | None:
    """What is not installed, in a sentence; None where all is there."""
    if shutil.which("fluidsynth") is None:
        return "fluidsynth is not installed (Debian: apt install fluidsynth)"
    lacking = [str(path) for path in SOUNDFONTS.values() if not path.exists()]
    return f"no soundfont at {', '.join(lacking)} (see benchmarks/_covers.py for the packages)" if lacking else None


@functools.lru_cache(maxsize=128)
def read_score(path: Path) -> Score:
    """A MIDI file's tracks that have notes; the first tempo. What the tracks are called: ``melody``, ``bridge``…"""
    file = mido.MidiFile(path)
    names = ("melody", "bridge", "piano")
    parts: dict[str, list[Note]] = {}
    bpm = 0.0
    for track in file.tracks:
        now = 0
        held: dict[tuple[int, int], tuple[int, int]] = {}
        notes = []
        for message in track:
            now += message.time
            if message.type == "set_tempo" and not bpm:
                bpm = mido.tempo2bpm(message.tempo)
            if message.type not in ("note_on", "note_off"):
                continue
            key = (message.channel, message.note)
            if key in held:
                start, loudness = held.pop(key)
                length = max(1, now - start) / file.ticks_per_beat
                notes.append(Note(start / file.ticks_per_beat, length, message.note, loudness))
            if message.type == "note_on" and message.velocity:
                held[key] = (now, message.velocity)
        if notes and len(parts) < len(names):
            parts[names[len(parts)]] = notes
    return Score(path.stem, parts, bpm or 120.0)


def _messages(score: Score, way: Way, ticks_a_second: float) -> list[tuple[int, mido.Message]]:
    """(ticks from the excerpt's start, message) in order: instruments, tuning, and the notes that begin in it."""
    quarter_s = 60 / (score.bpm * way.tempo)
    from_quarter, to_quarter = way.start_s / quarter_s, (way.start_s + way.seconds) / quarter_s
    ticks = quarter_s * ticks_a_second
    events: list[tuple[int, int, mido.Message]] = []

    def play(channel: int, note: Note, shift: int) -> None:
        pitch = note.pitch + shift
        if not from_quarter <= note.start < to_quarter or not 0 <= pitch <= 127:
            return
        start = round((note.start - from_quarter) * ticks)
        end = start + max(1, round(note.length * ticks))
        events.append((start, 2, mido.Message("note_on", channel=channel, note=pitch, velocity=note.loudness)))
        events.append((end, 1, mido.Message("note_off", channel=channel, note=pitch)))

    channels = [channel for channel in range(16) if channel != _DRUMS]
    for channel, (part, program) in zip(channels, way.programs.items(), strict=False):
        events.append((0, 0, mido.Message("program_change", channel=channel, program=program)))
        events.append((0, 0, mido.Message("pitchwheel", channel=channel, pitch=round(way.cents / 200 * 8191))))
        for note in score.parts.get(part, ()):
            play(channel, note, way.semitones)
    if way.drums:
        for beat in range(int(from_quarter), int(to_quarter)):
            play(_DRUMS, Note(beat, 0.2, 36 if beat % 2 == 0 else 38, 90), 0)
            play(_DRUMS, Note(beat + 0.5, 0.2, 42, 60), 0)
    return [(at, message) for at, _, message in sorted(events, key=lambda event: event[:2])]


def render_all(performances: Sequence[tuple[Score, Way]]) -> list[npt.NDArray[np.int16]]:
    """The samples (11,025 Hz, mono) of each, as long as its excerpt. All with one soundfont, which is opened once.

    Opening it takes longer than playing: so they are played one after another, as one piece.
    """
    soundfonts = {way.soundfont for _, way in performances}
    if len(soundfonts) != 1:
        raise ValueError(f"one soundfont at a time, not {sorted(soundfonts)}")
    track = mido.MidiTrack()
    lengths = [round((way.seconds + _PAUSE_S) * RATE) for _, way in performances]
    passed = 0
    begins = 0.0
    for (score, way), length in zip(performances, lengths, strict=True):
        ticks_a_second = 2 * _TICKS  # MIDI's own tempo, which we leave as it is
        begin = round(begins * ticks_a_second)
        end = begin + round(way.seconds * ticks_a_second)
        for at, message in _messages(score, way, ticks_a_second):
            when = min(begin + at, end)
            track.append(message.copy(time=when - passed))
            passed = when
        for channel in range(16):
            track.append(
                mido.Message("control_change", channel=channel, control=120, value=0, time=max(0, end - passed))
            )
            passed = max(passed, end)
        begins += length / RATE
    track.append(mido.MetaMessage("end_of_track", time=round(begins * 2 * _TICKS) - passed))
    with tempfile.TemporaryDirectory() as folder:
        midi, raw = Path(folder, "score.mid"), Path(folder, "sound.raw")
        mido.MidiFile(ticks_per_beat=_TICKS, tracks=[track]).save(midi)
        command = ["fluidsynth", "-q", "-n", "-i", "-g", "0.5", "-r", str(RATE), "-T", "raw", "-O", "s16", "-z", "8192"]
        # Only the instruments that play are read: a soundfont is 140 MB.
        command += ["-o", "synth.dynamic-sample-loading=1"]
        subprocess.run(
            [*command, "-F", str(raw), str(SOUNDFONTS[soundfonts.pop()]), str(midi)], check=True, capture_output=True
        )
        stereo = np.fromfile(raw, dtype="<i2")
    mono = (stereo[: stereo.size // 2 * 2].reshape(-1, 2).astype(np.int32).sum(axis=1) // 2).astype(np.int16)
    starts = np.cumsum([0, *lengths])
    return [
        mono[start : start + round(way.seconds * RATE)] for start, (_, way) in zip(starts, performances, strict=False)
    ]


def render(score: Score, way: Way) -> npt.NDArray[np.int16]:
    """The performance's samples (11,025 Hz, mono), as long as the excerpt."""
    return render_all([(score, way)])[0]


_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}


def compose(seed: int, bars: int = 112) -> Score:
    """A song of nobody: verse and chorus of eight bars over chords, a tune of steps and leaps, bass and broken chords.

    The same seed gives the same song.
    """
    dice = random.Random(seed)
    scale = _SCALES[dice.choice(("major", "minor", "major"))]
    key = dice.randrange(48, 60)
    beats = dice.choice((4, 4, 4, 3))
    sections = {name: _section(dice, scale, beats) for name in "ABC"}
    form = dice.choice(("AABA", "ABAB", "AABC", "ABCB"))
    parts: dict[str, list[Note]] = {"melody": [], "bridge": [], "piano": []}
    for number in range(bars // 8):
        at = number * 8 * beats
        for part, notes in sections[form[number % 4]].items():
            parts[part] += [Note(at + n.start, n.length, key + n.pitch, n.loudness) for n in notes]
    return Score(f"composed-{seed}", parts, dice.uniform(72, 140))


def _section(dice: random.Random, scale: Sequence[int], beats: int) -> dict[str, list[Note]]:
    def pitch(degree: int) -> int:
        return 12 * (degree // 7) + scale[degree % 7]

    rhythm = [dice.choice(((1,), (0.5, 0.5), (1.5, 0.5), (2,), (0.75, 0.25), (0.5, 1, 0.5))) for _ in range(2 * beats)]
    pattern = dice.choice(((0, 2, 4, 2), (0, 4, 2, 4), (0, 2, 4, 7)))
    parts: dict[str, list[Note]] = {"melody": [], "bridge": [], "piano": []}
    degree, chord = dice.randrange(7, 14), 0
    chords = [dice.choice((0, 0, 3, 4, 5, 1, 2)) for _ in range(8)]
    chords[7] = dice.choice((0, 4))
    place = 0
    for bar, chord in enumerate(chords):
        start = bar * beats
        for beat in range(beats):
            parts["piano"].append(Note(start + beat, 1, pitch(chord + pattern[beat % 4]), 60))
            if beat in (0, 2):
                parts["piano"].append(Note(start + beat, 2, pitch(chord) - 12, 70))
        if dice.random() < 0.4:
            parts["bridge"].append(Note(start + beats / 2, beats / 2, pitch(chord + 9), 55))
        now = 0.0
        while now < beats:
            for length in rhythm[place % len(rhythm)]:
                if now >= beats:
                    break
                length = min(length, beats - now)
                if dice.random() < 0.25:
                    degree = min(range(5, 17), key=lambda d: abs(d - degree) + 9 * ((d - chord) % 7 not in (0, 2, 4)))
                if dice.random() > 0.08:
                    parts["melody"].append(Note(start + now, length, pitch(degree), 96))
                degree = max(4, min(17, degree + dice.choice((-2, -1, -1, 0, 1, 1, 2, 3, -3))))
                now += length
            place += 1
    return parts


def vary(score: Score, seed: int) -> Score:
    """Another song in the same style: the bars in another order, each moved by its own interval."""
    dice = random.Random(seed)
    bars: dict[int, dict[str, list[Note]]] = {}
    for part, notes in score.parts.items():
        for note in notes:
            bars.setdefault(int(note.start // 4), {}).setdefault(part, []).append(note)
    order = sorted(bars)
    dice.shuffle(order)
    parts: dict[str, list[Note]] = {part: [] for part in score.parts}
    for place, bar in enumerate(order):
        shift = dice.choice((-5, -4, -2, 0, 1, 2, 3, 5, 7))
        for part, notes in bars[bar].items():
            parts[part] += [Note(n.start + 4 * (place - bar), n.length, n.pitch + shift, n.loudness) for n in notes]
    return Score(f"{score.name}-varied-{seed}", parts, score.bpm * dice.uniform(0.85, 1.15))


def some_way(seed: str, parts: Sequence[str], strength: str = "strong") -> Way:
    """A way to perform it, chosen by the seed.

    ``same``: as written; ``mild``: ±2 semitones, ±5 %; ``strong``: ±6 semitones, ±20 %; ``rearranged``: strong, with
    other instruments, drums, out of tune, and the accompaniment or the bridge left out.
    """
    dice = random.Random(zlib.crc32(seed.encode()))
    soundfont = dice.choice(
        ("fluid", "tim", "tim", "fluid", "musescore") if strength == "rearranged" else ("fluid", "tim")
    )
    names = list(parts)
    programs = dict.fromkeys(names, 0)
    semitones, tempo, drums, cents, start = 0, 1.0, False, 0, 0.0
    if strength == "mild":
        semitones, tempo = dice.randint(-2, 2), dice.uniform(0.95, 1.05)
        programs = {name: dice.choice((0, 0, 24, 73 if name == "melody" else 48)) for name in names}
    elif strength in ("strong", "rearranged"):
        semitones, tempo = dice.randint(-6, 6), dice.uniform(0.8, 1.2)
        programs = {name: dice.choice(list(PROGRAMS.values())) for name in names}
        start = dice.uniform(0, 8)
    if strength == "rearranged":
        drums, cents = dice.random() < 0.6, dice.randint(-40, 40)
        for name in dice.sample(names[1:], k=dice.randint(1, max(1, len(names) - 1))) if len(names) > 1 else ():
            if len(programs) > 1:
                del programs[name]
    return Way(soundfont, programs, semitones, tempo, drums, start, SECONDS, cents)


@dataclass(frozen=True, slots=True)
class Take:
    """A performance that its name makes again.

    Attributes:
        kind: ``song`` (a folder of `MIDI`; one of its arrangements, the first for ``same``), ``var`` (a song made of
            the bars of one: folder-seed), ``fit`` and ``dis`` (composed by the seed).
        song: folder or seed.
        number: which performance.
        strength: see `some_way`.
    """

    kind: str
    song: str
    number: int
    strength: str

    @property
    def key(self) -> str:
        """A file name."""
        return f"{self.kind}__{self.song}__{self.number}__{self.strength}"

    def score(self) -> Score:
        """What is played."""
        if self.kind in ("fit", "dis"):
            return compose(int(self.song))
        folder, _, seed = self.song.partition("-")
        arrangements = sorted((MIDI / folder).glob("*.mid"))
        if self.kind == "var":
            return vary(read_score(arrangements[0]), int(seed))
        dice = random.Random(f"{self.song}{self.number}")
        return read_score(MIDI / folder / f"{folder}.mid" if self.strength == "same" else dice.choice(arrangements))

    def way(self) -> Way:
        """How it is played, from its first note on: nobody waits through what a left-out part plays first."""
        way = some_way(f"{self.kind}{self.song}{self.number}", ("melody", "bridge", "piano"), self.strength)
        score = self.score()
        first = min((note.start for part in way.programs for note in score.parts.get(part, ())), default=0.0)
        return replace(way, start_s=way.start_s + first * 60 / (score.bpm * way.tempo))


def chromas(takes: Sequence[Take], cache: Path, processes: int | None = None) -> dict[Take, Frames]:
    """The chroma of each, played where the cache does not have it."""
    cache.mkdir(parents=True, exist_ok=True)
    by_font: dict[str, list[Take]] = {}
    for take in takes:
        if not (cache / f"{take.key}.npy").exists():
            by_font.setdefault(take.way().soundfont, []).append(take)
    batches = [found[start : start + 10] for found in by_font.values() for start in range(0, len(found), 10)]
    with ProcessPoolExecutor(processes or os.cpu_count()) as pool:
        list(pool.map(_play, batches, [cache] * len(batches)))
    return {take: np.load(cache / f"{take.key}.npy") for take in takes}


def _play(takes: Sequence[Take], cache: Path) -> None:
    sounds = render_all([(take.score(), take.way()) for take in takes])
    for take, samples in zip(takes, sounds, strict=True):
        # Whoever finds a file finds a whole one.
        unfinished = cache / f"{take.key}.{os.getpid()}"
        with unfinished.open("wb") as file:
            np.save(file, chroma(samples).views)
        unfinished.rename(cache / f"{take.key}.npy")
