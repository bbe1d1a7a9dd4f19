"""Where the parts are: from the settings where they are external, else from the running stack of the data folder."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from pydantic import SecretStr

from runtime.embedded import state
from runtime.embedded.state import StackNotRunningError
from runtime.settings import Settings

_REQUIRED = {"postgres": "database_url", "temporal": "temporal_address", "s3": "s3_endpoint"}
_VARIABLES = {
    "database_url": "VERSIONS_DATABASE_URL",
    "temporal_address": "VERSIONS_TEMPORAL_ADDRESS",
    "temporal_namespace": "VERSIONS_TEMPORAL_NAMESPACE",
    "s3_endpoint": "VERSIONS_S3_ENDPOINT",
    "s3_access_key": "VERSIONS_S3_ACCESS_KEY",
    "s3_secret_key": "VERSIONS_S3_SECRET_KEY",
    "s3_bucket": "VERSIONS_S3_BUCKET",
    "redis_url": "VERSIONS_REDIS_URL",
}


@dataclass(frozen=True)
class Connections:
    """Addresses and keys of all parts. ``s3_endpoint`` is a URL; ``temporal_address`` is host:port.

    A part that was left out of the stack (``versions up --only``) has an empty address, and so has Redis where none is
    configured.
    """

    database_url: str = ""
    temporal_address: str = ""
    temporal_namespace: str = "default"
    temporal_ui_url: str | None = None
    s3_endpoint: str = ""
    s3_access_key: str = ""
    s3_secret_key: str = ""
    s3_bucket: str = "versions"
    api_url: str = ""
    redis_url: str = ""

    def __repr__(self) -> str:
        """Without secrets: this ends up in logs."""
        return f"Connections(temporal={self.temporal_address!r}, s3={self.s3_endpoint!r}, api={self.api_url!r})"

    def environment(self) -> dict[str, str]:
        """The variables by which a child process gets all this."""
        return {variable: value for name, variable in _VARIABLES.items() if (value := getattr(self, name))}

    @classmethod
    def load(cls, settings: Settings, need: Collection[str] = tuple(_REQUIRED)) -> Connections:
        """The connections for this data folder.

        Args:
            settings: its external addresses win over the running stack's.
            need: parts that the caller cannot do without: postgres, temporal, s3.

        Raises:
            StackNotRunningError: a needed part is neither external nor running.
        """
        known = state.read(settings.data_dir)
        running = known.supervisor_alive()
        values: dict[str, Any] = {}
        if running:
            names = {field.name for field in fields(cls)}
            values = {name: value for name, value in known.connections.items() if name in names}
        result = cls(**{**values, **external(settings)})
        for part in need:
            if not getattr(result, _REQUIRED[part]):
                if running:
                    raise StackNotRunningError(f"the stack runs without {part}: `versions down`, then `versions up`")
                raise StackNotRunningError("the stack is not running: `versions up`")
        return result


def external(settings: Settings) -> dict[str, Any]:
    """The fields of `Connections` that the settings determine: external parts."""
    values: dict[str, Any] = {}
    if database_url := secret(settings.database_url):
        values["database_url"] = database_url
    if settings.temporal_address:
        values["temporal_address"] = settings.temporal_address
        values["temporal_namespace"] = settings.temporal_namespace
        values["temporal_ui_url"] = None
    if settings.s3_endpoint:
        endpoint = settings.s3_endpoint
        values["s3_endpoint"] = endpoint if "://" in endpoint else f"http://{endpoint}"
        values["s3_access_key"] = settings.s3_access_key.get_secret_value()
        values["s3_secret_key"] = settings.s3_secret_key.get_secret_value()
        values["s3_bucket"] = settings.s3_bucket
    if redis_url := secret(settings.redis_url):
        values["redis_url"] = redis_url
    return values


def secret(value: SecretStr | None) -> str:
    """The text of an optional secret; empty if there is none."""
    return value.get_secret_value() if value is not None else ""
