"""The steps of one candidate."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import InterfaceError, OperationalError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities import messages as m
from activities.enrichment import enrich
from activities.fetching import NEAR, Sound, fetch, listen
from activities.heartbeats import with_heartbeats
from activities.listening import beside_others
from activities.politeness import budget_limits
from activities.resources import Resources
from catalog.campaigns.holds import HELD
from catalog.models import FINAL_STATES, AudioFingerprint, AudioMelody, Candidate, CrawlRun, Observation, StoredObject
from crawlers.errors import CONSEQUENCES, FailureClass, FetchError
from crawlers.ports import Claim, NotNow
from identity.melody import service as melody
from identity.recording import closer as closer_look
from identity.recording.closer import Closer
from identity.recording.index import SegmentIndex
from identity.recording.items import fingerprint_bytes
from media.types import AudioError, AudioFeatures
from moderation import settlement
from moderation.settlement import Settled, set_state

SETTLED_TOGETHER = 6
"""Candidates without audio in one transaction; it holds the identity lock for less than a tenth of a second."""
MAX_FETCH_ATTEMPTS = 5
MAX_BACKOFF_S = 600.0
MAX_POSTPONED_S = 300.0
"""A candidate that waits for the budget looks again at least so often: the operator may have changed it."""


MAX_TOGETHER = 3
"""Attempts at a batch; then each goes its own way: one of them may be what the worker died of."""
_DATABASE_AWAY = (OperationalError, InterfaceError)


@dataclass(frozen=True, slots=True)
class _Audio:
    """What is to be fetched, and what may be done with it."""

    sound: Sound
    policy: str


class IngestActivities:
    """Audio is fetched and understood first; then one transaction settles what it is."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._database = resources.database

    # -- audio -------------------------------------------------------------------------------------------------------

    @activity.defn(name="fetch_and_fingerprint")
    async def fetch_and_fingerprint(self, message: m.CandidateInput) -> m.MediaResult:
        return await with_heartbeats(self._hear(uuid.UUID(message.candidate_id)))

    @activity.defn(name="ingest_near")
    async def ingest_near(self, message: m.CandidatesInput) -> m.SettledTogether:
        """Nobody is asked for audio that lies here, so nothing waits: several candidates share one activity, and what
        has to be tried again goes to a workflow of its own."""
        if activity.info().attempt > MAX_TOGETHER:
            return m.SettledTogether([m.SettledCandidate(each) for each in message.candidate_ids])
        return await with_heartbeats(self._ingest_near(message.candidate_ids))

    async def _ingest_near(self, candidate_ids: Sequence[str]) -> m.SettledTogether:
        wanted = await asyncio.to_thread(self._what_to_fetch, [uuid.UUID(each) for each in candidate_ids])
        hearing = [self._hear_as(each, audio) for each, audio in wanted.items()]
        heard = await asyncio.gather(*hearing, return_exceptions=True)
        outcomes = dict(zip(map(str, wanted), heard, strict=True))
        result = m.SettledTogether()
        for candidate_id in candidate_ids:
            outcome = outcomes.get(candidate_id, LookupError("it is not in the record"))
            if isinstance(outcome, _DATABASE_AWAY):  # all of them wait for it
                raise outcome
            if isinstance(outcome, BaseException):
                activity.logger.warning("candidate %s could not be heard among others: %s", candidate_id, outcome)
                result.candidates.append(m.SettledCandidate(candidate_id))
        settling = [each for each, outcome in outcomes.items() if isinstance(outcome, m.MediaResult)]
        for some in batched(settling, SETTLED_TOGETHER):
            result.candidates += await asyncio.to_thread(self._settle_together, some)
        return result

    async def _hear(self, candidate_id: uuid.UUID) -> m.MediaResult:
        wanted = await asyncio.to_thread(self._what_to_fetch, [candidate_id])
        return await self._hear_as(candidate_id, wanted[candidate_id])

    async def _hear_as(self, candidate_id: uuid.UUID, audio: _Audio | m.MediaResult) -> m.MediaResult:
        if isinstance(audio, m.MediaResult):
            return audio
        try:
            await self._take_in(candidate_id, audio)
        except NotNow as wait:
            await asyncio.to_thread(self._postpone, candidate_id, wait)
            raise ApplicationError(
                str(wait), type=wait.reason, next_retry_delay=timedelta(seconds=min(wait.seconds, MAX_POSTPONED_S))
            ) from wait
        except FetchError as error:
            return await asyncio.to_thread(self._fetch_failed, candidate_id, error)
        except AudioError as error:
            await asyncio.to_thread(self._end, candidate_id, "failed", error.code, f"{error.detail}; {error.remedy}")
            return m.MediaResult("settled")
        return m.MediaResult("ready")

    def _what_to_fetch(self, candidate_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, _Audio | m.MediaResult]:
        """By candidate; one that is not in the record is left out."""
        fingerprinted = select(AudioFingerprint.id).where(AudioFingerprint.candidate_id == Candidate.id).exists()
        query = (
            select(Candidate, CrawlRun, fingerprinted)
            .outerjoin(CrawlRun, CrawlRun.id == Candidate.crawl_run_id)
            .where(Candidate.id.in_(candidate_ids))
        )
        with self._database.transaction() as session:
            return {row[0].id: self._wanted(*row) for row in session.execute(query)}

    @staticmethod
    def _wanted(candidate: Candidate, run: CrawlRun | None, fingerprinted: bool) -> _Audio | m.MediaResult:
        if candidate.state in FINAL_STATES:
            return m.MediaResult("settled")
        url = candidate.item.get("audio_url")
        if not url or candidate.audio_policy == "none" or fingerprinted:
            return m.MediaResult("ready")
        spec: dict[str, Any] = run.spec if run else {}
        limits, politeness = spec.get("limits", {}), spec.get("politeness", {})
        claim = Claim(
            candidate.source,
            str(run.campaign_id) if run else "",
            float(politeness.get("weight") or 1.0),
            limits=budget_limits(politeness),
            group_by=politeness.get("group") or "host",
        )
        sound = Sound(
            url,
            tuple(spec.get("allow_private", ())),
            int(limits.get("max_audio_bytes", 200_000_000)),
            float(limits.get("timeout", 30.0)),
            claim,
        )
        return _Audio(sound, candidate.audio_policy)

    async def _take_in(self, candidate_id: uuid.UUID, audio: _Audio) -> None:
        with self._folder_for(audio.sound) as folder:
            fetched = await fetch(self._resources, audio.sound, folder / "audio")
            path = fetched.path
            async with self._resources.analysis:
                features = await asyncio.to_thread(listen, fetched, self._resources.max_audio_seconds)
                # Here, on a core of the media queue, and not in the settlement, which holds the identity lock.
                beside = partial(beside_others, self._resources.database, features, exclude=candidate_id)
                melodies, closer = await asyncio.to_thread(beside)
            sha256 = await asyncio.to_thread(_sha256, path)
            key = None
            if audio.policy == "store":
                key = f"audio/{sha256[:2]}/{sha256}"
                await asyncio.to_thread(self._store, key, path, features)
            features = replace(features, pcm=b"")
            await asyncio.to_thread(self._record_audio, candidate_id, features, sha256, key, melodies, closer)
        # Outside: the download is not held while a service is waited for.
        await enrich(self._resources, candidate_id, features)

    @contextlib.contextmanager
    def _folder_for(self, sound: Sound) -> Iterator[Path]:
        """Where a download may be put, for as long as it is needed; what lies here needs no folder."""
        if sound.url.startswith(NEAR):
            yield self._resources.temporary
            return
        self._resources.temporary.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._resources.temporary, prefix="ingest-") as folder:
            yield Path(folder)

    def _store(self, key: str, path: Path, features: AudioFeatures) -> None:
        """Row first, object second: an object that no row knows cannot come to be. The same audio has the same key."""
        with self._database.transaction() as session:
            session.execute(
                insert(StoredObject)
                .values(key=key, kind="audio", size=path.stat().st_size)
                # A killed worker may have announced it long ago: the sweeper must not take it from under us now.
                .on_conflict_do_update(index_elements=["key"], set_={"created_at": func.now()})
            )
        self._resources.objects.put_file(key, path, _content_type(features.info.container))

    def _record_audio(
        self,
        candidate_id: uuid.UUID,
        features: AudioFeatures,
        sha256: str,
        key: str | None,
        melodies: melody.Found,
        closer: Closer,
    ) -> None:
        with self._database.transaction() as session:
            # With it, whether anything is kept that was heard of it: mostly nothing, which spares five deletions.
            query = select(Candidate, _heard_before()).where(Candidate.id == candidate_id).with_for_update(of=Candidate)
            candidate, again = session.execute(query).one()
            if candidate.state in FINAL_STATES:
                return
            candidate.audio = {**asdict(features.info), "loudness_db": round(max(features.loudness, -200.0), 1)}
            candidate.duration_s = features.info.duration_s
            candidate.waveform = [round(peak, 3) for peak in features.waveform]
            candidate.audio_sha256 = sha256
            candidate.audio_object = key
            candidate.fetched_at = datetime.now(UTC)
            if candidate.reason == HELD:  # while its audio was on the way
                set_state(candidate, "fingerprinted", HELD, candidate.detail, waiting_on="operator")
            else:
                set_state(candidate, "fingerprinted", "new", waiting_on="worker")
            if key is not None:
                session.execute(update(StoredObject).where(StoredObject.key == key).values(state="kept"))
            if again:
                session.execute(delete(AudioFingerprint).where(AudioFingerprint.candidate_id == candidate_id))
                session.execute(
                    delete(Observation).where(Observation.candidate_id == candidate_id, Observation.kind == "content")
                )
            fingerprint = AudioFingerprint(
                candidate_id=candidate_id,
                duration_s=features.info.duration_s,
                items=fingerprint_bytes(features.fingerprint),
                timbre=None if closer.timbre is None else closer.timbre.tobytes(),
            )
            session.add(fingerprint)
            session.flush()
            SegmentIndex().add(session, fingerprint.id, features.fingerprint)
            if features.content is not None:  # a hint for people: nothing is held back for it
                session.add(Observation(candidate_id=candidate_id, kind="content", data=asdict(features.content)))
            if features.chroma is not None:
                melody.record(session, candidate_id, features.chroma, melodies, first=not again)
            closer_look.record(session, candidate_id, closer, first=not again)

    def _fetch_failed(self, candidate_id: uuid.UUID, error: FetchError) -> m.MediaResult:
        """The failure's class decides: ask again later (Temporal keeps the time), or the end."""
        consequence = CONSEQUENCES[error.failure]
        if consequence.retry and (wait_s := self._again_in_s(candidate_id, error)) is not None:
            raise ApplicationError(
                error.detail, type=error.failure.value, next_retry_delay=timedelta(seconds=wait_s)
            ) from error
        state = "unavailable" if consequence.gone or error.failure in _UNAVAILABLE else "failed"
        self._end(candidate_id, state, error.failure.value, f"{error.detail} {consequence.remedy}")
        return m.MediaResult("settled")

    def _postpone(self, candidate_id: uuid.UUID, wait: NotNow) -> None:
        """The budget gives no permit: the candidate says so, and no attempt is counted."""
        with self._database.transaction() as session:
            candidate = session.get_one(Candidate, candidate_id, with_for_update=True)
            if candidate.state not in FINAL_STATES:
                set_state(
                    candidate,
                    candidate.state,
                    wait.reason,
                    wait.detail,
                    waiting_on=wait.waiting_on,
                    next_attempt_at=datetime.now(UTC) + timedelta(seconds=wait.seconds),
                )

    def _again_in_s(self, candidate_id: uuid.UUID, error: FetchError) -> float | None:
        """Seconds until the source is asked again; None when it has been asked often enough.

        Counted in the record: Temporal's attempts also count killed workers, for which no source is to blame.
        """
        with self._database.transaction() as session:
            candidate = session.get_one(Candidate, candidate_id, with_for_update=True)
            candidate.attempts += 1
            if candidate.attempts >= MAX_FETCH_ATTEMPTS:
                return None
            backoff_s = min(MAX_BACKOFF_S, 2.0**candidate.attempts) * random.uniform(0.75, 1.25)  # noqa: S311
            wait_s = error.retry_after_s or backoff_s
            set_state(
                candidate,
                candidate.state,
                error.failure.value,
                error.detail,
                waiting_on="source",
                next_attempt_at=datetime.now(UTC) + timedelta(seconds=wait_s),
            )
            return wait_s

    def _end(self, candidate_id: uuid.UUID, state: str, reason: str, detail: str) -> None:
        with self._database.transaction() as session:
            candidate = session.get_one(Candidate, candidate_id, with_for_update=True)
            if candidate.state not in FINAL_STATES:
                set_state(candidate, state, reason, detail)

    # -- identity and moderation ---------------------------------------------------------------------------------------

    @activity.defn(name="settle")
    def settle(self, message: m.CandidateInput) -> m.SettleResult:
        return self._settle([message.candidate_id])[0]

    @activity.defn(name="settle_silent")
    def settle_silent(self, message: m.CandidatesInput) -> m.SettledTogether:
        result = m.SettledTogether()
        for some in batched(message.candidate_ids, SETTLED_TOGETHER):
            activity.heartbeat()
            result.candidates += self._settle_together(some)
        return result

    def _settle_together(self, candidate_ids: Sequence[str]) -> list[m.SettledCandidate]:
        """In one transaction; where that fails, each in its own, so that one does not hold up the others."""
        try:
            settled = self._settle(candidate_ids)
        except _DATABASE_AWAY:  # all of them wait for it
            raise
        except Exception:
            if len(candidate_ids) > 1:
                return [each for one in candidate_ids for each in self._settle_together([one])]
            # Its own workflow repeats it and says what is wrong with it.
            activity.logger.exception("candidate %s could not be settled among others", candidate_ids[0])
            return [m.SettledCandidate(candidate_ids[0])]
        return [m.SettledCandidate(one, its) for one, its in zip(candidate_ids, settled, strict=True)]

    def _settle(self, candidate_ids: Sequence[str]) -> list[m.SettleResult]:
        with self._database.transaction() as session:
            found = [settlement.settle(session, uuid.UUID(each)) for each in candidate_ids]
        return [
            m.SettleResult(
                settled.state,
                _text(settled.case_id),
                settled.remind_after_s,
                settled.expire_after_s,
                [str(each) for each in settled.look_again],
            )
            for settled in found
        ]

    @activity.defn(name="apply_decision")
    def apply_decision(self, message: m.ApplyDecisionInput) -> m.DecideResult:
        with self._database.transaction() as session:
            return _result(settlement.apply_decision(session, uuid.UUID(message.case_id)))

    @activity.defn(name="remind_moderators")
    def remind_moderators(self, message: m.CaseInput) -> m.DecideResult:
        with self._database.transaction() as session:
            return _result(settlement.remind(session, uuid.UUID(message.case_id)))

    @activity.defn(name="expire_case")
    def expire_case(self, message: m.CaseInput) -> m.DecideResult:
        with self._database.transaction() as session:
            return _result(settlement.expire(session, uuid.UUID(message.case_id)))

    @activity.defn(name="give_up")
    def give_up(self, message: m.GiveUpInput) -> None:
        self._end(uuid.UUID(message.candidate_id), "failed", "internal_error", message.detail)


_UNAVAILABLE = {
    FailureClass.AUTH_REQUIRED,
    FailureClass.AGE_RESTRICTED,
    FailureClass.GEO_BLOCKED,
    FailureClass.PRIVATE,
    FailureClass.FORBIDDEN,
}

_CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "mov,mp4,m4a,3gp,3g2,mj2": "audio/mp4",
    "matroska,webm": "audio/webm",
    "aiff": "audio/aiff",
}


def _content_type(container: str) -> str:
    return _CONTENT_TYPES.get(container, "application/octet-stream")


def _result(settled: Settled) -> m.DecideResult:
    return m.DecideResult(
        settled.state,
        _text(settled.version_id),
        _text(settled.song_id),
        [str(each) for each in settled.look_again],
    )


def _text(value: uuid.UUID | None) -> str | None:
    return None if value is None else str(value)


def _heard_before() -> ColumnElement[bool]:
    """Whether anything is kept that was heard of a `Candidate`."""
    kept = [
        select(each.candidate_id).where(each.candidate_id == Candidate.id).exists()
        for each in (AudioFingerprint, AudioMelody, Observation)
    ]
    return or_(*kept)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def batched(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The ids in parts (`itertools.batched` is younger than Python 3.11)."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
