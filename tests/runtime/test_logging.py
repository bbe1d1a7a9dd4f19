"""Secrets stay out of logs, and JSON lines are JSON."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.logging import configure, get_logger, redact


@pytest.fixture(autouse=True)
def _own_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = handlers, level


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql+psycopg://u:p%40ss@h/db", "postgresql+psycopg://u:***@h/db"),
        ("redis://:secret@h:1", "redis://:***@h:1"),
        ("password=abc, next", "password=***, next"),
        ('{"secret_key": "abc"}', '{"secret_key": ***"}'),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("http://127.0.0.1:8000/a@b", "http://127.0.0.1:8000/a@b"),
        ("nothing here: 12:30", "nothing here: 12:30"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_json_lines(tmp_path: Path) -> None:
    stream = io.StringIO()
    file = tmp_path / "logs" / "x.log"
    configure("INFO", file=file, stream=stream)
    try:
        raise ValueError("cannot reach postgresql://u:geheim@h/x")
    except ValueError:
        get_logger("a").exception("failed for %s", "redis://u:geheim@h", extra={"part": "api", "tries": 3})
    get_logger("a").debug("not written")
    line = json.loads(stream.getvalue())
    assert (line["level"], line["logger"], line["part"], line["tries"]) == ("error", "a", "api", 3)
    assert "ValueError" in line["error"]
    assert "geheim" not in stream.getvalue() + file.read_text()
    assert json.loads(file.read_text())["message"] == line["message"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_terminal_lines_are_short() -> None:
    stream = io.StringIO()
    configure("INFO", stream=stream, json_lines=False)
    get_logger("runtime.x").info("ready", extra={"part": "api", "pid": None})
    assert stream.getvalue().endswith("info    runtime.x: ready part=api\n")
