"""Search and suggestions. Candidates are bounded before they are ranked; nothing is counted exactly."""

from __future__ import annotations

from catalog.reads.connections import TYPO_THRESHOLD, ReadConnection
from catalog.reads.fragments import ARTIST_SUMMARY, SONG_SUMMARY, SQL, VERSION_OF_SONG, fetch_one
from catalog.spellings import fold, latin

CANDIDATES = 400
"""Most rows that each way of matching may bring into the ranking."""

# The words as typed and in Latin letters, each stemmed as Russian and taken literally; typos by trigrams, which are
# asked only when the words alone did not fill the page.
_SEARCH = (
    SQL(
        """
WITH query AS MATERIALIZED (
  SELECT websearch_to_tsquery('russian', %(query)s) || websearch_to_tsquery('russian', %(folded)s)
      || websearch_to_tsquery('simple', %(folded)s) || websearch_to_tsquery('simple', %(latin)s) AS words
), by_words AS MATERIALIZED (
  SELECT s.id FROM songs s, query WHERE s.search @@ query.words AND s.deleted_at IS NULL LIMIT {bound}
), by_trigrams AS MATERIALIZED (
  SELECT s.id FROM songs s WHERE (SELECT count(*) FROM by_words) < %(limit)s AND s.deleted_at IS NULL
    AND (s.search_text %%> %(folded)s OR s.search_text %%> %(latin)s) LIMIT {bound}
), ranked AS MATERIALIZED (
  SELECT s.id, ts_rank(s.search, query.words)
      + greatest(word_similarity(%(folded)s, s.search_text), word_similarity(%(latin)s, s.search_text))
      + greatest(similarity(%(folded)s, s.title), similarity(%(latin)s, s.title)) AS score
  FROM songs s, query WHERE s.id IN (SELECT id FROM by_words UNION SELECT id FROM by_trigrams)
), best AS MATERIALIZED (
  SELECT id, score FROM ranked ORDER BY score DESC, id LIMIT 50
), found_versions AS MATERIALIZED (
  SELECT v.id, b.score + greatest(word_similarity(%(folded)s, n.names), word_similarity(%(latin)s, n.names)) AS score
  FROM best b JOIN LATERAL (
    SELECT * FROM versions x WHERE x.song_id = b.id AND x.deleted_at IS NULL LIMIT 100
  ) v ON true CROSS JOIN LATERAL (
    SELECT lower(v.title || ' ' || coalesce(string_agg(c.credited_as, ' '), '')) AS names
    FROM version_credits c WHERE c.version_id = v.id
  ) n
  ORDER BY 2 DESC, 1 LIMIT %(limit)s
), near_artists AS MATERIALIZED (
  (SELECT x.artist_id AS id FROM artist_aliases x WHERE x.key %%> %(latin)s LIMIT {bound})
  UNION
  (SELECT c.artist_id FROM best b JOIN song_credits c ON c.song_id = b.id LIMIT {bound})
  UNION
  (SELECT c.artist_id FROM best b JOIN versions v ON v.song_id = b.id JOIN version_credits c ON c.version_id = v.id
   LIMIT {bound})
), found_artists AS MATERIALIZED (
  SELECT id, score FROM (
    SELECT a.id, max(greatest(word_similarity(%(folded)s, x.name), word_similarity(%(latin)s, x.key),
                              word_similarity(lower(x.name), %(folded)s))) AS score
    FROM near_artists n JOIN artists a ON a.id = n.id AND a.deleted_at IS NULL
    JOIN artist_aliases x ON x.artist_id = a.id GROUP BY a.id) scored
  WHERE score >= {threshold} ORDER BY score DESC, id LIMIT %(limit)s
)
SELECT json_build_object(
  'query', %(query)s::text,
  'songs', (SELECT coalesce(json_agg({song} ORDER BY b.score DESC, b.id), '[]')
            FROM (SELECT * FROM best ORDER BY score DESC, id LIMIT %(limit)s) b JOIN songs s ON s.id = b.id),
  'versions', (SELECT coalesce(json_agg({version} ORDER BY f.score DESC, f.id), '[]')
               FROM found_versions f JOIN versions v ON v.id = f.id JOIN songs s ON s.id = v.song_id),
  'artists', (SELECT coalesce(json_agg({artist} ORDER BY f.score DESC, f.id), '[]')
              FROM found_artists f JOIN artists a ON a.id = f.id))
"""
    )
    .format(
        bound=CANDIDATES, threshold=TYPO_THRESHOLD, song=SONG_SUMMARY, version=VERSION_OF_SONG, artist=ARTIST_SUMMARY
    )
    .as_bytes()
)

