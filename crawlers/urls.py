"""What URLs are to an engine: identities, server groups, patterns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

import tldextract
from w3lib.url import canonicalize_url

_DEFAULT_PORTS = {"http": 80, "https": 443}
_DIGITS = re.compile(r"\d+")


def request_key(url: str, kind: str) -> str:
    """Identity of a request within a run: hex digest of the canonical URL (no fragment, sorted query) and the kind."""
    canonical = canonicalize_url(url)
    return hashlib.blake2b(f"{kind} {canonical}".encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=1024)
def _group(scheme: str, netloc: str) -> str:
    split = urlsplit(f"{scheme}://{netloc}/")
    host = (split.hostname or "").rstrip(".")
    if not host:
        raise ValueError(f"{scheme}://{netloc}/ names no host")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    port = split.port or _DEFAULT_PORTS.get(scheme, 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server_group(url: str) -> str:
    """``host:port``, what politeness is counted for. Raises ValueError for a URL without a host."""
    split = urlsplit(url)
    return _group(split.scheme, split.netloc)


_registrable = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)


def grouped(group: str, addresses: Sequence[str], group_by: str) -> str:
    """The server group of ``host:port`` where hosts are counted together.

    ``domain``: by registrable domain of the public suffix list (private suffixes included, so that the blogs of a
    hoster stay apart); ``address``: by the first of the checked IP addresses. A host without such a domain stays its
    own. By default a host is a group: hosts of one domain are often machines apart, and one address of a content
    network serves thousands of sites that have nothing to do with each other.
    """
    if group_by == "address" and addresses:
        return f"address {min(addresses)}"
    if group_by == "domain" and (domain := _registrable(group.rpartition(":")[0]).top_domain_under_public_suffix):
        return f"domain {domain}"
    return group


def origin(url: str) -> str:
    """``scheme://host:port``, what a robots.txt is valid for. Raises ValueError for a URL without a host."""
    split = urlsplit(url)
    return f"{split.scheme}://{_group(split.scheme, split.netloc)}"


def url_pattern(url: str) -> str | None:
    """The URL with its digits folded, None when there are none: it is its own pattern then."""
    bare = url.partition("#")[0]
    _, _, path = bare.partition("://")
    host, slash, rest = path.partition("/")
    folded, count = _DIGITS.subn("0", rest)
    return f"{host}{slash}{folded}" if count else None
