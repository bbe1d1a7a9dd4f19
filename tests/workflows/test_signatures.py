"""What workflows call is what the worker offers."""

import inspect
import typing

import pytest
from temporalio import activity

from activities import signatures
from activities.campaigns import CampaignActivities
from activities.crawls import CrawlActivities
from activities.identify import IdentifyActivities
from activities.ingest import IngestActivities


def declared() -> dict[str, typing.Any]:
    return {
        name: function
        for name, function in vars(signatures).items()
        if inspect.iscoroutinefunction(function) and hasattr(function, "__temporal_activity_definition")
    }


def implemented() -> dict[str, typing.Any]:
    found = {}
    for cls in (CampaignActivities, CrawlActivities, IngestActivities, IdentifyActivities):
        for _, method in inspect.getmembers(cls, inspect.isfunction):
            definition = getattr(method, "__temporal_activity_definition", None)
            if definition is not None:
                found[definition.name] = method
    return found


def test_every_declared_activity_is_implemented() -> None:
    assert set(declared()) == set(implemented())
    assert len(declared()) == 13


@pytest.mark.parametrize("name", sorted(declared()))
def test_messages_agree(name: str) -> None:
    one = typing.get_type_hints(declared()[name])
    other = typing.get_type_hints(implemented()[name])
    assert one == other


def test_definitions_are_activities() -> None:
    assert all(isinstance(function, type(activity.defn)) for function in declared().values())
