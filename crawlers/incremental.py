"""Which known pages need no request, or a conditional one, and what is remembered of each.

Conditional requests are RFC 9110, 13.1 (``If-None-Match`` wins over ``If-Modified-Since``); ``lastmod`` is the sitemap
protocol's W3C date (sitemaps.org).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.contract import PageRequest, RecordingItem
from crawlers.history import CrawlHistory, KnownPage, Link, PageVisit
from crawlers.ports import CrawlJob, QueuedRequest

MAX_LINKS_KEPT = 10_000
"""Links remembered of one page; one that names more is read in full each time: a row of 50,000 links costs more to keep
than the page costs to fetch."""
MAX_VALIDATOR = 1000
"""Characters of an ETag or date that are sent back; a longer one is not kept."""
NEWEST_FIRST = "newest_first"
"""In a request's context: the page is a list with the newest first. As an option of a source: regular expressions of
the URLs of such lists."""
KNOWN_IN_A_ROW = "known_in_a_row"
"""In a request's context: how many known, unchanged things the list ended with so far."""
_OF_THIS_RUN = ("lastmod", KNOWN_IN_A_ROW)
_DAY_ONLY = re.compile(r"\d{4}-\d{2}-\d{2}")


def body_digest(body: bytes) -> str:
    """SHA-1 in base 32, as WARC writes a payload's digest."""
    return "sha1:" + base64.b32encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode()


