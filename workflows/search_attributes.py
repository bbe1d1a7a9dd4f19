"""The search attributes by which workflows are found in Temporal's UI."""

from __future__ import annotations

from temporalio.common import SearchAttributeKey

CAMPAIGN = SearchAttributeKey.for_keyword("VersionsCampaign")
SOURCE = SearchAttributeKey.for_keyword("VersionsSource")
STATE = SearchAttributeKey.for_keyword("VersionsState")
