"""What a noisy title says: «Артист - Песня (Live 1998) [HD]» taken apart.

Every step is a linear scan over at most `MAX_TITLE_LENGTH` characters; no pattern can backtrack badly.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from identity.names import artist_key, fold, skeleton
from identity.title_words import canonical, canonical_words

MAX_TITLE_LENGTH = 512
"""Characters of a raw title that are read."""


@dataclass(frozen=True, slots=True)
class ParsedTitle:
    """The parts of a title.

    Attributes:
        title: the song's; never empty unless the raw title was.
        artists: who stands before (or, for known artists, after) the title, in order. Names joined by "&" or «и» stay
            one name, as most of those are bands.
        featuring: guests.
        kind: one of `catalog.models.VERSION_KINDS` where a version word says so, else None.
        year: of the recording, where it stands in brackets, with a version word, or as part of a date.
        noise: what was left out, as it was written, in order.
    """

    title: str
    artists: tuple[str, ...] = ()
    featuring: tuple[str, ...] = ()
    kind: str | None = None
    year: int | None = None
    noise: tuple[str, ...] = ()


def _split(words: str) -> list[str]:
    """A readable way to write a word list: words and phrases between bars."""
    return words.split("|")


# Most telling first: a "live karaoke remix" is a karaoke track.
_KIND_WORDS: tuple[tuple[str, str], ...] = (
    (
        "karaoke",
        "karaoke|караоке|минус|минусовка|фонограмма|backing track|backing tracks|minus|minusovka|sing along|"
        "минус один|плейбек",
    ),
    ("instrumental", "instrumental|инструментал|инструментальная|инструментальный|без слов|instrumentals"),
    (
        "remix",
        "remix|remixed|ремикс|rmx|mashup|bootleg|dub mix|club mix|dance mix|extended mix|mix|микс|rework|nightcore|"
        "slowed|reverb|sped up|speed up|замедленная|8d|8d audio|bass boosted|ускоренная",
    ),
    ("demo", "demo|demos|демо|демозапись|rehearsal|репетиция"),
    ("acoustic", "acoustic|acoustics|akustika|акустика|акустическая|акустический|unplugged|под гитару|акустик"),
    (
        "live",
        "live|лайв|concert|концерт|концерта|концерте|концертная|живьём|живьем|вживую|квартирники|живой звук|квартирник|"
        "в прямом эфире|in concert|live session|концертное",
    ),
    ("cover", "cover|covers|covered|кавер|каверы|ковер версия|перепевка|перепев|tribute|трибьют"),
    ("remaster", "remaster|remastered|remasters|ремастер|ремастеринг|ремастированный|ремастированная|remastering"),
    ("edit", "edit|radio edit|радио версия|радиоверсия|single edit|radio version|short version|edited"),
    ("original", "original|оригинал"),
)
_KINDS = {fold(word): kind for kind, words in _KIND_WORDS for word in words.split("|")}
_KIND_ORDER = {kind: place for place, (kind, _) in enumerate(_KIND_WORDS)}

_NOISE = frozenset(
    fold(word)
    for word in _split(
        "official|video|videoclip|clip|music|audio|lyric|lyrics|hd|hq|4k|uhd|fullhd|full|mv|m/v|visualizer|"
        "visualiser|premiere|new|stereo|mono|ost|soundtrack|explicit|clean|subtitles|subs|with|on|screen|high|"
        "quality|vevo|version|ver|studio|album|single|remaster|track|topic|teaser|trailer|performance|tv|show|"
        "video clip|edition|официальный|официальное|официальная|видео|клип|клипа|видеоклип|аудио|текст|тексты|"
        "слова|слов|песни|песня|премьера|качество|хорошее|качестве|хорошем|лучшее|новый|новая|новинка|премьеры|"
        "трек|сингл|альбом|альбома|субтитры|субтитрами|со|с|на|экране|полная|полностью|версия|студийная|"
        "саундтрек|текстом|словами|нотами|аккорды|разбор|нот|ноты|mp3|360p|480p|720p|1080p|1440p|2160p|60fps|"
        "song|vocal|vocals|original|mix|session|sessions|track|and|и|the|a|by|in|at|for|из|к|кинофильма|фильма|"
        "free|download|скачать|бесплатно|слушать|онлайн|online|hit|хит|хиты|official video|"
        "запись|записи|recording|повтор|повторно|перезалив|reupload|reuploaded"
    )
)
# Words that make nothing noise by themselves: the noise needs one of the others.
_FILLER = frozenset(
    fold(word)
    for word in _split(
        "with|on|screen|and|и|the|a|by|in|at|for|из|к|с|со|на|new|full|high|show|tv|track|music|version|ver|"
        "clean|song|песня|песни|hit|хит|слова|слов|single|album|альбом|альбома|альбом|mix|original|free|vocal|"
        "новый|новая|лучшее|online|session|sessions|stereo|mono|performance|версия|трек|edition|studio|полная|"
        "хиты|text|текст|тексты|видео|video|аудио|audio|clip|клип|клипа|запись|записи|recording"
    )
)
_TRAILING = frozenset(
    fold(word)
    for word in _split(
        "hd|hq|4k|uhd|360p|480p|720p|1080p|1440p|2160p|60fps|lyrics|karaoke|караоке|минусовка|instrumental|"
        "инструментал|ремикс|remix|кавер|cover|remastered|videoclip|видеоклип|mv|unplugged|акустика|ost"
    )
)
_TRAILING_PHRASES = tuple(
    sorted(
        (
            tuple(fold(phrase).split())
            for phrase in _split(
                "official video|official music video|music video|official audio|official lyric video|lyric video|"
                "with lyrics|lyrics video|официальный клип|официальное видео|премьера клипа|текст песни|"
                "слова песни|официальный видеоклип|премьера песни|live version|acoustic version|cover version|"
                "karaoke version|instrumental version|radio edit|album version|studio version|original mix|"
                "backing track|кавер версия|акустическая версия|концертная версия|original version|live acoustic|"
                "караоке версия|инструментальная версия|ремикс версия|"
                "acoustic cover|live cover|live performance|full version|video clip|видео клип|живой звук|"
                "в хорошем качестве|под гитару|single version|full hd|remastered version|demo version|"
                "демо версия|студийная версия|radio version"
            )
        ),
        key=lambda words: (-len(words), words),
    )
)
_GENERIC = frozenset(
    fold(word)
    for word in _split(
        "песня|романс|хит|клип|клипа|композиция|song|народная песня|русская народная песня|видео|ария|аудио"
    )
)
_PEOPLES_SONG = frozenset(
    fold(word)
    for word in _split(
        "русская народная песня|народная песня|русская народная|народная|рнп|р н п|folk song|russian folk song|"
        "traditional|украинская народная песня|казачья народная песня|казачья песня|цыганская песня|"
        "старинный романс|русский романс|романс"
    )
)

_SPACES = re.compile(r"\s+")
_EXTENSION = re.compile(
    r"\.(?:mp3|mp4|m4a|m4v|flac|ogg|opus|wav|wma|wmv|avi|mpg|mpeg|mkv|mov|webm|flv)$", re.IGNORECASE
)
_TRACK_NUMBER = re.compile(
    r"^(?:\d{1,3}[.)]\s+|[A-D]\d{1,2}[.)]\s+|0\d{1,2}\s?[-–—]\s?|0\d\s+|\d{1,2}\s[-–—]\s(?=[^-–—|]+\s[-–—]\s))(?=\S)"
)
_SEPARATOR = re.compile(
    r"\s+(?:[-–—−―]{1,3}|~|//|\|{1,2}|•|·|:|\.)\s+|\s?\|\s?|(?<=[^\s-])--(?=[^\s-])|(?<=\S)[-–—]{1,2}\s+|\s+[-–—]{1,2}(?=\S)|(?<=\S)\s?[–—]\s?"
)
_FLAT_GROUP = re.compile(r"\([^()]{0,200}\)|\[[^\[\]]{0,200}\]")
_LOOSE_DASH = re.compile(r"[-–—_]+")
_QUOTED = re.compile(r"«([^«»]{1,200})»|“([^“”„]{1,200})”|„([^“”„]{1,200})[“”]|\"([^\"]{1,200})\"|《([^《》]{1,200})》")
_WHOLE_QUOTES: dict[str, str] = {"«": "»", "“": "”", "„": "“", '"': '"', "'": "'", "‘": "’", "《": "》"}
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_YEAR_ONLY = re.compile(r"^(?:(?:19|20)\d\d)(?:\s?(?:г|год|года|г\.))?$", re.IGNORECASE)
_DATE = re.compile(
    r"(?<!\d)(?:\d{1,2}[./-]\d{1,2}[./-](?P<a>(?:19|20)\d\d)|(?P<b>(?:19|20)\d\d)[./-]\d{1,2}[./-]\d{1,2}"
    r"|\d{1,2} (?:января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря)"
    r" (?P<c>(?:19|20)\d\d))(?!\d)(?: ?(?:года|г\.|г)(?!\w))?",
    re.IGNORECASE,
)
_RECORDED = re.compile(
    r"(?<!\w)(?:запись|recorded(?: in)?|rec\.) (?P<d>(?:19|20)\d\d)(?: ?(?:года|г\.|г)(?!\w))?", re.IGNORECASE
)
_FILM = re.compile(
    r"^(?:из |from )?(?:[кхмт][/\\]ф(?!\w)|кинофильм|фильм|телефильм|мультфильм|сериал|"
    r"the (?:film|movie|motion picture|series|vault|musical)|ost(?!\w))",
    re.IGNORECASE,
)
_SOUNDTRACK = re.compile(r"(?:^|\s)(?:ost|soundtrack|саундтрек)$", re.IGNORECASE)
_A_VERSION = re.compile(r"\s(?:version|ver\.?|версия|вариант)$|^a ?cappella$|^а ?капелла$|^плюс$", re.IGNORECASE)
"""In brackets: somebody's version, or one of a sort for which there is no kind."""
_COVER_OF = re.compile(r"^(?:cover of|кавер на)\s(?=\S)", re.IGNORECASE)
_FEATURING = re.compile(
    r"(?<!\w)(?:(?<!\d )(?:feat|ft)(?!\w)\.?|featuring(?!\w)|при участии(?!\w)|совместно с(?!\w))\s*",
    re.IGNORECASE,
)
_MEDIA = frozenset(fold(word) for word in _split("video|audio|clip|видео|аудио|клип|текст|text|new|новая|новинка|трек"))
_SONG_OF_THE_YEAR = fold("песня года").split()
_ENSEMBLE = frozenset(fold(word) for word in _split("ансамбль|хор|группа|квартет|трио|дуэт|оркестр|вокальный ансамбль"))
_BY = re.compile(r"(?:^|\s)(?:by|исполняет|исп\.|поёт|в исполнении|performed by)\s", re.IGNORECASE)
_LIST = re.compile(r"\s*[,;]\s+|\s+(?:x|х|vs\.?|/)\s+", re.IGNORECASE)
_NAMES = re.compile(r"\s*[,;&]\s*|\s+(?:and|и|x|х)\s+", re.IGNORECASE)
_OPEN = {"(": ")", "[": "]", "{": "}", "【": "】", "（": "）"}
# "live" and "концерт" begin a description only before a place, a date or nothing: "(Live and Let Die)" is a title.
_AFTER_LIVE = frozenset(
    fold(word)
    for word in _split(
        "at|in|from|on|version|session|sessions|performance|acoustic|cover|studio|video|hd|в|на|из|с|@|год|tv"
    )
) | {""}
_HOME_CONCERTS = frozenset(map(fold, ("квартирник", "квартирнике")))
_COVER_BY = frozenset((fold(one), fold(other)) for one in ("cover", "кавер") for other in ("by", "от", "на"))
_FUNCTION_WORDS = frozenset(map(fold, _split("with|on|and|и|the|a|by|in|at|for|из|к|с|со|на|full|new|high|show")))
_DUET = frozenset(map(fold, _split("duet|дуэт|stereo|mono|стерео|моно|solo|соло")))
_AUTHORS = re.compile(
    r"^(?:муз|сл|музыка|слова|автор|стихи|music|words|lyrics)(?:[.:]| (?:и|and|by|&) )", re.IGNORECASE
)
_SONG_OF_YEAR = re.compile(r"^песня[- ]\d\d$", re.IGNORECASE)
_FROM_QUOTED = re.compile(r"^(?:from|из) (?:the )?[\"“„«]", re.IGNORECASE)
_PERFORMED = re.compile(r"^(?:by|исполняет|исп\.|поёт|поет|в исполнении|performed by|sung by) ", re.IGNORECASE)
_SINGS = re.compile(r"\s(?:performs|sings|plays|поёт|поет|исполняет|исп\.|с песней)$", re.IGNORECASE)
_LAST_YEAR = re.compile(r",\s*((?:19|20)\d\d)(?:\s?(?:г|год|года|г\.))?$", re.IGNORECASE)
_FIRST_YEAR = re.compile(r"^((?:19|20)\d\d)\s+(?=\D)")
_EDGE = " \t-–—−―|:;,.~/•·*_#"


