"""No spelling of a private address passes the guard."""

from __future__ import annotations

import pytest

from crawlers.errors import FailureClass, FetchError
from crawlers.guard import AddressGuard, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
        "fc00::1", "fd12:3456::1", "ff02::1", "fec0::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
        "2002:7f00:1::1", "2002:a00:1::", "64:ff9b::7f00:1", "64:ff9b:1::8.8.8.8", "2001:db8::1",
        "2001:0:53aa:64c:0:5efe:7f00:1", "fe80::1%eth0", "nonsense",
    ],
)  # fmt: skip
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
        "http://0x7f.0.0.1:8080/x", "http://localhost/", "http://LOCALHOST./", "http://[::1]/", "http://[::ffff:127.0.0.1]/",
        "http://[0:0:0:0:0:ffff:7f00:1]/", "http://127.0.0.1./", "http://0/", "https://169.254.169.254/latest",
        "http://example.org@127.0.0.1/", "http://127.0.0.1@8.8.8.8/", "http://8.8.8.8\\@127.0.0.1/", "file:///etc/passwd",
        "ftp://8.8.8.8/", "gopher://8.8.8.8/", "//8.8.8.8/", "http:///x", "http://8.8.8.8:99999/", "http://[fe80::1%25lo]/",
        "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/", "http://8.8.8.8 /", "http://8.8.8.8\n/", "", "javascript:alert(1)",
    ],
)  # fmt: skip
async def test_blocked_url(url: str) -> None:
    with pytest.raises(FetchError) as error:
        await AddressGuard([]).check(url)
    assert error.value.failure is FailureClass.ADDRESS_BLOCKED


async def test_public_literal_passes() -> None:
    assert await AddressGuard([]).check("https://8.8.8.8/x?y#z") == ["8.8.8.8"]


async def test_allowed_private_address_is_exact_in_host_and_port() -> None:
    guard = AddressGuard(["127.0.0.1:8080", "Localhost:80", "[::1]:81"])
    assert await guard.check("http://127.0.0.1:8080/a") == ["127.0.0.1"]
    assert "127.0.0.1" in await guard.check("http://localhost/") or "::1" in await guard.check("http://localhost/")
    assert await guard.check("http://[::1]:81/") == ["::1"]
    for other in ("http://127.0.0.1:8081/", "http://localhost:8080/", "http://2130706433:8080/", "https://localhost/"):
        with pytest.raises(FetchError) as error:
            await guard.check(other)
        assert error.value.failure is FailureClass.ADDRESS_BLOCKED


@pytest.mark.parametrize("entry", ["127.0.0.1", "http://127.0.0.1:80", "", "a b:80", "localhost:"])
def test_bad_entry_of_the_allow_list_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="allow_private"):
        AddressGuard([entry])


async def test_unknown_name_is_a_connection_failure() -> None:
    with pytest.raises(FetchError) as error:
        await AddressGuard([]).check("http://does-not-exist.invalid/")
    assert error.value.failure is FailureClass.CONNECTION


async def test_one_private_address_among_public_ones_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = AddressGuard([])
    answers = [("8.8.8.8",), ("8.8.8.8", "10.0.0.1")]

    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return answers.pop()

    monkeypatch.setattr(guard, "_resolve", resolve)
    with pytest.raises(FetchError):
        await guard.check("http://rebind.example/")
    assert await guard.check("http://rebind.example/") == ["8.8.8.8"]