class Incremental:
    """The rules of one crawl; ``conditional``: whether its engine can send conditional requests."""

    def __init__(self, job: CrawlJob, history: CrawlHistory | None, *, conditional: bool) -> None:
        self.policy = job.revisit
        self._history = history
        self._conditional = conditional
        self._meaning = json.dumps([job.adapter, list(job.follow), dict(job.options)], sort_keys=True, default=str)
        wanted = job.options.get(NEWEST_FIRST) or ()
        self._newest_first = [re.compile(str(each)) for each in ([wanted] if isinstance(wanted, str) else wanted)]
        self._walked = False

    async def prepare(self) -> None:
        """To be called once, before the first request."""
        if self._history is not None and self.policy.incremental and self.policy.stop_after_known is not None:
            self._walked = await self._history.list_was_walked()

    # --- before the request

    def unneeded(self, queued: QueuedRequest, now: datetime | None = None) -> PageVisit | None:
        """What to remember of a page that need not be asked at all; None: it must be."""
        known = self._trusted(queued)
        # A seed is asked in any case: it is the door to what is new.
        if known is None or queued.depth == 0 or self.policy.only_look:
            return None
        now = now or datetime.now(UTC)
        if (now - known.checked_at).total_seconds() >= self.policy.max_s:
            return None
        lastmod = _text(queued.request.context.get("lastmod"))
        told = lastmod is not None and lastmod == known.lastmod and _is_past(lastmod, known.read_at)
        # Pages that only lead to others are doors as well, unless a sitemap speaks for them.
        early = self.policy.when_due and known.items > 0 and now < known.due_at
        # A sitemap that names a new date knows better than our schedule.
        early = early and (lastmod is None or lastmod == known.lastmod)
        if not told and not early:
            return None
        return self._again(queued, known, asked=False)

    def headers(self, queued: QueuedRequest) -> dict[str, str]:
        """The conditional headers of a request; empty where nothing can be asked conditionally."""
        known = self._trusted(queued)
        if known is None or not self._conditional:
            return {}
        if known.etag:
            return {"If-None-Match": known.etag}
        return {"If-Modified-Since": known.last_modified} if known.last_modified else {}

    # --- after it

    def not_modified(self, queued: QueuedRequest) -> PageVisit:
        """What to remember after a 304."""
        known = self._trusted(queued)
        assert known is not None
        return self._again(queued, known, asked=True)

    def was_read(
        self, queued: QueuedRequest, headers: Mapping[str, str], digest: str, links: Sequence[Link]
    ) -> PageVisit | None:
        """What to remember of a page that was fetched and read; ``headers``: lower-case names."""
        if not self.policy.incremental:
            return None
        kept = [_kept(link) for link in links] if len(links) <= MAX_LINKS_KEPT else None
        return PageVisit(
            rule=self._rule(queued),
            unchanged=False,
            etag=_validator(headers.get("etag")),
            last_modified=_validator(headers.get("last-modified")),
            lastmod=_text(queued.request.context.get("lastmod")),
            digest=digest,
            links=kept,
        )

    def is_newest_first(self, request: PageRequest) -> bool:
        """Whether this page is a list that begins with the newest."""
        return bool(request.context.get(NEWEST_FIRST)) or any(each.search(request.url) for each in self._newest_first)

    def as_part_of_list(self, parent: PageRequest, found: PageRequest) -> PageRequest:
        """The request, marked as the list's next page where that is known of it only by the source's options."""
        if NEWEST_FIRST in found.context or not (self._newest_first and self.is_newest_first(parent)):
            return found
        if not self.is_newest_first(found):
            return found
        return replace(found, context={**found.context, NEWEST_FIRST: True})

    async def known_in_a_row(
        self, queued: QueuedRequest, items: Sequence[RecordingItem], links: Sequence[Link]
    ) -> int | None:
        """How many known, unchanged things a newest-first list ends with here, earlier pages included.

        None: this is no such list, or no earlier run has seen its end, and so nobody may stop in it. Items count
        where a page brings some, else links to pages that were read before.
        """
        if self._history is None or self.policy.stop_after_known is None or not self.policy.incremental:
            return None
        if not self._walked or not self.is_newest_first(queued.request):
            return None
        things: list[str]
        if items:
            things = [item.source_key for item in items]
            known = await self._history.unchanged_items({item.source_key: item.digest() for item in items})
        else:
            things = [link.request_key for link in links if not self._continues(link)]
            known = await self._history.known_pages(things)
        row = _count(queued.request.context.get(KNOWN_IN_A_ROW))
        for thing in things:
            row = row + 1 if thing in known else 0
            if row >= self.policy.stop_after_known:
                break
        return row

    def may_continue(self, link: QueuedRequest, row: int | None, *, deeper: int) -> bool:
        """Whether a request found on a newest-first list is wanted, after so many known things in a row."""
        if row is None or self.policy.stop_after_known is None or row < self.policy.stop_after_known:
            return True
        return deeper > 0 and not self.is_newest_first(link.request)

    def onward(self, parent: QueuedRequest, found: QueuedRequest, row: int | None) -> QueuedRequest | None:
        """A request found on a page, unless the rest of its list is known; the list's next page is told how much was
        known so far. ``row``: as `known_in_a_row` said of the page."""
        deeper = found.depth - parent.depth
        if not self.may_continue(found, row, deeper=deeper):
            return None
        if row and (deeper == 0 or self.is_newest_first(found.request)):
            context = {**found.request.context, KNOWN_IN_A_ROW: row}
            return replace(found, request=replace(found.request, context=context))
        return found

    # --- within

    def _trusted(self, queued: QueuedRequest) -> KnownPage | None:
        known = queued.known
        if known is None or not (self.policy.incremental or self.policy.only_look):
            return None
        return known if self.policy.only_look or known.rule == self._rule(queued) else None

    def _again(self, queued: QueuedRequest, known: KnownPage, *, asked: bool) -> PageVisit:
        row: int | None = None
        if self._walked and self.is_newest_first(queued.request):
            # One link of a list leads to its next page.
            row = _count(queued.request.context.get(KNOWN_IN_A_ROW)) + (known.items or max(known.links - 1, 0))
        return PageVisit(
            rule=known.rule,
            unchanged=True,
            asked=asked,
            etag=known.etag,
            last_modified=known.last_modified,
            lastmod=_text(queued.request.context.get("lastmod")),
            digest=known.digest,
            known_in_a_row=row,
            ends_list=row is not None and row >= (self.policy.stop_after_known or 0),
        )

    def _continues(self, link: Link) -> bool:
        return link.deeper == 0 or self.is_newest_first(PageRequest(link.url, link.kind, 0, link.context or {}))

    def _rule(self, queued: QueuedRequest) -> str:
        context = {k: v for k, v in queued.request.context.items() if k not in _OF_THIS_RUN}
        text = self._meaning + json.dumps(context, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _kept(link: Link) -> Link:
    """The link without what only counts in the run that found it."""
    if link.context is None or KNOWN_IN_A_ROW not in link.context:
        return link
    context = {key: value for key, value in link.context.items() if key != KNOWN_IN_A_ROW}
    return Link(link.request_key, link.url, link.kind, link.priority, context, link.deeper)


def _is_past(lastmod: str, read_at: datetime) -> bool:
    """Whether the page was read after this moment was over: a date alone says nothing of the rest of its day."""
    try:
        moment = datetime.fromisoformat(lastmod)
    except ValueError:
        return False
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if _DAY_ONLY.fullmatch(lastmod):
        moment += timedelta(days=1)
    return read_at > moment


def _validator(value: str | None) -> str | None:
    text = (value or "").strip()
    return text if text and len(text) <= MAX_VALIDATOR and text.isprintable() else None


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
