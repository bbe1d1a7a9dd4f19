"""Invented ensembles and what they recorded: the versions that the sites offer.

Every name is invented and says so («Пример», «Небывалый», «Выдумка», «Условный»…).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

from examples.music.songs import BY_SLUG, SONGS, Song


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How an ensemble sounds.

    Attributes:
        lead, counter, chords, bass: names of timbres of `examples.music.synth`; empty: nobody plays that part.
        style: of the accompaniment: ``oompah``, ``arpeggio``, ``sustained``, ``offbeat``.
        interval: of the counter-voice below the lead, in scale steps of a third: -1 (third), -2 (sixth), 1 (above).
        drone: a held fifth under everything.
        percussion: loudness 0..1.
        intro: bars of accompaniment before the tune.
        octave: of the lead, in octaves.
        reverb: share of reverberation, 0..1.
    """

    lead: str
    chords: str = ""
    bass: str = ""
    counter: str = ""
    style: str = "oompah"
    interval: int = -1
    drone: bool = False
    percussion: float = 0.0
    intro: int = 0
    octave: int = 0
    reverb: float = 0.2


@dataclass(frozen=True, slots=True)
class Ensemble:
    """``name`` as Russian sites print it; ``latin``: other people's romanisations, best known first."""

    slug: str
    name: str
    latin: tuple[str, ...]
    arrangement: Arrangement


@dataclass(frozen=True, slots=True)
class Rendition:
    """One recording: a song, by an ensemble, at one time.

    Attributes:
        key: stable id, also the seed of the performance.
        kind: a version kind of the catalog.
        transpose: semitones; tempo: factor; length_s: seconds of audio.
        lead: another lead timbre than the arrangement's, on the same timing (a re-render).
    """

    key: str
    songs: tuple[Song, ...]
    ensemble: Ensemble
    year: int
    kind: str
    transpose: int
    tempo: float
    length_s: float
    arrangement: Arrangement
    performance: str

    @property
    def song(self) -> Song:
        """The song; of a medley the first."""
        return self.songs[0]


ENSEMBLES: tuple[Ensemble, ...] = (
    Ensemble(
        "berezka",
        "Ансамбль «Берёзка-Пример»",
        ("Ansambl' Berezka-Primer", "Ensemble Beryozka-Primer", "Ansambl Berjozka-Primer"),
        Arrangement("balalaika", "balalaika", "pluck", counter="flute", percussion=0.5, intro=1),
    ),
    Ensemble(
        "nebyvaly",
        "Оркестр народных инструментов «Небывалый»",
        ("Orkestr narodnykh instrumentov Nebyvaly", "Orkestr narodnyh instrumentov Nebyvalyj"),
        Arrangement("strings", "pluck", "bass", counter="flute", style="arpeggio", interval=1, percussion=0.3),
    ),
    Ensemble(
        "uslovny",
        "Фома Условный",
        ("Foma Uslovny", "Foma Uslovnyj", "Foma Uslovnyy"),
        Arrangement("accordion", "accordion", "pluck", style="offbeat", percussion=0.2, octave=0),
    ),
    Ensemble(
        "vydumka",
        "Хор «Выдумка»",
        ("Khor Vydumka", "Hor Vydumka", "Chor Wydumka"),
        Arrangement("choir", "choir", "bass", counter="choir", style="sustained", interval=-2, reverb=0.4),
    ),
    Ensemble(
        "nebylitsyna",
        "Аксинья Небылицына",
        ("Aksinya Nebylitsyna", "Aksin'ya Nebylicyna", "Aksinja Nebylizyna"),
        Arrangement("voice", "piano", "piano", style="arpeggio", intro=2, reverb=0.3),
    ),
    Ensemble(
        "obraztsov",
        "Пров Образцов",
        ("Prov Obraztsov", "Prov Obrazcov"),
        Arrangement("piano", "piano", "bass", style="sustained", octave=0, reverb=0.25),
    ),
    Ensemble(
        "tri-struny",
        "Квартет «Три с половиной струны»",
        ("Kvartet Tri s polovinoy struny", "Kvartet Tri s polovinoj struny"),
        Arrangement("pluck", "balalaika", "bass", counter="balalaika", style="offbeat", interval=1, percussion=0.35),
    ),
    Ensemble(
        "skazkin",
        "Дуэт Сказкина и Шаблонова",
        ("Duet Skazkina i Shablonova", "Duet Skazkina i Schablonova"),
        Arrangement("flute", "accordion", "", counter="strings", style="sustained", interval=-1, drone=True, octave=0),
    ),
    Ensemble(
        "sloboda",
        "Капелла «Тестовая слобода»",
        ("Kapella Testovaya sloboda", "Kapella Testovaja sloboda"),
        Arrangement("choir", "strings", "bass", style="oompah", drone=True, intro=1, reverb=0.45),
    ),
    Ensemble(
        "zvonnitsa",
        "Ансамбль звонарей «Мнимый звон»",
        ("Ansambl' zvonarey Mnimy zvon", "Ansambl zvonarej Mnimyj zvon"),
        Arrangement("bell", "strings", "bass", style="sustained", percussion=0.15, octave=0, reverb=0.35),
    ),
)
ENSEMBLE: dict[str, Ensemble] = {ensemble.slug: ensemble for ensemble in ENSEMBLES}

