"""The engine of local folders: walks, hands each audio file to the adapter, commits as it goes."""

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
    """Reads all audio files below the job's seeds; True when all were read, False when stopped before.

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
    """The audio files below the roots, folder by folder in the order of their names."""
    for root in roots:
        path = local_path(root.url) if root.kind == "file" else _folder(root.url)
        key = str(root.context.get("key", ""))
        if root.kind == "file":
            yield _request(path, key)
        else:
            yield from _walk_folder(path, key, 0)


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
    url = path.as_uri()
    digest = hashlib.blake2b(f"file {url}".encode(), digest_size=16).hexdigest()
    return QueuedRequest(digest, PageRequest(url, "file", 0, {"key": key}))


def _read(queued: QueuedRequest, adapter: Adapter, query: SourceQuery) -> PageOutcome:
    url = queued.request.url
    try:
        path = local_path(url)
        size = path.stat().st_size
        page = Page(url, queued.request, path=path)
        items = [found for found in adapter.parse(page, query) if isinstance(found, RecordingItem)]
    except FetchError as error:
        return _failed(queued, error.failure, error.detail)
    except ExtractionError as error:
        return _failed(queued, FailureClass.BROKEN_MARKUP, str(error))
    except OSError as error:
        return _failed(queued, FailureClass.FORBIDDEN, str(error))
    except Exception as error:
        _log.exception("%s: the adapter %s failed", url, adapter.name)
        return _failed(queued, FailureClass.ADAPTER_BROKEN, f"{type(error).__name__}: {error}")
    return PageOutcome(queued, 200, url, items, bytes_received=size)


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
