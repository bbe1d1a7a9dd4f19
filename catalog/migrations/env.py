"""Alembic's entry point: the URL comes from the caller, never from a file."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, text

from catalog.database import sqlalchemy_url
from catalog.models import Base

# A migration that waits for a lock blocks everybody behind it: better that it fails and is run again.
LOCK_TIMEOUT = "10s"

url = context.config.get_main_option("sqlalchemy.url")
if url is None:
    raise RuntimeError("no database URL: migrations are run by `versions db upgrade`")

engine = create_engine(sqlalchemy_url(url))
with engine.connect() as connection:
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.commit()
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        # Two processes that start at once must not migrate at once.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('versions.migrations'))"))
        context.run_migrations()
engine.dispose()
