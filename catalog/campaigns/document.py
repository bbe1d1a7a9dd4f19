"""YAML with places: every value knows its line and column, so that each problem can name them.

Anchors, aliases, tags and duplicate keys are refused: a campaign file needs none, and they hide what a file says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML, events, nodes
from ruamel.yaml.error import MarkedYAMLError, YAMLError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file, and where. ``line`` and ``column`` count from 1; 0: not in the file.

    Attributes:
        code: stable.
        key: path of the key, e.g. ``sources[0].limits.max_pages``.
        allowed: what may stand there.
        hint: a guess at what was meant.
    """

    code: str
    file: str
    line: int
    column: int
    key: str
    message: str
    allowed: str = ""
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.key or '(file)'}: {self.message}"
        if self.allowed:
            text += f" (allowed: {self.allowed})"
        return f"{text}; {self.hint}" if self.hint else text


def key_path(path: Path) -> str:
    """``sources[0].limits.max_pages``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(slots=True)
class Document:
    """A parsed file: plain values and the places they came from, counted from 1."""

    file: str
    value: Any = None
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path, *, of_key: bool = False) -> tuple[int, int]:
        """Line and column of the value (or key) at this path, or of the nearest thing around it."""
        while path:
            if of_key and path in self.keys:
                return self.keys[path]
            if path in self.values:
                return self.values[path]
            path = path[:-1]
        return self.values.get((), (1, 1))

    def add(
        self, code: str, path: Path, message: str, *, allowed: str = "", hint: str = "", of_key: bool = False
    ) -> None:
        """Notes a problem; the first one of a path stands."""
        if any(known.key == key_path(path) and known.code != "duplicate_key" for known in self.problems):
            return
        self.problems.append(
            Problem(code, self.file, *self.place(path, of_key=of_key), key_path(path), message, allowed, hint)
        )


def parse(text: str, file: str) -> Document:
    """Reads one YAML document; what is wrong with it stands in ``problems``."""
    document = Document(file)
    yaml = YAML(typ="safe", pure=True)
    try:
        depth = 0
        for event in yaml.parse(text):
            mark = event.start_mark
            line, column = mark.line + 1, mark.column + 1
            depth += isinstance(event, events.CollectionStartEvent) - isinstance(event, events.CollectionEndEvent)
            if depth > MAX_DEPTH:
                document.problems.append(
                    Problem("too_deep", file, line, column, "", "nested too deeply", f"at most {MAX_DEPTH} levels")
                )
                break
            if isinstance(event, events.AliasEvent) or getattr(event, "anchor", None):
                document.problems.append(
                    Problem("alias_refused", file, line, column, "", "no anchors and aliases here")
                )
        if document.problems:
            return document
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = " ".join(str(error.problem or error.context or error).split())
        document.problems.append(Problem("syntax", file, line, column, "", message, "one YAML document"))
        return document
    except (YAMLError, ValueError) as error:
        message = " ".join(str(error).split())
        document.problems.append(Problem("syntax", file, 1, 1, "", message, "one YAML document"))
        return document
    if root is not None:
        document.value = _Reader(document, yaml).read(root, ())
    return document


class _Reader:
    def __init__(self, document: Document, yaml: YAML) -> None:
        self.document = document
        self.yaml = yaml

    def read(self, node: nodes.Node, path: Path) -> Any:
        self.document.values[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        if isinstance(node, nodes.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, nodes.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.read(item, (*path, number)) for number, item in enumerate(node.value)]
        if isinstance(node, nodes.ScalarNode):
            return self._scalar(node, path)
        self.document.add("tag_refused", path, f"no tag here: {node.tag}", allowed="plain YAML")
        return None

    def _mapping(self, node: nodes.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line, column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
            key = key_node.value if isinstance(key_node, nodes.ScalarNode) else None
            if key is None or key_node.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp"):
                shown = key_path((*path, str(key or "?")))
                self.document.problems.append(
                    Problem("bad_key", self.document.file, line, column, shown, "a key is text", "text, or quoted")
                )
                continue
            inner = (*path, key)
            if key in result:
                first = self.document.keys[inner][0]
                self.document.problems.append(
                    Problem(
                        "duplicate_key",
                        self.document.file,
                        line,
                        column,
                        key_path(inner),
                        f"stands here twice, first in line {first}",
                    )
                )
                continue
            self.document.keys[inner] = (line, column)
            if self._bad_text(key):
                self.document.add("bad_character", inner, "a character that is not text", of_key=True)
            result[key] = self.read(value_node, inner)
        return result

    def _scalar(self, node: nodes.ScalarNode, path: Path) -> Any:
        text = str(node.value)
        match str(node.tag).removeprefix("tag:yaml.org,2002:"):
            case "str" | "timestamp":
                if self._bad_text(text):
                    self.document.add("bad_character", path, "a character that is not text", allowed="Unicode text")
                return text
            case "null":
                return None
            case "int" | "float" | "bool":
                return self._number(node, path)
        self.document.add("tag_refused", path, f"no tag here: {node.tag}", allowed="plain YAML")
        return None

    def _number(self, node: nodes.ScalarNode, path: Path) -> Any:
        allowed = "a finite number of at most 30 digits"
        try:
            if len(node.value) > 40:
                raise ValueError(node.value)
            number = self.yaml.constructor.construct_object(node)
        except (ValueError, YAMLError, KeyError):
            self.document.add("bad_number", path, "not a number that can be kept", allowed=allowed)
            return None
        if isinstance(number, float) and not math.isfinite(number):
            self.document.add("bad_number", path, "not a finite number", allowed=allowed)
            return None
        return number

    @staticmethod
    def _bad_text(text: str) -> bool:
        # PostgreSQL's JSON takes neither NUL nor lone surrogates.
        return "\0" in text or any("\ud800" <= each <= "\udfff" for each in text)


def scalar(text: str) -> Any:
    """The value that YAML reads in a plain scalar; for ``--set name=value``."""
    document = parse(text, "")
    return text if document.problems or isinstance(document.value, (Mapping, list)) else document.value
