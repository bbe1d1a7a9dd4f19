"""YouTube: videos, playlists, channels, clips and searches, read by yt-dlp."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote, quote_plus, unquote, urlencode, urljoin

from adapters._yt_dlp import ITEM, Address, YtDlpAdapter
from adapters.contract import PolitenessDefaults, Recognised, register

SITE = "https://www.youtube.com"
_HOSTS = frozenset(
    ("youtube.com", "music.youtube.com", "gaming.youtube.com", "youtubekids.com", "youtube-nocookie.com",
     "youtube.googleapis.com")
)  # fmt: skip
_SHORT_HOSTS = frozenset(("youtu.be", "y2u.be"))
_MIRRORS = frozenset(
    ("invidio.us", "vid.plus", "hooktube.com", "yourepeat.com", "zwearz.com", "yewtu.be", "piped.video")
)
"""Sites that show YouTube's videos under its ids; those that are called Invidious are known by name."""
_VIDEO = re.compile(r"[\w-]{11}", re.ASCII)
_LIST = re.compile(r"(?:(?:PL|LL|EC|UU|FL|RD|UL|TL|PU|OLAK5uy_)[\w-]{10,}|RDMM|WL|LL|LM)", re.ASCII)
_CHANNEL = re.compile(r"UC[\w-]{22}", re.ASCII)
_HANDLE = re.compile(r"@[\w.·-]{2,100}")
_TABS = (
    "videos", "shorts", "streams", "live", "playlists", "releases", "podcasts", "featured", "home", "about", "posts",
    "community", "channels", "search", "courses", "letsplay",
)  # fmt: skip
_PSEUDO = {
    "fav": ("playlist", "LL", "playlist?list=LL"),
    "favorites": ("playlist", "LL", "playlist?list=LL"),
    "favourites": ("playlist", "LL", "playlist?list=LL"),
    "watchlater": ("playlist", "WL", "playlist?list=WL"),
    "rec": ("feed", "recommended", "feed/recommended"),
    "recommended": ("feed", "recommended", "feed/recommended"),
    "subs": ("feed", "subscriptions", "feed/subscriptions"),
    "subscriptions": ("feed", "subscriptions", "feed/subscriptions"),
    "history": ("feed", "history", "feed/history"),
    "notif": ("feed", "notifications", "feed/notifications"),
    "notifications": ("feed", "notifications", "feed/notifications"),
}
"""yt-dlp's words for an account's own lists."""
_NO_CHANNELS = frozenset(
    ("account", "about", "ads", "api", "creators", "gaming", "howyoutubeworks", "iframe_api", "img", "intl", "kids",
     "logout", "oops", "premium", "redirect", "s", "signin", "static", "t", "upload", "vi", "youtubei", "embed", "v",
     "e", "shorts", "watch", "playlist", "feed", "results", "clip", "source", "hashtag")
)  # fmt: skip


