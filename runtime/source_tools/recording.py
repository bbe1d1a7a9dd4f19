"""Saving a page of a source as a fixture: fetched once, by the engine that crawls use, within all its rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import httpx

from adapters.cases import BUG, FIXTURES, Case, write_json
from adapters.contract import Adapter, Engine, Page, PageRequest, SourceQuery
from crawlers.classify import Backoff
from crawlers.download import local_path
from crawlers.engine import crawl
from crawlers.errors import CONSEQUENCES, FetchError
from crawlers.guard import AddressGuard
from crawlers.one_page import OnePage
from crawlers.politeness import MemoryBudget
from crawlers.ports import CrawlJob, CrawlLimits, CrawlProgress, SnapshotRecord
from runtime.source_tools.scaffold import BadSourceError

MAX_SAVED_BYTES = 5_000_000
LARGE_BYTES = 500_000
"""Saved pages above this are worth a word: they live in a repository for ever."""
KEPT_HEADERS = ("content-type", "content-language", "last-modified", "link")
"""What adapters may look at; cookies and all the rest are not saved."""
_SECRET = re.compile(r"token|secret|passw|api_?key|^key$|auth|session|signature|^sig$|credential", re.IGNORECASE)
_REMOVED = "REMOVED"
_ENDINGS = {"html": "html", "xml": "xml", "json": "json", "csv": "csv", "plain": "txt"}


class PageNotRecordedError(Exception):
    """The page could not be fetched; the message says why, and what to do."""

    code = "page_not_recorded"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A saved page. ``found``: what the adapter makes of it; ``hidden``: how many secrets of its URL were removed."""

    case: Case
    size: int
    found: Mapping[str, Any]
    hidden: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be recorded. ``kind`` None: what the adapter itself would ask for with the URL as its seed."""

    url: str
    kind: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    follow: Sequence[str] = ()
    allow_private: Sequence[str] = ()


async def record(
    adapter: Adapter,
    wanted: Wanted,
    folder: Path,
    name: str | None,
    *,
    user_agent: str,
    again: bool = False,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Recorded:
    """Fetches one page, politely, and saves it with what the adapter makes of it.

    Args:
        folder: the fixtures of this adapter.
        name: of the case; None: from the URL.
        again: a case of this name is replaced.
        transport: what sends in place of httpx's own, for sources that yt-dlp reads.

    Raises BadSourceError for what cannot be recorded like this, and PageNotRecordedError.
    """
    request = _request(adapter, wanted)
    if name is not None and not re.fullmatch(r"\w[\w.-]{0,79}", name):
        raise BadSourceError(f"--case: {name!r} will not do: letters, digits, _, - and . only")
    case = Case(adapter.name, folder / (name or _case_name(request.url)))
    if case.folder.exists() and not again:
        raise BadSourceError(f"{case.folder} is there already; --case NAME makes another one, --again replaces it")
    if adapter.engine is Engine.FILES:
        return _save_file(adapter, request, wanted, case)
    answer = await _fetch(adapter, request, wanted, user_agent, transport)
    return _save(adapter, request, wanted, case, answer)


def fixtures_of(adapter: Adapter, own_folders: Sequence[Path]) -> Path:
    """The folder of an adapter's saved pages: beside the file that it comes from."""
    for folder in own_folders:
        if (folder / f"{adapter.name}.py").is_file():
            return folder / "fixtures" / adapter.name
    return FIXTURES / adapter.name


def _request(adapter: Adapter, wanted: Wanted) -> PageRequest:
    if wanted.kind is not None:
        return PageRequest(wanted.url, wanted.kind, 0, wanted.context)
    query = SourceQuery(adapter.name, [wanted.url], follow=wanted.follow, options=wanted.options)
    try:
        first = next(iter(adapter.seeds(query)), None)
    except ValueError as error:
        raise BadSourceError(f"{error}; a page that is no seed needs --kind") from None
    if first is None:
        raise BadSourceError(f"{adapter.name} makes no request of {wanted.url!r}")
    return replace(first, context={**first.context, **wanted.context})


