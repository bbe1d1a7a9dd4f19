"""Songs as JSON."""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

from psycopg import sql

from catalog.reads.connections import ReadConnection
from catalog.reads.fragments import (
    SONG_CREDITS,
    SONG_SUMMARY,
    SQL,
    VERSION,
    Entity,
    Page,
    digest,
    entity,
    fetch_one,
    known_tags,
    sort_key,
)

Sort = Literal["title", "newest"]

_VERSIONS = SQL(
    "(SELECT coalesce(json_agg({version} ORDER BY v.release_year NULLS LAST, v.id), '[]')"
    " FROM versions v WHERE v.song_id = s.id AND v.deleted_at IS NULL)"
).format(version=VERSION)

# All whose change shows: the song, its versions, and the artists whose names and slugs stand in the credits.
_TAG = digest(
    SQL(
        """concat_ws(':', s.id, s.row_version,
        (SELECT string_agg(v.id || '.' || v.row_version, ',' ORDER BY v.id)
         FROM versions v WHERE v.song_id = s.id AND v.deleted_at IS NULL),
        (SELECT string_agg(a.id || '.' || a.row_version, ',' ORDER BY a.id) FROM artists a WHERE a.id IN (
           SELECT c.artist_id FROM song_credits c WHERE c.song_id = s.id
           UNION ALL
           SELECT c.artist_id FROM version_credits c JOIN versions v ON v.id = c.version_id WHERE v.song_id = s.id)))"""
    )
)

_DETAIL = SQL(
    """
WITH found AS (SELECT s.*, {tag} AS tag FROM songs s WHERE {condition})
SELECT s.id, s.deleted_at IS NOT NULL, s.tag,
  CASE WHEN s.deleted_at IS NULL AND NOT s.tag = ANY(%(known)s::text[]) THEN {body} END
FROM found s
"""
)

_SONG = SQL(
    """json_build_object(
        'id', s.id, 'slug', s.slug, 'title', s.title, 'original_title', s.original_title,
        'titles', (SELECT coalesce(json_agg(t.title ORDER BY t.title), '[]') FROM song_titles t
                   WHERE t.song_id = s.id AND t.title <> s.title),
        'language', s.language, 'genre', s.genre, 'era', s.era, 'lyrics', s.lyrics_markup,
        'identifiers', s.identifiers, 'credits', {credits}, 'versions', {versions},
        'row_version', s.row_version, 'created_at', s.created_at, 'updated_at', s.updated_at)"""
).format(credits=SONG_CREDITS, versions=_VERSIONS)

_VERSION_LIST = SQL("json_build_object('items', {versions}, 'next', NULL)").format(versions=_VERSIONS)

_BY_ID = SQL("s.id = %(key)s::uuid")
_BY_SLUG = SQL("s.slug = %(key)s::text")


def _statement(condition: sql.Composable, body: sql.Composable) -> bytes:
    return _DETAIL.format(tag=_TAG, condition=condition, body=body).as_bytes()


_SONG_BY_ID, _SONG_BY_SLUG = _statement(_BY_ID, _SONG), _statement(_BY_SLUG, _SONG)
_VERSIONS_BY_ID, _VERSIONS_BY_SLUG = _statement(_BY_ID, _VERSION_LIST), _statement(_BY_SLUG, _VERSION_LIST)


async def song(connection: ReadConnection, key: uuid.UUID | str, known: Sequence[str] = ()) -> Entity | None:
    """A song with credits, spellings and versions, by id or slug; its JSON is built only if its tag is not known."""
    statement = _SONG_BY_ID if isinstance(key, uuid.UUID) else _SONG_BY_SLUG
    return entity(await fetch_one(connection, statement, {"key": key, "known": known_tags(known)}))


async def song_versions(connection: ReadConnection, key: uuid.UUID | str, known: Sequence[str] = ()) -> Entity | None:
    """All versions of a song, oldest first."""
    statement = _VERSIONS_BY_ID if isinstance(key, uuid.UUID) else _VERSIONS_BY_SLUG
    return entity(await fetch_one(connection, statement, {"key": key, "known": known_tags(known)}))


@dataclass(frozen=True, slots=True)
class SongFilter:
    """What a list is narrowed to; ``artist``: id or slug, as composer, writer or performer of a version."""

    language: str | None = None
    genre: str | None = None
    artist: str | None = None
    kind: str | None = None
    updated_since: datetime | None = None


_CONDITIONS = {
    "language": SQL("s.language = %(language)s"),
    "genre": SQL("s.genre = %(genre)s"),
    "kind": SQL(
        "EXISTS (SELECT FROM versions v WHERE v.song_id = s.id AND v.deleted_at IS NULL AND v.kind = %(kind)s)"
    ),
    "artist": SQL(
        """s.id IN (
        SELECT c.song_id FROM song_credits c JOIN artists a ON a.id = c.artist_id
        WHERE a.slug = %(artist)s OR a.id::text = %(artist)s
        UNION
        SELECT v.song_id FROM version_credits c JOIN artists a ON a.id = c.artist_id
        JOIN versions v ON v.id = c.version_id
        WHERE v.deleted_at IS NULL AND (a.slug = %(artist)s OR a.id::text = %(artist)s))"""
    ),
    "updated_since": SQL("s.updated_at >= %(updated_since)s"),
}

# (order, condition of a further page, key of a row). Keys of UUIDv7 sort by age.
_TITLE = sort_key("s.title")
_SORTS: dict[Sort, tuple[sql.Composable, sql.Composable, sql.Composable]] = {
    "title": (
        SQL("{}, s.id").format(_TITLE),
        SQL("({}, s.id) > (%(after_0)s::text, %(after_1)s::uuid)").format(_TITLE),
        SQL("json_build_array({}, s.id)").format(_TITLE),
    ),
    "newest": (SQL("s.id DESC"), SQL("s.id < %(after_0)s::uuid"), SQL("json_build_array(s.id)")),
}

_LIST = SQL(
    """
WITH page AS (
  SELECT s.*, row_number() OVER (ORDER BY {order}) AS place
  FROM songs s WHERE {where} ORDER BY {order} LIMIT %(limit)s + 1
)
SELECT coalesce(json_agg({item} ORDER BY s.place) FILTER (WHERE s.place <= %(limit)s), '[]'),
  (SELECT {key} FROM page s WHERE s.place = %(limit)s AND EXISTS (SELECT FROM page WHERE place > %(limit)s))
FROM page s
"""
)


@functools.lru_cache(maxsize=128)
def _list_statement(filters: tuple[str, ...], sort: Sort, further: bool) -> bytes:
    order, after, key = _SORTS[sort]
    conditions = [SQL("s.deleted_at IS NULL"), *(_CONDITIONS[name] for name in filters), *([after] if further else [])]
    return _LIST.format(order=order, where=SQL(" AND ").join(conditions), item=SONG_SUMMARY, key=key).as_bytes()


async def list_songs(
    connection: ReadConnection,
    narrowed: SongFilter,
    *,
    sort: Sort = "title",
    after: Sequence[Any] | None = None,
    limit: int = 50,
) -> Page:
    """A page of songs after the given sort key (`Page.next_key` of the page before)."""
    values = {f.name: getattr(narrowed, f.name) for f in fields(narrowed) if getattr(narrowed, f.name) is not None}
    parameters = {**values, "limit": limit, **{f"after_{i}": part for i, part in enumerate(after or ())}}
    row = await fetch_one(connection, _list_statement(tuple(sorted(values)), sort, after is not None), parameters)
    if row is None:
        raise AssertionError("an aggregate returned no row")
    return Page(row[0], json.loads(row[1]) if row[1] else None)