# song: (ensemble, year, kind, semitones, tempo factor)
_RECORDED: dict[str, tuple[tuple[str, int, str, int, float], ...]] = {
    "kalinka": (
        ("berezka", 1985, "original", 0, 1.0),
        ("berezka", 1991, "live", 3, 1.16),
        ("vydumka", 1978, "cover", -4, 0.82),
        ("obraztsov", 2003, "instrumental", 5, 0.93),
    ),
    "vo-pole-bereza": (
        ("nebylitsyna", 1994, "original", 1, 0.95),
        ("skazkin", 2007, "acoustic", 6, 1.2),
        ("vydumka", 1981, "cover", -3, 0.85),
    ),
    "svetit-mesyats": (
        ("tri-struny", 1988, "original", 0, 1.05),
        ("uslovny", 1999, "cover", 5, 0.9),
        ("nebyvaly", 2011, "live", -3, 1.2),
    ),
    "ey-uhnem": (
        ("sloboda", 1976, "original", 0, 0.9),
        ("obraztsov", 1998, "instrumental", 7, 1.1),
        ("nebylitsyna", 2005, "cover", 3, 1.25),
    ),
    "korobeyniki": (
        ("berezka", 1986, "original", 0, 1.0),
        ("uslovny", 2001, "instrumental", -5, 1.12),
        ("zvonnitsa", 2014, "cover", 4, 0.84),
    ),
    "ah-vy-seni": (
        ("nebyvaly", 1983, "original", 2, 1.0),
        ("tri-struny", 1997, "acoustic", -3, 1.15),
        ("skazkin", 2010, "cover", 6, 0.86),
    ),
    "vo-sadu-li": (
        ("uslovny", 1979, "original", 0, 1.0),
        ("nebylitsyna", 1992, "cover", -4, 0.88),
        ("berezka", 2006, "live", 3, 1.18),
    ),
    "step-da-step": (
        ("vydumka", 1974, "original", 0, 0.95),
        ("skazkin", 1995, "instrumental", 4, 1.1),
        ("nebylitsyna", 2009, "cover", -3, 1.22),
    ),
    "vdol-po-piterskoy": (
        ("sloboda", 1982, "original", 0, 1.0),
        ("berezka", 1996, "cover", -5, 1.15),
        ("zvonnitsa", 2012, "instrumental", 5, 0.88),
    ),
    "po-dikim-stepyam": (
        ("uslovny", 1984, "original", 2, 1.0),
        ("vydumka", 1999, "live", -3, 0.86),
        ("tri-struny", 2008, "instrumental", 6, 1.14),
    ),
    "tonkaya-ryabina": (
        ("nebylitsyna", 1987, "original", 0, 0.95),
        ("sloboda", 1993, "cover", 4, 1.15),
        ("nebyvaly", 2015, "instrumental", -4, 1.06),
    ),
    "iz-za-ostrova": (
        ("vydumka", 1972, "original", 0, 1.0),
        ("uslovny", 1990, "live", 5, 1.15),
        ("obraztsov", 2004, "instrumental", -3, 0.88),
    ),
    "oy-to-ne-vecher": (
        ("nebylitsyna", 1989, "original", 0, 1.0),
        ("sloboda", 2000, "cover", 5, 1.2),
        ("skazkin", 2013, "acoustic", -4, 1.12),
    ),
}


