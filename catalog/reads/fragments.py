"""Pieces of SQL that several reads share, and the values that reads return."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from catalog.reads.connections import ReadConnection

SQL = sql.SQL


def sort_key(column: str) -> sql.Composed:
    """What titles and names are sorted by: no case, ё as е, no opening quotes.

    By code points, which is the alphabet's order in Russian and in English and needs no ICU, which PostgreSQL may lack.
    """
    return SQL("(ltrim(translate(lower({}), 'ё', 'е'), ' «„“\"''(') COLLATE \"C\")").format(SQL(column))


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity. ``tag`` changes with every change of it; ``body`` is None if it is gone or ``tag`` was known."""

    id: uuid.UUID
    gone: bool
    tag: str
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list. ``items``: a JSON array; ``next_key``: sort key of its last item, None on the last page."""

    items: bytes
    next_key: list[Any] | None


CREDIT = SQL(
    "json_build_object('artist', json_build_object('id', a.id, 'slug', a.slug, 'name', a.name),"
    " 'role', c.role, 'credited_as', c.credited_as, 'join_phrase', c.join_phrase)"
)

# Of the song `s`.
SONG_CREDITS = SQL(
    "(SELECT coalesce(json_agg({credit} ORDER BY c.position), '[]')"
    " FROM song_credits c JOIN artists a ON a.id = c.artist_id WHERE c.song_id = s.id)"
).format(credit=CREDIT)

# Of the version `v`.
VERSION_CREDITS = SQL(
    "(SELECT coalesce(json_agg({credit} ORDER BY c.position), '[]')"
    " FROM version_credits c JOIN artists a ON a.id = c.artist_id WHERE c.version_id = v.id)"
).format(credit=CREDIT)

# A local file's path is nobody's business: only web addresses leave the house.
SOURCES = SQL(
    """(SELECT coalesce(json_agg(json_build_object(
        'id', r.id, 'source', r.source, 'url', CASE WHEN r.url ~* '^https?://' THEN r.url END, 'title', r.title,
        'preferred', r.place = 1, 'availability', r.availability, 'availability_reason', r.availability_reason,
        'duration_s', r.duration_s, 'licence', r.licence, 'audio', r.audio,
        'stored', r.audio_object IS NOT NULL, 'checked_at', r.checked_at
      ) ORDER BY r.place), '[]')
      FROM (SELECT x.*, row_number() OVER (ORDER BY x.rank, x.id) AS place
            FROM version_sources x WHERE x.version_id = v.id) r)"""
)

STREAM_URL = SQL(
    "CASE WHEN EXISTS (SELECT FROM version_sources x WHERE x.version_id = v.id AND x.audio_object IS NOT NULL)"
    " THEN '/api/v1/versions/' || v.id || '/stream' END"
)

VERSION = SQL(
    """json_build_object(
        'id', v.id, 'song_id', v.song_id, 'title', v.title, 'kind', v.kind, 'duration_s', v.duration_s,
        'release_year', v.release_year, 'language', v.language, 'identifiers', v.identifiers,
        'credits', {credits}, 'sources', {sources}, 'stream_url', {stream_url},
        'row_version', v.row_version, 'updated_at', v.updated_at)"""
).format(credits=VERSION_CREDITS, sources=SOURCES, stream_url=STREAM_URL)

SONG_SUMMARY = SQL(
    """json_build_object(
        'id', s.id, 'slug', s.slug, 'title', s.title, 'original_title', s.original_title, 'language', s.language,
        'genre', s.genre, 'era', s.era, 'credits', {credits},
        'version_count', (SELECT count(*) FROM versions v WHERE v.song_id = s.id AND v.deleted_at IS NULL),
        'kinds', (SELECT coalesce(json_agg(DISTINCT v.kind ORDER BY v.kind), '[]')
                  FROM versions v WHERE v.song_id = s.id AND v.deleted_at IS NULL),
        'updated_at', s.updated_at)"""
).format(credits=SONG_CREDITS)

# A version with as much of its song as a list needs; `v` and `s`.
VERSION_OF_SONG = SQL(
    """json_build_object(
        'id', v.id, 'title', v.title, 'kind', v.kind, 'duration_s', v.duration_s, 'release_year', v.release_year,
        'credits', {credits}, 'song', json_build_object('id', s.id, 'slug', s.slug, 'title', s.title),
        'stream_url', {stream_url}, 'updated_at', v.updated_at)"""
).format(credits=VERSION_CREDITS, stream_url=STREAM_URL)

ARTIST_SUMMARY = SQL(
    """json_build_object(
        'id', a.id, 'slug', a.slug, 'name', a.name, 'type', a.type, 'country', a.country,
        'version_count', (SELECT count(DISTINCT v.id) FROM version_credits c JOIN versions v ON v.id = c.version_id
                          WHERE c.artist_id = a.id AND v.deleted_at IS NULL),
        'updated_at', a.updated_at)"""
)


def digest(expression: sql.Composable) -> sql.Composed:
    """24 hexadecimal digits that change with the expression's value."""
    return SQL("left(encode(sha256(convert_to({}, 'UTF8')), 'hex'), 24)").format(expression)


async def fetch_one(connection: ReadConnection, statement: bytes, parameters: dict[str, Any]) -> tuple[Any, ...] | None:
    """The first row."""
    cursor = await connection.execute(statement, parameters)
    return await cursor.fetchone()


def entity(row: tuple[Any, ...] | None) -> Entity | None:
    """A row of (id, gone, tag, body)."""
    return None if row is None else Entity(*row)


def known_tags(tags: Sequence[str]) -> list[str]:
    """What a client says it has, bounded."""
    return list(tags)[:50]


_SURVIVOR = b"""
WITH RECURSIVE chain AS (
  SELECT new_id, 1 AS depth FROM redirects WHERE entity = %(entity)s AND old_id = %(id)s
  UNION ALL
  SELECT r.new_id, c.depth + 1 FROM redirects r JOIN chain c ON r.old_id = c.new_id
  WHERE r.entity = %(entity)s AND c.depth < 64
)
SELECT new_id FROM chain ORDER BY depth DESC LIMIT 1
"""


async def survivor(connection: ReadConnection, entity_name: str, old_id: uuid.UUID) -> uuid.UUID | None:
    """Where a merged id leads to in the end; ``entity_name``: `song`, `version`, `artist`."""
    row = await fetch_one(connection, _SURVIVOR, {"entity": entity_name, "id": old_id})
    return row[0] if row else None
