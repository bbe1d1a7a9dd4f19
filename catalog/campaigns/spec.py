"""The checked form of a campaign file.

Durations are seconds once checked; in a file they may be written ``90s``, ``15m``, ``6h``, ``2d`` as well. Own checks
raise `PydanticCustomError` whose type is the stable problem code and whose context may hold ``allowed`` and ``hint``.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import zoneinfo
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from croniter import croniter
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema
from pydantic import model_validator as after_checks
from pydantic_core import PydanticCustomError

from catalog.campaigns import thresholds

AUDIO_POLICIES: Final = ("none", "fingerprint_only", "store")
"""What may be done with audio, least first (the values of `adapters.contract.AudioPolicy`)."""
NAME_PATTERN: Final = r"^[a-z0-9-]{1,64}$"
SOURCE_PATTERN: Final = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
DURATION_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d|w)$"
MAX_REGEX_LENGTH: Final = 500
_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PARAMETER: Final = {"type": "string", "pattern": r"^\$\{[a-z][a-z0-9_]*\}$"}


def problem(code: str, message: str, *, allowed: str = "", hint: str = "") -> PydanticCustomError:
    """A validation error with a stable code."""
    return PydanticCustomError(code, "{message}", {"message": message, "allowed": allowed, "hint": hint})


def parse_duration(value: object) -> float:
    """Seconds of ``90``, ``1.5``, ``"90s"``, ``"15m"``, ``"6h"``, ``"2d"``."""
    allowed = 'seconds as a number, or text like "90s", "15m", "6h", "2d"'
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and re.fullmatch(DURATION_PATTERN, value.strip()):
        text = value.strip()
        number = re.match(r"[0-9.]+", text)
        assert number is not None
        seconds = float(number.group()) * _UNIT_S[text[number.end() :]]
    else:
        raise problem("bad_duration", "not a duration", allowed=allowed)
    if not 0 <= seconds <= 10 * 366 * 86400:
        raise problem("bad_duration", "a duration is neither negative nor longer than ten years", allowed=allowed)
    return seconds


def reduce_address(value: str) -> str:
    """``host:port`` of an address or URL; the port of a URL defaults to its scheme's."""
    allowed = "host:port, or an http or https URL"
    try:
        parts = urlsplit(value if "//" in value else f"//{value}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise problem("bad_address", f"not an address: {value!r}", allowed=allowed) from None
    if parts.scheme not in ("", "http", "https") or parts.username is not None:
        raise problem("bad_address", f"not an http address without a user name: {value!r}", allowed=allowed)
    if port is None and parts.scheme:
        port = 443 if parts.scheme == "https" else 80
    if not host or not port:
        raise problem("bad_address", f"host and port are needed: {value!r}", allowed=allowed)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", host):
            raise problem("bad_address", f"not a host name: {host!r}", allowed=allowed) from None
        return f"{host}:{port}"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def check_regex(value: str) -> str:
    """A regular expression that compiles and is not overlong."""
    if len(value) > MAX_REGEX_LENGTH:
        raise problem("too_long", f"the expression has {len(value)} characters", allowed=f"at most {MAX_REGEX_LENGTH}")
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise problem("bad_regex", f"not a regular expression: {error}", allowed="Python's `re` syntax") from None
    return value


def check_cron(value: str) -> str:
    """Five fields which both croniter and Temporal read alike, and which come round."""
    allowed = 'five fields: minute hour day month weekday, e.g. "0 3 * * *"'
    fields = value.split()
    if len(fields) != 5 or not all(re.fullmatch(r"[0-9A-Za-z*,/-]+", each) for each in fields):
        raise problem("bad_cron", f"not a cron expression: {value!r}", allowed=allowed)
    if not croniter.is_valid(value) or any(re.fullmatch(r"(?i)(.*[^a-z])?[lwhr]([^a-z].*)?", each) for each in fields):
        raise problem("bad_cron", f"not a cron expression: {value!r}", allowed=allowed)
    try:
        croniter(value, datetime(2024, 1, 1, tzinfo=UTC)).get_next()
    except ValueError:
        raise problem("bad_cron", f"this time never comes: {value!r}", allowed=allowed) from None
    return " ".join(fields)


def check_timezone(value: str) -> str:
    """A name of the IANA time zone database."""
    try:
        if not re.fullmatch(r"[A-Za-z0-9_+/-]{1,64}", value):
            raise ValueError(value)
        zoneinfo.ZoneInfo(value)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        known = zoneinfo.available_timezones()
        if not known and "/" in value:  # A system without the database: Temporal has its own.
            return value
        close = difflib.get_close_matches(value, sorted(known), n=1)
        raise problem(
            "bad_timezone",
            f"no time zone named {value!r}",
            allowed="an IANA name such as Europe/Moscow or UTC",
            hint=f"did you mean {close[0]!r}?" if close else "",
        ) from None
    return value


def check_day_span(value: str) -> str:
    """Two times of a day; an end that is not after its start is on the next day."""
    match = re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)", value)
    if match is None or value[:5] == value[6:]:
        raise problem("bad_window", f"not a span of a day: {value!r}", allowed='such as "22:00-06:00"')
    return value


