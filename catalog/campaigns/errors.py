"""How a campaign's record can refuse. ``code`` is stable; nothing has changed when one of these is raised."""

from __future__ import annotations


class CampaignError(Exception):
    """Base of all; the message names the remedy."""

    code = "campaign_error"


class CampaignNotFoundError(CampaignError):
    """There is no such campaign."""

    code = "campaign_not_found"


class CampaignBusyError(CampaignError):
    """The campaign has runs under way."""

    code = "campaign_busy"


class RunNotFoundError(CampaignError):
    """There is no such crawl run."""

    code = "run_not_found"


class BadCursorError(CampaignError):
    """The cursor is from elsewhere."""

    code = "bad_cursor"