# Prefixes are asked of the full-text index, which answers them at any length; artists are reached through the songs
# that credit them.
_SUGGEST = (
    SQL(
        """
WITH query AS MATERIALIZED (
  SELECT to_tsquery('simple', %(folded_words)s) || to_tsquery('simple', %(latin_words)s) AS words
), hits AS MATERIALIZED (
  SELECT s.id FROM songs s, query WHERE s.search @@ query.words AND s.deleted_at IS NULL LIMIT {bound}
), credited AS MATERIALIZED (
  SELECT c.artist_id AS id FROM hits h JOIN song_credits c ON c.song_id = h.id
  UNION
  SELECT c.artist_id FROM hits h JOIN versions v ON v.song_id = h.id JOIN version_credits c ON c.version_id = v.id
), found AS (
  SELECT 'song' AS entity, s.id, s.slug, s.title AS text,
    EXISTS (SELECT FROM song_titles t WHERE t.song_id = s.id
            AND (translate(lower(t.title), 'ё', 'е') LIKE %(folded)s || '%%'
                 OR t.key LIKE %(latin)s || '%%')) AS at_start
  FROM hits h JOIN songs s ON s.id = h.id
  UNION ALL
  SELECT 'artist', a.id, a.slug, a.name, n.at_start
  FROM credited c JOIN artists a ON a.id = c.id AND a.deleted_at IS NULL
  JOIN LATERAL (
    SELECT bool_or(translate(lower(x.name), 'ё', 'е') LIKE %(folded)s || '%%'
                   OR x.key LIKE %(latin)s || '%%') AS at_start,
      bool_or(' ' || translate(lower(x.name), 'ё', 'е') LIKE '%% ' || %(folded)s || '%%'
              OR ' ' || x.key LIKE '%% ' || %(latin)s || '%%') AS in_word
    FROM artist_aliases x WHERE x.artist_id = a.id
  ) n ON n.in_word
), best AS (
  SELECT * FROM found ORDER BY at_start DESC, entity DESC, length(text), text, id LIMIT %(limit)s
)
SELECT json_build_object('query', %(query)s::text, 'items', coalesce(json_agg(json_build_object(
  'entity', entity, 'id', id, 'slug', slug, 'text', text)
  ORDER BY at_start DESC, entity DESC, length(text), text, id), '[]'))
FROM best
"""
    )
    .format(bound=CANDIDATES)
    .as_bytes()
)


async def search(connection: ReadConnection, query: str, *, limit: int = 20) -> bytes:
    """Songs, versions and artists, best first, as JSON. Russian and Latin letters find each other; typos are forgiven.

    A query without a letter or a digit finds nothing.
    """
    row = await fetch_one(
        connection, _SEARCH, {"query": query, "folded": fold(query), "latin": latin(query), "limit": limit}
    )
    if row is None:
        raise AssertionError("a SELECT without FROM returned no row")
    result: bytes = row[0]
    return result


async def suggest(connection: ReadConnection, prefix: str, *, limit: int = 10) -> bytes:
    """Songs and artists of which a spelling, or a word of it, begins so, as JSON."""
    # `fold` and `latin` leave letters, digits and spaces only: no operator of tsquery or LIKE survives them.
    folded, in_latin = fold(prefix), latin(prefix)
    row = await fetch_one(
        connection,
        _SUGGEST,
        {
            "query": prefix,
            "folded": folded,
            "latin": in_latin,
            "folded_words": _prefix_query(folded),
            "latin_words": _prefix_query(in_latin),
            "limit": limit,
        },
    )
    if row is None:
        raise AssertionError("an aggregate returned no row")
    result: bytes = row[0]
    return result


def _prefix_query(folded: str) -> str:
    return " & ".join(f"'{word}'" for word in folded.split()) + (":*" if folded else "")
