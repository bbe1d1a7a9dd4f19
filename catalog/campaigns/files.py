"""Reads a campaign file and reports everything that is wrong with it, each with its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from catalog.campaigns.document import MAX_BYTES, Document, Path, Problem, parse, scalar
from catalog.campaigns.spec import (
    AUDIO_POLICIES,
    Approval,
    CampaignSpec,
    Limits,
    Politeness,
    Refresh,
    Revisit,
    Schedule,
    SourceSpec,
)

_REFERENCE = re.compile(r"(\$?)\$\{([^{}]*)\}")
_MODELS: Final[dict[tuple[str, ...], type[BaseModel]]] = {
    (): CampaignSpec,
    ("sources",): SourceSpec,
    ("sources", "politeness"): Politeness,
    ("sources", "limits"): Limits,
    ("approval",): Approval,
    ("revisit",): Revisit,
    ("refresh",): Refresh,
    ("schedule",): Schedule,
}
_TYPES: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of keys and values",
    "model_type": "a mapping of keys and values",
    "invalid-json-value": "plain values",
}


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What a campaign must know of an adapter; `runtime` builds it from the adapter's class.

    Attributes:
        audio_policy: the most that the source permits, one of `AUDIO_POLICIES`.
        engine: how its pages are fetched.
        delay_s, concurrency, respect_robots: the adapter's own politeness, used where a campaign says nothing.
        check_seeds: raises ValueError on a source entry whose seeds the adapter does not understand.
    """

    name: str
    audio_policy: str
    engine: str
    delay_s: float = 1.0
    concurrency: int = 2
    respect_robots: bool = True
    check_seeds: Callable[[SourceSpec], None] | None = None


class CampaignFileError(ValueError):
    """The file cannot be used; ``problems`` in line order."""

    code = "bad_campaign_file"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = list(problems)


