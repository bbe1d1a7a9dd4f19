"""A Python environment beside ours, for what is only measured against: made once, from a hashed lock of its own.

The lock resolves for all platforms and could be part of the main one; but then everybody who runs the demo would
install a second crawler.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).with_name("requirements.lock")
FOLDER = Path(__file__).resolve().parent.parent / ".venv-bench"


def python(folder: Path = FOLDER) -> str:
    """The environment's interpreter; the environment is made anew where the lock has changed.

    Raises subprocess.CalledProcessError when it cannot be installed.
    """
    interpreter, mark = folder / "bin" / "python", folder / "lock.sha256"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not (mark.exists() and mark.read_text() == digest and interpreter.exists()):
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--require-hashes", "-r", str(LOCK)], check=True)
        mark.write_text(digest)
    return str(interpreter)
