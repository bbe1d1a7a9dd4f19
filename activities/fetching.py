"""From an address of audio to what can be heard: files, downloads, and what yt-dlp finds."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from activities.resources import Resources
from adapters._yt_dlp import AUDIO_SCHEME
from crawlers.download import download, local_path
from crawlers.guard import AddressGuard
from crawlers.ports import Claim
from crawlers.yt_dlp_parts.audio import fetch_beginning
from crawlers.yt_dlp_parts.network import Manners
from media.analysis import analyse
from media.types import AudioFeatures


@dataclass(frozen=True, slots=True)
class Sound:
    """What is to be fetched (a `RecordingItem.audio_url`), and within which bounds. ``claim``: on whose behalf."""

    url: str
    allow_private: tuple[str, ...]
    max_bytes: int
    timeout_s: float
    claim: Claim


@dataclass(frozen=True, slots=True)
class Fetched:
    """``whole``: all of the recording; else its beginning, with the duration in seconds that its source tells."""

    path: Path
    whole: bool = True
    duration_s: float | None = None


NEAR = "file:"
"""How addresses of audio begin that lies on this machine: no source has to be asked for it."""


async def fetch(resources: Resources, sound: Sound, target: Path) -> Fetched:
    """The audio as a file: ``target``, or where it is already. Raises FetchError and NotNow."""
    if sound.url.startswith(NEAR):
        return Fetched(await asyncio.to_thread(local_path, sound.url))
    guard = AddressGuard(sound.allow_private)
    if sound.url.startswith(AUDIO_SCHEME):
        beginning = await fetch_beginning(
            sound.url,
            target,
            guard=guard,
            budget=resources.budget,
            manners=Manners(sound.claim, user_agent=resources.user_agent),
            timeout_s=sound.timeout_s,
            max_bytes=sound.max_bytes,
            accounts=resources.accounts,
            transport=resources.transport,
        )
        return Fetched(beginning.path, beginning.whole, beginning.duration_s)
    downloaded = await download(
        sound.url,
        target,
        guard=guard,
        budget=resources.budget,
        max_bytes=sound.max_bytes,
        timeout_s=sound.timeout_s,
        user_agent=resources.user_agent,
        claim=sound.claim,
    )
    return Fetched(downloaded.path)


def listen(fetched: Fetched, max_seconds: float) -> AudioFeatures:
    """What can be heard. Raises AudioError."""
    features = analyse(fetched.path, max_seconds=max_seconds, beginning_only=not fetched.whole)
    if not fetched.whole and fetched.duration_s is not None:
        features = replace(features, info=replace(features.info, duration_s=fetched.duration_s))
    return features