def _rendition(
    song: Song, ensemble: Ensemble, year: int, kind: str, transpose: int, tempo: float, key: str = ""
) -> Rendition:
    key = key or f"{song.slug}-{ensemble.slug}-{year}"
    arrangement = ensemble.arrangement
    if kind == "acoustic":
        arrangement = replace(arrangement, percussion=0.0, drone=False)
    if kind == "live":
        arrangement = replace(arrangement, percussion=arrangement.percussion + 0.2, intro=2, reverb=0.5)
    length_s = 36.5 + zlib.crc32(key.encode()) % 70 / 10
    return Rendition(key, (song,), ensemble, year, kind, transpose, tempo, length_s, arrangement, key)


PESENNIK_RENDITIONS: tuple[Rendition, ...] = tuple(
    _rendition(BY_SLUG[slug], ENSEMBLE[ensemble], year, kind, transpose, tempo)
    for slug, versions in _RECORDED.items()
    for ensemble, year, kind, transpose, tempo in versions
)
"""What site one offers."""

FONOTEKA_OWN: tuple[Rendition, ...] = (
    _rendition(BY_SLUG["kalinka"], ENSEMBLE["zvonnitsa"], 2018, "instrumental", -2, 1.08),
    _rendition(BY_SLUG["korobeyniki"], ENSEMBLE["vydumka"], 2016, "cover", 2, 0.92),
    _rendition(BY_SLUG["svetit-mesyats"], ENSEMBLE["skazkin"], 2019, "live", 2, 1.1),
    _rendition(BY_SLUG["oy-to-ne-vecher"], ENSEMBLE["nebyvaly"], 2017, "instrumental", 2, 1.3),
)
"""Recordings that only site two offers."""


def _locked(key: str, base_key: str, arrangement: Arrangement) -> Rendition:
    """The same performance, note for note, with another sound: chromaprint's known blind spot."""
    base = RENDITIONS_BY_KEY[base_key]
    return replace(base, key=key, arrangement=arrangement)


RENDITIONS_BY_KEY: dict[str, Rendition] = {r.key: r for r in (*PESENNIK_RENDITIONS, *FONOTEKA_OWN)}

LOCKED_PAIRS: tuple[tuple[str, str], ...] = (
    ("korobeyniki-minus", "korobeyniki-uslovny-2001"),
    ("svetit-mesyats-minus", "svetit-mesyats-tri-struny-1988"),
)
"""Sample-locked re-renders and what they were made from."""

DOUBTFUL: tuple[Rendition, ...] = (
    _rendition(BY_SLUG["kalinka"], ENSEMBLE["skazkin"], 2020, "original", 1, 1.25, "kalinka-malinka"),
    replace(
        _rendition(BY_SLUG["kalinka"], ENSEMBLE["tri-struny"], 2020, "original", -1, 0.9, "popurri"),
        songs=(BY_SLUG["svetit-mesyats"], BY_SLUG["kalinka"]),
    ),
    _rendition(BY_SLUG["vo-pole-bereza"], ENSEMBLE["obraztsov"], 2020, "original", -2, 1.1, "bereza-bez-imeni"),
    _locked(
        "korobeyniki-minus",
        "korobeyniki-uslovny-2001",
        replace(RENDITIONS_BY_KEY["korobeyniki-uslovny-2001"].arrangement, lead="flute"),
    ),
    _locked(
        "svetit-mesyats-minus",
        "svetit-mesyats-tri-struny-1988",
        replace(RENDITIONS_BY_KEY["svetit-mesyats-tri-struny-1988"].arrangement, lead="flute", counter=""),
    ),
)
"""Recordings whose pages name no performer, so that a person has to look."""

RENDITIONS: tuple[Rendition, ...] = (*PESENNIK_RENDITIONS, *FONOTEKA_OWN, *DOUBTFUL)
RENDITIONS_BY_KEY.update({r.key: r for r in DOUBTFUL})

assert set(_RECORDED) == {song.slug for song in SONGS}