def _canonical_phrase(folded: str) -> tuple[str, ...]:
    return canonical_words([skeleton(word) for word in folded.split()])


NOISE_KEYS = frozenset(part for word in (*_NOISE, *_KINDS) if " " not in word for part in canonical(skeleton(word)))
"""Canonical words that describe a recording or its file; where they are not the song's, they explain themselves."""
NOISE_PHRASES = frozenset(_canonical_phrase(word) for word in (*_NOISE, *_KINDS) if " " in word)
"""What does so only together, as canonical words: "sing along", «под гитару»; "sing" alone may be a song."""
_RUN_TOGETHER = re.compile(r"(?<=[a-zà-ÿа-яё])(?=[A-ZÀ-ÞА-ЯЁ][a-zà-ÿа-яё])")
_LONG_TOKEN = 16
_MARKS = re.compile(_SEPARATOR.pattern + r"|[~|★☆♪♫♬•·]+|\s+/+\s+")
_GAP = re.compile(r"(?<=[^\s\d])\s{2,}(?=\S)")
_WIDE_GAP = re.compile(r"(?<=[\w.!?)\]'\"»])\s{3,}(?=[\w(\[\"'«])")
"""What is left where a dash between spaces was lost on the way; two spaces are as often a slip of the hand."""


def segments_of(raw: str) -> list[tuple[str, bool]]:
    """The parts of a raw title in order, as ``(text, whether in brackets)``; nothing is left out.

    Words run together ("ArtistNameSongTitle") are told apart by their capitals; two spaces and more are a separator.
    """
    text = _EXTENSION.sub("", _clean(_GAP.sub(" | ", raw[:MAX_TITLE_LENGTH])))
    if match := _TRACK_NUMBER.match(text):
        text = text[match.end() :]
    tokens = text.split(" ")
    text = " ".join(_RUN_TOGETHER.sub(" ", token) if len(token) >= _LONG_TOKEN else token for token in tokens)
    found: list[tuple[str, bool]] = []

    def plain(part: str) -> None:
        for piece in _MARKS.split(part):
            start = 0
            for match in _QUOTED.finditer(piece):
                found.append((piece[start : match.start()], False))
                found.append((match.group(), False))
                start = match.end()
            found.append((piece[start:], False))

    start = 0
    for match in _FLAT_GROUP.finditer(text):
        plain(text[start : match.start()])
        found.append((match.group(), True))
        start = match.end()
    plain(text[start:])
    return [part for part in found if part[0].strip()]


