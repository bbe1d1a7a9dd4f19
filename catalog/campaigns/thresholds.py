"""When a crawl looks broken and when a source looks gone. Nothing here was fitted: each figure says why it stands."""

EARLIER_RUNS = 5
"""So many earlier runs of the same campaign, source and settings are compared with: a site that changes slowly is
judged by its recent past."""

MIN_EARLIER_RUNS = 2
"""Fewer say nothing of what is usual: the first run may itself have been the odd one."""

MIN_ITEMS = 20
"""Fewer items read from pages are not judged by their fields: of 20, a share that falls from 0.8 to 0.5 by chance alone
does so in one of 500 runs (binomial)."""

PROBATION_ITEMS = 50
"""Items that are read and judged before the first of a run is handed on. Enough to notice a fall by `MAX_FIELD_FALL`
almost surely, and a few seconds of most crawls."""

USUAL_FIELD = 0.3
"""A field that fewer of the earlier items had is no promise of the site."""

MAX_FIELD_FALL = 0.3
"""A field may be missing in so much more of the items than before (0.9 → 0.6). A changed layout loses a field in all
items or in those of one kind of page; a fall by a few hundredths is other items."""

MIN_ITEMS_SHARE = 0.6
"""A run brings at least this share of the items of the median earlier run. Sites shrink slowly; what takes two fifths
at once is an adapter that does not understand a part of it any more, or a site that closed to us."""

PASSING_CHECK_WINDOW_H = 24.0
"""Hours over which the checks of one source are looked at together."""

MASS_MIN_GONE = 5
"""Fewer sources that seem gone are single removals: one uploader who leaves takes some of his with him."""

MASS_SHARE = 0.3
"""If so many of the sources looked at in the window seem gone, the site has a fault, has changed its addresses or has
closed to us: sites lose some per cent a year, fast deleting ones some per cent a month."""

GONE_BY_THEN = 0.05
"""A source is looked at again when the probability that it has vanished since reaches this."""

MIN_CHECK_INTERVAL_S = 86_400.0
MAX_CHECK_INTERVAL_S = 60 * 86_400.0
"""Seconds between two looks at an available source, whatever its site's past says."""

PRIOR_YEARS_TO_VANISH = 5.0
"""What is believed of a site without a past, with the weight of one vanished source."""

CHECKS_KEPT_DAYS = 90
"""Single checks are kept so long; their sums stand with the sources."""

HASTY_SHARES = (0.03, 0.1)
"""A site that loses such a share of its sources in a month is crawled and fetched ahead of others by one step, by two.
Sites usually lose some per cent a year (`PRIOR_YEARS_TO_VANISH` is 1.6 % a month)."""
