"""What earlier runs know of a page, and what this run has to tell of it: the forms of incremental crawling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class RevisitPolicy:
    """How known pages are treated. Times in seconds.

    Attributes:
        incremental: False: every page is fetched and read as if it were new.
        when_due: a known page is asked only when its time has come (see `catalog.revisit`); False: in every run.
        min_s, max_s: bounds of the time between two visits of a page. Past ``max_s`` a page is asked even where its
            sitemap says that it did not change.
        stop_after_known: so many known, unchanged things in a row end a list that shows the newest first; None: never.
    """

    incremental: bool = False
    when_due: bool = False
    min_s: float = 3600.0
    max_s: float = 30 * 86_400.0
    stop_after_known: int | None = None
    only_look: bool = False
    """Nobody wants to know what a page says, only whether it is there: validators hold whatever it was read for."""


@dataclass(frozen=True, slots=True)
class BodyPlace:
    """Where the whole response lies, of which a later, equal one is a repetition. ``date``: its ``WARC-Date``."""

    object_key: str
    offset: int
    length: int
    url: str
    date: str


@dataclass(frozen=True, slots=True)
class KnownPage:
    """What the last visit of a page left.

    Attributes:
        rule: digest of what decided the meaning of the page (adapter, ``follow``, options); another one now means that
            what is kept of the page does not hold any more.
        etag, last_modified: the validators of its last answer, as the server wrote them.
        lastmod: what its sitemap said when it was last fetched.
        digest: of the body, as WARC writes it.
        read_at: when its body was last read; checked_at: when it was last asked.
        due_at: when it is worth another visit, by how often it changed.
        items, links: how many of each it brought.
        body: where the body is kept.
    """

    rule: str
    digest: str
    read_at: datetime
    checked_at: datetime
    due_at: datetime
    etag: str | None = None
    last_modified: str | None = None
    lastmod: str | None = None
    items: int = 0
    links: int = 0
    body: BodyPlace | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A further request as a page named it. ``deeper``: how much deeper than the page it lies (0: its continuation)."""

    request_key: str
    url: str
    kind: str = "page"
    priority: int = 0
    context: Mapping[str, Any] | None = None
    deeper: int = 1


@dataclass(frozen=True, slots=True)
class PageVisit:
    """What is to be remembered of a page after this run looked at it.

    Attributes:
        unchanged: the page is as it was: what is kept of it counts as seen again.
        asked: a request was made (False: the sitemap or the schedule made it unnecessary).
        links: all further requests it names; None: too many to keep, so that the page is read in full each time.
        known_in_a_row, ends_list: of an unchanged page of a list that begins with the newest: how many known things the
            list has ended with so far, and whether that is enough to leave it.
    """

    rule: str
    unchanged: bool
    asked: bool = True
    etag: str | None = None
    last_modified: str | None = None
    lastmod: str | None = None
    digest: str = ""
    links: Sequence[Link] | None = ()
    known_in_a_row: int | None = None
    ends_list: bool = False


class CrawlHistory(Protocol):
    """What earlier runs, or earlier attempts of this one, know."""

    async def unchanged_items(self, digests: Mapping[str, str]) -> set[str]:
        """Those of these items (source key, digest) that are known as they are."""

    async def known_pages(self, request_keys: Sequence[str]) -> set[str]:
        """Those of these requests that were read in an earlier run."""

    async def list_was_walked(self) -> bool:
        """Whether an earlier run saw the lists of this source to their end, so that what follows the known is known."""

    async def fruitless(self) -> Mapping[str, tuple[int, bool]]:
        """Of this run: URL patterns with the pages that brought no item, and whether that was reported as a trap."""