def parse_title(raw: str, known_artists: Sequence[str] = ()) -> ParsedTitle:
    """Takes a raw title apart.

    Args:
        raw: as the source spells it; `MAX_TITLE_LENGTH` characters are read.
        known_artists: names from elsewhere (credits, the channel): a side of a dash or the words after "by" that
            equal one of them are the artist, whatever the order.
    """
    return _Parser(raw, known_artists).parse()


class _Parser:
    def __init__(self, raw: str, known_artists: Sequence[str]) -> None:
        self.raw = raw
        self.known = {key for name in known_artists if (key := artist_key(name))}
        self.kinds: set[str] = set()
        self.year: int | None = None
        self.noise: list[str] = []
        self.featuring: list[str] = []
        self.artists: list[str] = []

    def parse(self) -> ParsedTitle:
        text = _clean(_WIDE_GAP.sub(" - ", self.raw[:MAX_TITLE_LENGTH]))
        if "_" in text and " " not in text:
            text = _SPACES.sub(" ", text.replace("_", " ")).strip() or text
        if not text:
            return ParsedTitle(self.raw.strip()[:MAX_TITLE_LENGTH] or self.raw[:MAX_TITLE_LENGTH])
        whole = text
        if match := _EXTENSION.search(text):
            self.noise.append(match.group())
            text = text[: match.start()]
        if match := _TRACK_NUMBER.match(text):
            self.noise.append(match.group().strip())
            text = text[match.end() :]
        text = self._brackets(text)
        text = self._dates(text)
        pieces = _split_outside_brackets(text)
        segments = [part for i, piece in enumerate(pieces) if (part := self._segment(piece, i, len(pieces)))]
        if len(segments) == 1:
            segments = self._loose_dash(segments[0]) or segments
        title = self._assign(segments)
        title = self._guests(title)
        title = _unquote(self._trim(title)).strip(_EDGE) if title else ""
        title = (
            title or next((c for s in segments if (c := s.strip(_EDGE))), "") or whole.strip(_EDGE + "()[]{}") or whole
        )
        title += _final_mark(self.raw, title)
        return ParsedTitle(
            title=title,
            artists=tuple(dict.fromkeys(self.artists)),
            featuring=tuple(dict.fromkeys(self.featuring)),
            kind=min(self.kinds, key=_KIND_ORDER.__getitem__, default=None),
            year=self.year,
            noise=tuple(self.noise),
        )

    # -- brackets ------------------------------------------------------------------------------------------------

    def _brackets(self, text: str) -> str:
        """Takes out the bracketed groups that describe rather than name; an unclosed bracket ends with the text."""
        kept: list[str] = []
        position = 0
        while position < len(text):
            character = text[position]
            closing = _OPEN.get(character)
            if closing is None:
                kept.append(character)
                position += 1
                continue
            depth, end = 1, position + 1
            while end < len(text) and depth:
                depth += (text[end] == character) - (text[end] == closing)
                end += 1
            group = text[position:end]
            inside = group[1 : len(group) - (not depth)].strip()
            describes = self._describe(inside, bracketed=True)
            # What names something stays; an empty or unclosed rest is dropped when it says nothing.
            kept.append(" " if describes or not inside else group)
            position = end
        return _SPACES.sub(" ", "".join(kept)).strip()

    def _describe(self, text: str, *, bracketed: bool, first: bool = False, only: bool = False) -> bool:
        """Whether the text is a description (noise, kind, guests, date); if so, its meaning is taken.

        ``only``: it is all that stands beside the first part, and is the title unless it is clearly none.
        """
        inner = text.strip(_EDGE + "()[]{}")
        if not inner:
            return False
        if match := _FEATURING.match(inner):
            self.featuring += _names(inner[match.end() :])
            return True
        if bracketed and artist_key(inner) in self.known:
            # "Title (Artist)": else the title would depend on which source of the song came first.
            self._take_artists(inner)
            return True
        if bracketed and (match := _PERFORMED.match(inner)) and fold(inner[match.end() :]):
            self._take_artists(inner[match.end() :])
            return True
        folded = fold(inner)
        words = folded.split()
        kinds = _kinds_of(words)
        described = (
            (bracketed and bool(_YEAR_ONLY.match(inner)))
            or bool(_DATE.fullmatch(inner))
            or (_all_noise(words, bool(kinds)) and not (only and (folded == "video" or words[0] == "the")))
            or folded in _PEOPLES_SONG
            or (not first and len(words) <= (40 if bracketed else 6) and _is_description(words, bracketed, only))
            or (not first and bool(_FILM.match(inner)))
            or (bracketed and (folded in _MEDIA or folded in _DUET or _all_filler(words)))
            or (bracketed and any(each.match(inner) for each in (_AUTHORS, _SONG_OF_YEAR, _FROM_QUOTED)))
            or (bracketed and any(each.search(inner) for each in (_SOUNDTRACK, _A_VERSION)))
            or (first and bool(_COVER_OF.match(inner)))
            or (bracketed and (bool(_RECORDED.match(inner)) or words[:2] == _SONG_OF_THE_YEAR))
        )
        if not described:
            return False
        self.kinds |= kinds
        self._take_year(inner)
        self.noise.append(inner)
        return True

    def _take_year(self, text: str) -> None:
        if self.year is None and (match := _YEAR.search(text)):
            self.year = int(match.group())

    def _dates(self, text: str) -> str:
        match = _DATE.search(text) or _RECORDED.search(text)
        if match is None or not (rest := (text[: match.start()] + " " + text[match.end() :]).strip(_EDGE)):
            return text
        if not fold(rest):
            return text
        self.year = self.year or int(next(group for group in match.groups() if group))
        self.noise.append(match.group())
        return (text[: match.start()].rstrip(_EDGE + "(") + " " + text[match.end() :].lstrip(")")).strip()

    # -- segments ------------------------------------------------------------------------------------------------

    def _segment(self, piece: str, place: int, count: int) -> str:
        """A part between separators without its noise; empty when it was all noise, which the only part never is."""
        piece = piece.strip()
        if not fold(piece):
            return piece.strip(_EDGE)
        if count > 1 and self._describe(piece, bracketed=False, first=not place, only=count == 2 and place == 1):
            return ""
        return self._trim(piece)

    def _trim(self, text: str) -> str:
        """Takes noise words off the end, as long as something remains."""
        while True:
            text = text.rstrip(_EDGE)
            if (match := _LAST_YEAR.search(text)) and fold(text[: match.start()]):
                self.year = self.year or int(match[1])
                self.noise.append(match.group().strip(_EDGE))
                text = text[: match.start()]
            tokens = text.split()
            folded = [fold(token) for token in tokens]
            count = self._trailing_count(folded)
            if not count and len(tokens) > 1 and tokens[-1] == "LIVE" and not text.isupper():
                count = 1
            if not count or fold(" ".join(tokens[:-count])) in ("", "the", "a"):
                return text
            dropped = " ".join(tokens[-count:])
            self.kinds |= _kinds_of(fold(dropped).split())
            self._take_year(dropped)
            self.noise.append(dropped)
            text = " ".join(tokens[:-count])

    @staticmethod
    def _trailing_count(folded: Sequence[str]) -> int:
        """How many of the last tokens are noise: a phrase, a noise word, "live 1998", "live at …"."""
        for phrase in _TRAILING_PHRASES:
            size = len(phrase)
            if len(folded) > size and tuple(folded[-size:]) == phrase:
                return size
        if len(folded) > 1 and folded[-1] in _TRAILING:
            return 1
        if len(folded) > 1 and folded[-1] == fold("минус") and folded[-2] not in ("i", fold("плюс")):
            return 1
        if len(folded) > 2 and _YEAR_ONLY.match(folded[-1]) and folded[-2] in _KINDS:
            return 2
        live = {"live", "laiv", fold("лайв")}
        for place in range(max(1, len(folded) - 8), len(folded)):
            rest = folded[place + 1 :]
            if (
                folded[place] in live
                and rest
                and rest[0] in {"at", "in", "from", "on", "v", "na", ""}
                and len(rest) > 1
            ):
                return len(folded) - place
            if folded[place] == fold("концерт") and rest and rest[0] in {"v", "na"} and len(rest) > 1:
                return len(folded) - place
        return 0

    def _loose_dash(self, text: str) -> list[str]:
        """Splits "Artist-Song" where one side is a known artist; a dash without spaces is part of a word otherwise."""
        if not self.known:
            return []
        for match in _LOOSE_DASH.finditer(text):
            sides = [text[: match.start()].strip(_EDGE), text[match.end() :].strip(_EDGE)]
            if all(map(fold, sides)) and any(artist_key(side) in self.known for side in sides):
                return sides
        return []

    def _assign(self, segments: list[str]) -> str:
        """Which segment is the title; the artists are taken from another."""
        if not segments:
            return ""
        if len(segments) == 1:
            return self._single(segments[0])
        known = [i for i, part in enumerate(segments) if self._is_known(part)]
        segments = [_quoted_only(part) for part in segments]
        quoted = [i for i, part in enumerate(segments) if _unquote(part) != part]
        if known:
            artist = known[0]
            places: list[int] = [*quoted, *range(len(segments))]
            title = next(place for place in places if place != artist)
        elif quoted and quoted[0] == 0:
            artist, title = 1, 0
        else:
            artist, title = 0, quoted[0] if quoted else 1
        self._take_artists(segments[artist])
        self.noise += [part for i, part in enumerate(segments) if i not in (artist, title)]
        return segments[title]

    def _is_known(self, text: str) -> bool:
        if not self.known:
            return False
        text = _unquote(_FEATURING.split(text, maxsplit=1)[0])
        return artist_key(text) in self.known or any(artist_key(part) in self.known for part in _names(text))

    def _single(self, text: str) -> str:
        """A title without a dash: perhaps ``Artist "Song"``, or "Song by Artist" with a known artist."""
        match = _QUOTED.search(text)
        if match:
            inside = next(str(group) for group in match.groups() if group)
            before, after = text[: match.start()].strip(_EDGE), text[match.end() :].strip(_EDGE)
            before_folded, after_folded = fold(before), fold(after)
            if fold(inside) and not _QUOTED.search(after):
                if before_folded in _GENERIC and not after_folded:
                    self.noise.append(before)
                    return inside
                if before_folded in _ENSEMBLE:
                    return text
                if before_folded and not after_folded:
                    self._take_artists(_SINGS.sub("", before))
                    return inside
                by = _BY.match(after)
                stop = text[match.end() :].startswith(". ")
                if not before_folded and after_folded and (by or stop or artist_key(after) in self.known):
                    self._take_artists(after[by.end() :] if by else after)
                    return inside
                if not before_folded and _FLAT_GROUP.fullmatch(after):
                    self._take_year(after)
                    self.noise.append(after)
                    return inside
        for by in _BY.finditer(text):
            name = text[by.end() :].strip(_EDGE)
            if not by.start():
                continue
            if fold(name) and (artist_key(name) in self.known or by.group().strip().lower() != "by"):
                self._take_artists(name)
                return text[: by.start()]
        return self._without_known_prefix(text)

    def _without_known_prefix(self, text: str) -> str:
        """ "Artist: Title" and, for names of several words, "Artist Title", for a known artist."""
        tokens = text.split()
        for count in range(1, min(len(tokens), 8) if self.known else 1):
            name = " ".join(tokens[:count])
            marked = name[-1] in ":.,;" and name[:-1].strip() != ""
            if (marked or count > 1) and artist_key(name) in self.known and fold(" ".join(tokens[count:])):
                self._take_artists(name.rstrip(_EDGE))
                return " ".join(tokens[count:])
        return text

    def _take_artists(self, text: str) -> None:
        head, *guests = _FEATURING.split(text)
        for guest in guests:
            self.featuring += _names(guest)
        if (match := _FIRST_YEAR.match(head)) and fold(head[match.end() :]):
            self.year = self.year or int(match[1])
            head = head[match.end() :]
        head = self._without_kind(head)
        for name in _LIST.split(head):
            if clean := _unquote(self._trim(name.strip()).strip(_EDGE)).strip():
                self.artists.append(clean)

    def _without_kind(self, name: str) -> str:
        """The artist's name without "Karaoke" before it or "Live" after it."""
        tokens = name.split()
        if len(tokens) > 2 and _KINDS.get(fold(tokens[0])) == "karaoke":
            self.kinds.add("karaoke")
            return " ".join(tokens[1:]).strip(_EDGE)
        if len(tokens) > 2 and _KINDS.get(fold(tokens[-1])) == "live":
            self.kinds.add("live")
            return " ".join(tokens[:-1])
        return name

    def _guests(self, title: str) -> str:
        head, *guests = _FEATURING.split(title)
        if not guests or not fold(head):
            return title
        for guest in guests:
            self.featuring += _names(guest)
        return head.strip(_EDGE + "([")


