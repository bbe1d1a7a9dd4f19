"""Versions as JSON, and where their stored audio lies."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from catalog.reads.connections import ReadConnection
from catalog.reads.fragments import (
    SOURCES,
    SQL,
    STREAM_URL,
    VERSION_CREDITS,
    Entity,
    digest,
    entity,
    fetch_one,
    known_tags,
)

_TAG = digest(
    SQL(
        """concat_ws(':', v.id, v.row_version, (SELECT s.row_version FROM songs s WHERE s.id = v.song_id),
        (SELECT string_agg(a.id || '.' || a.row_version, ',' ORDER BY a.id) FROM artists a WHERE a.id IN (
           SELECT c.artist_id FROM version_credits c WHERE c.version_id = v.id)))"""
    )
)

_VERSION = (
    SQL(
        """
WITH found AS (SELECT v.*, {tag} AS tag FROM versions v WHERE v.id = %(id)s)
SELECT v.id, v.deleted_at IS NOT NULL, v.tag,
  CASE WHEN v.deleted_at IS NULL AND NOT v.tag = ANY(%(known)s::text[]) THEN json_build_object(
    'id', v.id, 'song_id', v.song_id, 'title', v.title, 'kind', v.kind, 'duration_s', v.duration_s,
    'release_year', v.release_year, 'language', v.language, 'identifiers', v.identifiers,
    'credits', {credits}, 'sources', {sources}, 'stream_url', {stream_url},
    'row_version', v.row_version, 'updated_at', v.updated_at,
    'song', (SELECT json_build_object('id', s.id, 'slug', s.slug, 'title', s.title) FROM songs s
             WHERE s.id = v.song_id),
    'quality', v.quality, 'waveform', v.waveform) END
FROM found v
"""
    )
    .format(tag=_TAG, credits=VERSION_CREDITS, sources=SOURCES, stream_url=STREAM_URL)
    .as_bytes()
)

_AUDIO = b"""
SELECT v.deleted_at IS NOT NULL, x.audio_object, x.audio
FROM versions v LEFT JOIN version_sources x ON x.version_id = v.id AND x.audio_object IS NOT NULL
WHERE v.id = %(id)s ORDER BY x.rank, x.id LIMIT 1
"""

_WAVEFORMS = b"""
SELECT v.id, v.waveform::json FROM versions v
WHERE v.song_id = %(song_id)s AND v.deleted_at IS NULL AND jsonb_typeof(v.waveform) = 'array'
"""


async def version(connection: ReadConnection, version_id: uuid.UUID, known: Sequence[str] = ()) -> Entity | None:
    """A version with its song, credits, sources and waveform."""
    return entity(await fetch_one(connection, _VERSION, {"id": version_id, "known": known_tags(known)}))


@dataclass(frozen=True, slots=True)
class StoredAudio:
    """``key``: in the object store, None if no audio is stored; ``info``: codec, container, …"""

    gone: bool
    key: str | None
    info: dict[str, Any]


async def stored_audio(connection: ReadConnection, version_id: uuid.UUID) -> StoredAudio | None:
    """Where the audio of the version's best source lies; None if there is no such version."""
    row = await fetch_one(connection, _AUDIO, {"id": version_id})
    return None if row is None else StoredAudio(row[0], row[1], row[2] or {})


async def waveforms(connection: ReadConnection, song_id: uuid.UUID) -> dict[str, list[float]]:
    """Peaks (0..1) of all versions of a song, by version id."""
    cursor = await connection.execute(_WAVEFORMS, {"song_id": song_id})
    return {str(version_id): json.loads(peaks) for version_id, peaks in await cursor.fetchall()}
