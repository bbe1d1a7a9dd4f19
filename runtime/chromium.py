"""Finds Chromium, or gets it: Playwright's own where it can be downloaded, else Debian's package where we are root.

``python -m runtime.chromium`` says which one is used; status 1 if there is none and none can be had.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

from crawlers.browser import find_chromium

_DOWNLOAD_S = 300
_PACKAGES_S = 600

REMEDY = (
    "install Chromium: `.venv/bin/playwright install chromium`, or on Debian as root `apt-get install chromium`, "
    "or name one in PLAYWRIGHT_CHROMIUM_EXECUTABLE"
)


def ensure_chromium(say: Callable[[str], None] = lambda line: None) -> str | None:
    """The executable; None where there is none and none can be had. ``say`` is told what is being tried."""
    found = find_chromium()
    if found is not None:
        return found
    say("no Chromium here: trying Playwright's download …")
    _run([sys.executable, "-m", "playwright", "install", "chromium"], _DOWNLOAD_S)
    found = find_chromium()
    if found is None and hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        say("trying Debian's chromium package …")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        _run(["apt-get", "update", "-qq"], _PACKAGES_S, environment)
        _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], _PACKAGES_S, environment)
        found = find_chromium()
    return found


def _run(command: list[str], timeout_s: float, environment: dict[str, str] | None = None) -> None:
    """Whether it worked is seen by looking for Chromium again."""
    try:
        subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return


def main() -> int:
    """Entry point."""
    found = ensure_chromium(lambda line: print(line, file=sys.stderr))
    if found is None:
        print(f"no Chromium: what needs a browser is left out; {REMEDY}", file=sys.stderr)
        return 1
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
