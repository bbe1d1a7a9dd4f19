"""Russian folk songs in the public domain, as scores.

Melodies are in a subset of ABC notation (`abc_notation.com`, standard 2.1): unit length 1/8, chord symbols in quotes,
``C``..``B`` the octave of middle C, ``c``..``b`` the next, ``,`` and ``'`` one octave down and up, ``^`` and ``_``
sharp and flat (no key signature, so an accidental stands at its note), ``z`` a rest.
They were written down by heart, so that details may differ from any printed edition.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FOLK = "народная"


@dataclass(frozen=True, slots=True)
class Note:
    """``start`` and ``length`` in eighths; ``pitch``: MIDI number, None for a rest; ``chord``: e.g. ``Am``."""

    start: float
    length: float
    pitch: int | None
    chord: str


@dataclass(frozen=True, slots=True)
class Song:
    """A composition.

    Attributes:
        slug: stable id.
        composer: who wrote the melody; `FOLK` where nobody is known.
        lyricist: who wrote the words; `FOLK` where nobody is known.
        bpm: quarter notes a minute of a usual performance.
        beats: eighths in a bar.
        abc: the tune.
        lyrics: its first lines.
    """

    slug: str
    title: str
    alternative_titles: tuple[str, ...]
    composer: str
    lyricist: str
    era: str
    bpm: int
    beats: int
    abc: str
    lyrics: str

    @property
    def genre(self) -> str:
        """As the sites print it."""
        return "русская народная песня"


class ScoreError(ValueError):
    """A tune is not in the notation; the message shows the place."""


_TOKEN = re.compile(
    r'\s+|(?P<bar>[|:\]\[]+)|"(?P<chord>[A-G][#b]?m?7?)"'
    r"|(?P<accidental>[\^_=]?)(?P<letter>[A-Ga-gz])(?P<octave>[,']*)(?P<length>\d+)?(?P<divided>/\d*)?"
)
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def parse(abc: str) -> tuple[Note, ...]:
    """The notes of a tune, in order. Raises ScoreError."""
    notes: list[Note] = []
    position, start, chord = 0, 0.0, "C"
    while position < len(abc):
        match = _TOKEN.match(abc, position)
        if match is None:
            raise ScoreError(f"cannot read {abc[position : position + 12]!r} at character {position}")
        position = match.end()
        if match["chord"]:
            chord = match["chord"]
        if match["letter"]:
            length = float(match["length"] or 1)
            if match["divided"]:
                length /= float(match["divided"][1:] or 2)
            notes.append(Note(start, length, _pitch(match), chord))
            start += length
    if not notes:
        raise ScoreError("the tune has no notes")
    return tuple(notes)


def _pitch(match: re.Match[str]) -> int | None:
    letter = match["letter"]
    if letter == "z":
        return None
    pitch = 60 + _SEMITONES[letter.upper()] + (12 if letter.islower() else 0)
    pitch += 12 * (match["octave"].count("'") - match["octave"].count(","))
    return pitch + {"^": 1, "_": -1}.get(match["accidental"], 0)


def chord_pitches(symbol: str) -> tuple[int, ...]:
    """MIDI pitches of a chord in close position above C3, root first."""
    root = _SEMITONES[symbol[0]] + symbol.count("#") - symbol[1:].count("b")
    intervals = (0, 3, 7) if "m" in symbol else (0, 4, 7)
    return tuple(48 + root + interval for interval in (*intervals, *((10,) if "7" in symbol else ())))


SONGS: tuple[Song, ...] = (
    Song(
        "kalinka",
        "Калинка",
        ("Калинка, калинка моя",),
        "Иван Петрович Ларионов",
        "Иван Петрович Ларионов",
        "1860",
        124,
        4,
        '"Am"A2 e2|"E7"d2 Bc|d2 Bc|d2 cB|"Am"A2 e2|"Dm"aagf|"E7"edBc|d2 cB|"Am"A4|'
        '"Am"A2 e2|"E7"d2 Bc|d2 Bc|d2 cB|"Am"A2 e2|"Dm"aagf|"E7"edBc|d2 cB|"Am"A2z2|'
        '"C"g4|"F"gf"C"ef|"G"g2 "C"e2|"G"dd"C"ef|"G"d2 "C"c2|"C"g4|"F"af"C"ge|"G"f2 "C"e2|"G"dedB|"Am"c2 "E7"^G2|',
        "Калинка, калинка, калинка моя!\nВ саду ягода малинка, малинка моя!",
    ),
    Song(
        "vo-pole-bereza",
        "Во поле берёза стояла",
        ("Во поле берёзонька стояла", "Люли, люли"),
        FOLK,
        FOLK,
        "XVIII век",
        96,
        4,
        '"Am"eeee|"Dm"d2 "Am"cc|"E7"B2 "Am"A2|"Am"eege|"Dm"dd"Am"cc|"E7"B2 "Am"A2|'
        '"G"B2 c2|d2 cc|"E7"B2 "Am"A2|"G"B2 c2|d2 cc|"E7"B2 "Am"A2|',
        "Во поле берёза стояла,\nВо поле кудрявая стояла,\nЛюли, люли, стояла.",
    ),
    Song(
        "svetit-mesyats",
        "Светит месяц",
        ("Светит месяц, светит ясный",),
        FOLK,
        FOLK,
        "XIX век",
        112,
        4,
        '"G"BdgB|"D7"d2 cA|"D7"^FAcA|"G"B2 BG|"G"Bdgd|"C"e2 "D"dc|"G"BA"D7"A^F|"G"G4|'
        '"G"gbag|"D"^f2 dc|"D"Ade^f|"G"g2 dB|"C"egfe|"G"d2 BG|"D"cAD^F|"G"G4|',
        "Светит месяц, светит ясный,\nСветит белая луна.",
    ),
    Song(
        "ey-uhnem",
        "Эй, ухнем!",
        ("Песня волжских бурлаков",),
        FOLK,
        FOLK,
        "XIX век",
        72,
        8,
        '"Dm"F3D "Gm"G2 "Dm"D2|"Dm"F3D "Gm"G2 "Dm"D2|"Dm"A2 "Gm"GG "Dm"FGFD|"Dm"F3D "Gm"G2 "Dm"D2|'
        '"Dm"d2 c2 "F"A2 c2|"Gm"_B2 AG "Dm"A4|"Dm"d2 cA "C"c2 AG|"Dm"F3D "Gm"G2 "Dm"D2|'
        '"F"A2 A2 "C"GFG2|"Dm"A2 FD "Gm"G2 "Dm"D2|"Dm"F3D "Gm"G2 "Dm"D2|"Dm"D6z2|',
        "Эй, ухнем! Эй, ухнем!\nЕщё разик, ещё да раз!",
    ),
    Song(
        "korobeyniki",
        "Коробейники",
        ("Коробушка", "Ой, полным-полна коробушка"),
        FOLK,
        "Николай Алексеевич Некрасов",
        "1861",
        132,
        8,
        '"E7"e2Bc d2cB|"Am"A2Ac e2dc|"E7"B3c d2e2|"Am"c2A2 A4|"Dm"z d2f a2gf|"C"e3c e2dc|"E7"B2Bc d2e2|"Am"c2A2 A2z2|'
        '"E7"e2Bc d2cB|"Am"A2Ac e2dc|"E7"B3c d2e2|"Am"c2A2 A4|"Dm"z d2f a2gf|"C"e3c e2dc|"E7"B2Bc d2e2|"Am"c2A2 A2z2|'
        '"Am"e4 c4|"E7"d4 B4|"Am"c4 A4|"E7"^G4 B4|"Am"e4 c4|"E7"d4 B4|"Am"c2e2 a4|"E7"^g6z2|',
        "Ой, полна, полна коробушка,\nЕсть и ситцы, и парча.",
    ),
    Song(
        "ah-vy-seni",
        "Ах вы, сени, мои сени",
        ("Сени, мои сени", "Ах вы, сени"),
        FOLK,
        FOLK,
        "XVIII век",
        120,
        4,
        '"C"ggef|"C"g2 ec|"G"ddBc|"G"d2 BG|"C"ggef|"F"ag"C"fe|"G"dgfd|"C"c4|'
        '"C"cege|"F"f2 ed|"G"Bdfd|"C"e2 dc|"C"cege|"F"aa"C"ge|"G"fdBd|"C"c4|',
        "Ах вы, сени, мои сени,\nСени новые мои.",
    ),
    Song(
        "vo-sadu-li",
        "Во саду ли, в огороде",
        ("Во саду ли в огороде девица гуляла",),
        FOLK,
        FOLK,
        "XVIII век",
        108,
        4,
        '"F"fc"C"ec|"Dm"dd"F"cc|"Bb"_Bd"F"cA|"C"GG"F"F2|"F"fc"C"ec|"Dm"dd"F"cc|"Bb"_Bd"C"cE|"F"FFF2|'
        '"F"AcAc|"Bb"_Bd"F"c2|"C"GcGc|"F"Af"F"c2|"Dm"fafd|"C"egec|"Bb"dc_BG|"F"F4|',
        "Во саду ли, в огороде\nДевица гуляла.",
    ),
    Song(
        "step-da-step",
        "Степь да степь кругом",
        ("В степи", "Как в степи глухой умирал ямщик"),
        FOLK,
        "Иван Захарович Суриков",
        "1865",
        76,
        6,
        '"G"D2G2A2|B4AG|"C"E4G2|"G"D6|"G"B2d2c2|"D7"A4^F2|"C"G2E2^F2|"G"G6|'
        '"C"e4dc|"G"B2d2B2|"D7"c4BA|"G"B6|"Em"G2B2A2|"D7"^F4D2|"D7"E2^F2A2|"G"G6|',
        "Степь да степь кругом,\nПуть далёк лежит.",
    ),
    Song(
        "vdol-po-piterskoy",
        "Вдоль по Питерской",
        ("По Питерской", "Вдоль по Питерской, по Тверской-Ямской"),
        FOLK,
        FOLK,
        "XIX век",
        88,
        4,
        '"D"A2 A2|d3 d|"A7"e^c"D"d2|"D"^f4|"G"b2 ag|"D"^fe d2|"A7"e^f ge|"D"d4|'
        '"D"^f2 a2|"G"ga b2|"D"a2 ^fd|"A7"e4|"G"gb ag|"D"^fa ^fd|"A7"e2 A^c|"D"d4|',
        "Вдоль по Питерской,\nПо Тверской-Ямской.",
    ),
    Song(
        "po-dikim-stepyam",
        "По диким степям Забайкалья",
        ("По диким степям Забайкалья, где золото роют в горах", "Бродяга"),
        FOLK,
        FOLK,
        "1880-е",
        92,
        6,
        '"C"G2|"C"e4 e2|e2 d2 c2|"F"A4 c2|"C"G4 G2|"G"f4 f2|f2 e2 d2|"C"e6|z4 e2|'
        '"C"g4 g2|"F"a2 g2 f2|"C"e4 g2|"F"c4 A2|"C"G4 c2|"G"e2 d2 B2|"C"c6|z4|',
        "По диким степям Забайкалья,\nГде золото роют в горах.",
    ),
    Song(
        "tonkaya-ryabina",
        "Тонкая рябина",
        ("Рябинушка", "Что стоишь, качаясь"),
        FOLK,
        "Иван Захарович Суриков",
        "1864",
        84,
        6,
        '"Em"E2^F2G2|B2A2G2|"B7"A3G ^F2|"Em"E6|"Am"A2B2c2|e2d2c2|"Em"B6|B6|'
        '"C"e2d2c2|"G"d2c2B2|"Am"c2B2A2|"Em"B4 G2|"Am"A2G2^F2|"B7"B2A2^F2|"Em"E6|E4z2|',
        "Что стоишь, качаясь,\nТонкая рябина,\nГоловой склоняясь\nДо самого тына?",
    ),
    Song(
        "iz-za-ostrova",
        "Из-за острова на стрежень",
        ("Стенька Разин",),
        FOLK,
        "Дмитрий Николаевич Садовников",
        "1883",
        100,
        6,
        '"C"G4 G2|"C"e4 d2|"G"d4 c2|"G"B4 A2|"G"G4 A2|B4 A2|"C"G6|E6|'
        '"F"A4 A2|"F"f4 e2|"Dm"d4 c2|"C"c4 G2|"G"G4 A2|"G"d4 B2|"C"c6|c4z2|',
        "Из-за острова на стрежень,\nНа простор речной волны\nВыплывают расписные\nСтеньки Разина челны.",
    ),
    Song(
        "oy-to-ne-vecher",
        "Ой, то не вечер",
        ("Казачья притча", "Мне малым-мало спалось"),
        FOLK,
        FOLK,
        "XIX век",
        68,
        8,
        '"Am"E2A2 ABcB|"Dm"A4 "Am"E4|"Am"A2c2 "G"dcBc|"Am"A6z2|"C"c2e2 "G"edcd|"Am"e4 "C"c2e2|'
        '"Dm"f2ed "Am"c2BA|"E7"B4 E4|"Am"A2e2 "G"d2cB|"Dm"d2cA "E7"B2^G2|"Am"A6z2|',
        "Ой, то не вечер, то не вечер,\nМне малым-мало спалось.",
    ),
)

BY_SLUG: dict[str, Song] = {song.slug: song for song in SONGS}
