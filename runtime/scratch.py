"""Folders for half-finished work: one per process, removed by the next worker when its owner was killed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from runtime.embedded import process

_NAME = re.compile(r"worker-(\d+)-(\d+)")


def own_folder(parent: Path) -> Path:
    """This process's folder in ``parent``; what killed processes left there is removed first.

    The name carries the process's start time, for ids are used again.
    """
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in parent.iterdir():
        found = _NAME.fullmatch(folder.name)
        if found and process.find(int(found[1]), float(found[2])) is None:
            shutil.rmtree(folder, ignore_errors=True)
    folder = parent / f"worker-{os.getpid()}-{int(process.create_time(os.getpid()) or 0)}"
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder
