"""The schema that migrations make is the schema that the models describe."""

from catalog import migrate


def test_models_and_migrations_agree(database_url: str) -> None:
    assert migrate.differences(database_url) == []


def test_upgrade_is_idempotent(database_url: str) -> None:
    migrate.upgrade(database_url)
    assert migrate.current(database_url) == migrate.head()