@register
class YouTube(YtDlpAdapter):
    """One request a video: chapters, description and date stand in the watch page; formats are left for the audio."""

    name: ClassVar[str] = "youtube"
    summary: ClassVar[str] = "YouTube and YouTube Music: videos, playlists, channels, search"
    url_patterns: ClassVar[tuple[str, ...]] = ("youtube.com", "youtu.be", "youtube-nocookie.com", "youtubekids.com")
    politeness: ClassVar[PolitenessDefaults] = PolitenessDefaults(delay_s=3.0, concurrency=1, respect_robots=False)
    extractors: ClassVar[tuple[str, ...]] = (
        "YoutubeClip", "YoutubeSearchURL", "YoutubeMusicSearchURL", "YoutubeShortsAudioPivot", "YoutubeLivestreamEmbed",
        "YoutubePlaylist", "YoutubeTab", "Youtube",
    )  # fmt: skip
    extractor_args: ClassVar[Mapping[str, Mapping[str, Sequence[str]]]] = {
        # The answer that stands in the watch page is enough to describe a video.
        "youtube": {
            "player_client": ["web"],
            "webpage_client": ["web"],
            "player_skip": ["js", "configs"],
            "skip": ["hls", "dash", "translated_subs"],
        },
    }
    seed_forms: ClassVar[str] = "URLs of videos, playlists or channels, their ids, or @handles"

    def recognise(self, url: str) -> Recognised | None:
        """Videos by their 11 characters, on mirrors too; lists, channels, searches."""
        return self._bare(url.strip()) or self._at(url, 0)

    def search_url(self, text: str) -> str:
        """The page of results, most relevant first, videos only."""
        return f"{SITE}/results?search_query={quote_plus(text)}&sp=EgIQAfABAQ%3D%3D"

    def _found(self, kind: str, key: str, path: str) -> Recognised:
        return Recognised(self.name, kind, key, f"{SITE}/{path}")

    def _video(self, key: str) -> Recognised:
        return self._found(ITEM, key, f"watch?v={key}")

    def _playlist(self, key: str) -> Recognised:
        return self._found("playlist", key, f"playlist?list={quote(key)}")

    def _bare(self, text: str) -> Recognised | None:
        prefix, colon, rest = text.partition(":")
        if colon and re.fullmatch(r"ytsearch(?:date)?(?:\d+|all)?", prefix) and rest.strip():
            return Recognised(self.name, "search", rest.strip(), self.search_url(rest.strip()))
        if colon and prefix == "ytuser" and rest:
            return self._found("channel", f"user/{rest}", f"user/{quote(rest)}")
        if not prefix and rest.startswith("yt") and rest[2:] in _PSEUDO:
            return self._found(*_PSEUDO[rest[2:]])
        if _CHANNEL.fullmatch(text):
            return self._found("channel", text, f"channel/{text}")
        if _VIDEO.fullmatch(text):
            return self._video(text)
        if _LIST.fullmatch(text):
            return self._playlist(text)
        if _HANDLE.fullmatch(text):
            return self._found("channel", text, quote(text, safe="@"))
        return None

    def _at(self, url: str, depth: int) -> Recognised | None:
        address = Address.of(url)
        if address is None or depth > 2:
            return None
        host = address.host
        if host in _SHORT_HOSTS:
            return self._video(address.part(0)) if _VIDEO.fullmatch(address.part(0)) else None
        if host == "consent.youtube.com":
            return self._at(address.query.get("continue", ""), depth + 1)
        mirror = host in _MIRRORS or "invidious" in host
        if mirror and _VIDEO.fullmatch(address.part(0)):
            return self._video(address.part(0))
        if host not in _HOSTS and not mirror:
            return None
        if address.part(0) == "attribution_link":
            return self._at(urljoin(f"{SITE}/", address.query.get("u", "")), depth + 1)
        return self._by_path(address, music=host == "music.youtube.com")

    def _by_path(self, address: Address, *, music: bool) -> Recognised | None:
        head, second, query = address.part(0), address.part(1), address.query
        if not head:
            return self._found(*_PSEUDO["rec"])
        if head in ("watch", "watch_popup", "movie") or head.startswith("watch&"):
            return self._watched(second, query)
        if head in ("shorts", "live", "embed", "v", "e", "vi"):
            return self._embedded(second, query)
        if head == "playlist":
            return self._playlist(query["list"]) if query.get("list") else None
        if head == "clip" and second:
            return self._found("clip", second, f"clip/{quote(second)}")
        if head in ("results", "search"):
            return self._searched(query, music=music)
        if head == "hashtag" and second:
            return self._found("hashtag", second, f"hashtag/{quote(second)}")
        if head == "source" and second:
            return self._found("sound", second, f"source/{quote(second)}/shorts")
        if head == "feed" and second:
            kept = {name: value for name, value in query.items() if name == "bp"}
            return self._found("feed", second, f"feed/{quote(second)}" + (f"?{urlencode(kept)}" if kept else ""))
        if head == "browse" and second:
            return self._browsed(second)
        return self._channel(address)

    def _watched(self, second: str, query: Mapping[str, str]) -> Recognised | None:
        key = query.get("v") or second
        if _VIDEO.fullmatch(key[:11]) and (len(key) == 11 or not re.match(r"[\w-]", key[11])):
            return self._video(key[:11])
        if query.get("list"):
            return self._playlist(query["list"])
        return Recognised(self.name, "cut_off", "", f"{SITE}/watch")

    def _embedded(self, key: str, query: Mapping[str, str]) -> Recognised | None:
        if key == "live_stream" and (channel := query.get("channel")):
            return self._found("live", channel, f"channel/{quote(channel)}/live")
        if query.get("list"):
            return self._playlist(query["list"])
        return self._video(key) if _VIDEO.fullmatch(key) else None

    def _searched(self, query: Mapping[str, str], *, music: bool) -> Recognised | None:
        wanted = query.get("search_query") or query.get("q")
        if not wanted:
            return None
        sp = {"sp": unquote(query["sp"])} if query.get("sp") else {}
        if music:
            return Recognised(
                self.name, "search", wanted, f"https://music.youtube.com/search?{urlencode({'q': wanted, **sp})}"
            )
        return self._found("search", wanted, f"results?{urlencode({'search_query': wanted, **sp})}")

    def _browsed(self, key: str) -> Recognised | None:
        if _CHANNEL.fullmatch(key):
            return self._found("channel", key, f"channel/{key}")
        if key.startswith("VL"):
            return self._playlist(key.removeprefix("VL"))
        if key.startswith("MPREb_"):
            return Recognised(self.name, "album", key, f"https://music.youtube.com/browse/{quote(key)}")
        return None

    def _channel(self, address: Address) -> Recognised | None:
        head, second = address.part(0), address.part(1)
        if head in ("channel", "c", "user"):
            if not second:
                return None
            key, path, tab = (second if head == "channel" else f"{head}/{second}"), f"{head}/{quote(second)}", 2
        elif head in _NO_CHANNELS or ("." in head and not head.startswith("@")):
            return None
        else:
            key, path, tab = head, quote(head, safe="@"), 1
        tab_name = address.part(tab)
        if tab_name == "live":
            return self._found("live", key, f"{path}/live")
        if tab_name not in _TABS:
            return self._found("channel", key, path)
        kept = {name: value for name, value in address.query.items() if name in ("view", "sort", "shelf_id", "query")}
        return self._found("channel", key, f"{path}/{tab_name}" + (f"?{urlencode(kept)}" if kept else ""))
