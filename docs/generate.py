"""The generated parts of the documentation: ``make docs`` writes them, a test checks that they are current.

``cli.md`` and ``campaign.schema.json`` are generated as a whole; other documents hold generated blocks between
``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer.main

from adapters.contract import adapter_names, get_adapter
from catalog.campaigns.schema import schema_text
from catalog.campaigns.spec import campaign_schema
from crawlers.errors import CONSEQUENCES
from media.types import AUDIO_REMEDIES
from runtime.cli import build_app

DOCS = Path(__file__).parent
_BLOCK = re.compile(r"(<!-- generated: ([a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Command:
    """One command line, e.g. ``versions campaign apply``."""

    words: tuple[str, ...]
    command: Any
    """Click's command; newer versions of Typer bring a Click of their own, so that its types say nothing."""

    @property
    def group(self) -> bool:
        return hasattr(self.command, "commands")

    @property
    def options(self) -> list[Any]:
        return [each for each in self.command.params if each.param_type_name == "option" and not each.hidden]

    @property
    def arguments(self) -> list[Any]:
        return [each for each in self.command.params if each.param_type_name == "argument"]


def commands() -> list[Command]:
    """The root command and all public commands, groups included, in the order of their help."""

    def walk(words: tuple[str, ...], command: Any) -> Iterator[Command]:
        yield Command(words, command)
        for name, inner in getattr(command, "commands", {}).items():
            if not inner.hidden:
                yield from walk((*words, name), inner)

    return list(walk(("versions",), typer.main.get_command(build_app())))


def cli_reference() -> str:
    """The text of ``cli.md``."""
    lines = [
        "# Commands",
        "",
        "Generated from the program by `make docs`. `versions COMMAND --help` says the same.",
        "",
        "Exit status: 0 done; 1 it could not be done, with one line on standard error that says why; "
        "2 what you typed cannot be used, with the place and what is allowed.",
        "",
    ]
    for each in commands():
        lines += [f"{'#' * min(len(each.words) + 1, 4)} `{' '.join(each.words)}`", "", _sentence(each.command.help), ""]
        if not each.group:
            usage = [*each.words, *(_argument(argument) for argument in each.arguments)]
            lines += ["```text", " ".join([*usage, *(["[OPTIONS]"] if each.options else [])]), "```", ""]
        rows = [(f"`{_argument(argument)}`", _cell(getattr(argument, "help", None)), "") for argument in each.arguments]
        rows += [(_spelling(option), _cell(option.help), _default(option)) for option in each.options]
        if rows:
            lines += ["| Option | Meaning | Default |", "|---|---|---|"]
            lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
    return "\n".join(lines).rstrip() + "\n"


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str | None) -> str:
    return _sentence(text).replace("|", "\\|")


def _argument(argument: Any) -> str:
    name = argument.metavar or (argument.name or "").upper()
    return f"{name.rstrip('…')}…" if argument.nargs != 1 else name


def _spelling(option: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar or _kind(option)}"
    names = [*sorted(option.opts, key=len, reverse=True), *option.secondary_opts]
    return ", ".join(f"`{name}{value}`" for name in names)


def _kind(option: Any) -> str:
    described = getattr(option, "type_descriptor", None)
    annotation = str(described.annotation if described else option.type)
    return "N" if "int" in annotation else "PATH" if "Path" in annotation else "TEXT"


def _default(option: Any) -> str:
    value = option.default
    if option.is_flag:
        return f"`{option.opts[0]}`" if value and option.secondary_opts else ""
    return "" if value in (None, "") or callable(value) else f"`{value}`"


def failures() -> str:
    """Failure classes with what follows and the operator's remedy."""
    rows = []
    for failure, follows in CONSEQUENCES.items():
        then = "asked again, later" if follows.retry else "final"
        rows.append(f"| `{failure}` | {then}{', marked as removed' if follows.gone else ''} | {follows.remedy} |")
    return "\n".join(["| Class | What follows | What to do |", "|---|---|---|", *rows])


def audio() -> str:
    """Classes of audio that cannot be used."""
    rows = [f"| `{code}` | {remedy} |" for code, remedy in AUDIO_REMEDIES.items()]
    return "\n".join(["| Class | What to do |", "|---|---|", *rows])


def adapters() -> str:
    """The adapters there are."""
    rows = []
    for name in adapter_names():
        each = get_adapter(name)
        polite = each.politeness
        rows.append(
            f"| `{name}` | {each.summary} | {each.engine} | {each.audio_policy} "
            f"| {polite.delay_s:g} s, {polite.concurrency} at a time |"
        )
    return "\n".join(["| Adapter | Reads | Engine | Audio, at most | Politeness |", "|---|---|---|---|---|", *rows])


def campaign() -> str:
    """The keys of a campaign file."""
    schema = campaign_schema()
    parts = [_keys(schema, schema["$defs"])]
    for title, name in (
        ("`sources[]`", "SourceSpec"),
        ("`sources[].politeness`", "Politeness"),
        ("`sources[].limits`", "Limits"),
        ("`approval`", "Approval"),
        ("`revisit`", "Revisit"),
        ("`refresh`", "Refresh"),
        ("`schedule`", "Schedule"),
    ):
        model = schema["$defs"][name]
        parts.append(f"#### {title}\n\n{_keys(model, schema['$defs'])}")
    return "\n\n".join(parts)


def _keys(model: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    rows = []
    for name, form in model["properties"].items():
        default = "required" if name in model.get("required", ()) else _json(form.get("default"))
        rows.append(f"| `{name}` | {_form(form, models)} | {default} | {_cell(form.get('description'))} |")
    return "\n".join(["| Key | Value | Default | Meaning |", "|---|---|---|---|", *rows])


def _json(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        return ", ".join(f"`{each}`" for each in value) if isinstance(value, list) and value else ""
    if isinstance(value, float) and value >= 86400:
        return f"`{value / 86400:g}d`"
    if isinstance(value, (int, float)):
        return f"`{int(value) if value == int(value) else value:_}`"
    return f"`{value}`" if value else ""


def _form(form: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "$ref" in form:
        return "see below"
    if "anyOf" in form:
        options = [each for each in form["anyOf"] if each.get("type") != "null"]
        if {each.get("type") for each in options} == {"number", "string"} and len(options) > 1:
            return 'seconds, or "90s", "15m", "6h", "2d"'
        return " or ".join(dict.fromkeys(_form(each, models) for each in options))
    if "const" in form:
        return f"`{form['const']}`"
    if "enum" in form:
        return ", ".join(f"`{value}`" for value in form["enum"])
    if form.get("type") == "array":
        return f"list of {_form(form['items'], models)}"
    words = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "object": "mapping",
    }
    low, high = form.get("minimum", form.get("exclusiveMinimum")), form.get("maximum")
    bounds = f", {low:_} to {high:_}" if None not in (low, high) else ""
    return words.get(form.get("type", ""), "any value") + bounds


BLOCKS: dict[str, Callable[[], str]] = {
    "failures": failures,
    "audio": audio,
    "adapters": adapters,
    "campaign": campaign,
}


def generated() -> dict[Path, str]:
    """What each file with generated parts has to say now."""
    result = {DOCS / "cli.md": cli_reference(), DOCS / "campaign.schema.json": schema_text()}
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if path not in result and _BLOCK.search(text):
            result[path] = _BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}", text)
    return result


def main() -> int:
    """Entry point of ``python -m docs.generate``; with ``--check``, status 1 if something is not current."""
    check, stale = "--check" in sys.argv[1:], []
    for path, text in generated().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.name)
        if not check:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"{'not current' if check else 'written'}: {', '.join(stale)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
