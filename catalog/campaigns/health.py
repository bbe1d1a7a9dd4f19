"""Does a crawl run look like the earlier ones? Pure: counters in, sentences out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.campaigns import thresholds


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual for a campaign and source.

    Attributes:
        items: of the median earlier run; None where no run can be compared (lists were left early).
        read: items that were read from pages, over all earlier runs.
        shares: of those, the share that had each field.
    """

    items: float | None
    read: int
    shares: Mapping[str, float]


def usual(earlier: Sequence[Mapping[str, Any]]) -> Usual | None:
    """What the counters of earlier runs say is usual; None with too few runs."""
    if len(earlier) < thresholds.MIN_EARLIER_RUNS:
        return None
    whole = [int(counters.get("items", 0)) for counters in earlier if not counters.get("lists_left")]
    fields: dict[str, int] = {}
    for counters in earlier:
        for name, count in counters.get("fields", {}).items():
            fields[name] = fields.get(name, 0) + int(count)
    read = sum(int(counters.get("read_items", 0)) for counters in earlier)
    return Usual(
        statistics.median(whole) if len(whole) >= thresholds.MIN_EARLIER_RUNS else None,
        read,
        {name: count / read for name, count in fields.items()} if read else {},
    )


def lost_fields(counters: Mapping[str, Any], before: Usual) -> list[str]:
    """A sentence for each field that far fewer items have than usual."""
    read = int(counters.get("read_items", 0))
    if read < thresholds.MIN_ITEMS or before.read < thresholds.MIN_ITEMS:
        return []
    fields = counters.get("fields", {})
    found = []
    for name, share in sorted(before.shares.items()):
        now = int(fields.get(name, 0)) / read
        if share >= thresholds.USUAL_FIELD and share - now > thresholds.MAX_FIELD_FALL:
            found.append(f"{name}: in {now:.0%} of {read} items, usually in {share:.0%}")
    return found


def lost_items(counters: Mapping[str, Any], before: Usual) -> list[str]:
    """A sentence if a run that has ended brought far fewer items than usual."""
    items = int(counters.get("items", 0))
    if before.items is None or counters.get("lists_left") or before.items < thresholds.MIN_ITEMS:
        return []
    if items >= thresholds.MIN_ITEMS_SHARE * before.items:
        return []
    return [f"{items} items, usually {before.items:.0f}"]