def _final_mark(raw: str, title: str) -> str:
    """The full stop or dots at the title's end, where they belong to it: «T.N.T.», «But now, it sounds good.»"""
    found = re.fullmatch(re.escape(title) + r"(\.{1,3}|…)", _clean(raw))
    return found[1] if found and (found[1] != "." or re.search("[.,]", title)) else ""


def _clean(raw: str) -> str:
    """One line of NFC text without control and invisible characters, HTML entities or runs of spaces."""
    text = html.unescape(raw[:MAX_TITLE_LENGTH])
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cs", "Co", "Cn"))
    return _SPACES.sub(" ", unicodedata.normalize("NFC", text)).strip()


def _split_outside_brackets(text: str) -> list[str]:
    """Splits at separators, but not within a flat pair of brackets."""
    # Private-use characters stand for the groups meanwhile: `_clean` left none in the text.
    groups = _FLAT_GROUP.findall(text)
    numbers = iter(range(len(groups)))
    hidden = _FLAT_GROUP.sub(lambda _: chr(0xE000 + next(numbers)), text)
    pieces = _SEPARATOR.split(hidden)
    return ["".join(groups[ord(c) - 0xE000] if 0xE000 <= ord(c) < 0xF8FF else c for c in piece) for piece in pieces]


def _quoted_only(text: str) -> str:
    """What stands in quotation marks after a word that only says that it is a song: «Романс «Ночная роза»»."""
    match = _QUOTED.search(text)
    if match and not fold(text[match.end() :]) and fold(text[: match.start()]) in _GENERIC:
        return match.group()
    return text