def load(
    path: FilePath | str, overrides: Mapping[str, str] | None = None, adapters: Mapping[str, AdapterFacts] | None = None
) -> CampaignSpec:
    """The checked campaign in a file, its parameters filled in and its defaults taken from the adapters.

    Raises CampaignFileError with every problem, also for a file that cannot be read.
    """
    name = str(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CampaignFileError(
            [Problem("unreadable", name, 0, 0, "", f"cannot be read: {error.strerror}", "a readable YAML file")]
        ) from None
    if len(data) > MAX_BYTES:
        raise CampaignFileError(
            [Problem("too_large", name, 0, 0, "", "the file is too large", f"at most {MAX_BYTES // 1024} KiB")]
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CampaignFileError([Problem("encoding", name, line, 1, "", "not UTF-8 here", "UTF-8 text")]) from None
    return load_text(text, name, overrides, adapters)


def load_text(
    text: str,
    file: str,
    overrides: Mapping[str, str] | None = None,
    adapters: Mapping[str, AdapterFacts] | None = None,
) -> CampaignSpec:
    """`load` for text at hand. ``adapters`` None: adapters are not checked."""
    document = parse(text, file)
    if not document.problems and not isinstance(document.value, dict):
        document.add("wrong_type", (), "a campaign is a mapping", allowed=", ".join(CampaignSpec.model_fields))
    if not isinstance(document.value, dict):
        raise CampaignFileError(document.problems)

    parameters = _parameters(document, overrides or {})
    data = _expand(document, {**document.value, "parameters": parameters}, (), parameters)
    if "parameters" not in document.value and not parameters:
        del data["parameters"]
    _check_sources(document, data.get("sources"), adapters)
    spec: CampaignSpec | None = None
    try:
        spec = CampaignSpec.model_validate(data)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            _add(document, each)
    if adapters is not None and data.get("kind") != "refresh":
        _check_seeds(document, data.get("sources"), adapters)
    if document.problems or spec is None:
        raise CampaignFileError(sorted(document.problems, key=lambda each: (each.line, each.column)))
    return resolve(spec, adapters or {})


def resolve(spec: CampaignSpec, adapters: Mapping[str, AdapterFacts]) -> CampaignSpec:
    """The spec with what it leaves to the adapters filled in."""
    sources = []
    for source in spec.sources:
        adapter = source.adapter or source.name
        facts = adapters.get(adapter, AdapterFacts(adapter, "none", ""))
        given = source.politeness
        politeness = given.model_copy(
            update={
                "delay": facts.delay_s if given.delay is None else given.delay,
                "concurrency": facts.concurrency if given.concurrency is None else given.concurrency,
                "robots": facts.respect_robots if given.robots is None else given.robots,
            }
        )
        sources.append(
            source.model_copy(
                update={
                    "source": source.name,
                    "adapter": adapter,
                    "audio": source.audio or facts.audio_policy,
                    "politeness": politeness,
                }
            )
        )
    return spec.model_copy(update={"sources": sources})


def _parameters(document: Document, overrides: Mapping[str, str]) -> Any:
    given = document.value.get("parameters")
    if given is not None and not isinstance(given, dict):
        return given
    parameters = dict(given or {})
    for name, value in parameters.items():
        if isinstance(value, str) and _REFERENCE.search(value):
            document.add(
                "nested_parameter", ("parameters", name), "a parameter refers to none", allowed="a plain value"
            )
    for name, text in overrides.items():
        if name not in parameters:
            document.problems.append(
                Problem(
                    "unknown_parameter",
                    document.file,
                    0,
                    0,
                    f"--set {name}",
                    "the file has no such parameter",
                    ", ".join(parameters) or "none: the file has no parameters",
                    _guess(name, parameters),
                )
            )
            continue
        parameters[name] = text if isinstance(parameters[name], str) else scalar(text)
    return parameters


def _expand(document: Document, value: Any, path: Path, parameters: Any) -> Any:
    if path == ("parameters",):
        return value
    if isinstance(value, dict):
        return {key: _expand(document, each, (*path, key), parameters) for key, each in value.items()}
    if isinstance(value, list):
        return [_expand(document, each, (*path, number), parameters) for number, each in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    known = parameters if isinstance(parameters, dict) else {}

    def fill(match: re.Match[str]) -> str:
        if match[1]:  # $${name} stands for ${name} itself
            return match[0][1:]
        if match[2] not in known:
            document.add(
                "undefined_parameter",
                path,
                f"no parameter named {match[2]!r}",
                allowed=", ".join(known) or "none: the file has no parameters",
                hint=_guess(match[2], known),
            )
            return match[0]
        filled = known[match[2]]
        return str(filled).lower() if isinstance(filled, bool) else str(filled)

    whole = _REFERENCE.fullmatch(value)
    if whole and not whole[1] and whole[2] in known:
        return known[whole[2]]  # keeps the type, so that numbers can be parameters too
    return _REFERENCE.sub(fill, value)


def _check_sources(document: Document, sources: Any, adapters: Mapping[str, AdapterFacts] | None) -> None:
    seen: dict[str, int] = {}
    for number, source in enumerate(sources if isinstance(sources, list) else []):
        if not isinstance(source, dict):
            continue
        path: Path = ("sources", number)
        key = "adapter" if source.get("adapter") is not None else "source"
        adapter = source.get(key)
        if adapter is None:
            document.add("missing_key", path, "a source needs `source` or `adapter`", allowed="source, adapter")
            continue
        name = source.get("source") or adapter
        if isinstance(name, str) and name in seen:
            first = document.place(("sources", seen[name]))[0]
            at: Path = (*path, "source") if source.get("source") is not None else (*path, "adapter")
            document.add(
                "duplicate_source",
                at,
                f"a second source named {name!r}; the first is in line {first}",
                allowed="a name once",
            )
        elif isinstance(name, str):
            seen[name] = number
        if adapters is None or not isinstance(adapter, str):
            continue
        facts = adapters.get(adapter)
        if facts is None:
            document.add(
                "unknown_adapter",
                (*path, key),
                f"no source named {adapter!r}",
                allowed=", ".join(sorted(adapters)),
                hint=_guess(adapter, adapters),
            )
            continue
        audio = source.get("audio")
        most = AUDIO_POLICIES.index(facts.audio_policy)
        if audio in AUDIO_POLICIES and AUDIO_POLICIES.index(audio) > most:
            document.add(
                "audio_not_permitted",
                (*path, "audio"),
                f"{adapter} permits at most {facts.audio_policy!r}",
                allowed=", ".join(AUDIO_POLICIES[: most + 1]),
            )


def _check_seeds(document: Document, sources: Any, adapters: Mapping[str, AdapterFacts]) -> None:
    for number, entry in enumerate(sources if isinstance(sources, list) else []):
        try:
            source = SourceSpec.model_validate(entry)
        except ValidationError:
            continue
        facts = adapters.get(source.adapter or source.name)
        if facts is None or facts.check_seeds is None:
            continue
        try:
            facts.check_seeds(source)
        except ValueError as error:
            document.add("bad_seed", ("sources", number, *_blamed(source, str(error))), str(error))


def _blamed(source: SourceSpec, message: str) -> Path:
    """What of a source an adapter complains of: its messages begin with the key's name."""
    key, _, rest = message.partition(":")[0].partition(".")
    if key == "options" and rest in source.options:
        return (key, rest)
    if key in ("search", "options", "follow"):
        return (key,)
    named = [place for place, seed in enumerate(source.seeds) if seed in message]
    return ("seeds", named[0]) if named else ("seeds",)


def _add(document: Document, error: ErrorDetails) -> None:
    kind, context = error["type"], error.get("ctx", {})
    path: Path = tuple(error["loc"])
    if path[:1] == ("parameters",):
        if path[-1] == "[key]":
            document.add("bad_name", path[:2], "not a parameter's name", allowed=str(context["pattern"]), of_key=True)
        else:
            document.add("wrong_type", path[:2], "a parameter is one value", allowed="text, a number, true or false")
        return
    if kind == "extra_forbidden":
        fields = _MODELS[tuple(part for part in path[:-1] if isinstance(part, str))].model_fields
        guess = _guess(str(path[-1]), fields)
        document.add("unknown_key", path, "unknown key", allowed=", ".join(fields), hint=guess, of_key=True)
    elif "message" in context:
        document.add(kind, path, context["message"], allowed=context["allowed"], hint=context["hint"])
    elif kind == "missing":
        document.add("missing_key", path, "is missing", allowed="see docs/campaign.schema.json")
    elif kind in _TYPES:
        document.add("wrong_type", path, "wrong type", allowed=_TYPES[kind])
    elif kind == "literal_error":
        expected = str(context["expected"])
        document.add(
            "not_allowed", path, "not one of those allowed", allowed=expected.replace(" or ", ", ").replace("'", "")
        )
    elif kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        words = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
        allowed = ", ".join(f"{words[sign]} {bound:g}" for sign, bound in context.items())
        document.add("out_of_range", path, "out of range", allowed=allowed)
    elif kind == "string_pattern_mismatch":
        document.add("bad_name", path, "not a name", allowed=str(context["pattern"]))
    elif kind in ("too_long", "string_too_long"):
        document.add("too_long", path, "too long", allowed=f"at most {context['max_length']}")
    elif kind in ("too_short", "string_too_short"):
        document.add("too_short", path, "too short", allowed=f"at least {context['min_length']}")
    else:
        document.add("bad_value", path, error["msg"])


def _guess(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""
