"""Yandex Music: tracks, albums, playlists and artists, read by yt-dlp."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from adapters._yt_dlp import ITEM, Address, YtDlpAdapter, text
from adapters.contract import Credit, PolitenessDefaults, Recognised, register

SITE = "https://music.yandex.ru"
_HOST = re.compile(r"music\.yandex\.(?:ru|kz|ua|by|com)")


@register
class YandexMusic(YtDlpAdapter):
    """A track is the same in every album it stands in: its key is its own id."""

    name: ClassVar[str] = "yandex_music"
    summary: ClassVar[str] = "Yandex Music: tracks, albums, playlists, artists"
    url_patterns: ClassVar[tuple[str, ...]] = tuple(f"music.yandex.{end}" for end in ("ru", "kz", "ua", "by", "com"))
    politeness: ClassVar[PolitenessDefaults] = PolitenessDefaults(delay_s=2.0, concurrency=1, respect_robots=False)
    extractors: ClassVar[tuple[str, ...]] = (
        "YandexMusicTrack", "YandexMusicAlbum", "YandexMusicPlaylist", "YandexMusicArtistTracks",
        "YandexMusicArtistAlbums",
    )  # fmt: skip
    seed_forms: ClassVar[str] = "URLs of tracks (with their album), albums, playlists or artists, or TRACK:ALBUM ids"
    search_missing: ClassVar[str] = "yt-dlp cannot search Yandex Music; name artists, albums or playlists as seeds"

    def recognise(self, url: str) -> Recognised | None:
        """Tracks by their id, whatever album they are named with."""
        if pair := re.fullmatch(r"(\d+):(\d+)", url.strip()):
            return self._track(*pair.groups())
        address = Address.of(url)
        if address is None or not _HOST.fullmatch(address.host):
            return None
        head, second, third, fourth = (address.part(number) for number in range(4))
        if head == "album" and second.isdigit():
            if third == "track":
                return self._track(fourth, second) if fourth.isdigit() else None
            return self._found("album", second, f"album/{second}")
        if head == "users" and third == "playlists" and fourth.isdigit():
            return self._found("playlist", f"{second}/{fourth}", f"users/{quote(second)}/playlists/{fourth}")
        if head == "artist" and second.isdigit():
            what = "albums" if third == "albums" else "tracks"
            return self._found("artist", second, f"artist/{second}/{what}")
        return None

    def _found(self, kind: str, key: str, path: str) -> Recognised:
        return Recognised(self.name, kind, key, f"{SITE}/{path}")

    def _track(self, track: str, album: str) -> Recognised:
        return self._found(ITEM, track, f"album/{album}/track/{track}")

    def title_of(self, info: Mapping[str, Any]) -> str:
        """The track's own: yt-dlp puts the artist before it."""
        return text(info.get("track"), 1000) or super().title_of(info)

    def credits_of(self, info: Mapping[str, Any]) -> tuple[Credit, ...]:
        """Each performer by himself: yt-dlp joins their names by commas."""
        joined = text(info.get("artist"), 1000)
        artists = [name for each in joined.split(", ") if (name := each.strip())]
        return super().credits_of({**info, "artists": artists})