DaySpan = Annotated[str, AfterValidator(check_day_span)]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": DURATION_PATTERN}, _PARAMETER]}
    ),
]
Address = Annotated[str, Field(max_length=2000), AfterValidator(reduce_address)]
UrlRegex = Annotated[str, AfterValidator(check_regex)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
SourceName = Annotated[str, Field(pattern=SOURCE_PATTERN)]
ParameterName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
ApprovalMode = Literal["auto", "review"]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True, validate_default=True
    )


class Politeness(_Model):
    """How gently a site is asked; what is left out comes from the adapter."""

    delay: Duration | None = Field(default=None, description="Seconds between two requests to one server group.")
    concurrency: Annotated[int, Field(ge=1, le=64)] | None = Field(
        default=None, description="Requests in flight at a time."
    )
    robots: bool | None = Field(default=None, description="Whether robots.txt is obeyed.")
    group: Literal["host", "domain", "address"] = Field(
        default="host", description="What counts as one server: a host, a registrable domain, or an IP address."
    )
    per_day: Annotated[int, Field(ge=1, le=100_000_000)] | None = Field(
        default=None, description="Requests a day to the whole source."
    )
    bytes_per_day: Annotated[int, Field(ge=1, le=10**15)] | None = Field(
        default=None, description="Bytes a day from the whole source."
    )
    windows: list[DaySpan] = Field(
        default=[], max_length=24, description='Hours in which the source may be asked: "22:00-06:00".'
    )
    timezone: Annotated[str, AfterValidator(check_timezone)] = Field(
        default="UTC", description="Of the windows and of the day; an IANA name."
    )
    weight: float = Field(
        default=1.0, ge=0.01, le=100, description="Share of a server that other campaigns wait for as well."
    )


class Limits(_Model):
    """Bounds of one crawl run of one source; sizes in bytes."""

    max_pages: int = Field(
        default=10_000, ge=1, le=100_000_000, description="Pages read in one run; unchanged ones count as none."
    )
    max_depth: int = Field(default=8, ge=0, le=1000, description="Links followed from a seed.")
    max_page_bytes: int = Field(default=5_000_000, ge=1, le=1_000_000_000, description="Of a page, unpacked.")
    max_audio_bytes: int = Field(default=200_000_000, ge=1, le=10_000_000_000, description="Of an audio file.")
    max_pages_per_pattern: int = Field(
        default=200, ge=1, le=100_000_000, description="Pages of one URL pattern without an item: a trap beyond."
    )
    timeout: Duration = Field(default=30.0, gt=0, le=3600, description="Of one request.")
    max_attempts: int = Field(default=4, ge=1, le=20, description="Requests of one URL before it counts as failed.")


class SourceSpec(_Model):
    """What is wanted of one site. ``source`` and ``adapter`` default to each other."""

    source: SourceName | None = Field(default=None, description="The site's name, part of every candidate's identity.")
    adapter: SourceName | None = Field(default=None, description="What reads the site; see `versions source list`.")
    seeds: list[Text] = Field(default=[], max_length=10_000, description="Start URLs, paths or ids.")
    search: list[Text] = Field(default=[], max_length=10_000, description="Search texts, for sources that can search.")
    follow: list[UrlRegex] = Field(
        default=[], max_length=200, description="URLs to follow; empty: the adapter's own rule."
    )
    options: dict[str, JsonValue] = Field(default={}, description="The adapter's own options.")
    audio: Literal["none", "fingerprint_only", "store"] | None = Field(
        default=None,
        description="What may be done with audio; not more than the adapter permits, which is the default.",
    )
    trust: float = Field(default=0.5, ge=0, le=1, description="How far the source's metadata is believed, 0 to 1.")
    politeness: Politeness = Field(default=Politeness(), description="How gently; see below.")
    limits: Limits = Field(default=Limits(), description="Bounds of one run; see below.")

    @property
    def name(self) -> str:
        """The site's name."""
        return self.source or self.adapter or ""


class Approval(_Model):
    """What is published by itself (``auto``) and what a moderator sees (``review``)."""

    recording: ApprovalMode = Field(default="review", description="A further source of a known recording.")
    song: ApprovalMode = Field(default="review", description="A new version of a known song.")
    new_song: ApprovalMode = Field(default="review", description="A song that nobody knew.")
    require: list[Literal["title", "performer", "duration"]] = Field(
        default=["title", "performer", "duration"], max_length=3, description="Without these, a moderator looks."
    )
    remind_after: Duration = Field(
        default=172_800.0, gt=0, description="An undecided case is brought up again after this."
    )
    expire_after: Duration = Field(default=2_592_000.0, gt=0, description="An undecided case is closed after this.")

    @after_checks(mode="after")
    def _order(self) -> Approval:
        if self.expire_after <= self.remind_after:
            raise problem("bad_approval", "a case expires before its reminder", allowed="expire_after > remind_after")
        return self


