"""Answers from recordings, below the real engine: its handler, guard, budget and cookies do their work, no socket does.

A recording is a list of exchanges: ``url`` (without query), optionally ``method``, ``query`` (what must stand in it),
``sent`` (what must stand in the request's body), ``status``, ``headers``, and the body as ``json``, ``text`` or, for a
large one, ``file`` beside the recording.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from yt_dlp.cookies import YoutubeDLCookieJar

from adapters._yt_dlp import YtDlpAdapter
from adapters.contract import PageRequest, get_adapter
from crawlers.politeness import MemoryBudget
from crawlers.yt_dlp_parts.network import Limits, Manners, Network
from crawlers.yt_dlp_parts.reader import Read, Reader
from crawlers.yt_dlp_parts.session import Extraction


@dataclass
class Replay(httpx.AsyncBaseTransport):
    """``asked``: URLs as they were asked for; ``missing``: those that no exchange answers (they get a 599)."""

    exchanges: Sequence[Mapping[str, Any]]
    folder: Path = Path()
    asked: list[str] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path) -> Replay:
        return cls(json.loads(path.read_text(encoding="utf-8")), path.parent)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = f"{request.url.scheme}://{request.headers['host']}{request.url.raw_path.decode()}"
        self.asked.append(url)
        self.requests.append(request)
        for exchange in self.exchanges:
            if self._answers(exchange, request, url):
                return self._response(exchange)
        self.missing.append(f"{request.method} {url}")
        return httpx.Response(599, text="not recorded")

    def _answers(self, exchange: Mapping[str, Any], request: httpx.Request, url: str) -> bool:
        split = urlsplit(url)
        query = dict(parse_qsl(split.query, keep_blank_values=True))
        body = dict(parse_qsl(request.content.decode("utf-8", "replace")))
        return (
            exchange["url"] == f"{split.scheme}://{split.netloc}{split.path}"
            and exchange.get("method", request.method) == request.method
            and all(query.get(name) == value for name, value in exchange.get("query", {}).items())
            and all(body.get(name) == value for name, value in exchange.get("sent", {}).items())
        )

    def _response(self, exchange: Mapping[str, Any]) -> httpx.Response:
        headers = dict(exchange.get("headers", {}))
        if "json" in exchange:
            headers.setdefault("content-type", "application/json; charset=utf-8")
            content = json.dumps(exchange["json"], ensure_ascii=False).encode()
        elif "file" in exchange:
            content = (self.folder / exchange["file"]).read_bytes()
        else:
            content = exchange.get("text", "").encode()
        headers.setdefault("content-type", "text/html; charset=utf-8")
        return httpx.Response(exchange.get("status", 200), headers=headers, content=content)


class Names:
    """A guard for recordings: every name has one public address, and nothing is resolved."""

    async def check(self, url: str) -> list[str]:
        assert urlsplit(url).hostname
        return ["93.184.216.34"]


async def read(
    adapter: str, url: str, replay: Replay, kind: str = "item", context: Mapping[str, Any] | None = None
) -> Read:
    """One page of an adapter, by the real extractor."""

    chosen = get_adapter(adapter)
    assert isinstance(chosen, YtDlpAdapter)
    network = Network(guard=Names(), budget=MemoryBudget(), limits=Limits(), manners=Manners(), transport=replay)
    extraction = Extraction(network, asyncio.get_running_loop())
    reader = Reader(chosen, YoutubeDLCookieJar(), "VersionsBot/0.1", 5.0)
    try:
        return await asyncio.to_thread(reader.read, PageRequest(url, kind, 0, dict(context or {})), extraction)
    finally:
        await network.close()
