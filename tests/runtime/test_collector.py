"""The garbage collector of a worker: what was there at the start is left alone, what comes later is not."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from runtime import collector


class _Node:
    """Part of a circle: only the collector can free it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def own_collector() -> Iterator[None]:
    """The collector as it was, afterwards."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("own_collector")
def test_what_was_there_is_not_looked_at_and_what_comes_is() -> None:
    there = _Node()
    collector.settle()
    assert not any(each is there for each in gc.get_objects())
    later = weakref.ref(_Node())
    assert later() is not None
    gc.collect()
    assert later() is None
