"""What is this? A file or a page is compared with the catalog as a candidate would be; nothing is kept of it."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session
from temporalio import activity

from activities import messages as m
from activities.fetching import Fetched, Sound, fetch, listen
from activities.heartbeats import with_heartbeats
from activities.listening import beside_others
from activities.resources import Resources
from adapters.contract import AudioPolicy, Page, PageRequest, RecordingItem, SourceQuery, get_adapter, recognise
from catalog.models import Candidate, Song, Version, VersionCredit
from crawlers.errors import CONSEQUENCES, FailureClass, FetchError
from crawlers.ports import Claim, NotNow
from crawlers.single import items_of_page
from identity.evidence import Proposal
from identity.melody import service as melody
from identity.recording.closer import Closer
from identity.subject import subject_from_item
from media.types import AudioError, AudioFeatures
from moderation.settlement import ask

MAX_BYTES = 200_000_000
TIMEOUT_S = 30.0
MAX_PROPOSALS = 10
MAX_HEARD = 3
"""Recordings of one page whose audio is fetched; of the others, names are compared."""


@dataclass(slots=True)
class Thing:
    """Something to identify. ``features``: None where its audio was not heard; ``note`` says why."""

    item: RecordingItem
    features: AudioFeatures | None = None
    note: str = ""
    source: str = ""
    closer: Closer | None = None
    melodies: Sequence[melody.Match] = ()
    candidate_id: uuid.UUID | None = None
    """The candidate that is this very source."""


@dataclass(slots=True)
class Answer:
    """What the catalog has that it may be.

    Attributes:
        item: as its source describes it.
        audio: what was heard, None where nothing was; ``note`` says why. Its ``content`` says that it is ``speech`` or
            a ``tone`` and no music, and why; None for music.
        known: the version that has this very source already.
        proposals: best first, recordings before songs; with titles of what they point to.
    """

    item: dict[str, Any]
    audio: dict[str, Any] | None
    note: str
    known: dict[str, Any] | None = None
    proposals: list[dict[str, Any]] = field(default_factory=list)


class IdentifyActivities:
    """For the API; runs in the media queue, for audio is decoded."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    @activity.defn(name="identify")
    async def identify(self, message: m.IdentifyInput) -> m.IdentifyResult:
        try:
            answers = await with_heartbeats(self._answers(message))
        except (FetchError, AudioError, NotNow, ValueError) as error:
            return m.IdentifyResult(problem=problem_of(error))
        finally:
            if message.object_key:
                await asyncio.to_thread(self._resources.objects.delete, message.object_key)
        return m.IdentifyResult([asdict(answer) for answer in answers])

    async def _answers(self, message: m.IdentifyInput) -> list[Answer]:
        if not message.object_key:
            return await identify_url(self._resources, message.url)
        self._resources.temporary.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._resources.temporary, prefix="identify-") as folder:
            path = Path(folder) / "upload"
            await asyncio.to_thread(self._get, message.object_key, path)
            return await identify_file(self._resources, path, name=message.name)

    def _get(self, key: str, path: Path) -> None:
        if (self._resources.objects.size(key) or 0) > MAX_BYTES:
            raise ValueError("the upload is too large")
        with path.open("wb") as file:
            for chunk in self._resources.objects.stream(key):
                file.write(chunk)


async def identify_file(resources: Resources, path: Path, *, name: str = "") -> list[Answer]:
    """The catalog's answer to an audio file. Raises AudioError."""
    async with resources.analysis:
        features = await asyncio.to_thread(listen, Fetched(path), resources.max_audio_seconds)
    request = PageRequest(path.as_uri(), "file", 0, {"key": name or path.name})
    found = list(get_adapter("folder").parse(Page(path.as_uri(), request, path=path), SourceQuery("folder")))
    item = next(each for each in found if isinstance(each, RecordingItem))
    return await _answers(resources, [Thing(item, features)])


