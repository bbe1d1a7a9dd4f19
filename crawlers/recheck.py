"""An adapter that only looks whether known items are still there, whatever engine fetches its pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from adapters.contract import Adapter, Engine, Page, PageRequest, RecordingItem, SourceQuery

KEYS = "recheck"
"""In a request's context: the source keys of the items that its answer tells of."""


@dataclass(frozen=True, slots=True)
class Known:
    """An item that is to be looked for."""

    source_key: str
    url: str


def recheck(adapter: Adapter, items: Sequence[Known]) -> Adapter:
    """The adapter, with the items' own pages as its seeds, and nothing but items as what it finds.

    An adapter that knows a cheaper way to an item has a method ``item_request(source_key, url, query)`` which returns
    its request; else it is asked for the item's URL as if a campaign had named it as a seed. Where lists tell of items
    whose pages the adapter cannot read (``reads_item_pages`` is False), a page that answers is enough.
    """
    base = type(adapter)
    reads = getattr(adapter, "reads_item_pages", True)

    # A subclass: engines ask an adapter what it is.
    class Recheck(base):  # type: ignore[valid-type, misc]
        def seeds(self, query: SourceQuery) -> Iterable[PageRequest]:
            requests: dict[tuple[str, str], PageRequest] = {}
            keys: dict[tuple[str, str], list[str]] = {}
            for item in items:
                request = _request(adapter, item, query)
                name = (request.url, request.kind)
                requests.setdefault(name, request)
                keys.setdefault(name, []).append(item.source_key)
            # Those that come first were chosen first.
            for name, request in requests.items():
                yield replace(request, context={**request.context, KEYS: keys[name]})

        def parse(self, page: Page, query: SourceQuery) -> Iterable[RecordingItem | PageRequest]:
            if not reads:
                return (RecordingItem(key, title="", url=page.url) for key in page.request.context[KEYS])
            return (found for found in super().parse(page, query) if isinstance(found, RecordingItem))

    return Recheck()


def _request(adapter: Adapter, item: Known, query: SourceQuery) -> PageRequest:
    cheaper = getattr(adapter, "item_request", None)
    if cheaper is not None:
        request: PageRequest = cheaper(item.source_key, item.url, query)
        return request
    if not getattr(adapter, "reads_item_pages", True):
        return PageRequest(item.url, "page")
    if adapter.engine is Engine.FILES:
        return PageRequest(item.url, "file", 0, {"key": item.source_key})
    try:
        found = next(iter(adapter.seeds(replace(query, seeds=[item.url], search=()))), None)
    except ValueError:
        found = None
    return found or PageRequest(item.url)
