"""`/`, `/songs/{song}`, `/artists/{artist}` and their static files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import FileResponse, HTMLResponse, Response

from catalog.reads import artists, search, songs, versions
from catalog_api import cursors
from catalog_api.deps import PoolDep, parse_key
from catalog_api.pages import jsonld, words
from catalog_api.problems import not_found
from catalog_api.responses import present

router = APIRouter(include_in_schema=False)

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; media-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_HERE = Path(str(files("catalog_api.pages")))
_PAGE_SIZE = 60
_WAVE_BARS = 120
_STATIC = {"style.css": "text/css", "icon.svg": "image/svg+xml"}


def environment() -> Environment:
    """Templates that escape everything and refuse what they were not given."""
    result = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    result.filters["clock"] = words.clock
    return result


_templates = environment()


def bars(peaks: Sequence[float] | None) -> list[float]:
    """Peaks reduced to at most `_WAVE_BARS`, each the highest of its stretch, within 0..1."""
    values = [min(1.0, max(0.0, float(peak))) for peak in peaks or [] if isinstance(peak, (int, float))]
    count = min(len(values), _WAVE_BARS)
    return [
        round(
            max(values[i * len(values) // count : max((i + 1) * len(values) // count, i * len(values) // count + 1)]), 3
        )
        for i in range(count)
    ]


def authors(credits: list[dict[str, Any]]) -> list[tuple[list[str], list[dict[str, Any]]]]:
    """Credits by role, in order; roles that the same people had stand together («музыка и слова»)."""
    by_role: dict[str, list[dict[str, Any]]] = {}
    for credit in credits:
        by_role.setdefault(credit["role"], []).append(credit)
    groups: dict[tuple[str, ...], tuple[list[str], list[dict[str, Any]]]] = {}
    for role, credited in by_role.items():
        groups.setdefault(tuple(c["credited_as"] for c in credited), ([], credited))[0].append(role)
    return list(groups.values())


class Page:
    """Renders templates for one request, in its language."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.asked = request.query_params.get("lang")
        self.language = words.choose(self.asked, request.headers.get("accept-language", ""))

    def address(self, path: str, **query: str | None) -> str:
        """A link that keeps the language, where the reader chose one."""
        kept = {k: v for k, v in query.items() if v}
        if self.asked in words.LANGUAGES and "lang" not in kept:
            kept["lang"] = self.asked
        return f"{path}?{urlencode(kept)}" if kept else path

    def render(self, template: str, code: int = 200, **values: Any) -> HTMLResponse:
        said = words.WORDS[self.language]
        other = "en" if self.language == "ru" else "ru"
        query = {k: v for k, v in self.request.query_params.items() if k in ("q", "sort", "cursor")}
        html = _templates.get_template(template).render(
            language=self.language,
            other=other,
            other_address=self.address(self.request.url.path, **query, lang=other),
            w=lambda key: said.get(key, key.rpartition(".")[2].replace("_", " ")),
            counted=lambda number: words.counted(self.language, number),
            at=self.address,
            query=values.pop("query", ""),
            **values,
        )
        headers = {
            "Content-Security-Policy": POLICY,
            "Content-Language": self.language,
            "Vary": "Accept-Language",
            "Cache-Control": "public, max-age=0, must-revalidate",
        }
        return HTMLResponse(html, code, headers)


PageDep = Annotated[Page, Depends(Page)]


@router.get("/")
async def home(request: Request, pool: PoolDep, page: PageDep) -> Response:
    """The catalog, or what a search found. What makes no sense in the query is ignored: people edit addresses."""
    query = " ".join(request.query_params.get("q", "").replace("\x00", "").split())[:200]
    if query:
        async with pool.connection() as connection:
            found = json.loads(await search.search(connection, query, limit=20))
        return page.render("search.html", found=found, query=query)
    sort: songs.Sort = "newest" if request.query_params.get("sort") == "newest" else "title"
    scope: list[object] = ["page", sort]
    types = (str, UUID) if sort == "title" else (UUID,)
    after = cursors.decode(scope, request.query_params.get("cursor"), types)
    async with pool.connection() as connection:
        listed = await songs.list_songs(connection, songs.SongFilter(), sort=sort, after=after, limit=_PAGE_SIZE)
    return page.render(
        "home.html",
        songs=json.loads(listed.items),
        sort=sort,
        later=after is not None,
        next=cursors.encode(scope, listed.next_key) if listed.next_key else None,
    )


@router.get("/songs/{song}")
async def song_page(request: Request, pool: PoolDep, page: PageDep, song: str) -> Response:
    """A song with its versions."""
    key = parse_key(song, "path.song")
    async with pool.connection() as connection:
        found = await songs.song(connection, key)
        waves = await versions.waveforms(connection, found.id) if found and not found.gone else {}
    there = await present(request, pool, "song", key, found, "/songs/{}")
    data = json.loads(there.body or b"{}")
    return page.render(
        "song.html",
        song=data,
        authors=authors(data.get("credits", [])),
        waves={version_id: bars(peaks) for version_id, peaks in waves.items()},
        linked=jsonld.for_script(jsonld.song(data, str(request.base_url).rstrip("/"))),
    )


@router.get("/artists/{artist}")
async def artist_page(request: Request, pool: PoolDep, page: PageDep, artist: str) -> Response:
    """An artist with the versions that credit them."""
    key = parse_key(artist, "path.artist")
    async with pool.connection() as connection:
        found = await artists.artist(connection, key)
    there = await present(request, pool, "artist", key, found, "/artists/{}")
    scope: list[object] = ["page-artist", str(there.id)]
    after = cursors.decode(scope, request.query_params.get("cursor"), (UUID,))
    async with pool.connection() as connection:
        listed = await artists.artist_versions(connection, there.id, after=after, limit=_PAGE_SIZE)
    data = json.loads(there.body or b"{}")
    return page.render(
        "artist.html",
        artist=data,
        versions=json.loads(listed.items),
        later=after is not None,
        next=cursors.encode(scope, listed.next_key) if listed.next_key else None,
        linked=jsonld.for_script(jsonld.artist(data, str(request.base_url).rstrip("/"))),
    )


@router.get("/static/{name}")
async def static(name: str) -> Response:
    """The pages' own files."""
    if name not in _STATIC:
        raise not_found("file")
    headers = {"Cache-Control": "public, max-age=3600"}
    return FileResponse(_HERE / "static" / name, headers=headers, media_type=_STATIC[name])


def error_page(request: Request, status: int) -> Response | None:
    """The page of an error, if it was a person's browser that asked for a page."""
    path = request.url.path
    machine = path.startswith(("/api/", "/docs/", "/static/")) or path in ("/healthz", "/readyz", "/metrics")
    if machine or "text/html" not in request.headers.get("accept", ""):
        return None
    name = {404: "not_found", 400: "not_found", 410: "gone"}.get(status, "error")
    return Page(request).render("error.html", status, name=name, status=status)
