"""Artists as JSON."""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Sequence
from typing import Any

from catalog.reads.connections import ReadConnection
from catalog.reads.fragments import (
    ARTIST_SUMMARY,
    SQL,
    VERSION_OF_SONG,
    Entity,
    Page,
    digest,
    entity,
    fetch_one,
    sort_key,
)

_ARTIST = SQL(
    """
SELECT a.id, a.deleted_at IS NOT NULL, {tag},
  CASE WHEN a.deleted_at IS NULL THEN json_build_object(
    'id', a.id, 'slug', a.slug, 'name', a.name, 'type', a.type, 'country', a.country, 'bio', a.bio,
    'aliases', (SELECT coalesce(json_agg(x.name ORDER BY x.name), '[]') FROM artist_aliases x
                WHERE x.artist_id = a.id AND x.name <> a.name),
    'row_version', a.row_version, 'updated_at', a.updated_at) END
FROM artists a WHERE {condition}
"""
)
_TAG = digest(SQL("concat_ws(':', a.id, a.row_version)"))
_BY_ID = _ARTIST.format(tag=_TAG, condition=SQL("a.id = %(key)s::uuid")).as_bytes()
_BY_SLUG = _ARTIST.format(tag=_TAG, condition=SQL("a.slug = %(key)s::text")).as_bytes()

_VERSIONS = SQL(
    """
WITH page AS (
  SELECT v.id, row_number() OVER (ORDER BY v.id DESC) AS place FROM versions v
  WHERE v.id IN (SELECT c.version_id FROM version_credits c WHERE c.artist_id = %(artist_id)s)
    AND v.deleted_at IS NULL AND {after}
  ORDER BY v.id DESC LIMIT %(limit)s + 1
)
SELECT coalesce(json_agg({item} ORDER BY p.place) FILTER (WHERE p.place <= %(limit)s), '[]'),
  (SELECT json_build_array(id) FROM page
   WHERE place = %(limit)s AND EXISTS (SELECT FROM page WHERE place > %(limit)s))
FROM page p JOIN versions v ON v.id = p.id JOIN songs s ON s.id = v.song_id
"""
)

_LIST = SQL(
    """
WITH page AS (
  SELECT a.*, row_number() OVER (ORDER BY {name}, a.id) AS place FROM artists a
  WHERE a.deleted_at IS NULL AND {after} ORDER BY {name}, a.id LIMIT %(limit)s + 1
)
SELECT coalesce(json_agg({item} ORDER BY a.place) FILTER (WHERE a.place <= %(limit)s), '[]'),
  (SELECT json_build_array({name}, a.id) FROM page a
   WHERE place = %(limit)s AND EXISTS (SELECT FROM page WHERE place > %(limit)s))
FROM page a
"""
)


@functools.cache
def _versions_statement(further: bool) -> bytes:
    after = SQL("v.id < %(after_0)s::uuid") if further else SQL("true")
    return _VERSIONS.format(after=after, item=VERSION_OF_SONG).as_bytes()


@functools.cache
def _list_statement(further: bool) -> bytes:
    name = sort_key("a.name")
    after = SQL("({}, a.id) > (%(after_0)s::text, %(after_1)s::uuid)").format(name) if further else SQL("true")
    return _LIST.format(name=name, after=after, item=ARTIST_SUMMARY).as_bytes()


async def artist(connection: ReadConnection, key: uuid.UUID | str) -> Entity | None:
    """An artist by id or slug."""
    return entity(await fetch_one(connection, _BY_ID if isinstance(key, uuid.UUID) else _BY_SLUG, {"key": key}))


async def _page(connection: ReadConnection, statement: bytes, after: Sequence[Any] | None, **parameters: Any) -> Page:
    parameters |= {f"after_{i}": part for i, part in enumerate(after or ())}
    row = await fetch_one(connection, statement, parameters)
    if row is None:
        raise AssertionError("an aggregate returned no row")
    return Page(row[0], json.loads(row[1]) if row[1] else None)


async def artist_versions(
    connection: ReadConnection, artist_id: uuid.UUID, *, after: Sequence[Any] | None = None, limit: int = 50
) -> Page:
    """A page of the versions that credit an artist, newest in the catalog first."""
    return await _page(connection, _versions_statement(after is not None), after, artist_id=artist_id, limit=limit)


async def list_artists(connection: ReadConnection, *, after: Sequence[Any] | None = None, limit: int = 50) -> Page:
    """A page of artists by name."""
    return await _page(connection, _list_statement(after is not None), after, limit=limit)