async def _fetch(
    adapter: Adapter,
    request: PageRequest,
    wanted: Wanted,
    user_agent: str,
    transport: httpx.AsyncBaseTransport | None,
) -> SnapshotRecord:
    store = OnePage(request)
    polite = adapter.politeness
    job = CrawlJob(
        crawl_run_id="record",
        source=adapter.name,
        adapter=adapter.name,
        limits=CrawlLimits(max_pages=1, max_page_bytes=MAX_SAVED_BYTES, max_attempts=2),
        delay_s=polite.delay_s,
        concurrency=1,
        respect_robots=polite.respect_robots,
        allow_private=wanted.allow_private,
        user_agent=user_agent,
    )
    # The engine is to fetch this page and to read nothing: what the adapter makes of it is looked at later.
    silent = type(adapter.name, (type(adapter),), {"seeds": lambda *_: (), "parse": lambda *_: ()})
    ports: dict[str, Any] = {
        "store": store,
        "snapshots": store,
        "budget": MemoryBudget(),
        "guard": AddressGuard(wanted.allow_private),
        "progress": CrawlProgress(),
        "stop": store,
        "backoff": Backoff(),
    }
    if adapter.engine is Engine.YT_DLP:
        # Only then: yt-dlp takes its time to import.
        from crawlers.yt_dlp import crawl_with_yt_dlp

        await crawl_with_yt_dlp(job, cast(Adapter, silent()), transport=transport, **ports)
    else:
        await crawl(job, cast(Adapter, silent()), **ports)
    if store.incident is not None:
        failure = store.incident.failure
        raise PageNotRecordedError(f"{failure.value}: {store.incident.detail}. {CONSEQUENCES[failure].remedy}")
    if store.record is None:
        raise PageNotRecordedError("nothing was fetched")
    return store.record


def _save(adapter: Adapter, request: PageRequest, wanted: Wanted, case: Case, answer: SnapshotRecord) -> Recorded:
    secrets = _secrets(request.url) | _secrets(answer.url)
    headers = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
    url, final_url = _without(request.url, secrets), _without(answer.url, secrets)
    body = answer.body
    for secret in secrets:
        body = body.replace(secret.encode(), _REMOVED.encode())
    asked: dict[str, Any] = {"url": url, "kind": request.kind, "context": dict(request.context)}
    if final_url != url:
        asked["final_url"] = final_url
    if answer.status != 200:
        asked["status"] = answer.status
    asked |= {"headers": {name: _without(value, secrets) for name, value in headers.items()}}
    page = Page(final_url, replace(request, url=url), answer.status, asked["headers"], body)
    return _write(adapter, wanted, case, asked, page, _ending(answer), len(secrets))


def _save_file(adapter: Adapter, request: PageRequest, wanted: Wanted, case: Case) -> Recorded:
    try:
        path = local_path(request.url)
    except FetchError as error:
        raise PageNotRecordedError(f"{error.failure.value}: {error.detail}") from None
    if path.stat().st_size > MAX_SAVED_BYTES:
        raise PageNotRecordedError(f"too_large: {path} has more than {MAX_SAVED_BYTES} bytes; record a part of it")
    # Where the file lies on this machine is no part of the case.
    url = f"file:///case/{path.name}"
    asked = {"url": url, "kind": request.kind, "context": dict(request.context), "file": True}
    page = Page(url, replace(request, url=url), path=path)
    ending = path.suffix.lstrip(".").lower() or "txt"
    return _write(adapter, wanted, case, asked, page, ending, 0)


def _write(
    adapter: Adapter, wanted: Wanted, case: Case, asked: dict[str, Any], page: Page, ending: str, hidden: int
) -> Recorded:
    """Writes the three files. Where the adapter fails, the page is saved all the same, to mend it by."""
    for name, value in (("options", dict(wanted.options)), ("follow", list(wanted.follow))):
        if value:
            asked[name] = value
    body = page.path.read_bytes() if page.path is not None else page.body
    case.folder.mkdir(parents=True, exist_ok=True)
    for old in case.folder.glob("page.*"):
        old.unlink()
    (case.folder / f"page.{ending}").write_bytes(body)
    write_json(case.folder / "request.json", asked)
    found = case.actual()
    write_json(case.folder / "expected.json", {name: value for name, value in found.items() if name != BUG})
    return Recorded(case, len(body), found, hidden)


def _case_name(url: str) -> str:
    path = urlsplit(url).path.rstrip("/").rpartition("/")[2].rpartition(".")[0] or urlsplit(url).path.rpartition("/")[2]
    return re.sub(r"[^a-z0-9]+", "_", path.lower()).strip("_")[:40] or "start"


def _ending(answer: SnapshotRecord) -> str:
    kind = answer.headers.get("content-type", "").partition(";")[0].lower()
    for word, ending in _ENDINGS.items():
        if word in kind:
            return ending
    return "html" if answer.body.lstrip()[:1] == b"<" else "txt"


def _secrets(url: str) -> set[str]:
    """Values in the query of a URL that look like somebody's key."""
    try:
        query = urlsplit(url).query
    except ValueError:
        return set()
    return {value for name, value in parse_qsl(query) if _SECRET.search(name) and len(value) >= 6}


def _without(text: str, secrets: set[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _REMOVED)
    return text
