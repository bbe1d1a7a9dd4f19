"""RuTube: videos, channels, playlists, tags and shows, read by yt-dlp."""

from __future__ import annotations

import re
from typing import ClassVar
from urllib.parse import quote, urlencode

from adapters._yt_dlp import ITEM, Address, YtDlpAdapter
from adapters.contract import PolitenessDefaults, Recognised, register

SITE = "https://rutube.ru"
_VIDEO = re.compile(r"[\da-f]{32}")
_SECTIONS = ("videos", "shorts")


@register
class RuTube(YtDlpAdapter):
    """Two requests a video: its record, and what the player is told (whether it may be shown here)."""

    name: ClassVar[str] = "rutube"
    summary: ClassVar[str] = "RuTube: videos, channels, playlists, tags, shows"
    url_patterns: ClassVar[tuple[str, ...]] = ("rutube.ru",)
    politeness: ClassVar[PolitenessDefaults] = PolitenessDefaults(delay_s=1.0, concurrency=2, respect_robots=False)
    extractors: ClassVar[tuple[str, ...]] = (
        "RutubeChannel", "RutubeEmbed", "RutubeMovie", "RutubePerson", "RutubePlaylist", "RutubeTags", "Rutube",
    )  # fmt: skip
    newest_first: ClassVar[frozenset[str]] = frozenset(("channel",))
    seed_forms: ClassVar[str] = (
        "URLs of videos, channels, playlists, tags or shows, a video's id (32 hexadecimal digits) or a channel's @name"
    )
    search_missing: ClassVar[str] = "yt-dlp cannot search RuTube; name channels, playlists, tags or videos as seeds"

    def recognise(self, url: str) -> Recognised | None:
        """Videos by their 32 hexadecimal digits."""
        text = url.strip()
        if _VIDEO.fullmatch(text):
            return self._found(ITEM, text, f"video/{text}/")
        if re.fullmatch(r"@\w+", text):
            return self._found("channel", f"u/{text[1:]}", f"u/{text[1:]}/")
        address = Address.of(url)
        if address is None or address.host != "rutube.ru":
            return None
        return self._video(address) or self._collection(address)

    def _found(self, kind: str, key: str, path: str) -> Recognised:
        return Recognised(self.name, kind, key, f"{SITE}/{path}")

    def _video(self, address: Address) -> Recognised | None:
        parts = [part for part in address.parts if part not in ("live", "play", "embed")]
        private = "private" in parts
        parts = [part for part in parts if part not in ("video", "private")]
        if len(parts) != 1 or address.part(0) not in ("video", "live", "play", "embed", "shorts"):
            return None if len(parts) != 2 or parts[0] != "shorts" else self._short(parts[1])
        # Whoever has the link of a private video has its key, too.
        key = f"?{urlencode({'p': address.query['p']})}" if address.query.get("p") else ""
        if _VIDEO.fullmatch(parts[0]):
            return self._found(ITEM, parts[0], f"video/{'private/' if private else ''}{parts[0]}/{key}")
        if parts[0].isdigit() and "embed" in address.parts:
            return self._found("embed", parts[0], f"play/embed/{parts[0]}{key}")
        return None

    def _short(self, key: str) -> Recognised | None:
        return self._found(ITEM, key, f"video/{key}/") if _VIDEO.fullmatch(key) else None

    def _collection(self, address: Address) -> Recognised | None:
        head, second, third = (address.part(number) for number in range(3))
        section = f"{third}/" if third in _SECTIONS else ""
        if head == "channel" and second.isdigit():
            return self._found("channel", second, f"channel/{second}/{section}")
        if head == "u" and second:
            return self._found("channel", f"u/{second}", f"u/{quote(second)}/{section}")
        if head == "video" and second == "person" and third.isdigit():
            return self._found("channel", third, f"video/person/{third}/")
        if head == "plst" and second.isdigit():
            return self._found("playlist", second, f"plst/{second}/")
        if head == "tags" and second == "video" and third.isdigit():
            return self._found("tag", third, f"tags/video/{third}/")
        if head == "metainfo" and second == "tv" and third.isdigit():
            return self._found("show", third, f"metainfo/tv/{third}/")
        return None
