"""Site one, «Песенник»: server-rendered Russian pages with JSON-LD and a sitemap index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from examples.music.songs import BY_SLUG, FOLK, SONGS, Song
from examples.sites import common
from examples.sites.world import CALENDAR_START, LICENCE, PESENNIK, Offer, offers_of, paths_of

_OFFERS: dict[str, Offer] = {offer.key: offer for offer in offers_of(PESENNIK)}
_MONTHS = (
    "январь", "февраль", "март", "апрель", "май", "июнь",
    "июль", "август", "сентябрь", "октябрь", "ноябрь", "декабрь",
)  # fmt: skip

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=select_autoescape(), trim_blocks=True
)


def _author(name: str) -> dict[str, str]:
    return {"@type": "Organization" if name == FOLK else "Person", "name": name}


def composition(song: Song, origin: str) -> dict[str, Any]:
    """schema.org MusicComposition."""
    return {
        "@type": "MusicComposition",
        "@id": f"{origin}/pesni/{song.slug}",
        "name": song.title,
        "alternateName": list(song.alternative_titles),
        "composer": _author(song.composer),
        "lyricist": _author(song.lyricist),
        "inLanguage": "ru",
        "genre": song.genre,
        "temporalCoverage": song.era,
        "lyrics": {"@type": "CreativeWork", "text": song.lyrics},
    }


def recording(offer: Offer, origin: str) -> dict[str, Any]:
    """schema.org MusicRecording."""
    duration = common.iso_duration(offer.duration_s)
    group = any(word in offer.performer for word in ("Ансамбль", "Оркестр", "Хор", "Квартет", "Дуэт", "Капелла"))
    audio_url = offer.audio_url if "://" in offer.audio_url else origin + offer.audio_url
    return {
        "@context": "https://schema.org",
        "@type": "MusicRecording",
        "@id": f"{origin}{offer.path}",
        "url": f"{origin}{offer.path}",
        "identifier": offer.key,
        "name": offer.title,
        "byArtist": {"@type": "MusicGroup" if group else "Person", "name": offer.performer},
        "recordingOf": composition(offer.song, origin),
        "duration": duration,
        "inLanguage": "ru",
        "genre": offer.song.genre,
        "datePublished": str(offer.rendition.year),
        "license": LICENCE,
        "audio": {
            "@type": "AudioObject",
            "contentUrl": audio_url,
            "encodingFormat": offer.encoding.media_type,
            "duration": duration,
        },
    }


def script(data: dict[str, Any]) -> Markup:
    """JSON that is safe inside a script element."""
    return Markup(json.dumps(data, ensure_ascii=False, indent=1).replace("<", "\\u003c"))  # noqa: S704


def _page(template: str, status: int = 200, **values: Any) -> Response:
    return HTMLResponse(_environment.get_template(template).render(songs=SONGS, **values), status)


def _index(request: Request) -> Response:
    return _page("index.html", offers=_OFFERS.values(), calendar=CALENDAR_START[PESENNIK])


def _song(request: Request) -> Response:
    song = BY_SLUG.get(request.path_params["slug"])
    if song is None:
        raise HTTPException(404)
    data = {"@context": "https://schema.org", **composition(song, common.origin(request))}
    offers = [o for o in _OFFERS.values() if o.song is song and not o.failure]
    return _page("song.html", song=song, offers=offers, data=script(data))


def _recording(request: Request) -> Response:
    offer = _OFFERS.get(request.path_params["key"])
    if offer is None:
        raise HTTPException(404)
    moods: common.Moods = request.app.state.moods
    if refusal := moods.refusal(offer):
        return refusal
    return _page("recording.html", offer=offer, song=offer.song, data=script(recording(offer, common.origin(request))))


def _broken_markup(request: Request) -> Response:
    text = '{"@context": "https://schema.org", "@type": "MusicRecording", "name": "Калинка", "byArtist": {"name": '
    return _page("recording.html", offer=next(iter(_OFFERS.values())), song=SONGS[0], data=Markup(text))  # noqa: S704


def _endless(request: Request) -> Response:
    return StreamingResponse(common.zeros(common.HUGE_BYTES, b" "), media_type="text/html")


def _calendar(request: Request) -> Response:
    year, month = request.path_params["year"], request.path_params["month"]
    if not (1 <= month <= 12 and 1 <= year <= 9999):
        raise HTTPException(404)
    link = "/calendar/{}/{:02d}".format
    return _page(
        "calendar.html",
        title=f"{_MONTHS[month - 1]} {year}",
        next=link(*common.month_after(year, month)),
        previous=link(*common.month_after(year, month, -1)),
        months=[(name, link(year, number)) for number, name in enumerate(_MONTHS, 1)],
        next_year=link(year + 1, 1),
    )


def _sitemap(request: Request) -> Response:
    return common.sitemap(request, [f"/sitemaps/{name}.xml" for name in ("pesni", "zapisi", "prochee")], index=True)


def _sitemap_part(request: Request) -> Response:
    match request.path_params["name"]:
        case "pesni":
            return common.sitemap(request, [f"/pesni/{song.slug}" for song in SONGS])
        case "zapisi":
            return common.sitemap(request, [p for p in paths_of(PESENNIK) if p.startswith("/zapisi/")])
        case "prochee":
            return common.sitemap(request, [p for p in paths_of(PESENNIK) if not p.startswith("/zapisi/")])
    raise HTTPException(404)


def _error(request: Request, error: Exception) -> Response:
    return _page("error.html", 404)


def create_app(library: Path) -> common.AccessLog:
    """The site; ``library``: the folder of `examples.sites.library.prepare`."""
    app = Starlette(
        routes=[
            Route("/", _index),
            Route("/sitemap.xml", _sitemap),
            Route("/sitemaps/{name}.xml", _sitemap_part),
            Route("/pesni/{slug}", _song),
            Route("/zapisi/udalyonnaya", common.gone),
            Route("/zapisi/slomannaya-razmetka", _broken_markup),
            Route("/zapisi/krug", common.circle),
            Route("/zapisi/krug-2", common.circle),
            Route("/zapisi/beskonechnaya", _endless),
            Route("/zapisi/{key}", _recording),
            Route("/calendar/{year:int}/{month:int}", _calendar),
            *common.shared_routes(PESENNIK, library),
        ],
        exception_handlers={404: _error},
    )
    app.state.moods = common.Moods()
    return common.AccessLog(app)
