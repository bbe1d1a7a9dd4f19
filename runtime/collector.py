"""Python's garbage collector in a process that lives long.

Each full collection walks every object that is alive. A worker has a quarter of a million of them before its first page
(Scrapy, Temporal, SQLAlchemy, yt-dlp's extractors), none of which ever becomes garbage: a crawl of 2,000 pages spent a
quarter of its CPU time on them, in pauses of 0.1 s to 0.5 s in which nothing else ran.
"""

from __future__ import annotations

import gc

YOUNG = 10_000
"""So many more containers than were freed before the youngest are looked at. Python's 700 are less than the items and
links of the pages that are under way at any moment, so that it would look at all of them again and again."""


def settle() -> None:
    """To be called when a process is ready: what is alive now counts as staying, and is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
