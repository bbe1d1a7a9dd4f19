"""Site two, "Fonoteka": every page is an empty shell that its own JavaScript fills from ``/api/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from examples.sites import common
from examples.sites.world import CALENDAR_START, FONOTEKA, LICENCE, Offer, offers_of, paths_of

_OFFERS: dict[str, Offer] = {offer.key: offer for offer in offers_of(FONOTEKA)}

# The style stands in the page: a request less for each of a crawl's pages.
_SHELL = f"""<!doctype html>
<html lang="ru">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Fonoteka</title>
<link rel="icon" href="data:,">
<style>{(common.STATIC / "fonoteka.css").read_text(encoding="utf-8")}</style>
<script src="/static/fonoteka.js" defer></script>
</head>
<body><main id="app" aria-busy="true"></main></body>
</html>
"""


def _recording(offer: Offer, origin: str) -> dict[str, Any]:
    audio_url = offer.audio_url if "://" in offer.audio_url else origin + offer.audio_url
    data: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "MusicRecording",
        "url": f"{origin}{offer.path}",
        "identifier": offer.key,
        "name": offer.title,
        "duration": common.iso_duration(offer.duration_s),
        "audio": {"@type": "AudioObject", "contentUrl": audio_url, "encodingFormat": offer.encoding.media_type},
    }
    if offer.performer:
        data["byArtist"] = {"@type": "MusicGroup", "name": offer.performer}
        data["license"] = LICENCE
    return data


def _shell(request: Request) -> Response:
    return HTMLResponse(_SHELL)


def _page(request: Request) -> Response:
    offer = _OFFERS.get(request.path_params["key"])
    if offer is None:
        return PlainTextResponse("Нет такой записи", 404)
    moods: common.Moods = request.app.state.moods
    return moods.refusal(offer) or HTMLResponse(_SHELL)


def _large(request: Request) -> Response:
    # Too long as it is sent and as it is rendered.
    return HTMLResponse(_SHELL.replace("</body>", f"<p>{'фонотека ' * 80_000}</p></body>"))


def _api_recording(request: Request) -> Response:
    key = request.path_params["key"]
    if key == "slomannaya-razmetka":
        return JSONResponse({"title": "Калинка", "raw": '{"@type": "MusicRecording", "name": "Калинка", "audio": '})
    offer = _OFFERS.get(key)
    if offer is None:
        raise HTTPException(404)
    data = _recording(offer, common.origin(request))
    return JSONResponse({"title": offer.title, "artist": offer.performer, "audio": offer.audio_url, "data": data})


def _api_list(request: Request) -> Response:
    rows = [{"path": o.path, "title": o.title, "artist": o.performer} for o in _OFFERS.values()]
    return JSONResponse({"title": "Fonoteka", "items": rows, "calendar": CALENDAR_START[FONOTEKA]})


def _api_calendar(request: Request) -> Response:
    year, month = request.path_params["year"], request.path_params["month"]
    if not (1 <= month <= 12 and 1 <= year <= 9999):
        raise HTTPException(404)
    following = "/kalendar/{}/{:02d}".format(*common.month_after(year, month))
    return JSONResponse({"title": f"{month:02d}.{year}", "next": following})


def _sitemap(request: Request) -> Response:
    return common.sitemap(request, paths_of(FONOTEKA))


def create_app(library: Path) -> common.AccessLog:
    """The site; ``library``: the folder of `examples.sites.library.prepare`."""
    app = Starlette(
        routes=[
            Route("/", _shell),
            Route("/sitemap.xml", _sitemap),
            Route("/zapis/udalyonnaya", common.gone),
            Route("/zapis/slomannaya-razmetka", _shell),
            Route("/zapis/krug", common.circle),
            Route("/zapis/krug-2", common.circle),
            Route("/zapis/ogromnaya", _large),
            Route("/zapis/{key}", _page),
            Route("/kalendar/{year:int}/{month:int}", _shell),
            Route("/api/list", _api_list),
            Route("/api/zapis/{key}", _api_recording),
            Route("/api/kalendar/{year:int}/{month:int}", _api_calendar),
            *common.shared_routes(FONOTEKA, library),
        ]
    )
    app.state.moods = common.Moods()
    return common.AccessLog(app)
