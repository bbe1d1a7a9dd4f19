"""The beginning of a recording's audio, from a source that yt-dlp reads: as much as a fingerprint needs, no more.

Addresses of media expire, so that they are looked up when the audio is wanted. The smallest audio that is good enough
is taken, and of it the first seconds: by byte range of a file, by segments of a stream.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

import httpx
import m3u8
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from adapters._yt_dlp import AUDIO_SCHEME, YtDlpAdapter
from adapters.contract import get_adapter, recognise
from crawlers.errors import FailureClass, FetchError
from crawlers.ports import NotNow, PolitenessBudget
from crawlers.yt_dlp_parts.accounts import AccountError, Accounts
from crawlers.yt_dlp_parts.failures import failure_of_error
from crawlers.yt_dlp_parts.network import Answer, Guard, Limits, Manners, Network
from crawlers.yt_dlp_parts.session import Downloader, Extraction, ExtractionStopped

SECONDS = 120.0
"""What a fingerprint is made of."""
MARGIN_S = 10.0
HEADER_BYTES = 512 * 1024
"""Room for a file's header and cover picture."""
BITRATE_SLACK = 1.25
"""Variable bit rates spend more at some places than on average."""
CHUNK_BYTES = 16_000_000
MAX_MANIFEST_BYTES = 5_000_000
MAX_SEGMENTS = 200
FORMATS = "bestaudio[abr>=?40][language_preference!=-10]/bestaudio/best*[acodec!=none]/best"
"""yt-dlp's selection; with the sorting below "best" is the smallest."""
SORTING = ("+size", "+br", "+res")
_STREAMS = ("m3u8", "m3u8_native")
_TOTAL = re.compile(r"bytes \d+-\d+/(\d+)")

Fetch = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Beginning:
    """What was fetched.

    Attributes:
        duration_s: of the whole recording, as the source says.
        whole: whether the file is all of it.
    """

    path: Path
    size: int
    duration_s: float | None
    whole: bool


