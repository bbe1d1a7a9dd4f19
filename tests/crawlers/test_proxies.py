"""Outgoing proxies, against a real one that fails at will."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from crawlers import proxies as rules
from crawlers.budget.ledger import Ledger, no_policy
from crawlers.budget.shared import SharedBudget
from crawlers.download import download
from crawlers.errors import FailureClass as F
from crawlers.errors import FetchError
from crawlers.guard import AddressGuard
from crawlers.politeness import MemoryStore
from crawlers.ports import NotNow, Observed, Permit
from crawlers.proxies import ProxyPool
from crawlers.scrapy_parts.proxy import GuardProxy
from tests.crawlers.conftest import Bench
from tests.crawlers.memory import MemoryGuard
from tests.crawlers.servers import answer, serving


@dataclass
class ForwardProxy:
    """A CONNECT proxy; ``status``: what it answers instead of a tunnel; ``asked``: (place, authorization)."""

    status: int = 200
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[ForwardProxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://user:geheim@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, place, _ = head.split(" ", 2)
            words = [line.partition(": ")[2] for line in head.splitlines() if line.startswith("Proxy-Authorization")]
            self.asked.append((place, words[0] if words else ""))
            if method != "CONNECT" or self.status != 200:
                writer.write(f"HTTP/1.1 {self.status} no\r\n\r\n".encode())
            else:
                host, _, port = place.rpartition(":")
                there, back = await asyncio.open_connection(host, int(port))
                writer.write(b"HTTP/1.1 200 ok\r\n\r\n")
                await asyncio.wait(
                    [asyncio.create_task(pipe(reader, back)), asyncio.create_task(pipe(there, writer))],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                back.close()
        writer.close()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()


def budget_with(*urls: str, sticky: bool = False) -> SharedBudget:
    return SharedBudget(Ledger(MemoryStore(), no_policy), proxies=ProxyPool(urls, sticky=sticky))


async def test_pages_go_through_the_proxies_to_judged_addresses(bench: Bench) -> None:
    """The proxy is given an address, never a name: the name is resolved and judged here."""
    port = bench.site.host.partition(":")[2]
    bench.guard = MemoryGuard([f"music.test:{port}"], {"music.test": "127.0.0.1"})
    async with ForwardProxy().serve() as one, ForwardProxy().serve() as other:
        bench.budget = budget_with(one.url, other.url)  # type: ignore[assignment]
        seeds = [f"http://music.test:{port}/song/{number}" for number in range(4)]
        assert await bench.run(seeds=[*seeds, "http://10.0.0.1/x"])
    assert set(bench.store.items) == {"0", "1", "2", "3"}
    assert {place for proxy in (one, other) for place, _ in proxy.asked} == {f"127.0.0.1:{port}"}
    assert (len(one.asked), len(other.asked)) == (2, 2)  # they take turns
    assert {words for _, words in one.asked} == {"Basic dXNlcjpnZWhlaW0="}
    assert bench.store.ends() == {"x": F.ADDRESS_BLOCKED}


async def test_a_proxy_that_fails_rests_and_the_other_goes_on(bench: Bench) -> None:
    async with ForwardProxy().serve() as good, ForwardProxy(status=407).serve() as bad:
        pool = ProxyPool([bad.url, good.url])
        bench.budget = SharedBudget(Ledger(MemoryStore(), no_policy), proxies=pool)  # type: ignore[assignment]
        seeds = [f"{bench.site.url}/song/{number}" for number in range(12)]
        assert await bench.run(seeds=seeds, concurrency=1)
    assert len(bench.store.items) == 12
    assert len(bad.asked) == rules.FAILURES
    assert sorted(pool.states().values()) == ["fit", "quarantine"]
    assert {incident.failure for incident in bench.store.incidents} == {F.PROXY_FAILED}
    told = repr(bench.store.incidents) + repr(pool._proxies)
    assert "geheim" not in told


async def test_downloads_go_through_them_too(tmp_path: Path) -> None:
    with serving({"/a": answer(200, b"x" * 1000, content_type="audio/mpeg")}) as server:
        async with ForwardProxy().serve() as proxy:
            options = {"max_bytes": 10_000, "timeout_s": 5.0, "user_agent": "Bot/1"}
            guard = AddressGuard([server.host])
            budget = budget_with(proxy.url)
            done = await download(server.url("/a"), tmp_path / "a", guard=guard, budget=budget, **options)  # type: ignore[arg-type]
            assert done.size == 1000
            assert [place for place, _ in proxy.asked] == [server.host]
            proxy.status = 502
            with pytest.raises(FetchError) as error:
                await download(server.url("/a"), tmp_path / "b", guard=guard, budget=budget, **options)  # type: ignore[arg-type]
            assert error.value.failure is F.PROXY_FAILED
            assert "geheim" not in str(error.value)
            await budget.close()


async def test_the_browsers_proxy_has_it_as_upstream() -> None:
    with serving({"/a": answer(200, b"hello")}) as server:
        async with ForwardProxy().serve() as proxy:
            (upstream,) = ProxyPool([proxy.url])._proxies
            guarding = GuardProxy(AddressGuard([server.host]), lambda _: None, upstream)
            await guarding.start()
            host, _, port = guarding.url.removeprefix("http://").partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET {server.url('/a')} HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode())
            async with asyncio.timeout(10):
                assert (await reader.read()).endswith(b"hello")
            writer.close()
            await guarding.close()
            assert [place for place, _ in proxy.asked] == [server.host]


def test_quarantine_grows_and_one_probe_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(rules.time, "monotonic", lambda: now)
    pool = ProxyPool(["http://127.0.0.1:1"])
    proxy = pool.choose("a")
    assert proxy is not None
    for _ in range(rules.FAILURES):
        pool.told(proxy, Observed(None, F.PROXY_FAILED))
    with pytest.raises(NotNow) as wait:
        pool.choose("a")
    assert (wait.value.reason, wait.value.waiting_on) == ("proxies_in_quarantine", "operator")
    assert wait.value.seconds == rules.QUARANTINE_S
    now += rules.QUARANTINE_S
    assert pool.choose("a") is proxy
    with pytest.raises(NotNow):
        pool.choose("a")  # one probe, not all at once
    pool.told(proxy, Observed(None, F.PROXY_FAILED))
    with pytest.raises(NotNow) as wait:
        pool.choose("a")
    assert wait.value.seconds == 2 * rules.QUARANTINE_S
    now += 2 * rules.QUARANTINE_S
    assert pool.choose("a") is proxy
    pool.told(proxy, Observed(200))
    assert pool.states() == {"127.0.0.1:1": "fit"}


def test_sticky_and_bad_urls() -> None:
    pool = ProxyPool(["http://127.0.0.1:1", "http://127.0.0.1:2"], sticky=True)
    first = pool.choose("a")
    assert all(pool.choose("a") is first for _ in range(5))
    assert pool.choose("b") is not first
    for wrong in ("socks5://h:1", "http://h", "h:1", "http://user:geheim@h/path"):
        with pytest.raises(ValueError, match="HOST:PORT") as error:
            ProxyPool([wrong])
        assert "geheim" not in str(error.value)
    assert ProxyPool([]).choose("a") is None


async def test_a_permit_names_its_proxy() -> None:
    budget = budget_with("http://127.0.0.1:1")
    permit: Permit = await budget.acquire("a:80")
    assert permit.proxy is not None
    assert permit.proxy.name == "127.0.0.1:1"
    permit.release()
    await budget.close()
