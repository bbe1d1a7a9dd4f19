"""What the activities of one worker share."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from catalog.database import Database
from crawlers.music_services import MusicServices
from crawlers.ports import CrawlProgress, PolitenessBudget
from crawlers.yt_dlp_parts.accounts import Accounts
from media.store import ObjectStore


@dataclass(slots=True)
class Resources:
    """``temporary``: a folder for downloads; ``accounts``: the operator's, for sources that want one; ``transport``:
    what sends yt-dlp's requests in place of httpx's own; ``analysis``: one slot per core, for FFmpeg; ``crawls``: under
    way, by run id, for who watches."""

    database: Database
    objects: ObjectStore
    budget: PolitenessBudget
    temporary: Path
    user_agent: str = "VersionsBot/0.1"
    services: MusicServices | None = None
    max_audio_seconds: float = 7200.0
    accounts: Accounts = field(default_factory=Accounts)
    transport: httpx.AsyncBaseTransport | None = None
    analysis: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(os.cpu_count() or 1))
    crawls: dict[str, CrawlProgress] = field(default_factory=dict)