def _unquote(text: str) -> str:
    """The text without a pair of quotation marks around the whole of it."""
    text = text.strip()
    if len(text) > 2 and _WHOLE_QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1] and fold(text):
        return text[1:-1].strip()
    return text


def _names(text: str) -> list[str]:
    return [name for part in _NAMES.split(text) if (name := part.strip(_EDGE + '()[]"«»'))]


def _kinds_of(words: Sequence[str]) -> set[str]:
    """Kinds named by single words or pairs of words; "mix" alone in "original mix" names none."""
    found = {_KINDS[word] for word in words if word in _KINDS}
    found |= {_KINDS[pair] for a, b in pairwise(words) if (pair := f"{a} {b}") in _KINDS}
    joined = " ".join(words)
    if "original mix" in joined or "studio version" in joined:
        found -= {"remix", "original"}
    if len(words) > 1 and not {"version", fold("версия")} & {*words}:
        found.discard("original")
    return found


def _all_noise(words: Sequence[str], has_kind: bool) -> bool:
    """Whether every word is noise or a version word, with at least one that is not mere filler."""
    if not words:
        return False
    if not all(w in _NOISE or w in _KINDS or _is_number(w) for w in words):
        return False
    telling = [w for w in words if (w in _NOISE and w not in _FILLER) or w in _KINDS]
    if telling and not (len(words) == 1 and words[0] in ("mix", "original", "single", "minus")):
        return True
    return (len(words) > 1 and tuple(words) in _TRAILING_PHRASES) or words == ["video"] or (has_kind and len(words) > 1)


