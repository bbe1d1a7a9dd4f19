"""Smotrim: videos, radio recordings, brands and podcasts of the Russian state broadcaster, read by yt-dlp."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from adapters._yt_dlp import ITEM, Address, YtDlpAdapter
from adapters.contract import Credit, PolitenessDefaults, Recognised, register

SITE = "https://smotrim.ru"
_HOSTS = frozenset(("smotrim.ru", "player.smotrim.ru", "testplayer.vgtrk.com", "player.vgtrk.com", "vgtrk.com"))


@register
class Smotrim(YtDlpAdapter):
    """Videos and radio recordings have numbers of their own each, so that the key says which it is."""

    name: ClassVar[str] = "smotrim"
    summary: ClassVar[str] = "Smotrim: videos, radio recordings, brands, podcasts"
    url_patterns: ClassVar[tuple[str, ...]] = ("smotrim.ru", "vgtrk.com")
    politeness: ClassVar[PolitenessDefaults] = PolitenessDefaults(delay_s=2.0, concurrency=1, respect_robots=False)
    extractors: ClassVar[tuple[str, ...]] = ("SmotrimAudio", "SmotrimPlaylist", "Smotrim", "SmotrimLive")
    seed_forms: ClassVar[str] = "URLs of videos, audios, brands or podcasts, or ids such as video/123 and audio/123"
    search_missing: ClassVar[str] = "yt-dlp cannot search Smotrim; name brands, podcasts, videos or audios as seeds"

    def recognise(self, url: str) -> Recognised | None:
        """``video/…`` and ``audio/…`` are items, ``live/…`` what is on the air."""
        if bare := re.fullmatch(r"(video|audio)/(\d+)", url.strip()):
            return self._item(*bare.groups())
        address = Address.of(url)
        if address is None or address.host not in _HOSTS:
            return None
        parts = [part for part in address.parts if part not in ("iframe", "id", "uid")]
        head, key = (*parts, "", "")[:2]
        if head in ("video", "audio") and key.isdigit():
            return self._item(head, key)
        if head in ("channel", "live", "audio-live") and re.fullmatch(r"[\da-f-]+", key):
            return Recognised(self.name, "live", f"{head}/{key}", self._live_url(head, key))
        if head in ("brand", "podcast") and key.isdigit() and address.host == "smotrim.ru":
            season = parts[2] if len(parts) > 2 and re.fullmatch(r"[\w-]+", parts[2]) else ""
            path = f"{head}/{key}" + (f"/{quote(season)}" if season else "")
            return Recognised(self.name, head, f"{head}/{key}" + (f"/{season}" if season else ""), f"{SITE}/{path}")
        return None

    def _item(self, kind: str, key: str) -> Recognised:
        return Recognised(self.name, ITEM, f"{kind}/{key}", f"{SITE}/{kind}/{key}")

    def _live_url(self, kind: str, key: str) -> str:
        if kind == "audio-live" or not key.isdigit():
            word = "id" if kind == "audio-live" else "uid"
            return f"https://player.smotrim.ru/iframe/{kind}/{word}/{key}"
        return f"{SITE}/{kind}/{key}"

    def key_of(self, info: Mapping[str, Any]) -> str:
        """With ``video/`` or ``audio/`` before the number."""
        key = super().key_of(info)
        if not key or "/" in key:
            return key
        audio = info.get("extractor_key") == "SmotrimAudio" or "/audio/" in str(info.get("webpage_url") or "")
        return f"{'audio' if audio else 'video'}/{key}"

    def credits_of(self, info: Mapping[str, Any]) -> tuple[Credit, ...]:
        """The programme it belongs to, where no channel is named."""
        credits = super().credits_of(info)
        series = info.get("series")
        if not credits and isinstance(series, str) and series.strip():
            return (Credit(series.strip()[:1000], "programme"),)
        return credits
