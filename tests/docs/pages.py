"""The documents, and what stands in them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced code block. ``line``: of its first line in the document."""

    document: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


def documents() -> list[Path]:
    """All Markdown files of the project."""
    folders = [ROOT, ROOT / "docs", ROOT / "docs" / "decisions"]
    return [path for folder in folders for path in sorted(folder.glob("*.md"))]


def blocks(*languages: str) -> list[Block]:
    """All fenced blocks of these languages."""
    result = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        for found in _FENCE.finditer(text):
            if found[1] in languages:
                line = text.count("\n", 0, found.start()) + 2
                result.append(Block(str(path.relative_to(ROOT)), line, found[1], found[2]))
    return result


def prose(path: Path) -> str:
    """A document without its code blocks."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def tracked_files() -> list[Path]:
    """What the repository holds; of an unpacked archive, what lies there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and not {".venv", ".data", ".git"} & set(path.parts)]
