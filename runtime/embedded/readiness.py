"""How a part without a port says that it is ready: a file ``DATA/run/<part>.ready`` that holds its process id.

The part calls `announce` when it can work; the supervisor asks `is_ready` with the id of the process it started, so a
file left by a predecessor means nothing.
"""

from __future__ import annotations

import os
from pathlib import Path


def path(data_dir: Path, part: str) -> Path:
    """Where the part announces itself."""
    return data_dir / "run" / f"{part}.ready"


def announce(data_dir: Path, part: str = "worker") -> None:
    """Says that this process is ready; safe to repeat."""
    target = path(data_dir, part)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(f".{os.getpid()}")
    fresh.write_text(str(os.getpid()))
    fresh.replace(target)


def withdraw(data_dir: Path, part: str = "worker") -> None:
    """Says that the part is ready no more (it is stopping, or it is about to be started)."""
    path(data_dir, part).unlink(missing_ok=True)


def is_ready(data_dir: Path, part: str, pid: int | None) -> bool:
    """True if the process ``pid`` has announced itself."""
    try:
        return pid is not None and path(data_dir, part).read_text().strip() == str(pid)
    except OSError:
        return False
