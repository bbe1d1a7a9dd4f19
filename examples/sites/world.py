"""What the two sites hold, as data: the sites serve it, and `examples.expected` says how a crawl of it must end."""

from __future__ import annotations

from dataclasses import dataclass

from examples.music.repertoire import (
    DOUBTFUL,
    FONOTEKA_OWN,
    PESENNIK_RENDITIONS,
    RENDITIONS_BY_KEY,
    Ensemble,
    Rendition,
)
from examples.music.songs import FOLK, Song

LICENCE = "https://creativecommons.org/publicdomain/zero/1.0/"

PESENNIK = "pesennik"
FONOTEKA = "fonoteka"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a recording became a file. ``bit_rate``: kbit/s, 0: lossless; trims: seconds; ``gain_db``: with a limiter."""

    codec: str
    bit_rate: int = 0
    trim_start: float = 0.0
    trim_end: float = 0.0
    gain_db: float = 0.0

    @property
    def extension(self) -> str:
        return {"flac": "flac", "mp3": "mp3", "opus": "opus", "aac": "m4a"}[self.codec]

    @property
    def media_type(self) -> str:
        return {"flac": "audio/flac", "mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/mp4"}[self.codec]


FLAC = Encoding("flac")


@dataclass(frozen=True, slots=True)
class Offer:
    """One recording on one site's page.

    Attributes:
        key: the site's stable identifier: the crawl's ``source_key``.
        rendition: what it is a recording of.
        performer: as the page spells it; empty: the page names nobody.
        credited: composer and lyricist stand on the page.
        audio: an absolute URL or a path that stands for a file of `encoding`; empty: the encoded file.
        failure: why the candidate must fail, as a stable code; empty: it is good.
        doubtful: it must wait for a moderator.
        behaviour: ``rate_limited_once`` or ``fails_twice``: how the page answers at first.
    """

    source: str
    key: str
    rendition: Rendition
    title: str
    performer: str
    encoding: Encoding = FLAC
    credited: bool = False
    audio: str = ""
    failure: str = ""
    doubtful: bool = False
    behaviour: str = ""

    @property
    def song(self) -> Song:
        return self.rendition.song

    @property
    def path(self) -> str:
        """Of the page."""
        return f"/zapisi/{self.key}" if self.source == PESENNIK else f"/zapis/{self.key}"

    @property
    def file_name(self) -> str:
        """Of the encoded file, in the library and under ``/audio/``."""
        return f"{self.source}-{self.key}.{self.encoding.extension}"

    @property
    def audio_url(self) -> str:
        """Site-relative, or absolute where the page points elsewhere."""
        return self.audio or f"/audio/{self.key}.{self.encoding.extension}"

    @property
    def duration_s(self) -> float:
        """Seconds of the encoded file."""
        return self.rendition.length_s - self.encoding.trim_start - self.encoding.trim_end


_KIND_WORDS = {
    "live": "концертная запись",
    "instrumental": "инструментальная версия",
    "acoustic": "акустическая версия",
}


def _title(rendition: Rendition) -> str:
    word = _KIND_WORDS.get(rendition.kind)
    return f"{rendition.song.title} ({word})" if word else rendition.song.title


def _pesennik() -> list[Offer]:
    offers = []
    for index, rendition in enumerate(PESENNIK_RENDITIONS):
        encoding = Encoding("mp3", 192) if index % 4 == 3 else FLAC
        behaviour = {"vo-sadu-li-uslovny-1979": "rate_limited_once", "step-da-step-skazkin-1995": "fails_twice"}
        offers.append(
            Offer(
                PESENNIK,
                rendition.key,
                rendition,
                _title(rendition),
                rendition.ensemble.name,
                encoding,
                credited=True,
                behaviour=behaviour.get(rendition.key, ""),
            )
        )
    for key in UPLOADED_TWICE:
        rendition = RENDITIONS_BY_KEY[key]
        title = f"{_title(rendition)} (повтор)"
        again = Encoding("mp3", 160, trim_end=1.5)
        offers.append(Offer(PESENNIK, f"{key}-povtor", rendition, title, rendition.ensemble.name, again, credited=True))
    return offers


UPLOADED_TWICE = ("kalinka-berezka-1985", "korobeyniki-berezka-1986")
"""Recordings that exist three times: twice on site one, once on site two."""

_SCHEMES: tuple[dict[str, str], ...] = tuple(
    dict(zip("жйхцчшщыёюя", letters.split(), strict=True))
    for letters in (
        "zh y kh ts ch sh shch y yo yu ya",  # as English-speaking uploaders write
        "zh j h c ch sh shh y jo ju ja",  # as in the scientific tradition
        "zh i h ts ch sh sch y e iu ia",  # as in passports
    )
)
_PLAIN = dict(zip("абвгдезиклмнопрстуфэ", "abvgdeziklmnoprstufe", strict=True)) | {"ь": "'", "ъ": ""}


def romanise(text: str, scheme: int = 0) -> str:
    """Latin letters for Cyrillic ones, by one of three habits (0, 1, 2)."""
    table = _PLAIN | _SCHEMES[scheme]
    if scheme:
        table["ь"] = ""
    result = []
    for letter in text:
        latin = table.get(letter.lower(), letter)
        result.append(latin.capitalize() if letter.isupper() else latin)
    return "".join(result)


def _plain_name(ensemble: Ensemble) -> str:
    return ensemble.name.replace("«", "").replace("»", "")


def _styled(rendition: Rendition, style: int) -> tuple[str, str]:
    """Title and performer as uploader number ``style`` spells them."""
    song, ensemble = rendition.song, rendition.ensemble
    latin = ensemble.latin[style % len(ensemble.latin)]
    live = rendition.kind == "live"
    match style % 6:
        case 0:
            small = (
                latin[0].lower() + latin[1:] if latin.split()[0] in ("Ansambl'", "Khor", "Kvartet", "Duet") else latin
            )
            return f"{romanise(song.title)} ({small}{', live' if live else ''})", latin
        case 1:
            plain = _plain_name(ensemble)
            return f"{plain} - {song.title}{' (Live)' if live else ''} [HD]", plain
        case 2:
            return f"{latin} - {romanise(song.title, 1)} ({'Live ' if live else ''}{rendition.year})", latin
        case 3:
            return f"{song.title.upper()} {'(LIVE) ' if live else ''}[HQ]", _plain_name(ensemble).upper()
        case 4:
            return f"{romanise(song.title, 2)}{' (live)' if live else ''} (Official Audio)", f"{latin} - Topic"
        case _:
            return f"{song.title.replace('ё', 'е')}{' (live)' if live else ''} ({rendition.year})", ensemble.name


_ENCODINGS: tuple[Encoding, ...] = (
    Encoding("mp3", 96),
    Encoding("opus", 48),
    Encoding("aac", 96, trim_start=5.3),
    Encoding("flac", gain_db=6.0),
    Encoding("mp3", 96, trim_start=4.2, trim_end=6.1),
    Encoding("opus", 48, trim_end=7.7),
    Encoding("aac", 96, gain_db=6.0),
    Encoding("mp3", 128, trim_start=7.6, gain_db=6.0),
    Encoding("flac", trim_start=6.45),
)


def _copied() -> list[Rendition]:
    """Two recordings of each song."""
    chosen: list[Rendition] = []
    for slug in dict.fromkeys(r.song.slug for r in PESENNIK_RENDITIONS):
        of_song = [r for r in PESENNIK_RENDITIONS if r.song.slug == slug]
        chosen += of_song[:2] if len(chosen) % 4 == 0 else [of_song[0], of_song[2]]
    return chosen


def _fonoteka() -> list[Offer]:
    offers: list[Offer] = []

    def key(rendition: Rendition) -> str:
        return f"fono-{len(offers) + 1:02d}-{rendition.song.slug}"

    behaviour = {4: "rate_limited_once", 9: "fails_twice"}
    for index, rendition in enumerate(_copied()):
        title, performer = _styled(rendition, index)
        encoding = _ENCODINGS[index % len(_ENCODINGS)]
        offers.append(
            Offer(FONOTEKA, key(rendition), rendition, title, performer, encoding, behaviour=behaviour.get(index, ""))
        )
    for rendition, title in zip(
        FONOTEKA_OWN,
        ("Калинка (инструментальная версия)", "Korobeyniki", "Svetit mesyats (live)", "Ой, то не вечер (instrumental)"),
        strict=True,
    ):
        latin = title.isascii()
        performer = rendition.ensemble.latin[0] if latin else rendition.ensemble.name
        offers.append(Offer(FONOTEKA, key(rendition), rendition, title, performer, Encoding("mp3", 128)))
    doubtful_titles = {
        "kalinka-malinka": "Калинка-малинка",
        "popurri": "Попурри: Светит месяц / Калинка",
        "bereza-bez-imeni": "Во поле берёза стояла",
        "korobeyniki-minus": "Коробейники (минус)",
        "svetit-mesyats-minus": "Svetit mesyats (minusovka)",
    }
    for rendition in DOUBTFUL:
        title = doubtful_titles[rendition.key]
        name = f"fono-{len(offers) + 1:02d}-{rendition.key}"
        offers.append(Offer(FONOTEKA, name, rendition, title, "", Encoding("mp3", 128), doubtful=True))
    return offers


def _broken(source: str) -> list[Offer]:
    """Good pages with bad audio."""
    base = RENDITIONS_BY_KEY["kalinka-obraztsov-2003" if source == PESENNIK else "ey-uhnem-obraztsov-1998"]
    own = {
        PESENNIK: (
            ("chastny-adres", "http://10.0.0.1/pesnya.mp3"),
            ("metadannye", "http://169.254.169.254/latest/a.mp3"),
        ),
        FONOTEKA: (("chastny-adres", "http://169.254.169.254/latest/meta-data/a.mp3"),),
    }
    cases = [
        ("ne-audio", "/audio/ne-audio.mp3", "not_audio"),
        ("pustoy-fayl", "/audio/pusto.mp3", "empty_file"),
        ("slishkom-dlinnaya", "/audio/ogromnaya.mp3", "too_large"),
        *((name, url, "address_blocked") for name, url in own[source]),
    ]
    return [
        Offer(
            source,
            name,
            base,
            f"{base.song.title} ({name})",
            "Ансамбль «Неисправный»",
            Encoding("mp3", 128),
            audio=url,
            failure=failure,
        )
        for name, url, failure in cases
    ]


OFFERS: tuple[Offer, ...] = (*_pesennik(), *_fonoteka())
"""Recordings that can be fetched."""

BROKEN: tuple[Offer, ...] = (*_broken(PESENNIK), *_broken(FONOTEKA))
"""Items whose audio cannot be had; each ends as a failed candidate."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A page that must end as a crawl incident. ``failure``: its class; a path that ends in ``*`` is a prefix."""

    source: str
    path: str
    failure: str


