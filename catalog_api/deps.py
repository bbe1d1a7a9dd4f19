"""What endpoints are given."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

from fastapi import Depends, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from catalog.database import Database
from catalog.reads.connections import ReadPool
from catalog_api.metrics import Metrics
from catalog_api.problems import bad_id
from catalog_api.shared import Shared
from workflows.client import WorkflowClient


class ObjectStore(Protocol):
    """Where stored audio lies. Called in a thread."""

    def size(self, key: str) -> int | None:
        """Bytes; None if there is no such object. Any exception counts as: the store cannot be reached."""
        ...

    def stream(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        """The bytes from ``offset`` on, ``length`` of them, in chunks."""
        ...

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Stores a file."""
        ...


@dataclass(frozen=True, slots=True)
class DependencyState:
    """How a part is that the API needs. ``detail``: version, address or what is wrong; never a secret."""

    healthy: bool
    detail: str = ""


Readiness = Callable[[], Awaitable[Mapping[str, DependencyState]]]


@dataclass(frozen=True, slots=True)
class Services:
    """Everything one application owns; it hangs on ``app.state``, not on a module."""

    pool: ReadPool
    database: Database
    metrics: Metrics
    workflows: WorkflowClient | None
    objects: ObjectStore | None
    readiness: Readiness | None
    temporal_ui_url: str | None
    shared: Shared


def get_services(request: Request) -> Services:
    """The application's services."""
    services: Services = request.app.state.services
    return services


def get_pool(request: Request) -> ReadPool:
    """The pool of read connections."""
    return get_services(request).pool


ServicesDep = Annotated[Services, Depends(get_services)]
PoolDep = Annotated[ReadPool, Depends(get_pool)]

_SLUG = re.compile(r"[^\W_]+(?:-[^\W_]+)*\Z")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


def parse_id(value: str, field: str) -> uuid.UUID:
    """A UUID in its usual form. Raises ApiError ``bad_id``."""
    if not _UUID.match(value):
        raise bad_id(field, "use a UUID such as 01990f3a-5b1e-7c2d-8a47-3f0d5e9b6c21")
    return uuid.UUID(value)


def parse_key(value: str, field: str) -> uuid.UUID | str:
    """A UUID, or a slug (words of letters and digits, joined by hyphens). Raises ApiError ``bad_id``."""
    if _UUID.match(value):
        return uuid.UUID(value)
    if len(value) > 200 or not _SLUG.match(value):
        raise bad_id(field, "use a UUID, or a slug such as `kalinka`")
    return value


def _printable(value: str) -> str:
    if any(ord(character) < 32 for character in value):
        raise ValueError("use no control characters")
    return value


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
"""A short text as people write it."""


class Query(BaseModel):
    """Base of all query parameters: an unknown one is an error, not a silent no-op."""

    model_config = ConfigDict(extra="forbid")


class PageQuery(Query):
    """Where a page starts and how long it is."""

    cursor: str | None = Field(default=None, description="`next` of the page before.", max_length=2000)
    limit: int = Field(default=50, ge=1, le=100, description="Most items in the answer.")
