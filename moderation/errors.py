"""How a decision can be refused. ``code`` is stable; nothing has changed when one of these is raised."""

from __future__ import annotations


class ModerationError(Exception):
    """Base of all; ``code`` is stable, the message names the field and the remedy."""

    code = "moderation_error"


class CaseNotFoundError(ModerationError):
    """There is no such case."""

    code = "case_not_found"


class NoPictureError(ModerationError):
    """The proposal has no picture."""

    code = "no_picture"


class CaseClosedError(ModerationError):
    """The case was decided, applied or expired already."""

    code = "case_closed"


class CaseChangedError(ModerationError):
    """Somebody changed the case since it was read: read it again."""

    code = "case_changed"


class BadDecisionError(ModerationError):
    """The decision's fields do not fit together, or its target does not exist."""

    code = "bad_decision"


class ForbiddenLinkError(ModerationError):
    """Somebody said that these must not be linked."""

    code = "forbidden_link"


class MembersDisagreeError(ModerationError):
    """A merge must satisfy the worst pair of sources too, and this one does not."""

    code = "members_disagree"


class BadCursorError(ModerationError):
    """The cursor was not given out by this list."""

    code = "bad_cursor"