async def identify_url(resources: Resources, url: str, *, allow_private: tuple[str, ...] = ()) -> list[Answer]:
    """The catalog's answer to a page or an audio file on the web: one for each recording that the page has.

    Raises FetchError, AudioError, NotNow, and ValueError for what is no URL.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"url: {url[:200]!r} is no http or https address")
    recognised = recognise(url)
    adapter = get_adapter(recognised.adapter if recognised else "website")
    try:
        items = await items_of_page(
            url,
            adapter,
            budget=resources.budget,
            user_agent=resources.user_agent,
            allow_private=allow_private,
            accounts=resources.accounts,
        )
    except FetchError as error:
        if recognised is not None or error.failure is not FailureClass.WRONG_TYPE:
            raise
        # Not a page: then the audio itself.
        with _folder(resources) as folder:
            sound = Sound(url, allow_private, MAX_BYTES, TIMEOUT_S, Claim(adapter.name))
            fetched = await fetch(resources, sound, Path(folder) / "audio")
            return await identify_file(resources, fetched.path, name=urlsplit(url).path.rpartition("/")[2])
    things = []
    for number, item in enumerate(items):
        thing = Thing(item, source=adapter.name if recognised else "")
        if not item.audio_url:
            thing.note = "the page names no audio"
        elif adapter.audio_policy is AudioPolicy.NONE:
            thing.note = f"the audio of {adapter.name} may not be fetched"
        elif number >= MAX_HEARD:
            thing.note = f"the page has {len(items)} recordings; only the first {MAX_HEARD} were heard"
        else:
            await _hear(resources, thing, allow_private)
        things.append(thing)
    return await _answers(resources, things)


async def _hear(resources: Resources, thing: Thing, allow_private: tuple[str, ...]) -> None:
    try:
        with _folder(resources) as folder:
            target = Path(folder) / "audio"
            thing.features = await _listen(resources, thing.item.audio_url or "", target, allow_private, thing.source)
    except (FetchError, AudioError) as error:
        thing.note = f"its audio could not be heard: {error}"


def _folder(resources: Resources) -> tempfile.TemporaryDirectory[str]:
    resources.temporary.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=resources.temporary, prefix="identify-")


async def _listen(
    resources: Resources, url: str, target: Path, allow_private: tuple[str, ...], source: str
) -> AudioFeatures:
    fetched = await fetch(resources, Sound(url, allow_private, MAX_BYTES, TIMEOUT_S, Claim(source)), target)
    async with resources.analysis:
        return await asyncio.to_thread(listen, fetched, resources.max_audio_seconds)


async def _answers(resources: Resources, things: list[Thing]) -> list[Answer]:
    """Each is listened to as closely as a candidate would be, and compared."""
    for thing in things:
        thing.candidate_id = await asyncio.to_thread(_candidate, resources, thing)
        if thing.features is not None:
            beside = partial(beside_others, resources.database, thing.features, exclude=thing.candidate_id)
            async with resources.analysis:
                melodies, thing.closer = await asyncio.to_thread(beside)
            thing.melodies = melodies.matches
    return await asyncio.to_thread(_compare, resources, things)


def _candidate(resources: Resources, thing: Thing) -> uuid.UUID | None:
    with resources.database.transaction() as session:
        return session.scalar(
            select(Candidate.id).where(Candidate.source == thing.source, Candidate.source_key == thing.item.source_key)
        )


def _compare(resources: Resources, things: list[Thing]) -> list[Answer]:
    with resources.database.transaction() as session:
        return [_answer(session, thing) for thing in things]


def _answer(session: Session, thing: Thing) -> Answer:
    item = thing.item.to_json()
    if thing.features is not None:
        item["duration_s"] = thing.features.info.duration_s
    candidate = session.get(Candidate, thing.candidate_id) if thing.candidate_id else None
    known = candidate.version_id if candidate is not None else None
    heard = thing.features
    asked = ask(
        session,
        subject_from_item(item),
        heard.fingerprint if heard else None,
        heard.info.duration_s if heard else None,
        exclude_candidate=thing.candidate_id,
        closer=thing.closer,
    )
    proposals = melody.beside(session, asked, thing.melodies)[:MAX_PROPOSALS]
    titles = _titles(session, proposals, known)
    return Answer(
        item,
        _heard(heard) if heard else None,
        thing.note,
        titles.get(known) if known else None,
        [
            {
                "question": proposal.question.value,
                "verdict": proposal.verdict.value,
                "probability": proposal.probability,
                "sentence": proposal.sentence,
                **titles.get(proposal.version_id or proposal.song_id, {}),
                "evidence": proposal.evidence(),
            }
            for proposal in proposals
        ],
    )


def _heard(features: AudioFeatures) -> dict[str, Any]:
    content = asdict(features.content) if features.content is not None else None
    return {**asdict(features.info), "items": len(features.fingerprint), "content": content}


def _titles(session: Session, proposals: list[Proposal], known: uuid.UUID | None) -> dict[Any, dict[str, Any]]:
    """What versions and songs are called, by id."""
    version_ids = {p.version_id for p in proposals if p.version_id} | ({known} if known else set())
    song_ids = {p.song_id for p in proposals if p.song_id}
    artists: dict[uuid.UUID, list[str]] = {}
    for version_id, name in session.execute(
        select(VersionCredit.version_id, VersionCredit.credited_as)
        .where(VersionCredit.version_id.in_(version_ids))
        .order_by(VersionCredit.version_id, VersionCredit.position)
    ):
        artists.setdefault(version_id, []).append(name)
    found: dict[Any, dict[str, Any]] = {}
    for version_id, title, song_id, slug in session.execute(
        select(Version.id, Version.title, Song.id, Song.slug).join(Song).where(Version.id.in_(version_ids))
    ):
        found[version_id] = {
            "version_id": str(version_id), "song_id": str(song_id), "slug": slug, "title": title,
            "artists": artists.get(version_id, []),
        }  # fmt: skip
    for song_id, title, slug in session.execute(select(Song.id, Song.title, Song.slug).where(Song.id.in_(song_ids))):
        found[song_id] = {"version_id": None, "song_id": str(song_id), "slug": slug, "title": title, "artists": []}
    return found


def problem_of(error: Exception) -> dict[str, str]:
    """Why there is no answer: a stable code, what was seen, and the remedy."""
    if isinstance(error, FetchError):
        return {"code": error.failure.value, "detail": error.detail, "remedy": CONSEQUENCES[error.failure].remedy}
    if isinstance(error, AudioError):
        return {"code": error.code, "detail": error.detail, "remedy": error.remedy}
    if isinstance(error, NotNow):
        return {"code": error.reason, "detail": str(error), "remedy": "ask again later"}
    return {"code": "bad_target", "detail": str(error), "remedy": "give the address of a page or of an audio file"}
