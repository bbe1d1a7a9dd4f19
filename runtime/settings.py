"""All settings, from the environment (prefix ``VERSIONS_``, and a few well-known names without it)."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_data_path
from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _env(name: str) -> AliasChoices:
    return AliasChoices(f"VERSIONS_{name}", name)


class Settings(BaseSettings):
    """A part with an address here is external; one without is embedded in ``data_dir``."""

    model_config = SettingsConfigDict(env_prefix="VERSIONS_", extra="ignore", populate_by_name=True)

    data_dir: Path = Field(default_factory=lambda: user_data_path("versions"))
    database_url: SecretStr | None = Field(default=None, validation_alias=_env("DATABASE_URL"))
    temporal_address: str | None = Field(default=None, validation_alias=_env("TEMPORAL_ADDRESS"))
    temporal_namespace: str = Field(default="default", validation_alias=_env("TEMPORAL_NAMESPACE"))
    s3_endpoint: str | None = Field(default=None, validation_alias=_env("S3_ENDPOINT"))
    s3_access_key: SecretStr = Field(default=SecretStr(""), validation_alias=_env("S3_ACCESS_KEY"))
    s3_secret_key: SecretStr = Field(default=SecretStr(""), validation_alias=_env("S3_SECRET_KEY"))
    s3_bucket: str = Field(default="versions", validation_alias=_env("S3_BUCKET"))
    redis_url: SecretStr | None = Field(default=None, validation_alias=_env("REDIS_URL"))
    """What the API's processes share: rate limits and remembered answers; without it each has its own."""

    proxies: SecretStr = Field(default=SecretStr(""), validation_alias=_env("PROXIES"))
    """HTTP proxies for crawls and downloads, ``http://USER:PASSWORD@HOST:PORT``, separated by blanks or commas."""
    proxies_sticky: bool = False
    """Whether a server keeps its proxy as long as that works; else requests take turns."""

    api_host: str = "127.0.0.1"
    api_port: int = 8000
    log_level: str = "INFO"
    media_slots: int | None = None
    """Audio files worked on at once; default: as many as cores."""
    user_agent: str = "VersionsBot/0.1 (+https://example.org/versions)"
    acoustid_key: SecretStr | None = Field(default=None, validation_alias=_env("ACOUSTID_KEY"))
    """An application's key of acoustid.org: recordings are looked up there. Without it they are not."""
    musicbrainz: bool = False
    """Whether works, credits and ISRCs are looked up at MusicBrainz; `user_agent` must name a contact then."""
    acoustid_url: str = "https://api.acoustid.org/v2/"
    musicbrainz_url: str = "https://musicbrainz.org/ws/2/"
    """Or a mirror of one's own."""
    accounts_dir: Path | None = None
    """Folder of cookie files of the operator's accounts: ``<source>.cookies.txt``."""
    max_audio_seconds: int = 2 * 3600
    """Longer recordings are refused as too_long."""

    @property
    def segments_dir(self) -> Path:
        """Copies of the index of recordings that workers of this host search; what is lost is fetched again."""
        return self.data_dir / "cache" / "segments"
