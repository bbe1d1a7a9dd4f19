"""The engine of local files: walks folders, hands each file to the adapter, commits as it goes."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from adapters.contract import Adapter, ExtractionError, Page, PageRequest, RecordingItem, SourceQuery
from adapters.folder import file_name
from crawlers.conclusions import failure_of_parse
from crawlers.download import local_path
from crawlers.errors import FailureClass, FetchError
from crawlers.ports import CrawlJob, CrawlProgress, CrawlStore, Incident, PageOutcome, QueuedRequest, StopSignal

_log = logging.getLogger(__name__)

_FORMATS = (
    "3gp|aac|ac3|aif|aiff|amr|ape|au|avi|caf|dff|dsf|dts|flac|flv|m2ts|m4a|m4b|m4v|mka|mkv|mov|mp1|mp2|mp3|mp4|mpc|"
    "mpeg|mpg|mts|oga|ogg|ogm|ogv|opus|ra|rm|shn|spx|tak|tta|voc|w64|wav|weba|webm|wma|wmv|wv"
)
SUFFIXES = frozenset("." + name for name in _FORMATS.split("|"))
"""Files with these endings are looked at."""
MAX_FOLDER_DEPTH = 32
_WALK_BATCH = 500
_PARSE_BATCH = 32


async def crawl_files(
    job: CrawlJob, adapter: Adapter, *, store: CrawlStore, progress: CrawlProgress, stop: StopSignal
) -> bool:
    """Reads the files that the adapter's seeds name, and all audio files below folders; True when all were read, False
    when stopped before. A file may be read in parts, each of which is a request of its own.

    Symbolic links, hidden files and hidden folders are passed over. Called again after a crash, it goes on where the
    last commit was. Raises ValueError for a seed that does not exist.
    """
    query = SourceQuery(job.source, job.seeds, job.search, job.follow, job.options)
    roots = list(await asyncio.to_thread(lambda: list(adapter.seeds(query))))
    files = walk(roots)
    found = itertools.islice(files, job.limits.max_pages)
    while batch := await asyncio.to_thread(lambda: list(itertools.islice(found, _WALK_BATCH))):
        if stop.is_set():
            return False
        await store.seed(batch)
    if await asyncio.to_thread(next, files, None) is not None:
        _log.warning("%s: more than %d files; raise limits.max_pages", job.source, job.limits.max_pages)
    while not stop.is_set():
        taken = await store.take(_PARSE_BATCH, [])
        if not taken:
            due = await store.next_due_in_s()
            if due is None:
                return True
            await asyncio.sleep(min(due, 0.5))
            continue
        outcomes = await asyncio.to_thread(lambda: [_read(queued, adapter, query) for queued in taken])  # noqa: B023
        await store.commit(outcomes)
        _count(progress, outcomes)
    return False


def walk(roots: Sequence[PageRequest]) -> Iterator[QueuedRequest]:
    """The files of the roots, and the audio files below folders, folder by folder in the order of their names."""
    for root in roots:
        if root.kind == "folder":
            yield from _walk_folder(_folder(root.url), str(root.context.get("key", "")), 0)
        else:
            local_path(root.url)
            yield _queued(root)


def _walk_folder(folder: Path, key: str, depth: int) -> Iterator[QueuedRequest]:
    if depth > MAX_FOLDER_DEPTH:
        _log.warning("%s: folders nest deeper than %d; passed over", folder, MAX_FOLDER_DEPTH)
        return
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        _log.warning("%s: %s; passed over", folder, error.strerror)
        return
    folders = []
    for entry in entries:
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry)
        elif entry.is_file(follow_symlinks=False) and os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            yield _request(Path(entry.path), f"{key}/{file_name(entry.name)}")
    for entry in folders:
        yield from _walk_folder(Path(entry.path), f"{key}/{file_name(entry.name)}", depth + 1)


def _folder(url: str) -> Path:
    return Path(unquote(urlsplit(url).path, errors="surrogateescape"))


def _request(path: Path, key: str) -> QueuedRequest:
    return _queued(PageRequest(path.as_uri(), "file", 0, {"key": key}))


def _queued(request: PageRequest) -> QueuedRequest:
    # Not the key of web requests: a fragment names a part of the file here.
    digest = hashlib.blake2b(f"file {request.url}".encode(), digest_size=16).hexdigest()
    return QueuedRequest(digest, request)


def _read(queued: QueuedRequest, adapter: Adapter, query: SourceQuery) -> PageOutcome:
    url = queued.request.url
    items: list[RecordingItem] = []
    parts: list[QueuedRequest] = []
    try:
        path = local_path(url)
        # Of a file that is read in parts, the size counts once.
        size = 0 if "#" in url else path.stat().st_size
        for found in adapter.parse(Page(url, queued.request, path=path), query):
            if isinstance(found, RecordingItem):
                items.append(found)
            elif found.continues and found.url.partition("#")[0] == url.partition("#")[0]:
                parts.append(_queued(found))
            else:
                raise ValueError(f"asks for {found.url[:200]}, which is no part of this file")
    except FetchError as error:
        return _failed(queued, error.failure, error.detail)
    except ExtractionError as error:
        # What was read before the adapter stumbled is as good as in any other file.
        failed = failure_of_parse(error)
        outcome = _failed(queued, failed.failure, failed.detail)
    except OSError as error:
        return _failed(queued, FailureClass.FORBIDDEN, str(error))
    except Exception as error:
        _log.exception("%s: the adapter %s failed", url, adapter.name)
        failed = failure_of_parse(error)
        return _failed(queued, failed.failure, failed.detail)
    else:
        outcome = PageOutcome(queued, 200, url)
    outcome.items, outcome.discovered, outcome.bytes_received = items, parts, size
    return outcome


def _failed(queued: QueuedRequest, failure: FailureClass, detail: str) -> PageOutcome:
    incident = Incident(queued.request_key, queued.request.url, failure, detail[:500], attempts=queued.attempts + 1)
    return PageOutcome(queued, final_url=queued.request.url, incident=incident)


def _count(progress: CrawlProgress, outcomes: Sequence[PageOutcome]) -> None:
    for outcome in outcomes:
        progress.requests += 1
        progress.items += len(outcome.items)
        progress.bytes += outcome.bytes_received
        progress.last_url = outcome.queued.request.url
        if outcome.incident is None:
            progress.pages += 1
        else:
            name = outcome.incident.failure.value
            progress.failures[name] = progress.failures.get(name, 0) + 1
