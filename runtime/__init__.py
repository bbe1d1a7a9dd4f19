"""The composition root: settings, embedded stack, worker, command line."""

import os

# Before numpy is imported by anybody: as many recordings are analysed at once as there are cores, and OpenBLAS's own
# threads would only spin between products that are small, for a third of the worker's CPU time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
