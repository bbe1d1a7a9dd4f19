"""RDFa as schema.org nodes: rare and slow to read, so it is asked for only where nothing else tells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapters._structured import Document

MAX_BYTES = 1_000_000
"""Larger pages are passed over: reading RDFa takes seconds there."""
_OF_MUSIC = re.compile(rb"typeof\s*=\s*[\"'][^\"'>]{0,200}(?:Music|Video|Audio)", re.IGNORECASE)
_MAX_DEPTH = 12


def rdfa_nodes(document: Document) -> list[Any]:
    """The nodes of a page's RDFa as JSON-LD with bare property names; empty where there is none of music."""
    if len(document.body) > MAX_BYTES or b"schema.org" not in document.body or not _OF_MUSIC.search(document.body):
        return []
    # Imported only now: rdflib takes a second.
    from extruct.rdfa import RDFaExtractor
    from extruct.utils import parse_xmldom_html

    try:
        encoding = document.root.getroottree().docinfo.encoding or "utf-8"
        tree = parse_xmldom_html(document.body, encoding=encoding)
        # extruct has pyRdfa neither expand vocabularies nor read what is embedded: it asks for no address.
        found = RDFaExtractor().extract_items(tree, base_url=document.base)
    except Exception:  # it trips over odd markup in many ways; the page then simply has none
        return []
    return [_bare(node, 0) for node in found] if isinstance(found, list) else []


def _bare(value: Any, depth: int) -> Any:
    """Expanded JSON-LD as sites write it: short property names, single values out of their lists."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, list):
        inner = [_bare(each, depth + 1) for each in value]
        return inner[0] if len(inner) == 1 else inner
    if not isinstance(value, dict):
        return value
    if "@value" in value:
        return value["@value"]
    return {
        name if name.startswith("@") else re.split(r"[/#]", name)[-1]: _bare(inner, depth + 1)
        for name, inner in value.items()
    }
