"""Logging: JSON lines where a machine reads, short lines on a terminal, secrets nowhere."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

_URL_PASSWORD = re.compile(r"(?P<head>[a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@]*):[^\s/@]+@")
_NAMED = re.compile(
    r"(?i)(?P<head>(?:password|passwd|secret(?:_key)?|access_key|api_key|token|authorization|auth_key)[\"']?\s*[=:]\s*)"
    r"(?:(?:bearer|basic)\s+)?[\"']?[^\s\"',;&]+"
)
_STANDARD = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}
_FILE_BYTES = 10 * 1024 * 1024


def redact(text: str) -> str:
    """The text with passwords in URLs and values of things named like secrets replaced by ``***``."""
    return _NAMED.sub(r"\g<head>***", _URL_PASSWORD.sub(r"\g<head>:***@", text))


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD and not key.startswith("_")}


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time (UTC, ISO 8601), level, logger, message, whatever ``extra`` brought, error."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        for key, value in _extras(record).items():
            simple = value is None or isinstance(value, bool | int | float)
            entry[key] = value if simple else redact(str(value))
        if record.exc_info:
            entry["error"] = redact(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


class TerminalFormatter(logging.Formatter):
    """One short line for a person."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line (more with a traceback)."""
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        extras = " ".join(f"{key}={value}" for key, value in _extras(record).items() if value is not None)
        line = f"{time} {record.levelname.lower():7} {record.name}: {record.getMessage()} {extras}".rstrip()
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redact(line)


def get_logger(name: str) -> logging.Logger:
    """The logger of a module."""
    return logging.getLogger(name)


def configure(
    level: str = "INFO", *, file: Path | None = None, stream: TextIO | None = None, json_lines: bool | None = None
) -> None:
    """Sets up the root logger of this process, in place of whatever was set up before.

    Args:
        level: the least level that is written, by name.
        file: JSON lines go there too; bounded to two files of 10 MiB.
        stream: standard error by default.
        json_lines: the form on ``stream``; default: JSON unless it is a terminal.
    """
    target = stream or sys.stderr
    as_json = not target.isatty() if json_lines is None else json_lines
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    terminal = logging.StreamHandler(target)
    terminal.setFormatter(JsonFormatter() if as_json else TerminalFormatter())
    root.addHandler(terminal)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
        rotating = RotatingFileHandler(file, maxBytes=_FILE_BYTES, backupCount=1, encoding="utf-8")
        rotating.setFormatter(JsonFormatter())
        root.addHandler(rotating)
    root.setLevel(level.upper())