class Revisit(_Model):
    """What a later run does with pages that it knows."""

    incremental: bool = Field(
        default=True,
        description="Pages that did not change are recognised (ETag, Last-Modified, sitemap) and not read again.",
    )
    ask: Literal["always", "when_due"] = Field(
        default="always",
        description="Known pages: asked in every run, or when the changes seen so far make another one likely.",
    )
    min: Annotated[Duration, Field(gt=0)] = Field(default=3600.0, description="Least time between visits of a page.")
    max: Annotated[Duration, Field(gt=0)] = Field(
        default=2_592_000.0,
        description="Most time; then a page is asked even where its sitemap says that nothing changed.",
    )
    stop_after_known: int | None = Field(
        default=20,
        ge=1,
        le=100_000,
        description="So many known, unchanged things in a row end a list that has the newest first; null: never.",
    )

    @after_checks(mode="after")
    def _order(self) -> Revisit:
        if self.max < self.min:
            raise problem("bad_revisit", "the longest time is shorter than the shortest", allowed="max >= min")
        return self


class Refresh(_Model):
    """How a campaign of the kind ``refresh`` looks whether known sources are still there."""

    confirm_after: Annotated[Duration, Field(gt=0)] = Field(
        default=21_600.0, description="A source found gone is looked at again after this, before it counts as gone."
    )
    max_checks: int = Field(default=1000, ge=1, le=10_000_000, description="Sources looked at in one run of one site.")
    min: Annotated[Duration, Field(gt=0)] = Field(
        default=thresholds.MIN_CHECK_INTERVAL_S, description="Least time between looks at an available source."
    )
    max: Annotated[Duration, Field(gt=0)] = Field(
        default=thresholds.MAX_CHECK_INTERVAL_S,
        description="Most time; how fast the site deletes decides.",
    )

    @after_checks(mode="after")
    def _order(self) -> Refresh:
        if self.max < self.min:
            raise problem("bad_refresh", "the longest time is shorter than the shortest", allowed="max >= min")
        return self


class Schedule(_Model):
    """When the campaign starts by itself: by ``cron`` (with ``timezone``) or ``every`` so often."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["cron"]}, {"required": ["every"], "not": {"required": ["timezone"]}}]
        }
    )

    cron: Annotated[str, AfterValidator(check_cron)] | None = Field(
        default=None, description='Minute, hour, day, month, weekday: "0 3 * * *".'
    )
    timezone: Annotated[str, AfterValidator(check_timezone)] | None = Field(
        default=None, description="An IANA name for `cron`; without it UTC."
    )
    every: Annotated[Duration, Field(ge=60)] | None = Field(default=None, description="At least a minute.")

    @after_checks(mode="after")
    def _one(self) -> Schedule:
        if (self.cron is None) == (self.every is None):
            raise problem("bad_schedule", "a schedule has one of `cron` and `every`", allowed="cron | every")
        if self.every is not None and self.timezone is not None:
            raise problem("bad_schedule", "an interval has no time zone", allowed="cron and timezone | every")
        return self

    def message(self) -> dict[str, Any]:
        """The form `workflows.client.WorkflowClient.sync_schedule` takes."""
        if self.cron is not None:
            return {"cron": self.cron, "timezone": self.timezone or "UTC"}
        return {"every_s": self.every}


class CampaignSpec(_Model):
    """A campaign: what an operator wants from one or more sources, and when."""

    version: Literal[1] = Field(description="Of this file format.")
    name: str = Field(pattern=NAME_PATTERN, description="What commands call it; the campaign's identity.")
    description: str = Field(default="", max_length=2000, description="For people.")
    parameters: dict[ParameterName, str | int | float | bool] = Field(
        default={},
        max_length=100,
        description="Defaults, used as ${name} in texts below; `--set name=value` overrides.",
    )
    allow_private: list[Address] = Field(
        default=[], max_length=100, description="host:port or URL of servers in private networks that may be crawled."
    )
    sources: list[SourceSpec] = Field(min_length=1, max_length=100, description="At least one.")
    approval: Approval = Field(default=Approval(), description="Without it a moderator sees everything.")
    kind: Literal["crawl", "refresh"] = Field(
        default="crawl",
        description="`crawl` looks for items; `refresh` looks whether the published ones are still there.",
    )
    refresh: Refresh = Field(default=Refresh(), description="For `kind: refresh`; see below.")
    revisit: Revisit = Field(default=Revisit(), description="What later runs do with known pages; see below.")
    schedule: Schedule | None = Field(default=None, description="Without it, it is started by hand.")

    def record(self) -> dict[str, Any]:
        """The JSON that `catalog.models.Campaign.spec` keeps."""
        return self.model_dump(mode="json")


def campaign_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a campaign file, for editors and other tools."""
    schema = CampaignSpec.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Versions campaign"}
