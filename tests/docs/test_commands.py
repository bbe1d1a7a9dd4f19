"""Commands that documents show exist, with these options; every command is documented."""

from __future__ import annotations

import re
import shlex

import pytest

from docs.generate import Command, cli_reference, commands
from tests.docs.pages import ROOT, blocks, documents, prose

BY_WORDS = {each.words: each for each in commands()}
SHOWN = [
    (block.place, line)
    for block in blocks("sh")
    for line in block.text.splitlines()
    if re.match(r"(\S+/)?versions ", line)
]


def find(words: list[str]) -> tuple[Command, list[str]]:
    """The command that these words begin with, and the rest of them."""
    depth = max(n for n in range(1, len(words) + 1) if tuple(words[:n]) in BY_WORDS)
    return BY_WORDS[tuple(words[:depth])], words[depth:]


@pytest.mark.parametrize(("place", "line"), SHOWN, ids=[f"{place}: {line}" for place, line in SHOWN])
def test_a_shown_command_exists(place: str, line: str) -> None:
    words = ["versions", *shlex.split(line, comments=True)[1:]]
    command, rest = find(words)
    assert not command.group, f"{place}: {line}: `{' '.join(command.words)}` needs a subcommand; {rest} is none"
    known = {name: option for option in command.options for name in (*option.opts, *option.secondary_opts)}
    arguments = 0
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            name = word.partition("=")[0]
            assert name in known, f"{place}: {line}: no option {name}; there are {sorted(known)}"
            if not known[name].is_flag and "=" not in word:
                assert rest, f"{place}: {line}: {name} needs a value"
                rest.pop(0)
        else:
            arguments += 1
    least = sum(argument.required for argument in command.arguments)
    many = any(argument.nargs != 1 for argument in command.arguments)
    most = 99 if many else len(command.arguments)
    assert least <= arguments <= most, f"{place}: {line}: {arguments} arguments"


def test_commands_are_shown_at_all() -> None:
    assert len(SHOWN) > 30


def test_commands_named_in_sentences_exist() -> None:
    for path in documents():
        for text in re.findall(r"`versions ([a-z -]+[a-z])", prose(path)):
            words = ["versions", *text.split()]
            command, rest = find([word for word in words if not word.startswith("-")])
            if command.group:
                assert not rest or path.name == "CHANGELOG.md", f"{path.relative_to(ROOT)}: `versions {text}`"


def test_every_command_is_in_the_reference_and_explained_in_a_guide() -> None:
    reference = cli_reference()
    guides = "".join(path.read_text(encoding="utf-8") for path in documents() if path.name != "cli.md")
    for command in BY_WORDS.values():
        assert f"`{' '.join(command.words)}`" in reference
        if not command.group:
            spelled = " ".join(command.words)
            last = f"`{command.words[-1]}`"
            assert spelled in guides or last in guides, f"`{spelled}` is in no guide"


def test_every_option_says_what_it_does() -> None:
    known = {"--limit"}
    for command in BY_WORDS.values():
        for option in command.options:
            assert option.help or set(option.opts) & known, f"{' '.join(command.words)} {option.opts}"


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for path in documents():
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)
        assert set(named) <= targets, f"{path.name}: {sorted(set(named) - targets)}"


def test_python_modules_that_are_run_exist() -> None:
    import importlib.util

    for block in blocks("sh"):
        for module in re.findall(r"python -m ([a-z_.]+)", block.text):
            assert importlib.util.find_spec(module) is not None, f"{block.place}: {module}"
