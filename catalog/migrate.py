"""Runs the migrations, and tells whether models and migrations agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from catalog.database import sqlalchemy_url
from catalog.models import Base


def config(database_url: str) -> Config:
    """Alembic's configuration for this database."""
    result = Config()
    result.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    result.set_main_option("sqlalchemy.url", database_url.replace("%", "%%"))
    return result


def upgrade(database_url: str) -> None:
    """Brings the database to the newest revision; does nothing if it is there."""
    command.upgrade(config(database_url), "head")


def head() -> str | None:
    """The newest revision that the code knows."""
    return ScriptDirectory(str(Path(__file__).parent / "migrations")).get_current_head()


def current(database_url: str) -> str | None:
    """The revision of the database; None if it has no schema."""
    engine = create_engine(sqlalchemy_url(database_url))
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def differences(database_url: str) -> list[Any]:
    """What Alembic would have to change to bring a migrated database to the models; empty: they agree."""
    engine = create_engine(sqlalchemy_url(database_url))
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return list(compare_metadata(context, Base.metadata))
    finally:
        engine.dispose()
