"""How processes that hear one recording after another hold their memory."""

from __future__ import annotations

KEEPING = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
"""For glibc, in the environment: what was given back is kept for the next recording. Returned to the system, its pages
would have to be cleared anew: some two percent of the CPU time of an ingest."""
