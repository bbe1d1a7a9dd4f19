"""Failure classes: what can go wrong with a request, and what follows from it.

Every failed request ends in exactly one class. The class, not the exception, decides what happens next, what the
operator is told, and how the run's report counts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FailureClass(StrEnum):
    """Stable codes; they stand in reports, in the database and in the API."""

    NOT_FOUND = "not_found"
    GONE = "gone"
    FORBIDDEN = "forbidden"
    AUTH_REQUIRED = "auth_required"
    AGE_RESTRICTED = "age_restricted"
    GEO_BLOCKED = "geo_blocked"
    PRIVATE = "private"
    RATE_LIMITED = "rate_limited"
    BOT_CHECK = "bot_check"
    ROBOTS_DISALLOWED = "robots_disallowed"
    ADDRESS_BLOCKED = "address_blocked"
    REDIRECT_LOOP = "redirect_loop"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TRAP = "trap"
    WRONG_TYPE = "wrong_type"
    BROKEN_MARKUP = "broken_markup"
    XML_BOMB = "xml_bomb"
    ADAPTER_BROKEN = "adapter_broken"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    SERVER_ERROR = "server_error"
    PROTOCOL_ERROR = "protocol_error"
    BROWSER_MISSING = "browser_missing"
    PROXY_FAILED = "proxy_failed"
    TRANSIENT = "transient"


@dataclass(frozen=True, slots=True)
class Consequence:
    """What follows from a failure class.

    Attributes:
        retry: the engine asks again, later.
        gone: the item is to be marked as removed at its source.
        remedy: what the operator can do, in one sentence.
    """

    retry: bool
    gone: bool
    remedy: str


CONSEQUENCES: dict[FailureClass, Consequence] = {
    FailureClass.NOT_FOUND: Consequence(False, True, "Nothing to do: the page does not exist (any more)."),
    FailureClass.GONE: Consequence(False, True, "Nothing to do: the site says that the page was removed for good."),
    FailureClass.FORBIDDEN: Consequence(False, False, "Check whether the site blocks crawlers; slow down or ask it."),
    FailureClass.AUTH_REQUIRED: Consequence(False, False, "Configure an account for this source in the settings."),
    FailureClass.AGE_RESTRICTED: Consequence(False, False, "Configure an adult account for this source."),
    FailureClass.GEO_BLOCKED: Consequence(False, False, "Configure a proxy in a permitted country."),
    FailureClass.PRIVATE: Consequence(False, False, "Nothing to do: the owner made it private."),
    FailureClass.RATE_LIMITED: Consequence(True, False, "Wait; lower the rate of this source if it happens often."),
    FailureClass.BOT_CHECK: Consequence(
        True,
        False,
        "The site asks whether we are a robot: lower its rate (`versions source limit`) or use other proxies; the "
        "breaker of the source waits and probes by itself.",
    ),
    FailureClass.ROBOTS_DISALLOWED: Consequence(False, False, "Nothing to do: robots.txt asks us to stay away."),
    FailureClass.ADDRESS_BLOCKED: Consequence(
        False, False, "The address is private. If it is meant, name it in the campaign's allow_private list."
    ),
    FailureClass.REDIRECT_LOOP: Consequence(False, False, "Report it to the site: its redirects go in a circle."),
    FailureClass.TOO_LARGE: Consequence(False, False, "Raise limits.max_page_bytes or max_audio_bytes."),
    FailureClass.TOO_DEEP: Consequence(False, False, "Raise limits.max_depth if these pages are wanted."),
    FailureClass.TRAP: Consequence(
        False, False, "Endless pages of one pattern without items; name wanted ones in `follow`."
    ),
    FailureClass.WRONG_TYPE: Consequence(False, False, "Nothing to do: not the kind of content that was asked for."),
    FailureClass.BROKEN_MARKUP: Consequence(False, False, "Look at the snapshot; its data is not readable."),
    FailureClass.XML_BOMB: Consequence(
        False,
        False,
        "The page's XML unpacks into far more than it holds, by entities within entities: nothing of it was read. "
        "Report it to the site, or leave this page out.",
    ),
    FailureClass.ADAPTER_BROKEN: Consequence(
        False, False, "The site changed or the adapter has a bug: mend the adapter and start the campaign again."
    ),
    FailureClass.TIMEOUT: Consequence(True, False, "The site is slow; raise limits.timeout_s if it happens often."),
    FailureClass.CONNECTION: Consequence(True, False, "The site could not be reached; check its name and the network."),
    FailureClass.SERVER_ERROR: Consequence(True, False, "The site has a fault; it is asked again later."),
    FailureClass.PROTOCOL_ERROR: Consequence(
        True, False, "The server's answer breaks the rules of HTTP; report it to the site if it stays so."
    ),
    FailureClass.BROWSER_MISSING: Consequence(
        False, False, "Install Chromium (`playwright install chromium`, or Debian's chromium package)."
    ),
    FailureClass.PROXY_FAILED: Consequence(
        True,
        False,
        "A proxy of the settings does not work; it rests for a while. Check it, or remove it from the list.",
    ),
    FailureClass.TRANSIENT: Consequence(True, False, "It is asked again later."),
}


class FetchError(Exception):
    """A request failed. ``failure``: its class; ``detail``: what was seen."""

    def __init__(
        self, failure: FailureClass, detail: str, *, status: int | None = None, retry_after_s: float | None = None
    ):
        super().__init__(f"{failure}: {detail}")
        self.failure = failure
        self.detail = detail
        self.status = status
        self.retry_after_s = retry_after_s