TROUBLES: tuple[Trouble, ...] = (
    Trouble(PESENNIK, "/zapisi/propavshaya", "not_found"),
    Trouble(PESENNIK, "/zapisi/udalyonnaya", "gone"),
    Trouble(PESENNIK, "/zapisi/slomannaya-razmetka", "broken_markup"),
    Trouble(PESENNIK, "/zapisi/krug", "redirect_loop"),
    Trouble(PESENNIK, "/zapisi/beskonechnaya", "too_large"),
    Trouble(PESENNIK, "/private/chernoviki", "robots_disallowed"),
    Trouble(PESENNIK, "/calendar/*", "trap"),
    Trouble(FONOTEKA, "/zapis/propavshaya", "not_found"),
    Trouble(FONOTEKA, "/zapis/udalyonnaya", "gone"),
    Trouble(FONOTEKA, "/zapis/slomannaya-razmetka", "broken_markup"),
    Trouble(FONOTEKA, "/zapis/krug", "redirect_loop"),
    Trouble(FONOTEKA, "/zapis/ogromnaya", "too_large"),
    Trouble(FONOTEKA, "/private/chernoviki", "robots_disallowed"),
    Trouble(FONOTEKA, "/kalendar/*", "too_deep"),
)
# Not in the sitemaps: whoever follows the links of the index page finds it.
CALENDAR_START = {PESENNIK: "/calendar/2026/11", FONOTEKA: "/kalendar/2026/11"}


def offers_of(source: str) -> list[Offer]:
    """All items of a site, those with bad audio last."""
    return [offer for offer in (*OFFERS, *BROKEN) if offer.source == source]


def paths_of(source: str) -> list[str]:
    """The recordings' pages and the bad pages, all of which the site's sitemap lists."""
    paths = [offer.path for offer in offers_of(source)]
    return paths + [t.path for t in TROUBLES if t.source == source and not t.path.endswith("*")]


def composer_of(song: Song) -> str:
    """For pages: «народная» or a name."""
    return song.composer or FOLK
