"""A person's own folders as a campaign: `versions ingest`, without its words.

Each folder is a source of its own, named after the folder and a digest of its absolute path (``folder-<name>-<8 hex
digits>``), so that folders of the same name stay apart and the same folder is the same source whichever way its path
is written. A file, or a folder below one that was ingested before, belongs to that source and has the key it has
there. So nothing becomes two candidates when it is named again. A folder that was moved, or the folder above one that
was ingested, is a new source; its files become further sources of the versions they are recordings of.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.contract import SourceQuery, get_adapter
from catalog.campaigns.files import resolve
from catalog.campaigns.spec import CampaignSpec
from catalog.models import Candidate, CrawlIncident, CrawlRun, Version, VersionSource
from catalog.slugs import slugify
from crawlers.files import SUFFIXES, walk
from runtime.adapters import adapter_facts

ADAPTER = "folder"
MAX_FILES = 10_000_000
MAX_FOLDERS = 100
TRUST, TRUSTED = 0.5, 0.9


class IngestPathError(ValueError):
    """A path that cannot be ingested; says which and why."""

    code = "bad_option"


class NoAudioFilesError(ValueError):
    """Nothing that looks like audio lies in the folders."""

    code = "no_audio_files"


@dataclass(slots=True)
class Place:
    """A folder, and what is wanted of it: the folder itself, or some files of it."""

    folder: Path
    seeds: list[Path] = field(default_factory=list)

    @property
    def source(self) -> str:
        """The name of its source."""
        return f"folder-{slugify(self.folder.name)[:40].strip('-')}-{digest([self.folder])}"


def digest(paths: Sequence[Path]) -> str:
    """Eight hex digits of absolute paths."""
    text = b"\0".join(str(path).encode(errors="surrogateescape") for path in paths)
    return hashlib.blake2b(text, digest_size=4).hexdigest()


def places(paths: Iterable[Path]) -> list[Place]:
    """The folders of the paths, resolved; what lies below another named folder is left to that.

    Raises IngestPathError, NoAudioFilesError.
    """
    resolved: list[Path] = []
    for path in paths:
        try:
            there = path.expanduser().resolve(strict=True)
            if there.is_dir():
                next(there.iterdir(), None)
            elif there.is_file():
                there.open("rb").close()
            else:
                raise IngestPathError(f"{path} is neither a folder nor a file")
        except FileNotFoundError:
            raise IngestPathError(f"{path} does not exist: give folders or audio files") from None
        except (OSError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else "its links go in a circle"
            raise IngestPathError(f"{path} cannot be read: {why}") from None
        resolved.append(there)
    folders = {path for path in resolved if path.is_dir()}
    result: dict[Path, Place] = {}
    for path in dict.fromkeys(resolved):
        if not folders.isdisjoint(path.parents):
            continue
        folder = path if path in folders else path.parent
        result.setdefault(folder, Place(folder)).seeds.append(path)
    found = list(result.values())
    if len(found) > MAX_FOLDERS:
        raise IngestPathError(f"{len(found)} folders at once: at most {MAX_FOLDERS}; name the folder above them")
    if all(_empty(place) for place in found):
        where = ", ".join(str(place.folder) for place in found)
        endings = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise NoAudioFilesError(f"no audio files in {where}: these endings are looked at: {endings}")
    return found


def adopt(session: Session, found: Sequence[Place]) -> list[Place]:
    """The places, those below a folder that was ingested before as parts of it (of the nearest, if there are more)."""
    root = CrawlRun.spec["options"]["root"].astext
    rows = session.scalars(select(root).where(CrawlRun.spec["adapter"].astext == ADAPTER, root.is_not(None)).distinct())
    roots = {Path(row) for row in rows}
    result: dict[Path, Place] = {}
    for place in found:
        folder = next((each for each in (place.folder, *place.folder.parents) if each in roots), place.folder)
        result.setdefault(folder, Place(folder)).seeds += place.seeds
    return list(result.values())


def _empty(place: Place) -> bool:
    query = SourceQuery(place.source, [str(path) for path in place.seeds], options=_options(place))
    return next(walk(list(get_adapter(ADAPTER).seeds(query))), None) is None


def _options(place: Place) -> dict[str, Any]:
    return {"root": str(place.folder)}


def default_name(found: Sequence[Place]) -> str:
    """What the campaign is called after ``ingest-``, the same for the same folders."""
    if len(found) == 1:
        return found[0].source.removeprefix("folder-")
    folders = sorted(place.folder for place in found)
    return f"{slugify(folders[0].name)[:30].strip('-')}-and-{len(found) - 1}-{digest(folders)}"


def label_of(found: Sequence[Place], name: str | None) -> str:
    """What the campaign is called after ``ingest-``: the name given, else `default_name`. Raises IngestPathError."""
    if name is None:
        return default_name(found)
    if not name.strip():
        raise IngestPathError("--name: empty")
    return slugify(name)[:50].strip("-")


def campaign(
    found: Sequence[Place], label: str | None = None, *, trust: bool = False, review: bool = False
) -> CampaignSpec:
    """The ad-hoc campaign ``ingest-<label>``.

    Args:
        label: see `label_of`.
        trust: the tags are believed before those of other sources.
        review: a moderator sees everything; else what the evidence settles is published.

    Raises IngestPathError for a path that no campaign can hold.
    """
    for place in found:
        for path in place.seeds:
            try:
                str(path).encode()
            except UnicodeEncodeError:
                raise IngestPathError(
                    f"{str(path).encode(errors='backslashreplace').decode()}: not UTF-8; name a folder above it"
                ) from None
    mode = "review" if review else "auto"
    spec = CampaignSpec.model_validate(
        {
            "version": 1,
            "name": f"ingest-{label or default_name(found)}",
            "description": "Made by `versions ingest`.",
            "sources": [
                {
                    "source": place.source,
                    "adapter": ADAPTER,
                    "seeds": [str(path) for path in place.seeds],
                    "options": _options(place),
                    "audio": "fingerprint_only",
                    "trust": TRUSTED if trust else TRUST,
                    "limits": {"max_pages": MAX_FILES},
                }
                for place in found
            ],
            "approval": {
                "recording": mode,
                "song": mode,
                "new_song": mode,
                "require": ["title", "duration"],
            },
        }
    )
    return resolve(spec, adapter_facts())


# -- what came of it ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Copy:
    """A file that became a further source of a version. ``of``: the version's preferred source."""

    source: str
    source_key: str
    version_id: uuid.UUID
    song_id: uuid.UUID
    title: str
    of: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that ended without a version. ``reason``: a stable code."""

    source: str
    source_key: str
    state: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an execution did.

    Attributes:
        tracks: audio files that were seen.
        known: of them, those that an earlier execution had settled.
        new_versions: versions that are there since this execution.
        copies: new files that joined a version, also one of an earlier execution.
        review: files that wait for a moderator.
        errors: files that ended badly; of pages, the state is ``not_read``.
    """

    tracks: int
    known: int
    new_versions: int
    copies: tuple[Copy, ...]
    review: tuple[Problem, ...]
    errors: tuple[Problem, ...]
    unsettled: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values, and the errors counted by reason."""
        counts = Counter(error.reason for error in self.errors)
        return {**asdict(self), "errors_by_reason": dict(sorted(counts.items()))}


def outcome(session: Session, run_ids: Sequence[uuid.UUID]) -> Outcome:
    """What the crawl runs of one execution did."""
    runs = list(session.scalars(select(CrawlRun).where(CrawlRun.id.in_(run_ids))))
    if not runs:
        return Outcome(0, 0, 0, (), (), ())
    began = min(run.created_at for run in runs)
    candidates = session.execute(
        select(
            Candidate.id,
            Candidate.source,
            Candidate.source_key,
            Candidate.state,
            Candidate.reason,
            Candidate.detail,
            Candidate.created_at,
        )
        .where(Candidate.crawl_run_id.in_(run_ids))
        .order_by(Candidate.source, Candidate.source_key)
    ).all()
    new = {candidate.id for candidate in candidates if candidate.created_at >= began}
    touched = select(Candidate.version_id).where(Candidate.crawl_run_id.in_(run_ids), Candidate.created_at >= began)
    rows = session.execute(
        select(Version, VersionSource)
        .join(VersionSource)
        .where(Version.id.in_(touched))
        .order_by(Version.id, VersionSource.rank)
    ).all()
    best: dict[uuid.UUID, VersionSource] = {}
    fresh = {version.id for version, _ in rows if version.created_at >= began}
    copies = []
    for version, source in rows:
        first = best.setdefault(version.id, source)
        if source.candidate_id in new and (first is not source or version.id not in fresh):
            of = f"{first.source}:{first.source_key}"
            copies.append(Copy(source.source, source.source_key, version.id, version.song_id, version.title, of))
    incidents = session.execute(
        select(CrawlRun.source, CrawlIncident)
        .join(CrawlRun, CrawlRun.id == CrawlIncident.crawl_run_id)
        .where(CrawlIncident.crawl_run_id.in_(run_ids), CrawlIncident.final)
        .order_by(CrawlIncident.url)
    )
    unread = [Problem(name, each.url, "not_read", each.failure, each.detail) for name, each in incidents]
    failed = [_problem(each) for each in candidates if each.state in ("failed", "unavailable", "rejected")]
    final = ("published", "duplicate", "failed", "unavailable", "rejected", "in_review")
    return Outcome(
        tracks=len(candidates) + len(unread),
        known=sum(each.id not in new and each.state in final for each in candidates),
        new_versions=len(fresh),
        copies=tuple(copies),
        review=tuple(_problem(each) for each in candidates if each.state == "in_review"),
        errors=tuple(failed + unread),
        unsettled=sum(each.state not in final for each in candidates),
    )


def _problem(candidate: Any) -> Problem:
    return Problem(candidate.source, candidate.source_key, candidate.state, candidate.reason, candidate.detail)
