"""AcoustID and MusicBrainz: what they know of a recording. Polite, bounded; who asks keeps the answers.

Both are asked only where the operator switched them on. What they say is evidence for people and for proposals; it
never merges anything by itself.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import acoustid

from crawlers.budget.limits import BudgetLimits
from crawlers.download import download
from crawlers.errors import FailureClass, FetchError
from crawlers.guard import AddressGuard
from crawlers.ports import Claim, Observed, PolitenessBudget
from crawlers.urls import server_group

ACOUSTID_DELAY_S = 0.34
"""Its guideline: no more than three requests a second."""
MUSICBRAINZ_DELAY_S = 1.0
"""Its rule: one request a second for each client, with a user agent that names a contact."""
TIMEOUT_S = 20.0
MAX_ANSWER_BYTES = 2_000_000
MAX_HITS = 5
MAX_LIST = 20
"""Works, ISRCs or credits that are read of one recording."""
_ACOUSTID = Claim("acoustid", limits=BudgetLimits(ACOUSTID_DELAY_S))
_MUSICBRAINZ = Claim("musicbrainz", limits=BudgetLimits(MUSICBRAINZ_DELAY_S))
_MBID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class AcoustidHit:
    """A track that AcoustID knows. ``score``: 0..1; ``recordings``: MusicBrainz ids of its recordings, sorted."""

    track_id: str
    score: float
    recordings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """A composition of MusicBrainz. ``credits``: (name, role) of its authors."""

    id: str
    title: str
    iswcs: tuple[str, ...] = ()
    credits: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class MusicBrainzRecording:
    """What MusicBrainz says of a recording. ``length_s``: None where unknown."""

    id: str
    title: str
    artists: tuple[str, ...] = ()
    length_s: float | None = None
    isrcs: tuple[str, ...] = ()
    works: tuple[Work, ...] = ()


class MusicServices:
    """Asks both services within the fleet's politeness budget.

    Args:
        acoustid_key: an application's key; None: AcoustID is not asked.
        musicbrainz: whether MusicBrainz is asked.
    """

    def __init__(
        self,
        budget: PolitenessBudget,
        *,
        user_agent: str,
        acoustid_url: str,
        musicbrainz_url: str,
        acoustid_key: str | None = None,
        musicbrainz: bool = False,
    ) -> None:
        self._budget = budget
        self._user_agent = user_agent
        self._key = acoustid_key
        self._musicbrainz = musicbrainz
        self._acoustid_url = acoustid_url
        self._musicbrainz_url = musicbrainz_url

    @property
    def knows_sounds(self) -> bool:
        """Whether AcoustID may be asked."""
        return self._key is not None

    @property
    def knows_recordings(self) -> bool:
        """Whether MusicBrainz may be asked."""
        return self._musicbrainz

    async def look_up(self, fingerprint: str, duration_s: float) -> list[AcoustidHit]:
        """Tracks that sound like a compressed fingerprint (`media.compressed.compress`), best first.

        Raises FetchError and NotNow.
        """
        acoustid.set_base_url(self._acoustid_url)
        with await self._budget.acquire(server_group(self._acoustid_url), _ACOUSTID) as permit:
            started = time.monotonic()
            try:
                answer = await asyncio.to_thread(
                    acoustid.lookup, self._key, fingerprint, round(duration_s), ["recordingids"], TIMEOUT_S
                )
                hits = _hits(answer)
            except (acoustid.AcoustidError, OSError) as error:
                permit.observed = Observed(None, FailureClass.CONNECTION, time.monotonic() - started)
                # The message could repeat the request, which holds the key.
                detail = str(error).replace(self._key or "\0", "…")[:300]
                raise FetchError(FailureClass.CONNECTION, f"AcoustID: {detail}") from None
            except FetchError as error:
                permit.observed = Observed(200, error.failure, time.monotonic() - started)
                raise
            permit.observed = Observed(200, None, time.monotonic() - started)
        return hits

    async def recording(self, mbid: str) -> MusicBrainzRecording:
        """A recording with its artists, ISRCs and works.

        Raises FetchError and NotNow; ValueError for a malformed id.
        """
        if not _MBID.fullmatch(mbid):
            raise ValueError(f"{mbid!r} is no MusicBrainz id")
        include = "artist-credits+isrcs+work-rels+work-level-rels+artist-rels"
        url = f"{self._musicbrainz_url}recording/{mbid}?inc={include}&fmt=json"
        place = urlsplit(self._musicbrainz_url)
        with tempfile.TemporaryDirectory(prefix="musicbrainz-") as folder:
            answer = await download(
                url,
                Path(folder) / "answer.json",
                # The operator named this server; a redirect elsewhere is judged as any other.
                guard=AddressGuard([f"{place.hostname}:{place.port or (443 if place.scheme == 'https' else 80)}"]),
                budget=self._budget,
                max_bytes=MAX_ANSWER_BYTES,
                timeout_s=TIMEOUT_S,
                user_agent=self._user_agent,
                expect="any",
                headers={"accept": "application/json"},
                claim=_MUSICBRAINZ,
            )
            return _recording(_object(answer.path.read_bytes(), "MusicBrainz"), mbid)


def _object(data: bytes, service: str) -> Mapping[str, Any]:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise FetchError(FailureClass.BROKEN_MARKUP, f"{service} answered with something else than a JSON object")
    return answer


def _hits(answer: Any) -> list[AcoustidHit]:
    if not isinstance(answer, dict) or answer.get("status") != "ok" or not isinstance(answer.get("results"), list):
        told = answer.get("error") if isinstance(answer, dict) else None
        message = told.get("message") if isinstance(told, dict) else "an answer without results"
        refused = isinstance(told, dict) and told.get("code") in (4, 5, 6)  # its codes for bad keys
        raise FetchError(
            FailureClass.AUTH_REQUIRED if refused else FailureClass.BROKEN_MARKUP, f"AcoustID: {str(message)[:200]}"
        )
    hits = []
    for result in answer["results"]:
        try:
            recordings = {str(each["id"]) for each in result.get("recordings") or ()}
            hits.append(
                AcoustidHit(
                    str(result["id"]),
                    min(1.0, max(0.0, float(result["score"]))),
                    tuple(sorted(filter(_MBID.fullmatch, recordings)))[:MAX_LIST],
                )
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    return sorted(hits, key=lambda hit: (-hit.score, hit.track_id))[:MAX_HITS]


def _recording(answer: Mapping[str, Any], mbid: str) -> MusicBrainzRecording:
    try:
        length = answer.get("length")
        works = [
            relation["work"]
            for relation in answer.get("relations") or ()
            if relation.get("type") == "performance" and relation.get("work")
        ]
        return MusicBrainzRecording(
            # A merged recording answers under the id of the survivor.
            str(answer.get("id") or mbid),
            str(answer["title"])[:500],
            tuple(str(credit["name"])[:200] for credit in answer.get("artist-credit") or ())[:MAX_LIST],
            float(length) / 1000 if length else None,
            tuple(sorted(str(isrc)[:20] for isrc in answer.get("isrcs") or ()))[:MAX_LIST],
            tuple(_work(work) for work in works)[:MAX_LIST],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FetchError(FailureClass.BROKEN_MARKUP, f"MusicBrainz: {type(error).__name__} in {mbid}") from None


def _work(work: Mapping[str, Any]) -> Work:
    roles = {"composer", "lyricist", "writer", "arranger"}
    credits = {
        (str(relation["artist"]["name"])[:200], str(relation["type"]))
        for relation in work.get("relations") or ()
        if relation.get("type") in roles and relation.get("artist")
    }
    iswcs = tuple(sorted(str(iswc)[:20] for iswc in work.get("iswcs") or ()))
    return Work(str(work["id"]), str(work["title"])[:500], iswcs[:MAX_LIST], tuple(sorted(credits))[:MAX_LIST])