async def fetch_beginning(
    url: str,
    target: Path,
    *,
    guard: Guard,
    budget: PolitenessBudget,
    manners: Manners,
    timeout_s: float,
    max_bytes: int,
    accounts: Accounts | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Beginning:
    """Fetches the first `SECONDS` of the audio that ``url`` (a `RecordingItem.audio_url` of such a source) stands for.

    Raises FetchError with the failure class, and NotNow where the budget gives no permit.
    """
    page, _, entry = url.removeprefix(AUDIO_SCHEME).partition("#")
    found = recognise(page)
    adapter = get_adapter(found.adapter) if found is not None else None
    if not isinstance(adapter, YtDlpAdapter):
        raise FetchError(FailureClass.WRONG_TYPE, f"{page[:200]!r} belongs to no source that yt-dlp reads")
    try:
        cookies: CookieJar = (accounts or Accounts()).cookies(adapter.name)
    except AccountError as error:
        raise FetchError(FailureClass.AUTH_REQUIRED, str(error)) from None
    network = Network(
        guard=guard,
        budget=budget,
        limits=Limits(timeout_s=timeout_s),
        manners=manners,
        transport=transport,
    )
    extraction = Extraction(network, asyncio.get_running_loop(), manifests=True)
    try:
        info = await asyncio.to_thread(
            _chosen_format, adapter, page, entry, extraction, cookies, manners.user_agent, timeout_s
        )
        return await _Fetcher(network, cookies, info, target, max_bytes).fetch()
    finally:
        extraction.stop()
        await network.close()


def _chosen_format(
    adapter: YtDlpAdapter,
    page: str,
    entry: str,
    extraction: Extraction,
    cookies: CookieJar,
    user_agent: str,
    timeout_s: float,
) -> Mapping[str, Any]:
    """The info dict with the format that is to be fetched. In a thread. Raises FetchError and NotNow."""
    options = {"format": FORMATS, "format_sort": list(SORTING), "simulate": True, "skip_download": True}
    try:
        downloader = Downloader(adapter, extraction, cookies, user_agent, timeout_s, options)
        info = downloader.extract_info(page, download=False, process=False)
        if info is not None and info.get("_type") in ("playlist", "multi_video"):
            info = next((each for each in info["entries"] if entry and adapter.key_of(each) == entry), None)
            if info is None:
                raise FetchError(FailureClass.NOT_FOUND, f"{entry or 'one recording'} is not in that page any more")
            info = {"extractor": "x", "extractor_key": "x", "webpage_url": page, **info}
        if info is not None:
            info = downloader.process_ie_result(info, download=False)
    except ExtractionStopped:
        if isinstance(extraction.ended_by, NotNow | FetchError):
            raise extraction.ended_by from None
        raise FetchError(FailureClass.TRANSIENT, "the fetch ends") from None
    except FetchError:
        raise
    except Exception as problem:
        raise failure_of_error(problem, extraction.seen, extraction.answers, extraction.said()) from None
    if info is None or not isinstance(info.get("url"), str):
        raise FetchError(FailureClass.WRONG_TYPE, "there is no audio that can be fetched")
    if info.get("is_live"):
        raise FetchError(FailureClass.WRONG_TYPE, "it is on the air: there is no recording yet")
    return dict(info)


class _Fetcher:
    """Fetches what a chosen format needs."""

    def __init__(
        self, network: Network, cookies: CookieJar, info: Mapping[str, Any], target: Path, max_bytes: int
    ) -> None:
        self._network = network
        self._cookies = cookies
        self._info = info
        self._target = target
        self._max_bytes = max_bytes
        self._headers = {str(name): str(value) for name, value in (info.get("http_headers") or {}).items()}
        self._duration_s = _number(info.get("duration"))

    async def fetch(self) -> Beginning:
        """All that is wanted, in the target."""
        protocol = str(self._info.get("protocol") or "")
        if protocol in _STREAMS:
            pieces = self._segments(str(self._info["url"]), 0)
        elif isinstance(self._info.get("fragments"), list):
            pieces = self._fragments()
        elif protocol in ("http", "https"):
            return await self._file()
        else:
            raise FetchError(FailureClass.WRONG_TYPE, f"audio over {protocol or 'nothing'} is not fetched")
        size = 0
        heard_s = 0.0
        with self._target.open("wb") as file:
            async for piece, piece_s in pieces:
                size += len(piece)
                if size > self._max_bytes:
                    raise FetchError(FailureClass.TOO_LARGE, f"more than {self._max_bytes} bytes")
                await asyncio.to_thread(file.write, piece)
                heard_s += piece_s
                if heard_s >= SECONDS + MARGIN_S:
                    break
        whole = self._duration_s is not None and heard_s >= self._duration_s - 1
        return Beginning(self._target, size, self._duration_s or (heard_s if whole else None), whole)

    # --- a file

    async def _file(self) -> Beginning:
        wanted = min(self._wanted_bytes(), self._max_bytes)
        size, total = await self._range(wanted)
        if size == wanted and (total is None or size < total) and await asyncio.to_thread(self._index_is_missing):
            # The index of an MP4 may stand at its end: then the beginning alone is of no use.
            if total is not None and total > self._max_bytes:
                raise FetchError(FailureClass.TOO_LARGE, f"{total} bytes are needed, {self._max_bytes} allowed")
            size, total = await self._range(self._max_bytes)
        whole = total is not None and size >= total
        return Beginning(self._target, size, self._duration_s, whole)

    def _wanted_bytes(self) -> int:
        """How much of the file holds the seconds that are wanted."""
        seconds = SECONDS + MARGIN_S
        size = _number(self._info.get("filesize") or self._info.get("filesize_approx"))
        rate = _number(self._info.get("tbr") or self._info.get("abr"))
        if size is not None and self._duration_s is not None:
            share = min(1.0, seconds / self._duration_s * BITRATE_SLACK)
            return int(size * share) + HEADER_BYTES
        if rate is not None:
            return int(rate * 1000 / 8 * seconds * BITRATE_SLACK) + HEADER_BYTES
        return self._max_bytes

    async def _range(self, wanted: int) -> tuple[int, int | None]:
        """Writes the first so many bytes; how many there were, and the size of the whole where it is told."""
        size, total = 0, None
        with self._target.open("wb") as file:
            while size < wanted:
                last = min(size + CHUNK_BYTES, wanted) - 1
                headers = {"range": f"bytes={size}-{last}", "accept-encoding": "identity"}
                answer = await self._get(str(self._info["url"]), headers, first_bytes=last - size + 1)
                await asyncio.to_thread(file.write, answer.body)
                size += len(answer.body)
                known = next((value for name, value in answer.headers if name.lower() == "content-range"), "")
                if found := _TOTAL.match(known):
                    total = int(found[1])
                complete = answer.status != 206
                if complete and len(answer.body) < last + 1:
                    total = size
                if complete or not answer.body or (total is not None and size >= total):
                    break
                if total is None and len(answer.body) < last - size + 1:
                    break
        return size, total

    def _index_is_missing(self) -> bool:
        beginning = self._target.read_bytes()
        return beginning[4:8] == b"ftyp" and b"moov" not in beginning

    # --- streams

    async def _segments(self, url: str, depth: int) -> AsyncIterator[tuple[bytes, float]]:
        answer = await self._get(url, {}, most=MAX_MANIFEST_BYTES)
        try:
            playlist = m3u8.loads(answer.body.decode("utf-8", "replace"), uri=answer.url)
        except (ValueError, KeyError, IndexError, AttributeError) as error:
            raise FetchError(FailureClass.BROKEN_MARKUP, f"the stream's list cannot be read: {error}"[:200]) from None
        if playlist.is_variant and depth == 0:
            async for piece in self._segments(_smallest(playlist), 1):
                yield piece
            return
        if not playlist.segments:
            raise FetchError(FailureClass.BROKEN_MARKUP, "the stream's list names no segments")
        keys: dict[str, bytes] = {}
        head = None
        for number, segment in enumerate(playlist.segments[:MAX_SEGMENTS]):
            section = segment.init_section
            if section is not None and section.absolute_uri != head:
                head = section.absolute_uri
                yield await self._piece(head, section.byterange), 0.0
            data = await self._piece(segment.absolute_uri, segment.byterange)
            if segment.key is not None and segment.key.method not in (None, "", "NONE"):
                data = await self._decrypted(data, segment.key, (playlist.media_sequence or 0) + number, keys)
            yield data, float(segment.duration or 0.0)

    async def _fragments(self) -> AsyncIterator[tuple[bytes, float]]:
        base = str(self._info.get("fragment_base_url") or self._info["url"])
        fragments = [each for each in self._info["fragments"] if isinstance(each, Mapping)]
        known_s = self._duration_s or 0.0
        for fragment in fragments[:MAX_SEGMENTS]:
            url = str(fragment.get("url") or urljoin(base, str(fragment.get("path") or "")))
            duration = _number(fragment.get("duration"))
            yield await self._piece(url, None), duration if duration is not None else known_s / len(fragments)

    async def _piece(self, url: str, byterange: str | None) -> bytes:
        headers = {"accept-encoding": "identity"}
        if byterange:
            length, _, start = str(byterange).partition("@")
            if not length.isdigit() or not start.isdigit():
                raise FetchError(FailureClass.BROKEN_MARKUP, f"a segment without a place: {byterange[:50]}")
            headers["range"] = f"bytes={start}-{int(start) + int(length) - 1}"
        return (await self._get(url, headers, most=self._max_bytes)).body

    async def _decrypted(self, data: bytes, key: Any, sequence: int, keys: dict[str, bytes]) -> bytes:
        """AES-128, whose key anybody may ask for; other methods are copy protection, and left alone."""
        if key.method != "AES-128":
            raise FetchError(FailureClass.WRONG_TYPE, f"the stream is protected ({key.method})")
        url = key.absolute_uri
        if url not in keys:
            keys[url] = (await self._get(url, {"accept-encoding": "identity"}, most=1024)).body
        vector = bytes.fromhex(key.iv[2:].zfill(32)) if key.iv else sequence.to_bytes(16, "big")
        if len(keys[url]) != 16 or len(data) % 16:
            raise FetchError(FailureClass.BROKEN_MARKUP, "the stream's key does not fit")
        decryptor = Cipher(algorithms.AES(keys[url]), modes.CBC(vector)).decryptor()
        clear = decryptor.update(data) + decryptor.finalize()
        return clear[: -clear[-1]] if clear and 1 <= clear[-1] <= 16 else clear

    async def _get(
        self, url: str, headers: Mapping[str, str], *, first_bytes: int | None = None, most: int | None = None
    ) -> Answer:
        answer = await self._network.fetch(
            urldefrag(url).url,
            headers={**self._headers, **headers},
            cookies=self._cookies,
            first_bytes=first_bytes,
        )
        if not 200 <= answer.status < 300:
            raise self._network.refused(answer)
        if most is not None and len(answer.body) > most:
            raise FetchError(FailureClass.TOO_LARGE, f"{len(answer.body)} bytes, {most} allowed")
        return answer


def _smallest(playlist: Any) -> str:
    """Of a stream's variants: its sound alone where that stands apart, else the one with the lowest bit rate."""
    for media in playlist.media:
        if media.type == "AUDIO" and media.absolute_uri:
            return str(media.absolute_uri)
    variants = [each for each in playlist.playlists if each.uri]
    if not variants:
        raise FetchError(FailureClass.BROKEN_MARKUP, "the stream's list names no variants")
    return str(min(variants, key=lambda each: each.stream_info.bandwidth or 0).absolute_uri)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
        return None
    return float(value)
