"""VK: videos and clips, playlists, users' and communities' videos, wall posts with music, read by yt-dlp."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from adapters._yt_dlp import ITEM, Address, YtDlpAdapter, text
from adapters.contract import PolitenessDefaults, Recognised, register

_SITE = "https://vk.com"
_VIDEO_SITE = "https://vkvideo.ru"
_HOST = re.compile(r"(?:(?:new|vksport)\.)?vk(?:(?:video)?\.ru|\.com)|(?:www\.)?daxab\.com")
_LIVE_HOSTS = frozenset(("vkplay.live", "live.vkplay.ru", "live.vkvideo.ru"))
_VIDEO = re.compile(r"(?:video|clip)?(-?\d+_\d+)")
_POST = re.compile(r"wall(-?\d+_\d+)")
_LIST_ID = re.compile(r"[\da-f]+|ln-[\da-zA-Z]+")


@register
class Vk(YtDlpAdapter):
    """Clips and videos share their numbers; the music of a wall post has others."""

    name: ClassVar[str] = "vk"
    summary: ClassVar[str] = "VK: videos, clips, playlists, communities' videos, music of wall posts"
    url_patterns: ClassVar[tuple[str, ...]] = ("vk.com", "vk.ru", "vkvideo.ru", "vkplay.live", "live.vkplay.ru")
    politeness: ClassVar[PolitenessDefaults] = PolitenessDefaults(delay_s=2.0, concurrency=1, respect_robots=False)
    extractors: ClassVar[tuple[str, ...]] = ("VKUserVideos", "VKWallPost", "VKPlay", "VKPlayLive", "VK")
    newest_first: ClassVar[frozenset[str]] = frozenset(("channel",))
    seed_forms: ClassVar[str] = (
        "URLs of videos, clips, playlists, wall posts or of a community's videos, ids such as -123_456, or @names"
    )
    search_missing: ClassVar[str] = (
        "yt-dlp cannot search VK; name communities, playlists, wall posts or videos as seeds"
    )

    def recognise(self, url: str) -> Recognised | None:
        """Videos by OWNER_NUMBER."""
        bare = url.strip()
        if found := re.fullmatch(r"(?:video|clip)?(-?\d+_\d+)", bare):
            return self._video(found[1], {})
        if found := _POST.fullmatch(bare):
            return self._post(found[1])
        if re.fullmatch(r"@[\w.-]+", bare):
            return self._channel(bare, {})
        address = Address.of(url)
        if address is None:
            return None
        if address.host in _LIVE_HOSTS:
            return self._broadcast(address)
        return self._at(address) if _HOST.fullmatch(address.host) else None

    def _at(self, address: Address) -> Recognised | None:
        head, second, query = address.part(0), address.part(1), address.query
        oid, number = query.get("oid", ""), query.get("id", "")
        if head in ("video_ext.php", "ext.php") and re.fullmatch(r"-?\d+", oid) and number.isdigit():
            return self._embedded(oid, number, query)
        # An overlay over another page: /feed?z=video-1_2/club1, /some.page?w=wall-1_2
        if found := _VIDEO.match(query.get("z", "").partition("/")[0]):
            return self._video(found[1], query)
        if found := _POST.match(query.get("w", "")):
            return self._post(found[1])
        if found := _POST.fullmatch(head):
            return self._post(found[1])
        if head == "embed":
            head, second = second, ""
        if (found := _VIDEO.fullmatch(head)) and (head.startswith(("video", "clip")) or "daxab" in address.host):
            return self._video(found[1], query)
        if head == "playlist" or (head == "video" and second == "playlist"):
            key = address.part(1 if head == "playlist" else 2)
            if re.fullmatch(r"-?\d+_-?\d+", key):
                return Recognised(self.name, "playlist", key, f"{_VIDEO_SITE}/playlist/{key}")
            return None
        name = second if head == "video" else head
        return self._channel(name, query) if name.startswith("@") else None

    def _embedded(self, oid: str, number: str, query: Mapping[str, str]) -> Recognised:
        kept = {"oid": oid, "id": number} | ({"hash": query["hash"]} if query.get("hash") else {})
        # With its hash an embedded video is shown that its own page may not be.
        if "hash" in kept:
            return Recognised(self.name, ITEM, f"{oid}_{number}", f"{_SITE}/video_ext.php?{urlencode(kept)}")
        return self._video(f"{oid}_{number}", {})

    def _video(self, key: str, query: Mapping[str, str]) -> Recognised:
        listed = query.get("list", "")
        suffix = f"?list={listed}" if _LIST_ID.fullmatch(listed) else ""
        return Recognised(self.name, ITEM, key, f"{_SITE}/video{key}{suffix}")

    def _post(self, key: str) -> Recognised:
        return Recognised(self.name, "post", key, f"{_SITE}/wall{key}")

    def _channel(self, name: str, query: Mapping[str, str]) -> Recognised:
        section = f"?{urlencode({'section': query['section']})}" if query.get("section") else ""
        return Recognised(self.name, "channel", name, f"{_SITE}/video/{quote(name, safe='@')}{section}")

    def _broadcast(self, address: Address) -> Recognised | None:
        user, word, key = (address.part(number) for number in range(3))
        if word == "record" and re.fullmatch(r"[\da-f-]+", key):
            return Recognised(self.name, ITEM, key, f"https://live.vkvideo.ru/{quote(user)}/record/{key}")
        if user and not word:
            return Recognised(self.name, "live", user, f"https://live.vkvideo.ru/{quote(user)}")
        return None

    def key_of(self, info: Mapping[str, Any]) -> str:
        """Music has numbers that videos may have, too."""
        key = super().key_of(info)
        return f"audio{key}" if info.get("_type") is None and info.get("track") and "_" in key else key

    def title_of(self, info: Mapping[str, Any]) -> str:
        """Of music the track's own: yt-dlp puts the artist before it."""
        return text(info.get("track"), 1000) or super().title_of(info)
