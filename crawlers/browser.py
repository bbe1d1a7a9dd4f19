"""Which Chromium, and how it is started."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "no Chromium: set PLAYWRIGHT_CHROMIUM_EXECUTABLE, run `playwright install chromium`, "
    "or install the chromium package"
)
_BINARIES = (
    "chrome-linux*/chrome",
    "chrome-linux*/headless_shell",
    "chrome-headless-shell-*/chrome-headless-shell",
    "chrome-mac*/Chromium.app/Contents/MacOS/Chromium",
    "chrome-mac*/*.app/Contents/MacOS/*",
    "chrome-win*/chrome.exe",
)


def find_chromium() -> str | None:
    """Path of a Chromium: PLAYWRIGHT_CHROMIUM_EXECUTABLE, Playwright's own download, or one on PATH."""
    if named := os.environ.get("PLAYWRIGHT_CHROMIUM_EXECUTABLE"):
        return named if os.access(named, os.X_OK) else shutil.which(named)
    if (own := _playwright_download()) is not None:
        return own
    for name in NAMES:
        if (found := shutil.which(name)) is not None:
            return found
    return None


def _browsers_folder() -> Path:
    """Where Playwright keeps its downloads."""
    if (named := os.environ.get("PLAYWRIGHT_BROWSERS_PATH")) and named != "0":
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ms-playwright"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home() / "AppData" / "Local"))) / "ms-playwright"
    return Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))) / "ms-playwright"


def _playwright_download() -> str | None:
    for folder in sorted(_browsers_folder().glob("chromium*-*"), reverse=True):
        for pattern in _BINARIES:
            for path in folder.glob(pattern):
                if path.is_file() and os.access(path, os.X_OK):
                    return str(path)
    return None


def launch_options(executable: str) -> dict[str, Any]:
    """Arguments of Playwright's ``launch``: quiet, headless, and its signals left to the worker."""
    arguments = [
        "--disable-background-networking",
        "--disable-quic",
        "--no-first-run",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        # WebRTC would open UDP sockets past the proxy, and with it past the address guard.
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--dns-prefetch-disable",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses to start as root with it
    return {
        "executable_path": executable,
        "headless": True,
        "args": arguments,
        "handle_sigint": False,
        "handle_sigterm": False,
        "handle_sighup": False,
    }
