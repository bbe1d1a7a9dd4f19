"""The small site of the crawlers' tests."""

from tests.crawlers.conftest import site  # noqa: F401 (fixture)