def _is_number(word: str) -> bool:
    return word.isdigit() and len(word) == 4 and word[:2] in ("19", "20")


def _all_filler(words: Sequence[str]) -> bool:
    """Whether a bracket says nothing but things like "New Video 2018" or "Clean Version"."""
    return (
        len(words) > 1
        and all(word in _NOISE or word in _KINDS or _is_number(word) for word in words)
        and any(word not in _FUNCTION_WORDS and not _is_number(word) for word in words)
    )


def _is_description(words: Sequence[str], bracketed: bool, only: bool = False) -> bool:
    """Whether a group of words describes a version: it begins or ends with a version word used as one.

    ``only``: see `_Parser._describe`; then all of its words must.
    """
    if not words:
        return False
    if " ".join(words) in _KINDS:
        return True
    first, last = words[0], words[-1]
    tail = [word for word in words if not _is_number(word)] or [""]
    if first in ("live", fold("лайв")) and (len(words) == 1 or words[1] in _AFTER_LIVE or words[1].isdigit()):
        return True
    if only and not (words[0] != "the" and all(w in _NOISE or w in _KINDS or _is_number(w) for w in words)):
        return bool(only and first == fold("концерт") and words[1:2] in (["v"], ["na"]))
    if bracketed and (first in _HOME_CONCERTS or any(pair in _COVER_BY for pair in pairwise(words))):
        return True
    if (
        first in _KINDS
        and _KINDS[first] != "live"
        and (len(words) == 1 or first in _TRAILING or _KINDS[first] != "edit")
    ):
        return True
    concert = fold("концерт")
    if (first == concert and (bracketed or (len(words) > 1 and words[1] in ("v", "na")))) or (
        bracketed and first in ("na", "v", "s") and fold("концерте") in words
    ):
        return True
    if tail[-1] in _KINDS or last in _KINDS:
        return True
    phrase_kinds = _kinds_of(words)
    return bool(phrase_kinds) and last in (fold("версия"), "version", "ver", "session", "sessions", "mix")
